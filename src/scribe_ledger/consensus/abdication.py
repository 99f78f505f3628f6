"""How a leader stops being one that should not be any more: it was removed, or is a learner now.

raft-rs lets a leader that removed itself go on, and then panics when the next entry is committed, since it has no
record of itself. So such a leader steps down in the moment in which it applies its removal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_raft import RaftError, RaftPanic

if TYPE_CHECKING:
    from scribe_raft import Node

    from scribe_ledger.consensus.membership import Membership


def hand_over(node: Node, membership: Membership) -> None:
    """Begins to make the most advanced voter that can be heard the leader."""
    status = node.status()
    matched = {peer: told["matched"] for peer, told in status["progress"].items() if told["recently_active"]}
    heirs = [voter for voter in membership.voters if voter in matched and voter != node.id]
    if heirs and not status["transferring_to"]:
        node.transfer_leader(max(heirs, key=lambda voter: (matched[voter], -voter)))


def abdicate(node: Node, membership: Membership) -> None:
    """At once, after asking a voter to take over."""
    try:
        hand_over(node, membership)
    except RaftPanic:
        raise
    except RaftError:  # then the others notice the silence
        pass
    node.step_down()

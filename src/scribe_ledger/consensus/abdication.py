"""How a leader stops being one that should not be any more: it was removed, is a learner now, or has another ledger.

raft-rs lets a leader that removed itself go on, and then panics when the next entry is committed, since it has no
record of itself. So such a leader steps down in the moment in which it applies its removal.

A member whose *ledger* is not the cluster's has a sound log all the same: it votes, and what it acknowledges counts. It
does not lead, since whoever leads archives, gives snapshots and has the ledger signed. So it asks nobody for a vote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_raft import RaftError, RaftPanic

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from scribe_raft import Node

    from scribe_ledger.consensus.membership import Membership


def hand_over(node: Node, membership: Membership, unfit: AbstractSet[int] = frozenset()) -> bool:
    """Begins to make the most advanced voter that can be heard the leader, but for the unfit. False: there is none."""
    status = node.status()
    matched = {peer: told["matched"] for peer, told in status["progress"].items() if told["recently_active"]}
    heirs = [voter for voter in membership.voters if voter in matched and voter != node.id and voter not in unfit]
    if heirs and not status["transferring_to"]:
        node.transfer_leader(max(heirs, key=lambda voter: (matched[voter], -voter)))
    return bool(heirs)


class Barred:
    """A member that must not lead any more, before its node begins again."""

    def __init__(self, patience_ticks: int) -> None:
        self._patience_ticks = patience_ticks
        self._gives_up_at: int | None = None

    def look(self, node: Node, membership: Membership, unfit: AbstractSet[int], now: int) -> None:
        """Each tick. A leader hands over to a voter that is not ``unfit``, and where nobody takes it steps down."""
        if not node.is_leader:
            self._gives_up_at = None
            return
        if self._gives_up_at is None:
            self._gives_up_at = now + self._patience_ticks
        try:
            heard = hand_over(node, membership, unfit)
        except RaftPanic:
            raise
        except RaftError:
            heard = False
        if not heard or now >= self._gives_up_at:
            node.step_down()


def abdicate(node: Node, membership: Membership) -> None:
    """At once, after asking a voter to take over."""
    try:
        hand_over(node, membership)
    except RaftPanic:
        raise
    except RaftError:  # then the others notice the silence
        pass
    node.step_down()

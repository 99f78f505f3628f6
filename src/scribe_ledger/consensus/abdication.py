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

HEARTBEAT_RESPONSE = 9


def hand_over(node: Node, membership: Membership) -> None:
    """Begins to make the most advanced voter that can be heard the leader."""
    status = node.status()
    matched = {peer: told["matched"] for peer, told in status["progress"].items() if told["recently_active"]}
    heirs = [voter for voter in membership.voters if voter in matched and voter != node.id]
    if heirs and not status["transferring_to"]:
        node.transfer_leader(max(heirs, key=lambda voter: (matched[voter], -voter)))


def step_down(node: Node, membership: Membership) -> None:
    """At once, after asking a voter to take over. A leader yields to whoever names a later term, so one is named."""
    try:
        hand_over(node, membership)
    except RaftPanic:
        raise
    except RaftError:  # then the others notice the silence
        pass
    witness = next(iter(membership.voters))
    fields = ((1, HEARTBEAT_RESPONSE), (2, node.id), (3, witness), (4, node.term + 1))
    node.step(b"".join(bytes([field << 3]) + _varint(number) for field, number in fields), sender=witness)


def _varint(number: int) -> bytes:
    """As protobuf writes numbers."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)

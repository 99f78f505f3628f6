"""What tests of snapshots share: a member that needs one, and what connections of their own would do to give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.consensus.group import Group, Outcomes, info

if TYPE_CHECKING:
    from scribe_ledger.consensus.exchange import ArrivedSnapshot
    from scribe_ledger.consensus.membership import Membership


def change(group: Group, raft_id: int, *wanted: tuple[str, int], ticks: int = 100) -> Outcomes:
    outcomes = Outcomes()
    infos = [info(each) for kind, each in wanted if kind != "remove"]
    group[raft_id].propose_change(wanted, infos, outcomes, ticks=ticks)
    group.settle()
    return outcomes


def lagging() -> Group:
    """A leader that has cut its log while node 3 was away."""
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(3)
    group.write(1, "a", "b")
    group.write(2, "c")
    cut = group[1].compact(99)
    assert cut == (4, group[1].term)
    group.members[1].log.cut(*cut)
    group.heal()
    group.pass_time(2)
    return group


def announce(group: Group, leader: int, data: bytes = b"where to get it") -> tuple[int, ArrivedSnapshot]:
    """The leader's message reaches who needs a snapshot, and that member begins to install: it, and the message."""
    assert group[leader].offer_snapshot(group[leader].here.index, data)
    group.pass_time(3)
    [(sender, peer, index, frame)] = group.snapshots
    group.snapshots = []
    group[peer].receive(sender, frame)
    arrived = group[peer].take_snapshot_arrived()
    assert arrived is not None
    assert (arrived.sender, arrived.index, arrived.data) == (leader, index, data)
    assert group[peer].begin_install(index)
    return peer, arrived


def copy_ledger(group: Group, giver: int, receiver: int, record: Membership | None = None) -> Membership:
    """The payload, as of ``record``, which is now where none is given."""
    record = record or group[giver].here
    machine, copy = group.members[giver].machine, group.members[receiver].machine
    copy.units = [unit for unit in machine.units if unit[0] <= record.index]
    copy.position, copy.membership = record.index, record.encode()
    return record


def give_snapshot(group: Group, leader: int) -> None:
    """The payload first, then Raft's message."""
    peer, arrived = announce(group, leader)
    copy_ledger(group, leader, peer)
    group[peer].finish_install(arrived.message)
    group.settle()
    group[leader].report_snapshot(peer, True)
    group.settle()

"""A member that was removed: how it learns that, who waits for it is told at once, and it names no leader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.consensus.group import Group, Outcomes, info
from tests.consensus.looping import in_loop

from scribe_ledger.consensus.agreement import Report
from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.member import Member, MemberSettings
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.transport import Reason
from scribe_ledger.consensus.transport.contract import Refusal
from scribe_ledger.errors import OutcomeUnknown, Unavailable
from scribe_ledger.model import Extent
from scribe_ledger.node.cluster_views import figures_of, status_of

pytestmark = pytest.mark.consensus

UNADMITTED = Refusal(Reason.UNADMITTED, "node 3 was removed from this cluster", proven=True)
LONG = 1000
"""Ticks of a deadline that no test lives to see."""


class Wires:
    """A transport that carries nothing, and knows who refused."""

    def __init__(self) -> None:
        self.refusals: dict[int, Refusal] = {}
        self.peers: dict[int, str] = {}

    def send(self, *_: object) -> bool:
        return True

    def set_peers(self, peers: dict[int, str]) -> None:
        self.peers = peers

    def connected(self, _: int) -> bool:
        return False

    def refusal(self, raft_id: int) -> Refusal | None:
        return self.refusals.get(raft_id)

    def last_heard(self, _: int) -> float:
        return float("inf")


def member_of(group: Group, raft_id: int) -> tuple[Member, Wires, list[str]]:
    """Over a replica of the group; what it said to those who asked to hear of its end."""
    wires: Any = Wires()
    machine: Any = group.members[raft_id].machine
    machine.extent, machine.root_at = Extent(0, bytes(32), 0, bytes(32)), lambda _: bytes(32)
    failures: list[BaseException] = []
    member = Member(
        group[raft_id], MemoryLog(), machine, wires, MemberSettings(), me=info(raft_id), on_failure=failures.append
    )
    said: list[str] = []
    member.on_ended.append(lambda: said.append(str(member.removed or member.diverged)))
    return member, wires, said


def report_of(raft_id: int) -> memoryview:
    return memoryview(Gossip(info(raft_id), Report(Extent(5, bytes(32), 0, bytes(32))), 1).frame())


def wait_at(member: Member) -> tuple[Outcomes, Outcomes]:
    """A write that was sent to the leader, and a read that asked it."""
    writes, reads = Outcomes(), Outcomes()
    member.replica.submit(b"unit", None, writes, ticks=LONG)
    member.replica.read(reads, ticks=LONG)
    return writes, reads


def check_told(writes: Outcomes, reads: Outcomes) -> None:
    for outcome in (writes.only, reads.only):
        assert isinstance(outcome, Unavailable)
        assert "was removed from its cluster" in outcome.message


@in_loop
async def test_who_waits_at_a_member_that_the_others_refuse_is_told_at_once() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    member, wires, said = member_of(group, 3)
    group.lost = lambda sender, to, frame: 3 in (sender, to)
    writes, reads = wait_at(member)
    group.pass_time(5)
    member._report()
    assert (member.removed, [*writes], [*reads]) == (None, [], []), "it may only be cut off"
    wires.refusals[1] = UNADMITTED
    for _ in range(2):
        member._report()
    check_told(writes, reads)
    assert isinstance(writes.only, OutcomeUnknown), "the leader may have it"
    assert said == [str(member.removed)]
    with pytest.raises(Unavailable, match="was removed"):
        member.submit(b"late", None, Outcomes(), seconds=60)


@in_loop
async def test_a_leader_that_removes_itself_tells_who_waits_once_it_has_applied_that() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    member, _, said = member_of(group, 1)
    done = Outcomes()
    group[1].propose_change([("remove", 1)], [], done, ticks=LONG)
    group.settle()
    assert isinstance(done.only, Membership), "whoever ordered it hears that it is done"
    group.lost = lambda sender, to, frame: True
    writes, reads = wait_at(member)
    group.settle()
    await asyncio.sleep(0)
    check_told(writes, reads)
    assert said == [str(member.removed)]


@in_loop
async def test_a_member_that_was_removed_names_no_leader() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    member, wires, _ = member_of(group, 3)

    def told() -> tuple[object, ...]:
        figures, status = figures_of(member, snapshots={}, refused={}), status_of(member)
        return figures.leader, figures.is_leader, status["current_leader"], status["is_leader"]

    assert told() == (1, False, 1, False)
    wires.refusals[1] = UNADMITTED
    member._report()
    assert told() == (None, False, None, False)
    leader, wires, _ = member_of(group, 1)
    assert figures_of(leader, snapshots={}, refused={}).is_leader
    wires.refusals[2] = UNADMITTED
    leader._report()
    assert not figures_of(leader, snapshots={}, refused={}).is_leader


def learner() -> tuple[Member, Wires, list[str]]:
    """One that has joined, and got nothing of the log yet."""
    group = Group(1, 2)
    group.add(3).start(group)
    return member_of(group, 3)


@in_loop
async def test_a_learner_without_a_record_hears_from_who_took_it_in_that_it_was_removed() -> None:
    member, wires, said = learner()
    member.acquaintances = {1: info(1), 2: info(2)}
    member._take_membership(member.replica.membership)
    assert set(wires.peers) == {1, 2}
    member._report()
    assert member.removed is None
    wires.refusals[2] = UNADMITTED
    member._report()
    assert said == [str(member.removed)]


@in_loop
async def test_who_hears_of_the_end_hears_of_a_divergence_too() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    member, _, said = member_of(group, 3)
    machine: Any = group.members[3].machine
    machine.extent, machine.root_at = Extent(5, b"1" * 32, 0, bytes(32)), lambda _: b"1" * 32
    for raft_id in (1, 2):
        member.on_frame(raft_id, report_of(raft_id))
    member._compare()
    assert said == [str(member.diverged)]

"""A member between strangers, and one that broke: who is heard, who is given a snapshot, what is said at the end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.consensus.group import Group, info
from tests.consensus.looping import in_loop

from scribe_ledger.consensus import frames
from scribe_ledger.consensus.agreement import Report
from scribe_ledger.consensus.catching_up import INSTALLED, CatchingUp
from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.member import Member, MemberSettings
from scribe_ledger.consensus.transport import Caller, Reason
from scribe_ledger.consensus.transport.contract import Refusal
from scribe_ledger.errors import ConsensusError, Corruption, Forbidden, ScribeError, Unavailable
from scribe_ledger.model import Extent
from scribe_ledger.node.switchboard import SNAPSHOT, WITNESS, Switchboard

pytestmark = pytest.mark.consensus

STRANGER = 77


def leading(*voters: int) -> tuple[Group, Member, list[BaseException]]:
    group = Group(*voters)
    group.lead(1)
    transport: Any = SimpleNamespace(send=lambda *_: True, set_peers=lambda _: None, connected=lambda _: True)
    failures: list[BaseException] = []
    machine: Any = group.members[1].machine
    member = Member(group[1], MemoryLog(), machine, transport, MemberSettings(), me=info(1), on_failure=failures.append)
    return group, member, failures


def report_of(raft_id: int) -> memoryview:
    return memoryview(Gossip(info(raft_id), Report(Extent(5, bytes(32), 0, bytes(32))), 1).frame())


@in_loop
async def test_reports_are_kept_of_members_only() -> None:
    _, member, _ = leading(1, 2)
    for raft_id in (2, STRANGER):
        member.on_frame(raft_id, report_of(raft_id))
    assert [*member.reports] == [2]
    assert STRANGER not in member.liveness.states(0)


@in_loop
async def test_a_connection_lost_by_a_member_whose_engine_broke_ends_nothing_else() -> None:
    _, member, _ = leading(1, 2)
    member.replica.poison("a broken invariant")
    member.on_lost(2)


@in_loop
async def test_a_frame_that_breaks_the_engine_ends_the_member_once_and_later_ones_are_dropped() -> None:
    """Whatever is raised here ends up with the event loop, as a fatal error of the connection."""
    group, member, failures = leading(1, 2, 3)
    beyond = bytes([frames.RAFT, 0x08, 8, 0x10, 1, 0x18, 2, 0x20, group[1].term + 1, 0x40, 99])  # a heartbeat
    switchboard = Switchboard()
    switchboard.member, switchboard.catching_up = member, offering(member)
    for frame in (beyond, beyond, report_of(2), bytes([frames.FORWARD]), b"\xdf"):
        switchboard.on_frame(2, memoryview(frame))
    switchboard.on_lost(2)
    assert [type(each) for each in failures] == [Corruption]
    assert member.reports == {}


def offering(member: Member) -> CatchingUp:
    """A leader that has told node 2 of a snapshot."""
    unused: Any = None
    catching_up = CatchingUp(
        member.replica,
        member.machine,
        unused,
        unused,
        send=lambda *_: True,
        spawn=unused,
        wake=lambda: None,
        on_full=unused,
        on_conflict=unused,
        clock=lambda: 0.0,
        givers=tuple,
        known=unused,
    )
    catching_up.send(2, 1, b"", 0.0)
    return catching_up


@in_loop
async def test_a_member_says_who_refuses_it() -> None:
    _, member, _ = leading(1, 2, 3)
    said = {2: Refusal(Reason.COPY, "a folder was copied", proven=False), 3: None}
    member._transport.refusal = said.__getitem__  # type: ignore[method-assign,assignment]
    assert member.refusals() == {2: "a folder was copied"}


@in_loop
async def test_a_leader_that_breaks_does_not_say_that_it_handed_over() -> None:
    _, member, failures = leading(1, 2)
    now = asyncio.get_running_loop().time()
    member.liveness.expect([2], now)
    member.liveness.note(2, now, 0)
    with capture_logs() as logs:
        handing = asyncio.ensure_future(member.hand_over())
        await asyncio.sleep(0)
        member.replica.poison("a broken invariant")
        await handing
        await member.hand_over()
    assert [each["event"] for each in logs] == ["this member broke before leadership was handed over"]
    assert len(failures) <= 1


def caller(raft_id: int, cluster_id: str = "") -> Caller:
    return Caller(raft_id, cluster_id, 9, "127.0.0.1:1", None, encrypted=False, loopback=True)


async def given(switchboard: Switchboard, raft_id: int) -> list[bytes] | ScribeError:
    try:
        return [piece async for piece in switchboard.on_stream(caller(raft_id), SNAPSHOT)]
    except ScribeError as error:
        return error


@in_loop
async def test_a_snapshot_is_given_to_members_only() -> None:
    group, member, _ = leading(1, 2, 3)
    switchboard = Switchboard()
    assert isinstance(await given(switchboard, 2), Unavailable), "this node is no member yet"

    async def pieces(_: bytes) -> Any:
        yield b"piece"

    switchboard.member, switchboard.sender = member, SimpleNamespace(on_stream=pieces)  # type: ignore[assignment]
    group[1].propose_change([("remove", 3)], [], lambda _: None, ticks=100)
    group.settle()
    assert await given(switchboard, 2) == [b"piece"]
    assert isinstance(await given(switchboard, STRANGER), Unavailable)
    assert isinstance(await given(switchboard, 3), Forbidden), "whatever it says of its cluster"


@in_loop
async def test_a_root_is_told_to_members_only() -> None:
    _, member, _ = leading(1, 2)
    switchboard = Switchboard()
    with pytest.raises(Unavailable):
        await switchboard.on_request(caller(2), WITNESS + b"size")

    async def answer(request: bytes) -> bytes:
        return b"the root at the " + request

    switchboard.member, switchboard.witnesses = member, SimpleNamespace(answer=answer)  # type: ignore[assignment]
    assert await switchboard.on_request(caller(2), WITNESS + b"size") == b"the root at the size"
    with pytest.raises(Unavailable, match="no member"):
        await switchboard.on_request(caller(STRANGER), WITNESS + b"size")


@in_loop
async def test_a_leader_whom_a_majority_contradicts_hands_over_and_names_itself() -> None:
    group, member, _ = leading(1, 2, 3)
    machine: Any = group.members[1].machine
    machine.extent, machine.root_at = Extent(5, b"1" * 32, 0, bytes(32)), lambda _: b"1" * 32
    member.on_frame(2, report_of(2))
    member._compare()
    group.settle()
    assert (member.diverged, group[1].is_leader, member.differing()) == (None, True, {2})
    member.on_frame(3, report_of(3))
    member._compare()
    group.settle()
    assert not group[1].is_leader
    assert group[2].is_leader or group[3].is_leader
    assert member.differing() == {1}


@in_loop
async def test_only_a_member_says_that_it_has_installed_a_snapshot() -> None:
    _, member, _ = leading(1, 2)
    told: list[int] = []
    switchboard = Switchboard()
    switchboard.member = member
    switchboard.catching_up = SimpleNamespace(on_installed=lambda sender, _: told.append(sender))  # type: ignore[assignment]
    for raft_id in (2, STRANGER):
        switchboard.on_frame(raft_id, memoryview(bytes([INSTALLED])))
    assert told == [2]


@in_loop
async def test_a_member_that_broke_takes_no_more_writes_of_threads() -> None:
    _, member, _ = leading(1)
    member.replica.abandon("the disk is gone")
    told: list[object] = []
    member.submit_threadsafe(b"unit", None, told.append, seconds=60)
    async with asyncio.timeout(10):
        while not told:  # noqa: ASYNC110 - what a thread asked for comes with the loop's next round
            await asyncio.sleep(0)
    assert [type(each) for each in told] == [Unavailable]
    assert not isinstance(told[0], ConsensusError)

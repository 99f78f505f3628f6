"""Replicas in one process: elections, turns, restarts, and an engine that breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.consensus.group import Group, Log, Machine, applied_to

from scribe_ledger.consensus import frames
from scribe_ledger.consensus.log.store import Contents, LogWrite
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.replica import Replica, ReplicaSettings
from scribe_ledger.errors import ConsensusError, Corruption, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.consensus


def new_replica(machine: Machine, contents: Contents) -> Replica:
    return Replica(1, 1, contents, machine, ReplicaSettings(), clock=lambda: 0, seed=1)  # type: ignore[arg-type]


def test_a_write_reaches_everybody_and_is_answered_once() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    outcomes = group.write(1, "a", "b")
    group.pass_time(2)
    assert outcomes == [(3, b"a"), (3, b"b")]
    group.assert_all_have("a", "b")


def test_a_follower_forwards_and_answers_when_it_has_applied() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    outcomes = group.write(2, "a")
    assert outcomes.only == (3, b"a")
    group.write(1, "b", "c")
    assert (group[2].counters.forwarded, group[2].counters.proposals) == (1, 0)
    assert (group[1].counters.taken, group[1].counters.proposals) == (1, 3)
    group.pass_time(2)
    group.assert_all_have("a", "b", "c")


def test_a_silent_group_elects_one_leader_whom_all_know() -> None:
    group = Group(1, 2, 3)
    leader = group.await_leader()
    group.pass_time(2)
    assert {each.replica.leader for each in group} == {leader}
    assert sum(each.replica.is_leader for each in group) == 1
    assert sum(each.replica.counters.elections for each in group) >= 1
    assert {each.replica.counters.leader_changes for each in group} == {1}


def test_a_leader_without_a_majority_steps_down() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    group.pass_time(25)
    assert (group[1].role, group[1].leader) == ("follower", 0) or group[1].role == "pre-candidate"


def test_leadership_is_handed_over() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group[1].transfer(3)
    group.settle()
    assert group[3].is_leader
    with pytest.raises(ConsensusError, match="node 3 leads"):
        group[1].transfer(2)


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[tuple[int, int, bytes]]:
        group, sent = Group(1, 2, 3, seed=seed), []
        group.lost = lambda sender, to, frame: bool(sent.append((sender, to, frame)))  # type: ignore[func-returns-value]
        group.await_leader()
        group.write(2, "a")
        group.pass_time(30)
        return sent

    assert run(5) == run(5)
    assert run(5) != run(6)


# --- turns -----------------------------------------------------------------------------------------------------


def test_a_follower_says_nothing_before_its_write_is_durable() -> None:
    group = Group(1, 2, 3)
    group.members[2].slow_disk = True
    group[1].campaign()
    group.step(group.members[1])
    group.deliver()
    turn = group[2].ready()
    assert turn is not None
    assert turn.messages == {}
    assert [sorted(turn.after), turn.write] == [[1], None], "a pre-vote promises nothing"


def test_several_turns_may_be_out_and_a_commit_alone_needs_no_sync() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.members[1].slow_disk = True
    outcomes = group.write(1, "a")
    group.write(1, "b")
    writes = [turn for turn in group.members[1].held if turn.write is not None]
    assert [bool(turn.write and turn.write.entries) for turn in writes] == [turn.must_sync for turn in writes]
    assert sum(turn.must_sync for turn in writes) == 2
    assert group[1].commit_index == 4, "the others are a majority"
    assert outcomes == [], "it is not durable here"
    group.sync(group.members[1])
    group.settle()
    assert outcomes == [(3, b"a")]


def test_nothing_to_do_gives_no_turn() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.pass_time(2)
    assert [each.replica.ready() for each in group] == [None] * 3


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x09", b"\x01\xff\xff\xff", b"\x02", b"\x02\x01" + bytes(32), b"\x02\x02" + bytes(60), b"\x03\x01\x01"],
    ids=bytes.hex,
)
def test_a_malformed_frame_changes_nothing(frame: bytes) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    with pytest.raises(ValueError, match=r"."):
        group[1].receive(2, frame)
    group.write(1, "a")
    group.pass_time(2)
    group.assert_all_have("a")


@pytest.mark.parametrize(
    "body", [b"", bytes(4), b"\x00\x00\x00\x01", b"\x00\x00\x00\x01\x00\x00\x00\x05abc", b"\xff" * 9], ids=bytes.hex
)
def test_a_bundle_whose_units_cannot_be_read_never_gets_into_the_log(body: bytes) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    last = group[1].last_index
    with pytest.raises(ValueError, match="bundle"):
        group[1].receive(2, frames.encode_forward(frames.Forward(group[1].term, 1, 1, 1, body)))
    assert group[1].last_index == last


# --- restarts --------------------------------------------------------------------------------------------------


def test_everybody_restarts_and_nothing_is_lost_or_applied_twice() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    group.write(2, "b")
    for raft_id in (1, 2, 3):
        group.restart(raft_id)
    group.await_leader()
    group.write(3, "c")
    group.pass_time(5)
    group.assert_all_have("a", "b", "c")


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("victim", [1, 2])
def test_a_crash_after_any_turn_loses_nothing_that_was_acknowledged(victim: int, step: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    steps, crashed = 0, False
    outcomes = []
    for number in range(6):
        outcomes.append((number, group.submit(3, str(number), ticks=500)))
        moved = True
        while moved:
            moved = False
            for member in group:
                if group.step(member):
                    moved = True
                    steps += member.raft_id == victim
                if steps > step and not crashed and member.raft_id == victim:
                    group.restart(victim)
                    crashed = True
            moved = group.deliver() or moved
    assert crashed
    group.pass_time(100)
    assert [outcome.only for _, outcome in outcomes] == [
        (position, unit) for position, unit in sorted(group.members[3].machine.units, key=lambda each: int(each[1]))
    ]
    group.assert_all_have(*group.members[3].machine.names)
    assert sorted(group.members[3].machine.names) == [str(number) for number in range(6)]


def test_an_unsynced_write_is_lost_with_the_machine_and_does_no_harm() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.members[2].slow_disk = True
    group.write(1, "a")
    group.crash(2)
    group.members[2].slow_disk = False
    group.write(1, "b")
    group.members[2].start(group)
    group.pass_time(10)
    group.assert_all_have("a", "b")


def test_a_ledger_behind_its_log_gets_what_it_lacks() -> None:
    group = Group(1)
    group.lead(1)
    group.write(1, "a")
    before = list(group.members[1].machine.units), group.members[1].machine.position
    group.write(1, "b")
    group.members[1].machine.units, group.members[1].machine.position = before
    group.restart(1)
    group.lead(1)
    group.assert_all_have("a", "b")


FOUNDED = Membership(1, 1, voters=(1,))


def test_a_log_that_begins_after_the_ledger_ends_is_corruption() -> None:
    machine = Machine()
    machine.set_membership(1, FOUNDED.encode())
    with pytest.raises(Corruption, match="what is between them is lost"):
        new_replica(machine, Contents((5, 1), (1, 0, 5), []))


def test_a_log_that_ends_before_the_ledger_is_corruption() -> None:
    machine = Machine()
    machine.set_membership(1, FOUNDED.encode())
    machine.position = 4
    with pytest.raises(Corruption, match="beyond the log"):
        new_replica(machine, Contents((1, 1), (1, 0, 1), [(2, 1, 0, b"", b"")]))


@pytest.mark.parametrize(
    ("entries", "hard_state"),
    [
        ([], (0, 0, 0)),
        ([(1, 1, 0, b"", b""), (2, 1, 0, b"", b"")], (1, 9, 1)),
        ([(i, 1, 0, b"", b"") for i in range(1, 9)], (2, 9, 1)),
    ],
    ids=["empty", "short", "of another leader"],
)
def test_after_a_snapshot_was_installed_the_log_is_told_to_begin_there(
    entries: list[tuple[int, int, int, bytes, bytes]], hard_state: tuple[int, int, int]
) -> None:
    machine = Machine()
    machine.set_membership(6, Membership(6, 3, voters=(1, 2)).encode())
    replica = new_replica(machine, Contents((0, 0), hard_state, entries))
    assert replica.initial_write == LogWrite(hard_state=(3, 0, 6), reset=(6, 3))
    assert (replica.applied_index, replica.last_index, replica.term) == (6, 6, 3)


def test_a_log_that_holds_the_snapshot_is_left_alone() -> None:
    machine = Machine()
    machine.set_membership(2, Membership(2, 1, voters=(1, 2)).encode())
    entries = [(index, 1, 0, b"", b"") for index in range(1, 4)]
    replica = new_replica(machine, Contents((0, 0), (1, 0, 2), entries))
    assert replica.initial_write is None
    assert (replica.applied_index, replica.last_index) == (2, 3)


# --- an engine that breaks -------------------------------------------------------------------------------------


def heartbeat(term: int, commit: int) -> bytes:
    """Of node 1 to node 2, which says that entries are committed that node 2 never had: Raft cannot go on."""
    return bytes([frames.RAFT, 0x08, 8, 0x10, 2, 0x18, 1, 0x20, term, 0x40, commit])


@pytest.mark.parametrize(
    "act",
    [lambda replica: replica.tick(), lambda replica: replica.ready(), lambda replica: replica.receive(2, b"\x01")],
)
def test_a_panic_ends_the_replica_and_tells_whoever_waits(act: Callable[[Replica], object]) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(2)
    sent, waiting, read = group.write(2, "a"), group.submit(2, "b"), group.read(2)
    with pytest.raises(Corruption):
        group[2].receive(1, heartbeat(group[2].term, 99))
    assert group[2].poisoned
    assert isinstance(sent.only, OutcomeUnknown)
    assert [type(waiting.only), type(read.only)] == [Unavailable, Unavailable]
    with pytest.raises(ConsensusError, match="stopped"):
        act(group[2])
    with pytest.raises(Unavailable, match="stopped"):
        group.submit(2, "c")


def test_a_machine_that_fails_ends_the_replica() -> None:
    group = Group(1)
    group.lead(1)
    outcomes = group.submit(1, "a")

    def fails(*_: object) -> list[object]:
        raise OSError("the disk is gone")

    group.members[1].machine.apply = fails  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="the disk is gone"):
        group.settle()
    assert "the disk is gone" in str(group[1].poisoned)
    assert isinstance(outcomes.only, OutcomeUnknown)


def test_the_log_of_these_tests_loses_what_was_not_synced() -> None:
    log = Log()
    log.write(LogWrite([(1, 1, 0, b"a", b"")], (1, 0, 0)))
    log.sync()
    log.write(LogWrite([(1, 2, 0, b"b", b"")]))
    log.crash()
    assert log.durable == Contents((0, 0), (1, 0, 0), [(1, 1, 0, b"a", b"")])
    assert applied_to(log.durable, LogWrite([(1, 2, 0, b"b", b"")])).entries == [(1, 2, 0, b"b", b"")]

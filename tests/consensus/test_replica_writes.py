"""A write takes effect once: forwarded, sent twice, reordered, and with leaders that change while it is under way."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group

from scribe_ledger.config.sections import ConsensusSettings
from scribe_ledger.consensus import frames
from scribe_ledger.consensus.bundles import encode_units
from scribe_ledger.consensus.exchange import ReplicaSettings
from scribe_ledger.errors import OutcomeUnknown, Overloaded, TooLarge, Unavailable

pytestmark = pytest.mark.consensus


def is_forward(frame: bytes) -> bool:
    return frame[0] == frames.FORWARD


def units_of(outcomes: list[object]) -> list[object]:
    return [outcome[1] if isinstance(outcome, tuple) else outcome for outcome in outcomes]


def is_append(frame: bytes) -> bool:
    return frame[0] == frames.RAFT


def test_bundles_hold_units_up_to_their_size_and_larger_ones_travel_alone() -> None:
    group = Group(1, max_entry_bytes=10)
    group.lead(1)
    group.write(1, "a" * 4, "b" * 2, "c" * 20, "d", "e")
    assert [len({p for p, _ in group.members[1].machine.units}), group.bundles_applied()] == [3, 3]
    group.assert_all_have("aaaa", "bb", "c" * 20, "d", "e")


def test_bundles_hold_no_more_units_than_the_settings_say() -> None:
    settings = ReplicaSettings.of(ConsensusSettings(max_payload_entries=2), tick_ms=50)
    group = Group(1, max_entry_units=settings.max_entry_units)
    group.lead(1)
    group.write(1, "a", "b", "c", "d", "e")
    assert group.bundles_applied() == 3
    group.assert_all_have("a", "b", "c", "d", "e")


def test_a_unit_that_asks_for_it_travels_alone() -> None:
    group = Group(1)
    group.lead(1)
    group.submit(1, "a", "b")
    group.submit(1, "manifest", alone=True)
    group.submit(1, "c")
    group.settle()
    assert [position for position, _ in group.members[1].machine.units] == [3, 3, 4, 5]


def test_the_leader_stamps_and_the_origin_keeps_the_objects() -> None:
    group = Group(1, 2)
    group.lead(1)
    group.time = 7777
    group.write(2, "a")
    group.pass_time(2)
    assert [group.members[each].machine.timestamps for each in (1, 2)] == [[7777], [7777]]
    assert [group.members[each].machine.local for each in (1, 2)] == [[None], [["a"]]]


def test_only_so_many_bundles_are_under_way() -> None:
    group = Group(1, 2, bundles_in_flight=2, max_entry_bytes=1)
    group.lead(1)
    group.isolate(2)
    group.write(1, "a", "b", "c", "d")
    assert group[1].last_index == 4
    group.heal()
    group.pass_time(4)
    group.assert_all_have("a", "b", "c", "d")


@pytest.mark.parametrize("copies", [2, 3])
def test_a_bundle_that_arrives_again_is_not_taken_again(copies: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    outcomes = group.submit(2, "a")
    group.step(group.members[2])
    [sent] = group.waiting
    group.waiting = [sent] * copies
    group.settle()
    for _ in range(copies):  # and late
        group[1].receive(2, sent[2])
    group.pass_time(2)
    assert len(outcomes) == 1
    group.assert_all_have("a")


def test_bundles_that_overtake_each_other_are_taken_in_order() -> None:
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(1)
    outcomes = group.submit(2, "a", "b", "c")
    group.step(group.members[2])
    assert len(group.waiting) == 3
    group.waiting.reverse()
    group.settle()
    group.pass_time(4)
    assert units_of(outcomes) == [b"a", b"b", b"c"]
    group.assert_all_have("a", "b", "c")
    assert group[2].counters.bundles_resent > 0


def test_a_bundle_that_was_lost_is_sent_again_after_a_silence() -> None:
    group = Group(1, 2, 3, resend_ticks=5)
    group.lead(1)
    group.lost = lambda sender, to, frame: is_forward(frame)
    outcomes = group.write(2, "a")
    group.heal()
    group.pass_time(4)
    assert outcomes == []
    group.pass_time(2)
    assert len(outcomes) == 1
    group.pass_time(1)
    group.assert_all_have("a")


def test_a_lost_connection_sends_again_at_the_next_tick() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.lost = lambda sender, to, frame: is_forward(frame)
    outcomes = group.write(3, "a")
    group.heal()
    group[3].report_unreachable(1)
    group.pass_time(1)
    assert len(outcomes) == 1


def test_a_bundle_for_an_earlier_term_is_refused_with_the_leader() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    forward = frames.Forward(group[1].term, 1, 1, 1, encode_units([b"late"]))
    group[1].transfer(3)
    group.settle()
    assert group[3].is_leader
    group[1].receive(2, frames.encode_forward(forward))
    turn = group[1].ready()
    assert turn is not None
    [answer] = turn.messages[2]
    decoded = frames.decode_forwarded(memoryview(answer))
    assert decoded == frames.Forwarded(frames.NOT_LEADER, forward.term, 1, 0, 3)


def test_a_session_that_ended_is_not_listened_to() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.restart(2)
    group.pass_time(4)
    group.write(2, "new")
    forward = frames.Forward(group[1].term, 1, 1, 1, encode_units([b"old"]))
    group[1].receive(2, frames.encode_forward(forward))
    group.settle()
    group.pass_time(2)
    group.assert_all_have("new")


# --- leaders that change ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [1, 2, 3])
def test_what_the_lost_leader_did_not_replicate_is_sent_to_the_next(origin: int) -> None:
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(1)
    group.lost = lambda sender, to, frame: sender == 1 and is_append(frame)
    outcomes = group.write(origin, "a", "b", "c")
    assert group[1].last_index == 5
    assert outcomes == []
    group.isolate(1)
    group.await_leader(2, 3)
    group.heal()
    group.pass_time(10)
    assert units_of(outcomes) == [b"a", b"b", b"c"]
    group.assert_all_have("a", "b", "c")
    assert group[origin].counters.bundles_dead == 3


def test_what_the_lost_leader_did_replicate_is_not_sent_again() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.lost = lambda sender, to, frame: sender == 2 and is_append(frame)  # nobody is told that it is committed
    group.members[3].slow_disk = True
    outcomes = group.write(2, "a")
    group.isolate(1)
    group.members[3].slow_disk = False
    group.sync(group.members[3])
    group.heal()
    group.isolate(1)
    group.await_leader(2, 3)
    group.pass_time(10)
    assert len(outcomes) == 1
    group.heal()
    group.pass_time(10)
    group.assert_all_have("a")
    assert group[2].counters.bundles_dead == 0


def test_half_of_the_bundles_survive_and_the_others_travel_again_in_order() -> None:
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(1)
    first = group.submit(3, "a", "b")
    group.step(group.members[3])
    group.deliver()
    group.step(group.members[1])
    group.deliver()  # the others have them, and say nothing yet
    group.lost = lambda sender, to, frame: sender == 1
    second = group.submit(3, "c")
    group.settle()
    group.isolate(1)
    group.await_leader(2, 3)
    group.heal()
    group.pass_time(10)
    assert units_of([*first, *second]) == [b"a", b"b", b"c"]
    group.assert_all_have("a", "b", "c")


@pytest.mark.parametrize("seed", range(12))
def test_writes_of_everybody_take_effect_once_while_leaders_fall(seed: int) -> None:
    group = Group(1, 2, 3, seed=seed, max_entry_bytes=2, resend_ticks=4)
    group.await_leader()
    outcomes = {}
    for number in range(40):
        for origin in (1, 2, 3):
            name = f"{origin}-{number}"
            outcomes[name] = group.submit(origin, name, ticks=2000)
        if number % 8 == seed % 8:
            group.isolate(group.await_leader())
        if number % 8 == (seed + 4) % 8:
            group.heal()
        group.pass_time(1 + (number * 7 + seed) % 5)
    group.heal()
    group.pass_time(100)
    assert {name: len(told) for name, told in outcomes.items()} == dict.fromkeys(outcomes, 1)
    assert sorted(group.members[1].machine.names) == sorted(outcomes)
    assert {name: told.only for name, told in outcomes.items()} == {
        unit.decode(): (position, unit) for position, unit in group.members[1].machine.units
    }
    assert len({tuple(member.machine.units) for member in group}) == 1


# --- deadlines and bounds --------------------------------------------------------------------------------------


def test_a_write_that_was_never_sent_is_unavailable() -> None:
    group = Group(1, 2, 3)
    outcomes = group.submit(1, "a", ticks=5)
    group.isolate(1)
    group.pass_time(6)
    assert isinstance(outcomes.only, Unavailable)
    assert not isinstance(outcomes.only, OutcomeUnknown)
    assert "no leader" in str(outcomes.only)
    group.heal()
    group.await_leader()
    group.pass_time(5)
    group.assert_all_have()


@pytest.mark.parametrize("origin", [1, 2])
def test_a_write_that_was_sent_has_an_unknown_outcome(origin: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.lost = lambda sender, to, frame: to == 1 and is_append(frame)
    outcomes = group.write(origin, "a")
    group[origin].report_unreachable(3)
    late = group.submit(origin, "b", ticks=5)
    group.pass_time(5)
    assert isinstance(late.only, OutcomeUnknown)
    assert "request id" in str(late.only)
    assert outcomes == []


def test_a_write_whose_sending_is_known_to_be_dead_is_unavailable_and_not_sent_again() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.lost = lambda sender, to, frame: sender == 1
    outcomes = group.submit(1, "a", ticks=60)
    group.settle()
    group.isolate(1)
    group.await_leader(2, 3)
    group.members[1].slow_disk = False
    group.lost = lambda sender, to, frame: is_forward(frame) or frame[0] == frames.FORWARDED
    group.pass_time(1)
    while group[1].counters.bundles_dead == 0:
        group.pass_time(1)
    assert outcomes == [], "it waits again"
    group.heal()
    group.pass_time(60)
    assert len(outcomes) == 1


def test_a_full_queue_is_overloaded_at_once() -> None:
    group = Group(1, 2, 3, max_waiting_units=2)
    group.submit(1, "a", "b")
    with pytest.raises(Overloaded, match="2 writes wait"):
        group.submit(1, "c")
    assert group[1].waiting == (2, 2)


def test_the_bytes_that_wait_are_bounded_too() -> None:
    group = Group(1, 2, 3, max_waiting_bytes=10)
    group.submit(1, "a" * 8)
    with pytest.raises(Overloaded):
        group.submit(1, "b" * 3)


def test_what_fits_no_message_is_too_large() -> None:
    group = Group(1, max_message_bytes=2 << 20)
    with pytest.raises(TooLarge, match="2,095,104 fit a message") as refused:
        group.submit(1, "a" * (2 << 20))
    assert "inline_max" in refused.value.hint


def test_when_all_is_answered_nothing_is_counted_as_waiting() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a", "b")
    group.write(2, "c")
    lost = group.submit(3, "d", ticks=3)
    group.isolate(3)
    group.pass_time(40)
    assert isinstance(lost.only, OutcomeUnknown | Unavailable)
    group.heal()
    group.pass_time(40)
    assert [group[each].waiting for each in (1, 2, 3)] == [(0, 0)] * 3


def test_an_overloaded_machine_is_asked_again_and_nothing_is_lost() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.members[2].machine.overloaded = 3
    first = group.write(2, "a")
    second = group.write(2, "b")
    read = group.read(2)
    group.settle()
    assert (first, second, read) == ([], [], [])
    group.pass_time(2)
    assert (first, second, read) == ([], [], [])
    group.pass_time(2)
    assert [first.only, second.only, read.only] == [(3, b"a"), (4, b"b"), None]
    group.assert_all_have("a", "b")


def test_a_member_that_stops_tells_everybody() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    sent = group.write(1, "a")
    waiting, reading = group.submit(1, "b"), group.read(1)
    group[1].abandon("this node stops")
    assert isinstance(sent.only, OutcomeUnknown)
    assert [type(waiting.only), type(reading.only)] == [Unavailable, Unavailable]

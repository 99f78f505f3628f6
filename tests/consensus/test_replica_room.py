"""A leader whose disk is nearly full takes no writes of others, and whoever asked knows that nothing was written."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group
from tests.consensus.test_replica_writes import is_forward, units_of

from scribe_ledger.consensus import frames
from scribe_ledger.consensus.bundles import encode_units
from scribe_ledger.errors import OutcomeUnknown, Unavailable

pytestmark = pytest.mark.consensus


def without_room(*, entry_bytes: int = 1000, resend_ticks: int = 20) -> Group:
    group = Group(1, 2, 3, max_entry_bytes=entry_bytes, resend_ticks=resend_ticks)
    group.lead(1)
    group[1].has_room = False
    return group


def is_answer(frame: bytes) -> bool:
    return frame[0] == frames.FORWARDED


def assert_refused(outcomes: list[object], count: int = 1) -> None:
    assert len(outcomes) == count
    for error in outcomes:
        assert isinstance(error, Unavailable)
        assert not isinstance(error, OutcomeUnknown)
        assert "nothing was written" in error.message
        assert "disk_reserve" in error.hint


def test_writes_of_others_are_refused_at_once_and_taken_again_when_there_is_room() -> None:
    group = without_room(entry_bytes=1)
    assert_refused(group.write(2, "a", "b"), 2)
    assert_refused(group.write(3, "c"))
    assert group[2].waiting == (0, 0)
    group[1].has_room = True
    assert units_of(group.write(2, "d", "e")) == [b"d", b"e"]
    group.pass_time(2)
    group.assert_all_have("d", "e")


def test_what_does_not_fit_beside_what_was_taken_since_the_last_look_is_refused() -> None:
    group = without_room(entry_bytes=1)
    leader = group[1]
    leader.has_room = True
    bound = leader.counters.accepted_bytes + len(encode_units([b"a"])) + len(encode_units([b"bcd"]))
    leader.limit_room(lambda size: leader.counters.accepted_bytes + size <= bound)
    assert units_of(group.write(2, "a")) == [b"a"]
    assert_refused(group.write(3, "bcde"))
    assert units_of(group.write(3, "bcd")) == [b"bcd"]
    assert_refused(group.write(2, "e"))
    group.pass_time(2)
    group.assert_all_have("a", "bcd")


def test_what_this_node_itself_asks_is_taken_so_that_archiving_can_make_room() -> None:
    group = without_room()
    assert units_of(group.write(1, "manifest")) == [b"manifest"]


def test_a_refusal_that_was_lost_is_said_again_though_there_is_room_by_then() -> None:
    group = without_room(resend_ticks=5)
    group.lost = lambda sender, to, frame: is_answer(frame)
    outcomes = group.write(2, "a")
    assert outcomes == []
    group.heal()
    group[1].has_room = True
    group.pass_time(6)
    assert_refused(outcomes)
    group.write(2, "b")
    group.pass_time(2)
    group.assert_all_have("b")


def test_a_copy_that_arrives_after_the_refusal_is_not_taken() -> None:
    group = without_room()
    outcomes = group.submit(2, "a")
    group.step(group.members[2])
    [sent] = [each for each in group.waiting if is_forward(each[2])]
    group.settle()
    assert_refused(outcomes)
    group[1].has_room = True
    for _ in range(2):
        group[1].receive(2, sent[2])
        group.settle()
    assert_refused(outcomes)
    group.write(2, "b")
    group[1].receive(2, sent[2])
    group.pass_time(2)
    group.assert_all_have("b")


def test_what_was_refused_and_not_told_is_written_once_by_the_next_leader() -> None:
    group = without_room()
    group.lost = lambda sender, to, frame: is_answer(frame)
    outcomes = group.write(2, "a")
    group.heal()
    group[1].transfer(3)
    group.settle()
    assert group[3].is_leader
    group.pass_time(5)
    assert units_of(outcomes) == [b"a"]
    group.assert_all_have("a")


def test_what_was_taken_before_is_not_refused_when_it_arrives_again() -> None:
    group = without_room()
    group[1].has_room = True
    group.lost = lambda sender, to, frame: sender == 1 and to != 2  # it is appended, and not committed
    outcomes = group.submit(2, "a")
    group.step(group.members[2])
    [sent] = [each for each in group.waiting if is_forward(each[2])]
    group.settle()
    group[1].has_room = False
    group[1].receive(2, sent[2])
    group.heal()
    group.pass_time(4)
    assert units_of(outcomes) == [b"a"]
    group.assert_all_have("a")


def test_a_restarted_origin_begins_anew() -> None:
    group = without_room()
    assert_refused(group.write(2, "a"))
    group.restart(2)
    group.pass_time(3)
    assert_refused(group.write(2, "b"))
    group[1].has_room = True
    group.pass_time(2)
    assert units_of(group.write(2, "c")) == [b"c"]

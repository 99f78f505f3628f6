"""What must not get into the log, and who is not heard: one unit that ends its machine would end every member."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group, Outcomes

from scribe_ledger.consensus import frames
from scribe_ledger.consensus.bundles import encode_units
from scribe_ledger.consensus.frames import Forward, Forwarded, encode_forward, encode_forwarded
from scribe_ledger.errors import InvalidRequest, SerializationError, Unavailable

pytestmark = pytest.mark.consensus

STRANGER = 77


def bundle(group: Group, *units: bytes, sequence: int = 1) -> bytes:
    return encode_forward(Forward(group[1].term, 1, 1, sequence, encode_units(units)))


def test_the_leader_proposes_nothing_that_would_end_a_member() -> None:
    group = Group(1, 2)
    group.lead(1)
    group.members[1].machine.unreadable = {b"bad"}
    last = group[1].last_index
    group[1].receive(2, bundle(group, b"good", b"bad"))
    group.settle()
    assert group[1].last_index == last
    group.assert_all_have()


def test_only_the_unit_that_is_to_blame_fails() -> None:
    group = Group(1, 2)
    group.lead(1)
    group.members[1].machine.unreadable = {b"bad"}
    outcomes = {name: group.submit(2, name) for name in ("a", "bad", "b")}
    group.settle()
    group.write(2, "c")
    group.pass_time(20)
    group.assert_all_have("a", "b", "c")
    assert isinstance(outcomes["bad"].only, InvalidRequest)
    assert [outcomes[name].only[1] for name in ("a", "b")] == [b"a", b"b"]  # type: ignore[index]
    assert group[2].waiting == (0, 0)


def test_bundles_behind_one_that_was_refused_are_taken() -> None:
    group = Group(1, 2, max_entry_bytes=1, bundles_in_flight=4)
    group.lead(1)
    group.members[1].machine.unreadable = {b"bad"}
    bad = group.submit(2, "bad")
    rest = group.submit(2, "a", "b", "c")
    group.pass_time(20)
    group.assert_all_have("a", "b", "c")
    assert isinstance(bad.only, InvalidRequest)
    assert len(rest) == 3


def test_an_answer_about_an_unknown_bundle_changes_nothing() -> None:
    group = Group(1, 2)
    group.lead(1)
    answer = Forwarded(frames.UNREADABLE, group[2].term, 1, 9, 1)
    group[2].receive(1, encode_forwarded(answer))
    assert group.write(2, "a").only
    group.assert_all_have("a")


def test_an_origin_refuses_at_once_what_it_cannot_read_itself() -> None:
    group = Group(1)
    group.lead(1)
    group.members[1].machine.unreadable = {b"bad"}
    with pytest.raises(SerializationError):
        group.submit(1, "bad")
    assert group[1].waiting == (0, 0)


def test_a_bundle_of_who_is_no_member_is_dropped() -> None:
    group = Group(1, 2)
    group.lead(1)
    group[1].receive(STRANGER, bundle(group, b"stranger"))
    group[2].receive(STRANGER, encode_forwarded(Forwarded(frames.NOT_LEADER, group[2].term, 1, 1, 0)))
    group.settle()
    assert (group[1].counters.refused, group[2].counters.refused) == (1, 1)
    assert group.write(2, "a").only
    group.assert_all_have("a")


def test_a_replica_that_was_given_up_takes_nothing_more() -> None:
    group = Group(1)
    group.lead(1)
    group[1].abandon("the disk is gone")
    with pytest.raises(Unavailable, match="the disk is gone"):
        group.submit(1, "a")
    with pytest.raises(Unavailable, match="the disk is gone"):
        group[1].read(Outcomes(), ticks=10)

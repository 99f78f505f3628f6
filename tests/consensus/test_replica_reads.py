"""Linearizable reads on every node, over lost rounds, leaders that change, and deadlines."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group

from scribe_ledger.errors import Overloaded, Unavailable

pytestmark = pytest.mark.consensus


@pytest.mark.parametrize("reader", [1, 2, 3])
def test_a_read_waits_for_what_was_committed_before_it(reader: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    read = group.read(reader)
    assert read == []
    group.settle()
    assert read == [None]
    assert group.members[reader].machine.names == ["a"]


def test_reads_that_wait_share_a_round() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    reads = [group.read(2) for _ in range(50)]
    group.settle()
    assert reads == [[None]] * 50
    assert group[2].counters.read_rounds == 1
    assert group[2].counters.reads == 50


def test_a_single_voter_reads_too() -> None:
    group = Group(1)
    group.lead(1)
    read = group.read(1)
    group.settle()
    assert read == [None]


def test_a_round_that_was_lost_is_asked_again() -> None:
    group = Group(1, 2, 3, read_retry_ticks=4)
    group.lead(1)
    group.pass_time(2)
    group.lost = lambda sender, to, frame: sender == 2
    read = group.read(2)
    group.settle()
    group.heal()
    group.pass_time(3)
    assert read == []
    group.pass_time(2)
    assert read == [None]
    assert group[2].counters.read_rounds == 2


@pytest.mark.parametrize("reader", [1, 2, 3])
def test_a_read_survives_a_change_of_leaders(reader: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    read = group.read(reader)
    group.settle()
    group.await_leader(2, 3)
    group.heal()
    group.pass_time(15)
    assert read == [None]


def test_a_leader_that_was_replaced_answers_no_read() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    group.pass_time(1)
    read = group.read(1)
    leader = group.await_leader(2, 3)
    group.write(leader, "new")
    assert read == [], "what it would have read is old"
    group.heal()
    group.pass_time(10)
    assert read == [None]
    assert group.members[1].machine.names == ["new"]


def test_a_read_without_a_leader_is_unavailable_at_its_deadline() -> None:
    group = Group(1, 2, 3)
    read = group.read(1, ticks=3)
    group.isolate(1)
    group.pass_time(4)
    assert isinstance(read.only, Unavailable)
    assert "no leader" in str(read.only)


def test_a_read_that_nobody_confirms_is_unavailable_at_its_deadline() -> None:
    group = Group(1, 2, 3, max_waiting_reads=2)
    group.lead(1)
    group.isolate(1)
    soon, later = group.read(1, ticks=3), group.read(1, ticks=4)
    group.pass_time(3)
    assert isinstance(soon.only, Unavailable)
    assert later == []
    group.pass_time(1)
    assert len(later) == 1
    assert [group.read(1), group.read(1)] == [[], []], "what was answered takes no room any more"


def test_a_read_waits_until_its_index_is_applied() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.members[2].machine.overloaded = 2
    group.write(1, "a")
    read = group.read(2)
    group.settle()
    assert read == []
    group.pass_time(3)
    assert read == [None]


def test_reads_that_wait_are_bounded() -> None:
    group = Group(1, 2, 3, max_waiting_reads=1)
    group.read(1)
    with pytest.raises(Overloaded):
        group.read(1)

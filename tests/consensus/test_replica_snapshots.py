"""Snapshots: who needs one, what is offered, and where log and engine go on when the ledger has taken one."""

from __future__ import annotations

import pytest
from tests.consensus.giving import announce, change, copy_ledger, give_snapshot, lagging
from tests.consensus.group import Group

from scribe_ledger.errors import OutcomeUnknown, Unavailable

pytestmark = pytest.mark.consensus


def test_a_member_that_needs_what_was_cut_gets_a_snapshot() -> None:
    group = lagging()
    assert group[1].wants_snapshot() == [3]
    give_snapshot(group, 1)
    group.write(1, "d")
    group.pass_time(3)
    group.assert_all_have("a", "b", "c", "d")
    assert group[3].counters.snapshots_installed == 1
    group.restart(3)
    group.pass_time(3)
    group.write(3, "e")
    group.pass_time(3)
    group.assert_all_have("a", "b", "c", "d", "e")


def test_nobody_stands_before_the_log_is_told_of_a_snapshot_that_was_installed() -> None:
    group = lagging()
    assert group[1].wants_snapshot() == [3]
    group[3].on_membership = lambda _: setattr(group.members[3], "slow_disk", True)  # from the installation on
    give_snapshot(group, 1)
    assert group.members[3].slow_disk
    group.isolate(3)
    group.pass_time(60, 3)
    timeout_now = b"\1\x08\x0e" + b"\x10\3\x18\1\x20" + bytes([group[3].term])
    group[3].receive(1, timeout_now)
    group.settle()
    assert group[3].role == "follower"
    group.members[3].slow_disk = False
    group.sync(group.members[3])
    group.pass_time(60, 3)
    assert group[3].role == "pre-candidate"
    group.heal()
    group.pass_time(60)
    group.assert_all_have("a", "b", "c")


def test_while_a_snapshot_is_installed_nothing_is_applied() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    assert group[3].begin_install(50)
    assert group[3].installing
    assert not group[3].begin_install(60)
    group.write(1, "a")
    group.pass_time(2)
    assert group.members[3].machine.names == []
    group[3].finish_install(None)
    group.settle()
    group.assert_all_have("a")


def test_while_a_snapshot_is_installed_writes_wait_and_their_outcome_is_not_hidden() -> None:
    group = lagging()
    _, arrived = announce(group, 1)
    waiting = group.submit(3, "x")
    expired = group.submit(3, "y", ticks=2)
    group.pass_time(3)
    assert type(expired.only) is Unavailable  # nothing was sent, so nothing is unknown
    assert waiting == []
    copy_ledger(group, 1, 3)
    group[3].finish_install(arrived.message)
    group[1].report_snapshot(3, True)
    group.pass_time(3)
    assert not isinstance(waiting.only, Exception)
    group.assert_all_have("a", "b", "c", "x")


def test_a_snapshot_of_what_is_applied_already_is_not_taken() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    assert not group[1].begin_install(3)
    assert not group[1].installing


def test_an_offer_older_than_the_log_or_the_members_is_refused() -> None:
    group = lagging()
    assert not group[1].offer_snapshot(3, b"")
    assert not group[1].offer_snapshot(5, b""), "not applied yet"
    change(group, 1, ("learner", 9))
    assert not group[1].offer_snapshot(4, b""), "the members were others"
    assert group[1].offer_snapshot(5, b"")


@pytest.mark.parametrize("crash", [False, True])
def test_a_snapshot_whose_message_is_of_an_old_term_is_installed_all_the_same(crash: bool) -> None:
    group = lagging()
    record = group[1].here
    _, arrived = announce(group, 1)
    group[1].transfer(2)
    group.settle()
    group.pass_time(4)
    assert group[2].is_leader
    copy_ledger(group, 1, 3, record)
    if crash:
        group.restart(3)
    else:
        group[3].finish_install(arrived.message)
    group.settle()
    group.write(2, "d")
    group.pass_time(10)
    group.assert_all_have("a", "b", "c", "d")
    assert group.members[3].log.durable.truncated in {(4, record.term), (1, 1)}
    group.restart(3)
    group.pass_time(4)
    group.write(3, "e")
    group.pass_time(4)
    group.assert_all_have("a", "b", "c", "d", "e")


@pytest.mark.parametrize("crash", [False, True])
def test_a_log_that_conflicts_with_a_snapshot_of_a_stale_message_begins_after_it(crash: bool) -> None:
    """It is as long as the snapshot is far, but of entries that nobody else has, and that never were committed."""
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(3)
    group.isolate(3)
    group.submit(3, *"tuvwxyz")
    group.settle()
    leader = group.await_leader(1, 2)
    other = 3 - leader
    group.write(leader, "a", "b")
    group.pass_time(3, leader, other)
    for each in (leader, other):
        cut = group[each].compact(99)
        assert cut is not None
        group.members[each].log.cut(*cut)
    group.restart(3)
    group.heal()
    group.pass_time(6)
    record = group[leader].here
    _, arrived = announce(group, leader)
    group[leader].transfer(other)
    group.settle()
    group.pass_time(4)
    assert group[other].is_leader
    assert group[3].last_index > record.index > group[3].commit_index, "the log is longer, and conflicts"
    copy_ledger(group, leader, 3, record)
    if crash:
        group.restart(3)
    else:
        group[3].finish_install(arrived.message)
    group.settle()
    assert group.members[3].log.durable.truncated == (record.index, record.term)
    assert group[other].offer_snapshot(record.index, b"")
    group.pass_time(3)
    [(_, _, _, frame)] = group.snapshots
    group[3].receive(other, frame)
    assert group[3].take_snapshot_arrived() is None, "it has it, and tells the new leader"
    group.pass_time(2)
    group[other].report_snapshot(3, True)
    group.write(3, "c")
    group.pass_time(4)
    group.assert_all_have("a", "b", "c")
    assert group[3].commit_index == group[other].commit_index


@pytest.mark.parametrize("crash", [False, True])
def test_a_payload_that_is_newer_than_its_message_is_welcome(crash: bool) -> None:
    group = lagging()
    _, arrived = announce(group, 1)
    group.write(1, "d")
    record = copy_ledger(group, 1, 3)
    assert record.index == arrived.index + 1
    if crash:
        group.restart(3)
    else:
        group[3].finish_install(arrived.message)
    group.settle()
    group[1].report_snapshot(3, True)
    group.write(2, "e")
    group.pass_time(4)
    group.assert_all_have("a", "b", "c", "d", "e")
    assert group.members[3].log.durable.truncated == (record.index, record.term)


def test_a_bundle_that_a_snapshot_may_hold_has_an_unknown_outcome() -> None:
    group = lagging()
    group.lost = lambda sender, to, frame: sender == 1 and to == 3 and frame[0] == 1
    sent = group.write(3, "d")
    group.heal()
    give_snapshot(group, 1)
    group.pass_time(4)
    assert isinstance(sent.only, OutcomeUnknown)
    assert "snapshot" in str(sent.only)
    group.assert_all_have("a", "b", "c", "d")
    assert group.write(3, "e").only == (6, b"e")


def test_the_log_is_cut_only_up_to_what_is_applied() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    assert group[1].compact(2) == (2, group[1].term)
    assert group[1].compact(2) is None
    assert group[1].compact(1) is None
    assert group[1].compact(99) == (3, group[1].term)
    assert (group[1].log_entries, group[1].log_bytes) == (0, 0)

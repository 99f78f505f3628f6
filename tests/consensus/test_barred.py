"""A member whose ledger is not to be believed: it leads no more and takes nothing. Its vote counts."""

from __future__ import annotations

import pytest
from tests.consensus.group import Group

from scribe_ledger.errors import ConsensusError, OutcomeUnknown, Unavailable

pytestmark = pytest.mark.consensus

LONG = 300
"""Ticks: many election timeouts."""


def test_a_barred_leader_hands_over_and_the_others_go_on() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    group[1].bar("its ledger is another")
    group.settle()
    leader = next(each for each in (2, 3) if group[each].is_leader)
    assert group.write(leader, "b").only == (group[leader].applied_index, b"b")
    group.pass_time(2)
    group.assert_all_have("a", "b")


def test_leadership_goes_to_a_voter_that_is_fit() -> None:
    group = Group(1, 2, 3, 4, 5)
    group.lead(1)
    group[1].unfit = lambda: {1, 2, 4, 5}
    group[1].bar("its ledger is another")
    group.settle()
    assert group[3].is_leader


def test_it_steps_down_where_nobody_takes_leadership_over() -> None:
    for unfit in ({2, 3}, set()):
        group = Group(1, 2, 3)
        group.lead(1)
        group[1].unfit = lambda found=unfit: found  # type: ignore[misc]
        group.lost = lambda sender, to, frame: True
        group[1].bar("its ledger is another")
        group.pass_time(group.settings.election_ticks_min + 1, 1)
        assert not group[1].is_leader


def test_it_never_leads_again_however_long_nobody_does() -> None:
    group = Group(1, 2, 3)
    group.lead(2)
    group[1].bar("its ledger is another")
    group.crash(2)
    group.lost = lambda sender, to, frame: sender == 3  # 3 hears, and is not heard: it could only vote
    term = group[1].term
    for _ in range(LONG):
        group.pass_time()
        assert not group[1].is_leader
    assert group[1].term <= term + 1, "it raised the term, for all others too"
    with pytest.raises(ConsensusError, match="must not lead"):
        group[1].campaign()
    group.heal()
    assert group.await_leader() == 3, "by the vote of who is barred"
    assert group.write(3, "a").only == (group[3].applied_index, b"a")


def test_leadership_that_is_handed_to_it_stays_where_it_is() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group[3].bar("its ledger is another")
    group[1].transfer(3)
    group.pass_time(LONG)
    assert group[1].is_leader
    assert group.write(1, "a").only == (group[1].applied_index, b"a")


def test_who_waits_is_told_and_nothing_is_taken_any_more() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    sent = group.submit(1, "on its way")
    group.settle()
    read = group.read(1)
    group[1].bar("its ledger is another")
    assert isinstance(sent.only, OutcomeUnknown)
    assert isinstance(read.only, Unavailable)
    with pytest.raises(Unavailable, match="another"):
        group.submit(1, "more")
    with pytest.raises(Unavailable, match="another"):
        group.read(1)


def test_a_barred_member_that_is_the_only_voter_leads_nothing() -> None:
    group = Group(1)
    group.lead(1)
    group[1].bar("its ledger is another")
    group.pass_time(LONG)
    assert not group[1].is_leader

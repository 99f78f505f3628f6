"""A leader without a store that works hands over to a voter that has one; nothing goes to and fro."""

from __future__ import annotations

import pytest
from tests.consensus.test_steward import Leader, membership, short

from scribe_ledger.consensus.agreement import Report
from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.statemachine import Extent
from scribe_ledger.consensus.stewardship.archivist import STANDING_TICKS

pytestmark = pytest.mark.consensus
LONG = STANDING_TICKS + 1


def after(leader: Leader, ticks: int) -> list[str]:
    return [short(each) for each in leader.tick(ticks)]


def leader_of_three(*archivists: int, learners: tuple[int, ...] = ()) -> Leader:
    leader = Leader(membership([1, 2, 3], learners))
    leader.archivists.update(archivists)
    return leader


def test_leadership_goes_to_a_voter_whose_store_works() -> None:
    leader = leader_of_three(3)
    assert after(leader, STANDING_TICKS) == []
    assert after(leader, 1) == ["hand over to 3"]


def test_who_archives_goes_on_leading() -> None:
    assert after(leader_of_three(1, 2, 3), 3 * LONG) == []


def test_nothing_moves_while_the_store_is_down_for_all() -> None:
    assert after(leader_of_three(), 10 * LONG) == []


def test_a_short_failure_moves_nothing() -> None:
    leader = leader_of_three(2)
    for _ in range(5):
        assert after(leader, STANDING_TICKS - 1) == []
        leader.archivists.add(1)
        assert after(leader, 1) == []
        leader.archivists.remove(1)


def test_a_store_that_comes_and_goes_on_the_other_moves_nothing() -> None:
    leader = leader_of_three(2)
    for _ in range(5):
        assert after(leader, STANDING_TICKS - 1) == []
        leader.archivists.clear()
        assert after(leader, 1) == []
        leader.archivists.add(2)


@pytest.mark.parametrize("why", ["dead", "behind", "a learner"])
def test_nobody_who_is_not_fit_to_lead_gets_it(why: str) -> None:
    leader = leader_of_three(3) if why != "a learner" else leader_of_three(4, learners=(4,))
    if why == "dead":
        leader.dead.add(3)
    leader.match.update({3: 5000, 4: 1})
    assert after(leader, 2 * LONG) == []


def test_who_does_not_take_over_is_not_asked_again_at_once() -> None:
    leader = leader_of_three(2, 3)
    leader.match[2] = 9_990
    assert after(leader, LONG) == ["hand over to 3"]  # it has more
    assert after(leader, STANDING_TICKS - 1) == []
    assert after(leader, 1) == ["hand over to 3"]


def test_an_orders_change_goes_first() -> None:
    leader = leader_of_three(3)
    after(leader, STANDING_TICKS)
    leader.steward.leave(2, done=leader.done, ticks=100)
    assert after(leader, 1) == ["remove:2"]


def test_a_new_leadership_looks_anew() -> None:
    leader = leader_of_three(3)
    after(leader, STANDING_TICKS)
    leader.steward.deposed(3)
    assert after(leader, STANDING_TICKS) == []


def test_a_report_says_who_could_archive_and_an_older_one_does_not() -> None:
    info = membership([1]).members[1]
    told = Gossip(info, Report(Extent(5, bytes(32), 0, bytes(32))), 1, archives=True)
    assert Gossip.decode(told.frame()).archives
    older = told.frame().replace(b',"archives":true', b"")
    assert older != told.frame()
    assert not Gossip.decode(older).archives

"""A leader without a store that works, or without room, hands over to a voter with it; nothing goes to and fro."""

from __future__ import annotations

import pytest
from tests.consensus.test_steward import Leader, membership, short

from scribe_ledger.consensus.agreement import Report
from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.statemachine import Extent
from scribe_ledger.consensus.stewardship.yielding import ROOM_TICKS, STANDING_TICKS

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


# --- room ------------------------------------------------------------------------------------------------------


def without_room(*lacking: int, archivists: tuple[int, ...] = ()) -> Leader:
    """A leader of three that has led for long, of whom these ran out of room now."""
    leader = leader_of_three(*archivists)
    assert after(leader, LONG) == []
    leader.roomy -= {*lacking}
    return leader


def test_leadership_goes_to_a_voter_with_room_soon() -> None:
    leader = without_room(1, 2)
    assert after(leader, ROOM_TICKS) == []
    assert after(leader, 1) == ["hand over to 3"]


def test_of_those_with_room_one_that_could_archive_leads() -> None:
    leader = without_room(1, archivists=(1, 3))
    leader.match[3] = 9_990
    assert after(leader, ROOM_TICKS + 1) == ["hand over to 3"]


def test_nothing_moves_where_no_disk_has_room() -> None:
    assert after(without_room(1, 2, 3), 3 * LONG) == []


def test_room_that_comes_back_in_time_moves_nothing() -> None:
    leader = without_room(1)
    assert after(leader, ROOM_TICKS) == []
    leader.roomy.add(1)
    assert after(leader, 2 * LONG) == []


def test_who_has_just_got_room_is_not_led_by_yet() -> None:
    """Else disks that are full in turn would pass leadership round and round."""
    leader = without_room(1, 2, 3)
    assert after(leader, ROOM_TICKS) == []
    leader.roomy.add(2)
    assert after(leader, STANDING_TICKS) == []
    assert after(leader, 1) == ["hand over to 2"]


def test_a_new_leadership_without_room_waits_before_it_moves_on() -> None:
    leader = without_room(1)
    assert after(leader, ROOM_TICKS + 1) == ["hand over to 2"]
    leader.steward.deposed(2)
    assert after(leader, STANDING_TICKS) == []
    assert after(leader, 1) == ["hand over to 2"]


# --- what is told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["archives", "has_room"])
def test_a_report_says_who_could_lead_and_an_older_one_does_not(what: str) -> None:
    info = membership([1]).members[1]
    told = Gossip(info, Report(Extent(5, bytes(32), 0, bytes(32))), 1, archives=True, has_room=True)
    assert getattr(Gossip.decode(told.frame()), what)
    older = told.frame().replace(f',"{what}":true'.encode(), b"")
    assert older != told.frame()
    assert not getattr(Gossip.decode(older), what)

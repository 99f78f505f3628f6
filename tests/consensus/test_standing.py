"""How a member's ledger stands among the others', and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.consensus.group import info
from tests.consensus.test_agreement import ME, A, B, C, Node, members

from scribe_ledger.consensus.agreement import ENTRIES, MANIFEST, Divergence, Point
from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.standing import REFUSAL_COUNTS_SECONDS, SAY_SECONDS, Standing
from scribe_ledger.errors import Conflict, Unavailable

pytestmark = pytest.mark.consensus


def mark(at: int) -> Divergence:
    return Divergence(Point(ENTRIES, at), b"h" * 32, b"m" * 32, "101, 102")


class Members:
    """All report to all, over real frames."""

    def __init__(self, *, marked_at: dict[int, int] | None = None, **nodes: Node) -> None:
        ids = {"me": ME, "a": A, "b": B, "c": C}
        self.nodes = {ids[name]: node for name, node in nodes.items()}
        self.now = 0.0
        marks = {each: mark(at) for each, at in (marked_at or {}).items()}
        self.standings = {each: Standing(each, lambda: self.now, marks.get(each)) for each in self.nodes}
        for each, node in self.nodes.items():
            node.agreement = self.standings[each].agreement
        self.reports: dict[int, Gossip] = {}

    def gossip(
        self, rounds: int = 1, *, of: int = 3, silent: tuple[int, ...] = (), learners: tuple[int, ...] = ()
    ) -> list[Any]:
        lines: list[Any] = []
        for _ in range(rounds):
            for each, node in self.nodes.items():
                diverged = self.standings[each].diverged is not None
                frame = Gossip(info(each), node.report(), 1, diverged=diverged).frame()
                self.reports[each] = Gossip.decode(frame)
            for each, node in self.nodes.items():
                for other, report in self.reports.items():
                    if each != other and not {each, other} & {*silent}:
                        self.standings[each].agreement.note(other, report.report)
                with capture_logs() as said:
                    self.standings[each].look(members(of, learners), node.extent, node.root_at)
                lines += said if each == ME else []
        return lines

    def differing(self, raft_id: int) -> set[int]:
        others = {each: report for each, report in self.reports.items() if each != raft_id}
        return self.standings[raft_id].differing(others)


def test_who_has_just_started_gives_nothing_until_a_majority_was_compared() -> None:
    group = Members(me=Node(100), a=Node(90), b=Node(100, fork=50, name="x"))
    me = group.standings[ME]
    assert isinstance(me.doubt, Unavailable)
    group.gossip(silent=(A,))
    assert isinstance(me.doubt, Unavailable), "one that differs backs nobody"
    group.gossip(3)
    assert [me.doubt, me.dissent] == [None, None]


def test_the_only_voter_needs_nobody() -> None:
    group = Members(me=Node(100))
    group.gossip(of=1)
    assert group.standings[ME].doubt is None


def test_an_empty_ledger_backs_no_other_than_an_empty_one() -> None:
    for size, backed in ((0, True), (100, False)):
        group = Members(me=Node(size), a=Node(0))
        group.gossip()
        assert group.standings[ME].backed is backed


def test_who_a_majority_contradicts_gives_nothing_and_all_name_it() -> None:
    group = Members(me=Node(100, fork=50, name="x"), a=Node(100), b=Node(100))
    group.gossip(3)
    me = group.standings[ME]
    assert me.doubt is me.must_not_sign is me.diverged is not None
    assert me.dissent is None, "that is no matter of opinion"
    assert [group.differing(each) for each in (ME, A, B)] == [{ME}] * 3
    assert [group.standings[each].dissent for each in (A, B)] == [None, None]


def test_a_member_that_says_that_it_has_diverged_is_believed() -> None:
    """By one that cannot see it for itself: it is behind."""
    group = Members(me=Node(100, fork=50, name="x"), a=Node(100), b=Node(100), c=Node(10))
    group.gossip(3, of=4, learners=(C,))
    assert group.differing(C) == {ME}


def test_without_a_majority_both_say_so_once_a_minute() -> None:
    group = Members(me=Node(100), a=Node(100, fork=50, name="x"))
    [line] = group.gossip(3)
    assert (line["log_level"], line["nodes"]) == ("error", [100 + A])
    for each, other in ((ME, A), (A, ME)):
        standing = group.standings[each]
        assert standing.diverged is None
        assert standing.dissent is not None
        assert standing.doubt is not None, "nobody gives away what may be wrong"
        assert standing.must_not_sign is not None, "nor signs it"
        assert group.differing(each) == {other}
    assert group.gossip(3) == []
    group.now += SAY_SECONDS
    assert len(group.gossip(3)) == 1


def test_the_third_voter_ends_the_dissent() -> None:
    group = Members(me=Node(100), a=Node(100, fork=50, name="x"), b=Node(100))
    group.gossip(3, silent=(B,))
    assert group.standings[ME].dissent is not None
    group.gossip(3)
    assert group.standings[ME].dissent is None
    assert group.standings[A].diverged is not None


def test_who_is_behind_the_place_where_others_differ_backs_neither() -> None:
    group = Members(me=Node(100), a=Node(100, fork=50, name="x"), b=Node(40))
    group.gossip(5)
    assert [each.backed for each in group.standings.values()][:2] == [False, False]
    group.nodes[B].size = 60
    group.gossip(5)
    assert group.standings[ME].backed
    assert group.standings[A].diverged is not None


def test_who_is_beyond_the_fork_decides_though_it_is_behind_the_others() -> None:
    """They have seen each other differ at 100 alone; where the third is, they ask."""
    group = Members(me=Node(100), a=Node(100, fork=50, name="x"), b=Node(60))
    group.gossip(5)
    assert [each.backed for each in group.standings.values()] == [True, False, True]
    assert group.standings[A].diverged is not None


def test_two_against_two_are_no_majority() -> None:
    group = Members(me=Node(9), a=Node(9), b=Node(9, fork=5, name="x"), c=Node(9, fork=5, name="x"))
    group.gossip(5, of=4)
    assert [each.diverged for each in group.standings.values()] == [None] * 4
    assert None not in [each.dissent for each in group.standings.values()]
    assert group.differing(ME) == {B, C}


def test_a_leaders_refusal_is_said_for_a_while_and_stops_nobody() -> None:
    group = Members(me=Node(50), a=Node(100), b=Node(100))
    me = group.standings[ME]
    group.gossip()
    refusal = Conflict("a member has 7 other entries than this one")
    me.refused(refusal)
    [line] = group.gossip()
    assert "7 other entries" in line["error"]
    assert (me.dissent, me.diverged, me.must_not_sign) == (refusal, None, None)
    group.now += REFUSAL_COUNTS_SECONDS
    assert me.dissent is None


# --- what an earlier life left -----------------------------------------------------------------------------------


def test_who_is_marked_is_diverged_before_anything_was_compared_in_the_same_words() -> None:
    earlier = Members(me=Node(100, fork=50, name="x"), a=Node(100), b=Node(100))
    earlier.gossip(3)
    found = earlier.standings[ME]
    assert found.mark is not None
    later = Standing(ME, lambda: 0.0, Divergence.from_json(found.mark.to_json()))
    assert later.doubt is later.must_not_sign is later.diverged is not None
    assert str(later.diverged) == str(found.diverged)
    assert later.differing({}) == {ME}


def test_who_is_not_marked_serves_before_it_was_compared() -> None:
    standing = Standing(ME, lambda: 0.0)
    assert (standing.diverged, standing.mark) == (None, None)


def test_a_majority_that_has_the_same_there_wipes_the_mark_out() -> None:
    group = Members(me=Node(100), a=Node(120), b=Node(90), marked_at={ME: 95})
    me = group.standings[ME]
    group.gossip(5, silent=(A,))
    assert me.backed
    assert [me.mark] == [mark(95)], "who is behind the place agrees with both"
    group.gossip(5)
    assert [me.mark] == [None]
    assert me.diverged is not None, "until it begins again"


def test_who_is_contradicted_again_stays_marked_with_what_is_found_now() -> None:
    group = Members(me=Node(100, fork=50, name="x"), a=Node(100), b=Node(100), marked_at={ME: 80})
    group.gossip(5)
    me = group.standings[ME]
    assert me.mark is not None
    assert me.mark.theirs == group.nodes[A].root_at(me.mark.point.at), "found in this life"
    assert str(me.diverged) == str(me.mark.error)


def test_members_that_are_all_marked_wipe_it_out_of_one_another_though_nobody_leads() -> None:
    """No ledger grows then, and two of these see larger ones alone."""
    group = Members(me=Node(120), a=Node(110), b=Node(100), marked_at={ME: 90, A: 95, B: 100})
    group.gossip(3)
    assert [each.mark for each in group.standings.values()] == [None] * 3


def test_nobody_shows_the_only_voter_and_a_learner_needs_a_whole_majority() -> None:
    alone = Members(me=Node(100), marked_at={ME: 90})
    alone.gossip(3, of=1)
    assert alone.standings[ME].mark is not None
    group = Members(me=Node(100), a=Node(100), b=Node(100), c=Node(100), marked_at={ME: 90})
    group.gossip(3, of=4, learners=(ME,), silent=(B, C))
    assert [group.standings[ME].mark] == [mark(90)]
    group.gossip(3, of=4, learners=(ME,), silent=(B,))
    assert [group.standings[ME].mark] == [None]


def test_a_mark_about_the_archives_list_goes_with_the_list() -> None:
    about = Divergence(Point(MANIFEST, 1), None, b"m" * 32, "101, 102")
    for manifest, stays in (("", False), ("other", True)):
        group = Members(me=Node(100, manifest=manifest), a=Node(100), b=Node(100))
        group.standings[ME] = me = Standing(ME, lambda: 0.0, about)
        group.nodes[ME].agreement = me.agreement
        group.gossip(3)
        assert (me.mark is not None) is stays

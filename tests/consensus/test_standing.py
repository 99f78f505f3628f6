"""How a member's ledger stands among the others', and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.consensus.group import info
from tests.consensus.test_agreement import ME, A, B, C, Node, members

from scribe_ledger.consensus.gossip import Gossip
from scribe_ledger.consensus.standing import REFUSAL_COUNTS_SECONDS, SAY_SECONDS, Standing
from scribe_ledger.errors import Conflict, Unavailable

pytestmark = pytest.mark.consensus


class Members:
    """All report to all, over real frames."""

    def __init__(self, **nodes: Node) -> None:
        ids = {"me": ME, "a": A, "b": B, "c": C}
        self.nodes = {ids[name]: node for name, node in nodes.items()}
        self.now = 0.0
        self.standings = {each: Standing(each, lambda: self.now) for each in self.nodes}
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

"""Whether members notice that their ledgers differ, and who of them stops."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe_ledger.consensus.agreement import MANIFESTS_REMEMBERED, QUESTIONS, Agreement, Report, Verdict
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.statemachine import Extent
from scribe_ledger.errors import ConsensusError
from scribe_ledger.merkle.hashing import hash_leaf

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]

ME, A, B, C, D = range(1, 6)


def members(count: int, learners: tuple[int, ...] = ()) -> Membership:
    ids = range(1, count + 1)
    infos = {each: MemberInfo(each, 100 + each, "", "") for each in ids}
    return Membership(1, 1, tuple(each for each in ids if each not in learners), learners, members=infos)


class Node:
    """A ledger of which only the roots are there: they depend on the history, and on where it went another way."""

    def __init__(self, size: int = 100, *, fork: int | None = None, name: str = "", manifest: str = "") -> None:
        self.size = size
        self.fork = fork
        self.name = name
        self.version = 1
        self.manifest = manifest
        self.agreement = Agreement()

    def root_at(self, size: int) -> bytes:
        assert size <= self.size, "a size that this ledger does not have"
        other = self.fork is not None and size > self.fork
        return hash_leaf(f"{size} {self.name if other else ''}".encode())

    @property
    def extent(self) -> Extent:
        digest = hash_leaf(f"{self.version} {self.manifest}".encode())
        return Extent(self.size, self.root_at(self.size), self.version, digest)

    def report(self) -> Report:
        return self.agreement.report(self.extent, self.root_at)

    def verdict(self, membership: Membership) -> Verdict:
        return self.agreement.verdict(membership, self.extent, self.root_at)


def gossip(membership: Membership, nodes: dict[int, Node], rounds: int = 1, *, grow: bool = False) -> None:
    for _ in range(rounds):
        reports = {}
        for raft_id, node in nodes.items():
            node.size += raft_id if grow else 0
            reports[raft_id] = Report.from_json(node.report().to_json())
        for (raft_id, node), (other, report) in itertools.product(nodes.items(), reports.items()):
            if raft_id != other:
                node.agreement.note(other, report)
        for node in nodes.values():
            node.verdict(membership)


def test_members_that_agree_have_nothing_to_say() -> None:
    nodes = {ME: Node(100), A: Node(90), B: Node(120)}
    gossip(members(3), nodes, 5, grow=True)
    assert all(node.verdict(members(3)) == Verdict(None, ()) for node in nodes.values())


def test_a_node_that_a_majority_contradicts_stops_and_says_where() -> None:
    nodes = {ME: Node(100, fork=50, name="other"), A: Node(100), B: Node(100)}
    gossip(members(3), nodes)
    mine = nodes[ME].verdict(members(3))
    assert isinstance(mine.trouble, ConsensusError)
    assert "first 100 entries" in mine.trouble.message
    assert "102, 103" in mine.trouble.message
    assert nodes[A].root_at(100).hex() in mine.trouble.message
    assert mine.diverged == (A, B)
    assert nodes[A].verdict(members(3)) == Verdict(None, (ME,))


def test_it_is_noticed_under_load_when_no_two_report_the_same_size() -> None:
    nodes = {ME: Node(1000, fork=50, name="other"), A: Node(900), B: Node(700)}
    for _ in range(6):
        gossip(members(3), nodes, grow=True)
    assert nodes[ME].verdict(members(3)).trouble is not None
    for other in (A, B):
        nodes[other].size = 2000
        assert nodes[other].verdict(members(3)) == Verdict(None, (ME,))


def test_voters_that_contradict_each_other_too_are_no_majority() -> None:
    nodes = {ME: Node(100, fork=50, name="x"), A: Node(100, fork=50, name="y"), B: Node(100, fork=50, name="z")}
    gossip(members(3), nodes, 10, grow=True)
    assert nodes[ME].verdict(members(3)) == Verdict(None, (A, B))


def test_one_of_two_stops_nobody() -> None:
    nodes = {ME: Node(100), A: Node(100, fork=1, name="x")}
    gossip(members(2), nodes, 3)
    assert nodes[ME].verdict(members(2)) == Verdict(None, (A,))


def test_learners_do_not_count_but_are_named() -> None:
    nodes = {ME: Node(100), A: Node(100), B: Node(100, fork=5, name="x"), C: Node(100, fork=5, name="x")}
    membership = members(4, learners=(B, C))
    gossip(membership, nodes, 3)
    assert nodes[ME].verdict(membership) == Verdict(None, (B, C))
    assert nodes[B].verdict(membership).trouble is not None


def test_a_verdict_never_flips_back() -> None:
    nodes = {ME: Node(100, fork=50, name="other"), A: Node(100), B: Node(100)}
    gossip(members(3), nodes)
    first = nodes[ME].verdict(members(3)).trouble
    nodes[ME].fork = None
    gossip(members(3), nodes, 5, grow=True)
    assert nodes[ME].verdict(members(3)).trouble is first is not None
    assert nodes[ME].verdict(members(1)).trouble is first


def test_a_member_that_is_gone_is_forgotten() -> None:
    nodes = {ME: Node(100), A: Node(100), B: Node(100, fork=5, name="x")}
    gossip(members(3), nodes)
    assert nodes[ME].verdict(members(3)).diverged == (B,)
    assert nodes[ME].verdict(members(2)).diverged == ()


def test_what_a_larger_member_said_is_compared_when_this_one_has_grown_to_it() -> None:
    me, other = Node(10), Node(50, fork=5, name="x")
    me.agreement.note(A, other.report())
    assert me.verdict(members(3)) == Verdict(None, ())
    other.size = 90  # its newer reports move on, and must not put the comparison off for ever
    me.agreement.note(A, other.report())
    me.verdict(members(3))
    me.size = 50
    assert me.verdict(members(3)) == Verdict(None, (A,))


def test_lists_of_the_archive_are_compared_at_equal_versions() -> None:
    nodes = {ME: Node(100, manifest="other"), A: Node(100), B: Node(100)}
    gossip(members(3), nodes)
    trouble = nodes[ME].verdict(members(3)).trouble
    assert trouble is not None
    assert "version 1 of the archive" in trouble.message


def test_an_old_version_that_is_not_remembered_any_more_says_nothing() -> None:
    me, other = Node(100), Node(100, manifest="other")
    for version in range(2, MANIFESTS_REMEMBERED + 3):
        me.version = version
        me.verdict(members(3))
    me.agreement.note(A, other.report())
    assert me.verdict(members(3)) == Verdict(None, ())


def test_what_strangers_say_is_not_heard() -> None:
    me = Node(100)
    me.agreement.note(99, Node(100, fork=1, name="x").report())
    assert me.verdict(members(3)) == Verdict(None, ())
    assert not me.agreement._members


def test_what_is_kept_is_bounded_whatever_a_member_reports() -> None:
    me = Node(10_000)
    for size in range(1, 5000):
        lie = Report(Extent(size, bytes(32), size, bytes(32)), tuple(range(size, size + 100)))
        me.agreement.note(A, lie)
        me.verdict(members(3))
    assert len(me.agreement._members[A].contradicts) <= QUESTIONS + 1
    assert len(me.report().roots) <= QUESTIONS
    assert len(me.report().asks) <= QUESTIONS


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": "5"},
        {"size": True},
        {"root": "xx"},
        {"root": 5},
        {"asks": 5},
        {"asks": [-1]},
        {"roots": [[1]]},
        {"manifest_version": 1 << 64},
    ],
)
def test_a_report_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Report.from_json({**Node().report().to_json(), **change})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 7).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(1, count), max_size=count))),
    st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(1, 7))), min_size=12, max_size=12),
    st.integers(0, 60),
)
def test_who_stops_is_exactly_the_minority(
    setting: tuple[int, set[int]], steps: list[tuple[int, set[int]]], fork: int
) -> None:
    """Whatever the sizes, and whoever is not heard: never a node of the majority; in the end all of a minority."""
    count, forked = setting
    membership = members(count)
    nodes = {each: Node(61 + each, fork=fork if each in forked else None, name="x") for each in range(1, count + 1)}
    stopped: set[int] = set()
    may_stop = {each for each in nodes if sum((other in forked) != (each in forked) for other in nodes) > count // 2}
    for growth, deaf in steps:
        for each, node in nodes.items():
            node.size += growth * each % 17
        gossip(membership, {each: node for each, node in nodes.items() if each not in deaf})
        stopped |= {each for each, node in nodes.items() if node.verdict(membership).trouble is not None}
        assert stopped <= may_stop
    gossip(membership, nodes, 8, grow=True)
    assert {each for each, node in nodes.items() if node.verdict(membership).trouble is not None} == may_stop

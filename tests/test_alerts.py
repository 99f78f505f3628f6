"""The alert rules of the documents, evaluated over what nodes really expose."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.consensus.group import Group, info
from tests.consensus.looping import in_loop
from tests.http.membership import FIGURES
from tests.promql import Scrapes

from scribe_ledger.consensus.liveness import Liveness
from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.member import Member, MemberSettings
from scribe_ledger.http.archiving import ArchiveFigures
from scribe_ledger.http.exposition import METRICS, Standing, prometheus
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.node.cluster_views import figures_of

if TYPE_CHECKING:
    from scribe_ledger.http.clustering import RaftFigures

pytestmark = pytest.mark.docs

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "reference" / "metrics.md").read_text()
LEDGER = {
    "ledger_id": "ab" * 16,
    "entries": 1,
    "keys": 1,
    "live_keys": 1,
    "storage_bytes": {"hot": 1, "blobs": 0, "archive": 0},
    "archive": {"manifest_version": 0, "archived_size": 0, "segments": 0, "pending_bytes": 0, "evicted_size": 0},
}
EVERY_SECONDS = 15


class Rule(NamedTuple):
    expression: str
    held: float


def _rules() -> dict[str, Rule]:
    found = re.findall(
        r"- alert: (\w+)\n +expr: (?:>-\n)?(.+?)(?=\n +for:|\n +- alert|\n```)(?:\n +for: (\d+)([sm]))?",
        PAGE,
        re.DOTALL,
    )
    return {
        name: Rule(" ".join(expression.split()), float(number or 0) * (60 if unit == "m" else 1))
        for name, expression, number, unit in found
    }


RULES = _rules()


def exposed(raft: RaftFigures | None, node_id: int = 1, ledger_id: str = "ab" * 16) -> bytes:
    ledger = {**LEDGER, "ledger_id": ledger_id}
    standing = Standing(node_id, healthy=True, ledger=ledger, queued=(0, 0), archive=ArchiveFigures(), raft=raft)
    return prometheus(Metrics((1,)), standing)


def fires(name: str, scrapes: Scrapes, now: float) -> bool:
    return scrapes.fires(RULES[name].expression, now, held=RULES[name].held, every=EVERY_SECONDS)


def test_every_rule_is_found_understood_and_names_metrics_that_there_are() -> None:
    assert len(RULES) == PAGE.count("- alert: ")
    scrapes = Scrapes()
    scrapes.take(0, exposed(FIGURES), job="scribe", instance="one")
    for name, rule in RULES.items():
        scrapes.evaluate(rule.expression, 0)
        named = set(re.findall(r"\bscribe_\w+", rule.expression))
        assert named, name
        assert named <= {*METRICS}, name


def test_every_rule_of_a_cluster_has_its_place_in_the_runbook() -> None:
    runbook = (DOCS / "operations" / "cluster-runbook.md").read_text()
    own = re.compile(r"scribe_(raft|diverged|disagreeing)")
    of_a_cluster = {name for name, rule in RULES.items() if own.search(rule.expression)}
    assert len(of_a_cluster) >= 8
    assert of_a_cluster <= set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE))


def leaderless(*nodes: tuple[int | None, str]) -> bool:
    """Whether that is told of nodes of one job, of which each names a leader and its ledger."""
    scrapes = Scrapes()
    for at in (0, EVERY_SECONDS):
        for number, (leader, ledger_id) in enumerate(nodes):
            raft = FIGURES._replace(leader=leader)
            scrapes.take(at, exposed(raft, number, ledger_id), job="scribe", instance=f"node-{number}")
    return fires("ScribeNoLeader", scrapes, EVERY_SECONDS)


def test_a_cluster_without_a_leader_is_told_whoever_else_has_one() -> None:
    one, other = "ab" * 16, "cd" * 16
    assert not leaderless((2, one), (2, one), (None, one)), "one of them is cut off"
    assert leaderless((None, one), (None, one))
    assert leaderless((None, one), (None, one), (5, other), (5, other))
    assert not leaderless((2, one), (5, other))


@in_loop
async def test_a_voter_that_was_down_when_this_node_started_is_silent() -> None:
    group = Group(1, 2, 3)
    heard = {2: 0.2, 3: float("inf")}
    transport: Any = SimpleNamespace(send=lambda *_: True, set_peers=lambda _: None, last_heard=heard.__getitem__)
    machine: Any = group.members[1].machine
    member = Member(group[1], MemoryLog(), machine, transport, MemberSettings(), me=info(1), on_failure=lambda _: None)
    scrapes, now = Scrapes(), member._loop.time()
    for at in range(0, 91, EVERY_SECONDS):
        member.liveness = Liveness(1500)
        member.liveness.expect([2, 3], now - at)
        figures = figures_of(member, snapshots={}, refused={})
        scrapes.take(at, exposed(figures), job="scribe", instance="one")
    silent = scrapes.evaluate(RULES["ScribeMemberSilent"].expression, 90)
    assert [dict(each)["peer"] for each in silent] == ["3"]
    assert not fires("ScribeMemberSilent", scrapes, 60)
    assert fires("ScribeMemberSilent", scrapes, 90)


def scrape(scrapes: Scrapes, at: float, group: Group) -> None:
    for each in group:
        replica = each.replica
        figures = FIGURES._replace(term=replica.term, elections=replica.counters.elections)
        scrapes.take(at, exposed(figures, each.raft_id), job="scribe", instance=f"node-{each.raft_id}")


def lose_leaders(times: int) -> Scrapes:
    """A leader is cut off every half minute, and comes back."""
    group, scrapes = Group(1, 2, 3), Scrapes()
    group.await_leader()
    for number in range(times + 1):
        scrape(scrapes, 30.0 * number, group)
        if number < times:
            leader = next(each.raft_id for each in group if each.replica.is_leader)
            group.isolate(leader)
            group.await_leader(*{1, 2, 3} - {leader})
            group.heal()
            group.pass_time(40)
    return scrapes


def test_leaders_that_are_lost_again_and_again_are_told_whoever_stood() -> None:
    scrapes = lose_leaders(9)
    stood = scrapes.evaluate("increase(scribe_raft_elections_total[10m])", 270)
    assert max(stood.values()) <= 5, "nobody stood so often"
    assert fires("ScribeElectionsRepeat", scrapes, 270)


def test_a_change_of_leader_now_and_then_is_no_alarm() -> None:
    assert not fires("ScribeElectionsRepeat", lose_leaders(3), 90)


def test_elections_are_told_of_a_cluster_whose_neighbour_has_had_more() -> None:
    scrapes = Scrapes()
    for number in range(10):
        for instance, ledger_id, term in (("one", "ab" * 16, 3 + number), ("other", "cd" * 16, 1000)):
            exposition = exposed(FIGURES._replace(term=term), ledger_id=ledger_id)
            scrapes.take(30.0 * number, exposition, job="scribe", instance=instance)
    found = scrapes.evaluate(RULES["ScribeElectionsRepeat"].expression, 270)
    assert [dict(each)["ledger_id"] for each in found] == ["ab" * 16]


def test_a_node_that_joins_or_comes_back_makes_no_alarm_of_elections_long_past() -> None:
    scrapes = Scrapes()
    for number, term in enumerate((0, 0, 40, 40)):
        scrapes.take(30.0 * number, exposed(FIGURES._replace(term=40)), job="scribe", instance="one")
        scrapes.take(30.0 * number, exposed(FIGURES._replace(term=term)), job="scribe", instance="two")
    assert not fires("ScribeElectionsRepeat", scrapes, 90)

"""The benchmark of a cluster: three real processes under tiny loads, the bare engine beside them, and spread loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.bench.cluster import joining, writing
from scribe_ledger.bench.cluster.bare import ENGINE, BareEngine
from scribe_ledger.bench.cluster.command import CLUSTER
from scribe_ledger.bench.cluster.nodes import Cluster
from scribe_ledger.bench.cluster.rows import ROWS
from scribe_ledger.bench.cluster.scale import Scale
from scribe_ledger.bench.cluster.spread import Spread, Together
from scribe_ledger.bench.cluster.targets import LINES
from scribe_ledger.bench.cluster.writing import LEADER, SPREAD
from scribe_ledger.bench.http.load import LANE, run_wrk
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


TINY = Scale(entries=500, cached=500, passes=1, pass_seconds=1, singles=10, starts=1, kills=1, harm_seconds=1)
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def bench(folder: Path, *arguments: str) -> dict[str, Any]:
    """Runs the command with tiny sizes: its lines by name."""
    file = folder / "results" / "run.json"
    code = replace(CLUSTER, quick=TINY).main(["--quick", "--dir", str(folder), "--json", str(file), *arguments])
    assert [child.name for child in folder.iterdir()] == ["results"], "a run leaves nothing but its result"
    result: dict[str, Any] = json.loads(file.read_text())
    assert (code, result["not_measured"]) == (0, {})
    return {line["name"]: line for line in result["lines"]}


def test_every_line_of_the_table_has_a_row_that_measures_it() -> None:
    assert {line.row for line in LINES} == set(ROWS)
    assert len({line.name for line in LINES}) == len(LINES)


@needs_wrk
def test_puts_stand_beside_the_bare_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CONNECTIONS", [16])
    lines = writing.put(tmp_path, TINY, profile=False)
    assert set(lines) == {line.name for line in LINES if line.name.startswith("put.16")}
    line, spread = lines["put.16"], lines["put.16.spread"]
    assert line["beside"][ENGINE] > line["figure"] > 0
    assert set(line["details"]["generator_us_per_request"]) == {LEADER, SPREAD}
    assert spread["beside"] == {LEADER: line["figure"]}
    assert lines["put.16.p99"]["figure"] >= lines["put.16.p50"]["figure"] > 0


@needs_wrk
def test_reads_stand_beside_the_empty_lane(tmp_path: Path) -> None:
    lines = bench(tmp_path, "--only", "get")
    assert set(lines) == {line.name for line in LINES if line.row == "get"}
    assert lines["get"]["beside"][0]["name"] == LANE
    assert lines["get.p99"]["details"]["asked_per_second"] == round(lines["get"]["figure"] / 2)
    assert all(line["target_met"] is None for line in lines.values()), "sizes of a quick run judge nothing"


@needs_wrk
def test_a_leader_is_killed_and_a_node_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_BLOCK_SECONDS", 0.5)
    lines = bench(tmp_path, "--only", "kill,join")
    assert 0 < lines["kill"]["figure"] <= lines["kill.worst"]["figure"]
    assert lines["join"]["details"]["entries"] >= TINY.entries
    assert round(lines["join"]["figure"], 2) >= lines["join"]["details"]["entries_there_after_s"] > 0
    assert lines["join.harm"]["figure"] > 0


@needs_wrk
def test_spread_load_writes_keys_of_its_own_on_every_node(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start()
        spread = Spread(cluster.nodes)
        passed = run_wrk(spread, 6, spread.script(Scripts(tmp_path).put()), 1)
        cluster.wait(lambda: all(node.entries >= passed.requests for node in cluster.nodes), "all on every node")
        listed = [cluster.nodes[0].ask(f"/v1/kv?limit=10&prefix=00000001{thread}") for thread in "012"]
        assert all(page["entries"] for page in listed), "each thread has keys of its own"
        together = Together(cluster.leader(), cluster.nodes)
        passed = run_wrk(together, 2, Scripts(tmp_path).put(), 1)
        assert all(each >= 0 for each in together.shares(passed.requests).values())


def test_bare_engine_commits_what_its_callers_give_it(tmp_path: Path) -> None:
    with BareEngine(tmp_path, (1, 8)) as engine:
        one, many = engine.run(1, 0.3), engine.run(8, 0.3)
    assert 0 < one < many, "callers share entries and syncs"
    assert engine.passes[8][0]["p99_us"] >= engine.passes[8][0]["p50_us"] > 0


def test_cluster_that_does_not_start_says_why(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        for node in cluster.nodes:
            node.folder.write_text("no folder")
        with pytest.raises(Unavailable, match="no node runs"):
            cluster.start()

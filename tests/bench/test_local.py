"""The benchmark runs, says what its table promises, and makes every ratio of two figures of one run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger import Ledger
from scribe_ledger.bench import host, local, phases, report, timing, worker, workload
from scribe_ledger.bench.rows import ROWS, Run
from scribe_ledger.bench.targets import LINES
from scribe_ledger.bench.workload import BATCH, QUICK, Scale
from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.timing import Measured

pytestmark = pytest.mark.storage

TINY = Scale(
    entries=1000,
    segments=2,
    blocks=2,
    cached_reads=500,
    stored_reads=50,
    first_reads=50,
    proofs=20,
    puts=10,
    puts_a_thread=2,
)


def run_job(name: str, work: Path, *, profile: bool = False) -> dict[str, Measured]:
    """A job in this process, as the worker runs it in its own."""
    return worker.run({"job": name, "work": str(work), "scale": asdict(TINY), "profile": profile})


def line(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [line for line in result["lines"] if line["name"] == name]
    return dict(found)


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one small run of some rows wrote; each of its jobs ran in a process of its own."""
    folder = tmp_path_factory.mktemp("bench")
    file = folder / "results" / "run.json"
    rows = "writes,uncached,memory,disk"
    arguments = ["--quick", "--entries", "1000", "--only", rows, "--dir", str(folder), "--json", str(file)]
    assert local.main(arguments) == 0
    assert [child.name for child in folder.iterdir()] == ["results"], "a run leaves nothing but its result"
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_result_holds_exactly_the_lines_of_the_rows_that_were_asked_for(result: dict[str, Any]) -> None:
    assert [found["name"] for found in result["lines"]] == ["writes", "uncached", "memory", "memory.open", "disk"]
    assert set(result) == {"format", "started", "seconds", "quick", "workload", "host", "lines", "not_measured"}
    assert result["format"] == report.FORMAT


def test_every_line_says_figure_company_ratio_target_and_goal(result: dict[str, Any]) -> None:
    fields = {"name", "row", "title", "unit", "figure", "beside", "ratio", "judged", "at_most"}
    fields |= {"target", "target_met", "goal", "goal_met", "blocks", "details", "runs"}
    for found in result["lines"]:
        assert set(found) == fields
        assert found["figure"] > 0
        assert found["beside"], f"{found['name']} stands beside nothing"
        assert found["ratio"] == found["beside"][0]["ratio"]
        assert found["target_met"] is None, "sizes of a quick run judge nothing"


def test_ratio_is_made_of_figures_of_the_same_run(result: dict[str, Any]) -> None:
    for found in result["lines"]:
        for beside in found["beside"]:
            assert beside["ratio"] == pytest.approx(found["figure"] / beside["figure"])
        assert found["runs"] == [{"figure": found["figure"], "ratio": found["ratio"]}]


def test_compared_blocks_are_as_many_and_the_figure_is_their_median(result: dict[str, Any]) -> None:
    for name in ("writes", "uncached"):
        found = line(result, name)
        assert {len(rates) for rates in found["blocks"].values()} == {
            QUICK.segments if name == "writes" else QUICK.blocks
        }
        assert min(found["blocks"]["ledger"]) <= found["figure"] <= max(found["blocks"]["ledger"])


def test_result_names_the_machine_and_no_folder_of_it(result: dict[str, Any], tmp_path: Path) -> None:
    machine = result["host"]
    assert machine["cores"] >= machine["usable_cores"] >= 1
    assert machine["python"].endswith(f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}")
    assert set(machine["packages"]) == {"scribe-ledger", *host.PACKAGES}
    assert machine["before"]["fdatasync_per_second"] > 0
    assert str(tmp_path.parent.parent) not in json.dumps(result)


def test_disk_is_explained_part_by_part_and_the_parts_are_the_whole(result: dict[str, Any]) -> None:
    found = line(result, "disk")["details"]
    parts = {part["part"]: part["disk_bytes_per_entry"] for part in found["parts"]}
    assert {"leaves", "values", "keys", "tree", "log"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(found["bytes_per_entry"], abs=0.1 * len(parts))
    assert all(part["holds"] for part in found["parts"])


def test_table_has_a_line_for_every_figure(result: dict[str, Any]) -> None:
    shown = report.table(result["lines"])
    for found in result["lines"]:
        assert any(text.startswith(found["title"]) and found["unit"] in text for text in shown.splitlines())
    assert "bytes per entry" in report.details(result["lines"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "writes,speed"], "speed is no row; rows: writes, reads"),
        (["--only", ","], "nothing is no row"),
        (["--entries", "0"], "0 is not 1 or more"),
        (["--repeat", "many"], "invalid"),
    ],
)
def test_wrong_options_are_refused_by_name(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        local.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_folder_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "filesystem", lambda _: "tmpfs")
    assert local.main(["--dir", str(tmp_path), "--only", "writes"]) == 2
    assert "is in memory (tmpfs)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "filesystem", lambda _: "ext4")
    monkeypatch.setattr(host, "free_bytes", lambda _: 1 << 20)
    assert local.main(["--dir", str(tmp_path), "--only", "writes"]) == 2
    assert "1 MiB free" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_job_that_fails_ends_the_run_and_shows_why(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the job 'stored' of the benchmark failed") as failed:
        Run(tmp_path, TINY).job("stored")  # nobody has written the large ledger
    assert "Traceback" in str(failed.value)


# --- the jobs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["batched", "mixed", "single", "cached", "versions", "growth", "growth_of_engine"])
def test_job_measures_its_lines_and_cleans_up(job: str, tmp_path: Path) -> None:
    lines = run_job(job, tmp_path, profile=True)
    for found in lines.values():
        assert found["figure"] > 0
        assert all(figure > 0 for figure in found["beside"].values())
    assert list(tmp_path.iterdir()) == []
    json.dumps(lines)


def test_jobs_on_the_large_ledger_find_it(tmp_path: Path) -> None:
    assert run_job("build", tmp_path)["memory"]["details"]["entries"] == TINY.entries
    assert run_job("build_engine", tmp_path)["memory"]["figure"] > 0
    lines = {
        name: found for job in ("reopen", "stored", "proofs", "disk") for name, found in run_job(job, tmp_path).items()
    }
    assert run_job("reopen_engine", tmp_path)["memory.open"]["figure"] > 0
    assert {child.name for child in tmp_path.iterdir()} == workload.KEPT
    assert lines["proofs.made.growth"]["figure"] == lines["proofs.made"]["figure"]
    assert lines["proofs.made.growth"]["beside"].keys() == {"a ledger of 10,000 entries"}


def test_every_line_of_the_table_is_measured_by_its_row() -> None:
    assert {line.row for line in LINES} == set(ROWS)


# --- how figures are made --------------------------------------------------------------------------------------


def test_blocks_alternate_and_turn_around() -> None:
    seen: list[str] = []

    def measure(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    figures = timing.alternate(3, lambda block: block, {"a": lambda _: measure("a"), "b": lambda _: measure("b")})
    assert "".join(seen) == "abbaab"
    assert figures == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_rate_counts_what_was_done_in_the_time_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [7.0]
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    assert timing.rate(10, lambda: now.append(now.pop() + 0.25)) == 40


def test_latencies_are_the_percentiles_in_microseconds() -> None:
    found = timing.latencies([n / 1e6 for n in range(1, 1000)])
    assert found == {"p50_us": 500.0, "p95_us": 950.0, "p99_us": 990.0}


def test_of_several_runs_a_line_is_the_median_one_whole() -> None:
    runs: list[dict[str, Measured]] = [
        {"uncached": {"figure": figure, "beside": {"two raw gets": beside}}}
        for figure, beside in ((60.0, 100.0), (90.0, 300.0), (80.0, 100.0))
    ]
    (found,) = report.lines(runs, LINES, judging=True)
    assert (found["figure"], found["ratio"]) == (60.0, 0.6)
    assert (found["target_met"], found["goal_met"]) == (True, False)
    assert [run["ratio"] for run in found["runs"]] == pytest.approx([0.6, 0.3, 0.8])


@pytest.mark.parametrize(("seconds", "met"), [(0.2, (True, True)), (0.5, (True, False)), (1.5, (False, False))])
def test_what_should_be_small_meets_its_target_from_below(seconds: float, met: tuple[bool, bool]) -> None:
    (found,) = report.lines([{"memory.open": {"figure": seconds, "beside": {}}}], LINES, judging=True)
    assert (found["target_met"], found["goal_met"]) == met
    assert found["ratio"] is None
    assert ("SHORT" in report.table([found])) == (met != (True, True))


def test_keys_are_unique_of_one_length_and_made_again_from_their_place() -> None:
    keys = workload.keys_of(20 * BATCH)
    assert len(set(keys)) == 20 * BATCH
    assert {len(key.encode()) for key in keys} == {workload.KEY_BYTES}
    assert workload.keys_of_batch(7) == keys[7 * BATCH : 8 * BATCH]
    ((key, value), *_) = workload.pairs_of_batch(7)
    assert (key, len(value)) == (keys[7 * BATCH], workload.VALUE_BYTES)


def test_phases_of_a_batch_add_up_and_name_the_sync(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger") as ledger:
        with phases.watching(ledger) as watch:
            started = perf_counter()
            ledger.put_many(workload.pairs_of_batch(0))
            seconds = perf_counter() - started
        split = watch.per_entry_us(seconds, BATCH)
        before = dict(watch.seconds)
        ledger.put_many(workload.pairs_of_batch(1))
    assert sum(split.values()) == pytest.approx(seconds / BATCH * 1e6, abs=0.1)
    assert {"sync", "write", "rest"} <= split.keys()
    assert min(split.values()) >= 0
    assert watch.seconds == before, "the stopwatch is gone when its block ends"


def test_filesystem_is_the_one_that_holds_the_folder(tmp_path: Path) -> None:
    assert host.filesystem(tmp_path) != "unknown"
    assert host.memory()["peak_mib"] >= host.memory()["rss_mib"] > 1

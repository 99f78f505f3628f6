"""The benchmark of the cold tier: every row under tiny sizes, what it counts, and what it says where it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.s3_server import has_versitygw

from scribe_ledger.bench.archive import s3, worker
from scribe_ledger.bench.archive.cold import BARE as BARE_READ
from scribe_ledger.bench.archive.command import ARCHIVE
from scribe_ledger.bench.archive.footprint import HOT
from scribe_ledger.bench.archive.foreground import ALONE
from scribe_ledger.bench.archive.requests import BARE, OURS
from scribe_ledger.bench.archive.rows import ROWS, Run
from scribe_ledger.bench.archive.scale import OBJECT_BYTES, OPERATIONS, Scale
from scribe_ledger.bench.archive.sealing import PYARROW
from scribe_ledger.bench.archive.targets import LINES
from scribe_ledger.bench.command import FAILED, NotMeasurable, Outcome, measure_row
from scribe_ledger.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.timing import Measured

pytestmark = pytest.mark.s3

TINY = Scale(
    entries=3000,
    segment_bytes=200_000,
    blocks=2,
    foreground_seconds=1.5,
    foreground_segment_bytes=32 << 10,
    cold_reads=10,
    first_reads=4,
    cached_reads=200,
    requests=2,
    request_blocks=2,
    listed=5,
    many_segments=12,
    segment_entries=120,
)
ON_A_BUCKET = {line.name for line in LINES if line.name.startswith(("cold.s3", "objects."))}
needs_versitygw = pytest.mark.skipif(not has_versitygw(), reason="versitygw is not built: make s3-server")


def bench(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Runs the command with tiny sizes: its exit code and what it wrote."""
    file = folder / "results" / "run.json"
    code = replace(ARCHIVE, quick=TINY).main(["--quick", "--dir", str(folder), "--json", str(file), *arguments])
    assert [child.name for child in folder.iterdir()] == ["results"], "a run leaves nothing but its result"
    result: dict[str, Any] = json.loads(file.read_text())
    return code, result


def figures(result: dict[str, Any]) -> dict[str, Any]:
    return {line["name"]: line for line in result["lines"]}


def run_job(name: str, work: Path, server: s3.S3 | None = None) -> dict[str, Measured]:
    """A job in this process, as the worker runs it in its own."""
    (work / "job").mkdir()
    order = {"job": name, "work": str(work), "folder": str(work / "job"), "scale": asdict(TINY), "profile": True}
    return worker.run({**order, "s3": server})


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """What one small run of all rows wrote; each of its jobs ran in a process of its own."""
    return bench(tmp_path_factory.mktemp("bench"))


def test_every_line_is_measured_or_says_what_the_machine_lacks(run: tuple[int, dict[str, Any]]) -> None:
    code, result = run
    assert code == 0, result["not_measured"]
    names = {line.name for line in LINES}
    if has_versitygw():
        assert result["not_measured"] == {}
    else:
        assert set(result["not_measured"]) == ON_A_BUCKET
    assert set(figures(result)) == names - set(result["not_measured"])
    for line in result["lines"]:
        assert line["figure"] > 0
        assert line["target_met"] is None, "sizes of a quick run judge nothing"


def test_what_is_compared_stands_in_the_same_run(run: tuple[int, dict[str, Any]]) -> None:
    lines = figures(run[1])
    first = {"seal": PYARROW, "foreground": ALONE, "cold.folder": BARE_READ, "bytes": HOT, "cold.s3": BARE_READ}
    first |= {f"objects.{size}.{operation}": BARE for size in OBJECT_BYTES for operation in OPERATIONS}
    for name in first.keys() & lines.keys():
        line = lines[name]
        assert line["beside"][0]["name"] == first[name]
        assert line["ratio"] == pytest.approx(line["figure"] / line["beside"][0]["figure"])


def test_requests_of_cold_reads_are_counted(run: tuple[int, dict[str, Any]]) -> None:
    lines = figures(run[1])
    for where in ("folder", "s3") if has_versitygw() else ("folder",):
        assert lines[f"cold.{where}.requests"]["figure"] == 1
        assert lines[f"cold.{where}.first"]["figure"] == 2
    of_segments = lines["segments"]["details"]
    assert of_segments[f"at_{TINY.many_segments}"]["requests_a_read"] == of_segments["at_10"]["requests_a_read"] == 1


def test_puts_are_archived_meanwhile(run: tuple[int, dict[str, Any]]) -> None:
    details = figures(run[1])["foreground"]["details"]
    assert 0 < details["archived_meanwhile"] <= details["puts"]
    assert details["segments_sealed"] > 0


def test_steps_of_sealing_and_parts_of_the_bucket_are_told(run: tuple[int, dict[str, Any]]) -> None:
    lines = figures(run[1])
    for name, least in (
        ("seal", {"seal", "upload-segment", "sequence"}),
        ("seal.published", {"seal", "publish-tiles"}),
    ):
        steps = lines[name]["details"]["us_per_entry"]
        assert least <= set(steps)
        assert lines[name]["figure"] == pytest.approx(1e6 / sum(steps.values()), rel=0.1)
    parts = {part["part"]: part["bytes_per_entry"] for part in lines["bytes"]["details"]["parts"]}
    assert {"segments", "tile", "checkpoints"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(lines["bytes"]["figure"], abs=0.1 * len(parts))


def test_rows_without_an_s3_server_are_said_to_be_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "absent"))
    monkeypatch.setenv("PATH", str(tmp_path / "absent"))
    code, result = bench(tmp_path, "--only", "cold,objects")
    assert code == 0
    assert set(figures(result)) == {"cold.folder", "cold.folder.requests", "cold.folder.first"}
    assert set(result["not_measured"]) == ON_A_BUCKET
    said = capsys.readouterr().out
    assert "versitygw is not built" in said
    assert "make s3-server" in said


def test_every_line_of_the_table_has_a_row_that_measures_it() -> None:
    assert {line.row for line in LINES} == set(ROWS)
    assert len({line.name for line in LINES}) == len(LINES)
    assert [line.name for line in LINES if line.target is None] == ["seal.published", "bytes"]


def test_ledger_that_cannot_be_built_fails_every_row_that_needs_it_with_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def fail(*_: object) -> dict[str, Measured]:
        built.append(1)
        raise StorageError("the disk is full")

    monkeypatch.setattr(Run, "job", fail)
    code, result = bench(tmp_path, "--only", "seal,restore,fsck")
    assert code == FAILED
    assert set(result["not_measured"].values()) == {"the disk is full"}
    assert len(built) == 1, "it is tried once"


def test_row_is_missing_only_if_the_machine_is_to_blame_for_all_of_it() -> None:
    def lacking() -> dict[str, Measured]:
        raise NotMeasurable("no server")

    def wrong() -> dict[str, Measured]:
        raise Unavailable("it broke")

    outcome = Outcome()
    measure_row(outcome, ["a.one", "a.two"], [lambda: {"a.one": {"figure": 1.0, "beside": {}}}, lacking])
    measure_row(outcome, ["b"], [lacking, wrong])
    assert set(outcome.lines) == {"a.one"}
    assert outcome.missing == {"a.two": "no server"}
    assert outcome.failed == {"b": "no server; it broke"}


# --- jobs in this process --------------------------------------------------------------------------------------


@needs_versitygw
def test_both_clients_leave_the_bucket_as_they_found_it_but_for_the_listed(tmp_path: Path) -> None:
    with s3.serving(tmp_path / "s3") as server:
        lines = run_job("objects", tmp_path, server)
        store = server.open()
        left = [listed.path for listed in store.list("")]
        store.close()
    assert len(left) == TINY.listed * len(OBJECT_BYTES)
    assert all(path.startswith("listed/") for path in left)
    for line in lines.values():
        assert set(line["details"]["cpu_us_of_the_client"]) == {OURS, BARE}
        assert line["details"]["profile"]


@needs_versitygw
def test_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "versitygw"
    program.write_text("#!/bin/sh\necho no licence to serve >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(s3, "find_server", lambda: program)
    with pytest.raises(Unavailable, match=r"(?s)does not start: .*no licence to serve"), s3.serving(tmp_path / "s3"):
        pass

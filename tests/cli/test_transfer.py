"""``import`` and ``export``: which file, which form, what is said about it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.cli.local import LocalTarget
from scribe_ledger.errors import Conflict, TooLarge
from scribe_ledger.ledger.ledger import Ledger
from scribe_ledger.ledger.transfer.importing import Importer
from scribe_ledger.ledger.transfer.rows import make_row
from scribe_ledger.model import Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cli.conftest import Cli

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.transfer.rows import Row

pytestmark = pytest.mark.storage


def fill(cli: Cli) -> None:
    cli("put", "a", "one", "--meta", "team=red")
    cli("put", "b", "-", stdin=b"\xff\x00")
    cli("put", "a", "two")
    cli("delete", "b")


@pytest.mark.parametrize("file", ["file.ndjson", "file.jsonl", "file.parquet", "file.PARQUET"])
def test_a_verbatim_copy_has_the_same_root_under_its_own_name(cli: Cli, tmp_path: Path, file: str) -> None:
    fill(cli)
    assert cli("export", file).text == f"4 entries written to {file}\n"
    root = cli("checkpoint", "--json").document["root"]
    copy = tmp_path / "copy"
    answer = cli("import", file, "--verbatim", "--data", copy, "--name", "copy.example", "--json").document
    assert answer == {"rows": 4, "appended": 4, "root": root}
    head = cli("checkpoint", "--data", copy, "--json").document
    assert (head["origin"], head["root"]) == ("copy.example", root)
    assert cli("get", "a", "--version", "1", "--data", copy).out == b"one"
    cli("fsck", "--data", copy)
    assert cli("import", file, "--verbatim", "--data", copy, "--json", code=1).error["kind"] == "conflict"


def test_export_and_import_through_a_pipe(cli: Cli, tmp_path: Path) -> None:
    fill(cli)
    exported = cli("export").out
    assert exported == cli("export", "-", "--json").out
    assert [json.loads(line)["index"] for line in exported.splitlines()] == [0, 1, 2, 3]
    assert cli("import", "-", "--data", tmp_path / "copy", stdin=exported).text == (
        "4 rows, 4 appended, 0 unchanged, 0 skipped\n"
    )


def test_export_of_a_part(cli: Cli) -> None:
    fill(cli)
    assert [entry["index"] for entry in cli("export", "--start", "1", "--stop", "3").lines] == [1, 2]
    assert [(entry["key"], entry["value"]) for entry in cli("export", "--latest").lines] == [("a", "two")]
    assert cli("export", "--latest", "file", "--format", "parquet", "--json").document == {
        "file": "file",
        "format": "parquet",
        "entries": 1,
    }


def test_an_export_that_fails_leaves_the_file_as_it_was(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(300 << 10))
    (tmp_path / "file.ndjson").write_text("before")
    cli("put", "large", "-f", "in")
    shutil.rmtree(cli.data / "objects")
    cli("export", "file.ndjson", code=3)
    cli("export", "file.parquet", code=3)
    assert (tmp_path / "file.ndjson").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file.ndjson", "in"]


def test_an_export_to_nowhere_names_what_was_typed(cli: Cli) -> None:
    fill(cli)
    assert cli("export", "absent/file.ndjson", code=2).err == (
        "scribe: no such file or directory: absent/file.ndjson\n"
    )


def test_an_import_that_stops_says_how_to_go_on(cli: Cli, tmp_path: Path) -> None:
    good = [{"key": f"k{number}", "value": "v"} for number in range(501)]
    text = "".join(json.dumps(row) + "\n" for row in good)
    (tmp_path / "file.ndjson").write_text(text + '{"key": "last"}\n')
    error = cli("import", "file.ndjson", "--json", code=2).error
    assert error["kind"] == "serialization"
    assert error["message"].startswith("line 502: ")
    assert "--skip 500" in error["hint"]
    (tmp_path / "file.ndjson").write_text(text + '{"key": "last", "value": "v"}\n')
    answer = cli("import", "file.ndjson", "--skip", "500", "--json").document
    assert answer == {"rows": 502, "appended": 2, "unchanged": 0, "skipped": 0}


def test_an_import_that_is_interrupted_says_how_to_go_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.dumps({"key": f"k{number}", "value": "v"}) for number in range(1200)]
    (tmp_path / "file.ndjson").write_text("\n".join(rows))
    writing = LocalTarget.write

    def interrupt_third(target: LocalTarget, unit: Sequence[Command]) -> Sequence[Receipt]:
        if target.size == 1000:
            raise KeyboardInterrupt
        return writing(target, unit)

    monkeypatch.setattr(LocalTarget, "write", interrupt_third)
    error = cli("import", "file.ndjson", "--json", code=130).error
    assert (error["kind"], error["message"]) == ("interrupted", "interrupted")
    assert error["hint"] == "done at least: 1,000 rows; go on with --skip 1000"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli("import", "file.ndjson", "--skip", "1000", "--json").document["appended"] == 200


@pytest.mark.parametrize(
    ("good", "bad", "named"),
    [(0, {"key": "a"}, ""), (5, {"key": "a", "value": 1}, ""), (2000, {"key": "a", "value": 1}, "holds 2000 entries")],
)
def test_a_verbatim_import_that_stops_says_what_the_folder_holds(
    cli: Cli, tmp_path: Path, good: int, bad: dict[str, Any], named: str
) -> None:
    with Ledger.open(cli.data) as source:
        source.put_many([(f"k{number}", "v") for number in range(good)])
    (tmp_path / "file.ndjson").write_bytes(cli("export").out + json.dumps(bad).encode())
    error = cli("import", "file.ndjson", "--verbatim", "--data", tmp_path / "copy", "--json", code=2).error
    assert error["message"].startswith(f"line {good + 1}: ")
    assert ("value_base64" in error["hint"]) == ("value" in bad)
    assert ("remove the folder" in error["hint"]) == bool(named)
    assert named in error["hint"]
    assert cli("stats", "--data", tmp_path / "copy", "--json").document["entries"] == (good if named else 0)


def test_repeats_are_appended_only_if_asked(cli: Cli) -> None:
    fill(cli)
    exported = cli("export", "--latest").out
    assert cli("import", "-", "--json", stdin=exported).document["unchanged"] == 1
    assert cli("import", "-", "--no-dedupe", "--json", stdin=exported).document["appended"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["file.txt"],
        ["absent.ndjson"],
        ["-", "--format", "parquet"],
        ["file.ndjson", "--verbatim", "--skip", "1"],
        ["file.ndjson", "--verbatim", "--no-dedupe"],
    ],
    ids=" ".join,
)
def test_an_import_that_cannot_begin_creates_nothing(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    for name in ("file.txt", "file.ndjson"):
        (tmp_path / name).write_text("")
    cli("import", *arguments, code=2)
    assert not cli.data.exists()


class Small:
    """A ledger that takes three operations at once, and one key not at all."""

    def __init__(self) -> None:
        self.written: list[list[bytes]] = []

    def write(self, unit: Sequence[Command]) -> list[Receipt]:
        if len(unit) > 3:
            raise TooLarge("more than three")
        if any(command.key == b"refused" for command in unit):
            raise Conflict("not this one")
        self.written.append([command.key for command in unit])
        return [Receipt(0, 1, 0, bytes(32), bytes(32), True) for _ in unit]

    def entry(self, key: bytes) -> None:
        return None

    def put_stream(self, *_: Any, **__: Any) -> Receipt:
        raise AssertionError("no value here is large")


def rows(*keys: str) -> list[Row]:
    """Puts; a key in brackets is a delete of what is not there."""
    return [
        make_row(key, {"kind": "delete", "key": key.encode()} if "(" in key else {"key": key.encode(), "value": b"v"})
        for key in keys
    ]


def test_an_import_makes_its_batches_as_small_as_the_ledger_wants_them() -> None:
    sink = Small()
    importer = Importer(sink)
    keys = [f"k{number}" for number in range(20)]
    counts = importer.run(rows("(a)", *keys, "(b)"))
    assert (counts.rows, counts.appended, counts.skipped) == (22, 20, 2)
    assert [key for batch in sink.written for key in batch] == [key.encode() for key in keys]
    assert max(map(len, sink.written)) <= 3


def test_what_a_smaller_batch_has_done_is_counted_when_the_next_fails() -> None:
    sink = Small()
    importer = Importer(sink)
    with pytest.raises(Conflict):
        importer.run(rows("(a)", "k0", "k1", "k2", "k3", "k4", "refused", "k5"))
    done = importer.counts
    assert done.appended == sum(map(len, sink.written)) > 0
    assert (done.rows, done.skipped) == (done.appended + 1, 1)

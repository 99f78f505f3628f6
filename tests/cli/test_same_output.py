"""The same commands with ``--data`` and with ``--url`` on twin ledgers: the same output, byte for byte."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.conftest import Twins, twins_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.cli.conftest import Answer, Cli

    from scribe_ledger import Ledger

pytestmark = pytest.mark.http

ODD_KEY = b"\xff\x00odd/%20?#\n"
LARGE = bytes(range(256)) * 2000
"""Kept as a large value by both."""


def as_argument(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def fill(ledger: Ledger) -> None:
    """More entries than one bundle of leaves has, and some of every sort."""
    ledger.put("alice", "one", content_type="text/plain", metadata={"team": "red", "note": "a=b"})
    ledger.put_many([(f"many/{number:03}", b"value %d" % number) for number in range(300)])
    ledger.put("alice", "two")
    ledger.put("large", LARGE)
    ledger.put(b"odd", b"\x00\xff binary")
    ledger.put("empty", b"")
    ledger.put("gone", "was here")
    ledger.delete("gone", metadata={"why": "because"})
    ledger.configure(deletes="tombstone")
    ledger.put("v1/kv/reserved", "words")
    ledger.put("prénom", "Zoë")
    with ledger.batch() as batch:
        batch.put("many/007", b"again")
        batch.delete("many/008")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Read by all, written by none."""
    with twins_in(tmp_path_factory.mktemp("filled"), fill) as twins:
        yield twins


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    with twins_in(tmp_path, fill) as found:
        yield found


READING: list[tuple[int, str]] = [
    (0, "get alice"),
    (0, "get alice --json"),
    (0, "get alice --version 1"),
    (0, "get alice --version 1 --json"),
    (0, "get alice --as-of 1"),
    (0, "get odd"),
    (0, "get odd --json"),
    (0, "get empty"),
    (0, "get empty --json"),
    (0, "get large"),
    (0, "get large --json"),
    (0, "get v1/kv/reserved"),
    (0, "get prénom --json"),
    (1, "get gone"),
    (1, "get gone --json"),
    (0, "get gone --version 1"),
    (1, "get absent"),
    (1, "get alice --version 9"),
    (1, "get large --as-of 1"),
    (1, "history large --as-of 1"),
    (2, "get alice --as-of 9999"),
    (2, "get alice --version 0"),
    (0, "ls"),
    (0, "ls -l"),
    (0, "ls --json"),
    (0, "ls many/"),
    (0, "ls many/ --limit 3 -l"),
    (0, "ls --limit 0"),
    (0, "ls many/ --reverse --limit 3"),
    (0, "ls many/ --reverse --start many/005"),
    (0, "ls --start many/298 --json"),
    (0, "ls nothing/"),
    (0, "ls --as-of 2"),
    (2, "ls --as-of 9999"),
    (2, "ls -l --as-of 9999"),
    (0, "history alice"),
    (0, "history alice --json"),
    (0, "history gone --limit 1"),
    (0, "history alice --as-of 1"),
    (1, "history absent"),
    (2, "history alice --as-of 9999"),
    (0, "log"),
    (0, "log --json"),
    (0, "log --start 255 --stop 258"),
    (0, "log --start 300 --limit 4 --json"),
    (0, "log --limit 0"),
    (0, "log --start 9999"),
    (0, "log --start 5 --stop 2"),
    (0, "checkpoint"),
    (0, "checkpoint --json"),
    (0, "checkpoint --at 256"),
    (0, "checkpoint --at 0"),
    (2, "checkpoint --at 9999"),
    (0, "checkpoint --public-key"),
    (0, "checkpoint --public-key --json"),
    (0, "prove alice"),
    (0, "prove alice --json"),
    (0, "prove alice --version 1"),
    (0, "prove alice --at 200"),
    (0, "prove gone"),
    (0, "prove alice --history"),
    (0, "prove alice --history --json"),
    (0, "prove --consistency 255 300"),
    (0, "prove --consistency 0 300 --json"),
    (1, "prove absent"),
    (1, "prove alice --version 9"),
    (2, "prove alice --at 9999"),
    (2, "prove --consistency 300 255"),
    (2, "prove --consistency 1 99999999"),
    (0, "verify --audit"),
    (0, "verify --audit --json"),
    (0, "verify --audit alice"),
    (0, "verify --audit gone --json"),
    (0, "verify --audit absent"),
    (0, "verify --audit --values"),
    (0, "export"),
    (0, "export --latest"),
    (0, "export --start 301 --stop 305"),
]


def run(cli: Cli, line: str | Sequence[str], code: int, stdin: bytes = b"") -> Answer:
    arguments = line.split() if isinstance(line, str) else line
    return cli(*arguments, stdin=stdin, code=code)


@pytest.mark.parametrize(("code", "line"), READING, ids=[line for _, line in READING])
def test_reading_prints_the_same(filled: Twins, code: int, line: str) -> None:
    ours, theirs = run(filled.folder, line, code), run(filled.node, line, code)
    assert ours.out == theirs.out
    assert bool(ours.out) is (code == 0) or line in SAY_NOTHING
    if code:
        asked = line if "--json" in line else f"{line} --json"
        assert run(filled.folder, asked, code).error["kind"] == run(filled.node, asked, code).error["kind"]


@pytest.mark.parametrize(
    "line",
    [
        "prove absent",
        "prove absent --history",
        "prove alice --version 9",
        "prove large --at 1",
        "prove large --version 2 --at 1",
        "get large --as-of 1",
        "history large --as-of 1",
    ],
)
def test_what_is_not_there_is_told_alike(filled: Twins, line: str) -> None:
    ours, theirs = run(filled.folder, line, 1).err, run(filled.node, line, 1).err
    assert ours == theirs
    assert ("at size 1" in ours) == line.endswith(" 1")


SAY_NOTHING = {"get empty", "ls --limit 0", "ls nothing/"}


@pytest.mark.parametrize(("code", "line"), READING, ids=[line for _, line in READING])
def test_reading_prints_the_same_when_it_is_verified(filled: Twins, code: int, line: str) -> None:
    public_key = run(filled.folder, "checkpoint --public-key", 0).text.strip()
    if line.startswith("verify --audit"):
        line += f" --key {public_key}"
        verified = run(filled.node, line, code)
    else:
        verified = filled.node("--public-key", public_key, *line.split(), code=code)
    assert run(filled.folder, line, code).out == verified.out


def test_stats_agree_but_for_what_is_the_process_s_own(filled: Twins) -> None:
    def document(cli: Cli) -> dict[str, Any]:
        found: dict[str, Any] = cli("stats", "--json").document
        for name in ("storage_bytes", "cache", "queue", "batches", "syncs"):
            found.pop(name)
        return found

    ours, theirs = document(filled.folder), document(filled.node)
    assert {name: theirs[name] for name in ours} == ours
    disk = re.compile(r"^on disk .*$", re.MULTILINE)
    assert disk.sub("", filled.folder("stats").text) == disk.sub("", filled.node("stats").text)


def test_values_and_exports_go_to_the_same_files(filled: Twins) -> None:
    for line in (
        "get large -o {}",
        "get odd -o {} --json",
        "prove alice -o {}",
        "export {}.parquet",
        "export {}.jsonl",
    ):
        files = []
        for name, cli in (("ours", filled.folder), ("theirs", filled.node)):
            target = cli.folder / name
            answer = run(cli, line.format(target), 0)
            (written,) = [path for path in cli.folder.iterdir() if path.name.startswith(name)]
            files.append((written.read_bytes(), answer.out.replace(name.encode(), b"")))
            written.unlink()
        assert files[0] == files[1], line


ROWS = [
    {"key": "imported", "value": "one", "content_type": "text/plain", "metadata": {"team": "blue"}},
    {"key": "imported", "value": "one", "content_type": "text/plain", "metadata": {"team": "blue"}},
    {"kind": "delete", "key": "imported", "metadata": {"why": "import"}},
    {"kind": "delete", "key": "never was"},
    {"kind": "config", "value": "{}"},
    {"key_base64": base64.b64encode(b"\xfe").decode(), "value_base64": base64.b64encode(LARGE).decode()},
    {"key": "spaces", "value": "v", "metadata": {"pad": " both ends "}},
]
NDJSON = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
SCRIPT = b"put from-shell value\nget from-shell\nget absent\nls from\nput from-shell --if-absent again\n"

WRITING: list[tuple[int, Sequence[str], bytes]] = [
    (0, ["put", "new", "value"], b""),
    (0, ["put", "new", "value"], b""),
    (0, ["put", "new", "value", "--no-dedupe", "--json"], b""),
    (0, ["put", "new", "more", "--content-type", "text/plain", "--meta", "a=1", "--meta", "b= padded ", "--json"], b""),
    (1, ["put", "new", "again", "--if-absent"], b""),
    (1, ["put", "new", "again", "--if-version", "1", "--json"], b""),
    (0, ["put", "new", "again", "--if-version", "3", "--json"], b""),
    (0, ["put", "first", "v", "--if-version", "0", "--if-absent"], b""),
    (0, ["put", "retried", "v", "--request-id", "r1", "--json"], b""),
    (0, ["put", "retried", "w"], b""),
    (0, ["put", "retried", "v", "--request-id", "r1", "--json"], b""),
    (1, ["put", "retried", "other", "--request-id", "r1", "--json"], b""),
    (0, ["put", as_argument(ODD_KEY.replace(b"\x00", b"")), "-", "--json"], bytes(range(256))),
    (0, ["put", "stdin", "-f", "-"], LARGE),
    (0, ["put", "nothing", ""], b""),
    (0, ["put", "nothing", ""], b""),
    (2, ["put", "k", "v", "--meta", "bad name=x", "--json"], b""),
    (0, ["delete", "new", "--meta", "why=because"], b""),
    (1, ["delete", "new"], b""),
    (1, ["delete", "absent", "--json"], b""),
    (1, ["delete", "first", "--if-index", "1"], b""),
    (0, ["delete", "first", "--if-version", "1", "--json"], b""),
    (0, ["import", "-"], NDJSON),
    (0, ["import", "-", "--json"], NDJSON),
    (0, ["import", "-", "--no-dedupe", "--skip", "5"], NDJSON),
    (2, ["import", "-", "--json"], NDJSON + b"not JSON\n"),
    (1, ["shell"], SCRIPT),
    (1, ["shell", "--json"], SCRIPT),
    (0, ["log", "--json"], b""),
    (0, ["export"], b""),
    (0, ["checkpoint"], b""),
    (0, ["verify", "--audit", "--values"], b""),
]


def test_writing_prints_and_leaves_the_same(twins: Twins) -> None:
    for code, line, stdin in WRITING:
        ours, theirs = run(twins.folder, line, code, stdin), run(twins.node, line, code, stdin)
        assert ours.out == theirs.out, line
        if code and "--json" in line:
            kinds = [[json.loads(error)["error"]["kind"] for error in each.err.splitlines()] for each in (ours, theirs)]
            assert kinds[0] == kinds[1], line


@pytest.mark.parametrize("request_id", ["r é", " r", "r ", "a\nb", "", "r" * 256])
@pytest.mark.parametrize("command", [["put", "never", "v"], ["delete", "alice"]], ids=["put", "delete"])
def test_a_request_id_that_no_header_carries_is_refused_alike(
    filled: Twins, command: list[str], request_id: str
) -> None:
    line = [*command, "--request-id", request_id]
    ours, theirs = run(filled.folder, line, 2).err, run(filled.node, line, 2).err
    assert ours == theirs
    assert "the request id" in ours


def test_an_import_of_many_rows_leaves_the_same_log(twins: Twins, tmp_path: Path) -> None:
    rows = [{"key": f"row/{number}", "value": "v" * (number % 7000)} for number in range(1200)]
    (tmp_path / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for cli in twins:
        assert cli("import", "rows.ndjson", "--json").document["appended"] == 1200
    assert twins.folder("checkpoint").out == twins.node("checkpoint").out

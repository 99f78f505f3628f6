"""``put``, ``get``, ``delete`` and the listings."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest

from scribe_ledger import Ledger
from scribe_ledger.merkle.hashing import hash_leaf

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli

pytestmark = pytest.mark.storage

BINARY = bytes(range(256))


def test_put_says_where_the_value_went(cli: Cli) -> None:
    assert cli("put", "alice", "one").text == "alice: version 1, entry 0\n"
    assert cli("put", "alice", "two").text == "alice: version 2, entry 1\n"
    assert cli("put", "alice", "two").text == "alice: version 2, entry 1 (was there already)\n"
    receipt = cli("put", "alice", "two", "--no-dedupe", "--json").document
    assert receipt.keys() == {"index", "version", "timestamp", "sha256", "leaf_hash", "created"}
    assert (receipt["index"], receipt["version"], receipt["created"]) == (2, 3, True)


def test_get_writes_exactly_the_bytes(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BINARY)
    cli("put", "file", "-f", "in")
    cli("put", "stdin", "-", stdin=BINARY)
    cli("put", "dash", "-f", "-", stdin=BINARY)
    cli("put", "empty", "")
    for key in ("file", "stdin", "dash"):
        assert cli("get", key).out == BINARY
    assert cli("get", "empty").out == b""


def test_get_writes_a_file_that_is_there_when_complete(cli: Cli, tmp_path: Path) -> None:
    cli("put", "key", "value")
    (tmp_path / "kept").write_text("before")
    (tmp_path / "link").symlink_to("kept")
    assert cli("get", "key", "-o", "link").out == b""
    assert (tmp_path / "kept").read_bytes() == b"value"
    assert (tmp_path / "link").is_symlink()
    cli("get", "absent", "-o", "kept", code=1)
    assert (tmp_path / "kept").read_bytes() == b"value"
    cli("get", "key", "-o", os.devnull)
    assert cli("get", "key", "-o", "new", "--json").document["file"] == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "kept", "link", "new"]


def test_a_file_is_not_left_behind_when_a_value_is_damaged(cli: Cli, tmp_path: Path) -> None:
    value = os.urandom(3 << 20)
    (tmp_path / "in").write_bytes(value)
    cli("put", "large", "-f", "in")
    (blob,) = [path for path in (cli.data / "objects").rglob("*") if path.is_file() and not path.suffix]
    with blob.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([value[-1] ^ 1]))
    answer = cli("get", "large", "-o", "out", "--json", code=3)
    cli("get", "large", "-o", "out", code=3)
    assert answer.error["kind"] == "corruption"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "in"]


def test_get_answers_the_entry_as_json(cli: Cli) -> None:
    cli("put", "text", "prénom", "--content-type", "text/plain", "--meta", "team=red", "--meta", "size=a=b")
    cli("put", b"\xff".decode(errors="surrogateescape"), "-", stdin=BINARY)
    entry = cli("get", "text", "--json").document
    assert entry["key"] == "text"
    assert entry["value"] == "prénom"
    assert entry["content_type"] == "text/plain"
    assert entry["metadata"] == {"team": "red", "size": "a=b"}
    other = cli("get", "--json", b"\xff".decode(errors="surrogateescape")).document
    assert base64.b64decode(other["key_base64"]) == b"\xff"
    assert base64.b64decode(other["value_base64"]) == BINARY


def test_get_answers_a_large_entry_as_json_as_well(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BINARY * (5 << 20 >> 8))
    cli("put", "large", "-f", "in", "--meta", "team=red")
    entry = cli("get", "large", "--json").document
    assert base64.b64decode(entry["value_base64"]) == (tmp_path / "in").read_bytes()
    assert entry["metadata"] == {"team": "red"}


def test_get_reads_earlier_versions(cli: Cli) -> None:
    for value in ("one", "two", "three"):
        cli("put", "key", value)
    assert cli("get", "key", "--version", "1").out == b"one"
    assert cli("get", "key", "--as-of", "2").out == b"two"
    assert cli("get", "key", "--version", "4", "--json", code=1).error["kind"] == "not_found"
    assert "no version 4 of key 'key'" in cli("get", "key", "--version", "4", code=1).err
    assert cli("get", "key", "--as-of", "9", "--json", code=2).error["kind"] == "invalid"


def test_conditions_that_do_not_hold_are_a_no(cli: Cli) -> None:
    cli("put", "key", "one", "--if-absent", "--if-version", "0")
    cli("put", "key", "two", "--if-version", "1", "--if-index", "0")
    for condition in (["--if-absent"], ["--if-version", "1"], ["--if-index", "0"]):
        assert cli("put", "key", "three", *condition, "--json", code=1).error["kind"] == "precondition"
    cli("delete", "key", "--if-version", "1", code=1)
    cli("delete", "key", "--if-index", "0", code=1)
    assert cli("delete", "key", "--if-version", "2", "--if-index", "1").text == "key: deleted, version 3, entry 2\n"


def test_a_retry_gets_the_first_receipt(cli: Cli) -> None:
    first = cli("put", "key", "one", "--request-id", "r1", "--json").document
    cli("put", "key", "two")
    assert cli("put", "key", "one", "--request-id", "r1", "--json").document == first | {"created": False}
    assert cli("put", "key", "other", "--request-id", "r1", "--json", code=1).error["kind"] == "conflict"


def test_deleted_and_absent_are_told_apart(cli: Cli) -> None:
    cli("put", "key", "value")
    cli("delete", "key", "--meta", "why=because")
    assert "deleted: entry 1, version 2" in cli("get", "key", code=1).err
    assert "deleted" in cli("get", "key", "--json", code=1).error["message"]
    assert "there is no key 'other'" in cli("get", "other", code=1).err
    assert "there is no key 'other'" in cli("history", "other", code=1).err
    cli("delete", "key", code=1)
    cli("delete", "other", code=1)
    assert cli("history", "key", "--json").lines[0]["metadata"] == {"why": "because"}


def test_ls_lists_live_keys(cli: Cli) -> None:
    for key in ("a", "b/1", "b/2", "b/3", "c"):
        cli("put", key, f"value of {key}")
    cli("delete", "b/2")
    assert cli("ls").text.split() == ["a", "b/1", "b/3", "c"]
    assert cli("ls", "b/").text.split() == ["b/1", "b/3"]
    assert cli("ls", "--start", "b/2", "--limit", "1").text.split() == ["b/3"]
    assert cli("ls", "--reverse").text.split() == ["c", "b/3", "b/1", "a"]
    assert cli("ls", "--as-of", "3").text.split() == ["a", "b/1", "b/2"]
    assert cli("ls", "nothing").text == cli("ls", "--limit", "0").text == ""
    assert [entry["key"] for entry in cli("ls", "--json").lines] == ["a", "b/1", "b/3", "c"]


def test_listings_are_aligned_and_escaped(cli: Cli) -> None:
    key = b"\x1b[31m\xffred\n".decode(errors="surrogateescape")
    cli("put", key, "x" * 1234)
    cli("put", "plain", "")
    cli("delete", "plain")
    for listing in (cli("ls", "-l").text, cli("log").text, cli("history", "plain").text):
        heading, *lines = listing.splitlines()
        assert listing.replace("\n", "").isprintable()
        assert {line.index("  20") for line in lines} == {heading.index("  time (UTC)")}
    assert cli("ls").text == "\\x1b[31m\\xffred\\n\n"
    assert "  1,234  " in cli("log").text


def test_log_lists_entries_in_order(cli: Cli) -> None:
    for key in "abcde":
        cli("put", key, "value")
    cli("delete", "b")
    assert [entry["index"] for entry in cli("log", "--json").lines] == [0, 1, 2, 3, 4, 5]
    assert [entry["key"] for entry in cli("log", "--start", "1", "--stop", "4", "--json").lines] == ["b", "c", "d"]
    assert len(cli("log", "--limit", "2", "--json").lines) == 2
    last = cli("log", "--start", "5", "--json").lines[0]
    assert (last["kind"], last["version"], last["previous"]) == ("delete", 2, 1)


def test_history_is_newest_first_and_can_be_cut(cli: Cli) -> None:
    for value in ("one", "two"):
        cli("put", "key", value)
    cli("delete", "key")
    assert [entry["kind"] for entry in cli("history", "key", "--json").lines] == ["delete", "put", "put"]
    assert [entry["version"] for entry in cli("history", "key", "--limit", "2", "--json").lines] == [3, 2]
    assert [entry["version"] for entry in cli("history", "key", "--as-of", "1", "--json").lines] == [1]


def test_the_commands_write_what_the_library_reads(cli: Cli) -> None:
    receipt = cli("put", "key", "value", "--content-type", "text/plain", "--json").document
    with Ledger.open(cli.data, create=False) as ledger:
        assert ledger.get("key") == b"value"
        assert hash_leaf(ledger.prove("key").leaf_bytes).hex() == receipt["leaf_hash"]
        assert cli("get", "key", "--json", code=3).error["kind"] == "locked"

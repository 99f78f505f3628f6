"""``manifest``, ``archive`` and the tiers in ``stats``: on a folder and at a node the same; and the folder's store."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import Cli, twins_in

from scribe_ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Twins

pytestmark = pytest.mark.http

FIELDS = {"version", "archived_size", "sealed", "evicted", "compacted", "removed"}


def fill(ledger: Ledger) -> None:
    ledger.put_many([(f"key/{number:03}", b"value %d" % number) for number in range(300)])
    ledger.put("large", b"x" * 300_000)


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    with twins_in(tmp_path, fill) as found:
        yield found


@pytest.fixture
def folder(cli: Cli) -> Cli:
    """A ledger in a folder."""
    with Ledger.open(cli.data, name="example.org/log") as ledger:
        fill(ledger)
    return cli


# --- the same on both ------------------------------------------------------------------------------------------


def test_what_is_archived_is_said_in_the_same_words(twins: Twins) -> None:
    for line in ("manifest --json", "manifest", "manifest --since 0 --json", "archive --now --json"):
        folder, node = (each(*line.split()).out for each in twins)
        assert re.sub(rb'"sha256": "\w+"', b"", folder) == re.sub(rb'"sha256": "\w+"', b"", node), line
    assert twins.folder("manifest").text.startswith("version   2\narchived  301 entries\nsegments:\n  0000")
    assert len(twins.folder("manifest", "--since", "1", "--json").document["added"]) == 1
    for scribe in twins:
        assert scribe("archive", "--now").text == "nothing to archive; 301 entries in all\n"
        scribe("put", "one", "more")
        assert scribe("archive", "--now").text == "archived 1 entry in 1 segment; 302 in all\n"


@pytest.mark.parametrize("where", ["folder", "node"])
def test_archiving_answers_what_it_did(twins: Twins, where: str) -> None:
    scribe: Cli = getattr(twins, where)
    assert scribe("manifest").text == "version   1\narchived  0 entries\n", "the large value claimed the store"
    answer = scribe("archive", "--now", "--json").document
    assert set(answer) == FIELDS
    assert (answer["sealed"], answer["archived_size"]) == (1, 301)
    (segment,) = scribe("manifest", "--json").document["segments"]
    assert (segment["first_index"], segment["last_index"], segment["count"]) == (0, 300, 301)
    assert scribe("archive", "--now", "--json").document["sealed"] == 0
    assert scribe("manifest", "--since", "99", "--json", code=2).error["kind"] == "invalid"
    assert "--now" in scribe("archive", code=2).err


def test_stats_show_the_tiers(folder: Cli) -> None:
    before = folder("stats").text
    assert "archive       0 entries, 0 bytes in 0 segments\n" in before
    assert re.search(r"^not archived  301 entries, [\d,]{6} bytes$", before, re.MULTILINE)
    folder("archive", "--now")
    after = folder("stats").text
    assert re.search(r"^archive       301 entries, [\d,]{5,} bytes in 1 segment$", after, re.MULTILINE)
    assert "not archived  0 entries, 0 bytes\n" in after
    assert "large values  300,000 bytes\n" in after
    assert "evicted       the values of 0 entries are in the archive alone\n" in after


# --- the store of a folder -------------------------------------------------------------------------------------


def evict_all(scribe: Cli, url: str) -> None:
    scribe.environment |= {"SCRIBE_STORAGE_HOT_SIZE": "0", "SCRIBE_STORAGE_OBJECT_STORE": url}
    assert scribe("archive", "--now", "--json").document["evicted"] == 301
    scribe.environment |= {"SCRIBE_STORAGE_HOT_SIZE": None, "SCRIBE_STORAGE_OBJECT_STORE": None}


@pytest.fixture
def evicted(cli: Cli, tmp_path: Path) -> Cli:
    """A ledger whose values are in another folder, alone."""
    store = (tmp_path / "bucket").as_uri()
    with Ledger.open(cli.data, name="example.org/log", object_store=store) as ledger:
        fill(ledger)
    evict_all(cli, store)
    return cli


def test_values_are_read_from_the_store_that_is_named(evicted: Cli, tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    assert evicted("get", "key/007", "--object-store", url).out == b"value 7"
    assert evicted("--object-store", url, "get", "large").out == b"x" * 300_000
    evicted.environment["SCRIBE_STORAGE_OBJECT_STORE"] = url
    assert evicted("get", "key/008").out == b"value 8"
    exported = evicted("export").out
    assert exported.count(b"\n") == 301
    assert b'"value": "value 299"' in exported or b'"value":"value 299"' in exported


def test_the_settings_file_of_the_same_folder_names_the_store(evicted: Cli, tmp_path: Path) -> None:
    url = (tmp_path / "bucket").as_uri()
    file = tmp_path / "config.toml"
    file.write_text(f'[node]\ndata_dir = "data"\n[storage]\nobject_store = "{url}"\n')
    assert evicted("get", "key/007").out == b"value 7"
    file.write_text(f'[node]\ndata_dir = "elsewhere"\n[storage]\nobject_store = "{url}"\n')
    assert evicted("get", "key/007", "--json", code=3).error["kind"] == "unavailable"
    file.write_text("this is no TOML")
    assert evicted("stats").out, "what says nothing of object stores need not be understood"


def test_a_value_whose_store_was_not_named_is_out_of_reach_and_not_absent(evicted: Cli) -> None:
    error = evicted("get", "key/007", "--json", code=3).error
    assert error["kind"] == "unavailable"
    assert "is not the object store that this ledger's objects are in" in error["message"]


def test_the_store_of_another_ledger_is_refused(evicted: Cli, tmp_path: Path) -> None:
    other = Cli(tmp_path, data=tmp_path / "other")
    other("put", "key", "value")
    error = other("archive", "--now", "--json", "--object-store", (tmp_path / "bucket").as_uri(), code=3).error
    assert error["kind"] == "configuration"
    assert "example.org/log" in error["message"]
    assert other("get", "key").out == b"value"


def test_what_is_no_store_is_said(folder: Cli) -> None:
    for url in ("ftp://host/x", "bucket"):
        assert folder("stats", "--object-store", url, "--json", code=3).error["kind"] == "configuration"
    assert "--data" in folder("stats", "--object-store", "file:///x", "--url", "http://127.0.0.1:1", code=2).err


def test_a_store_that_cannot_be_written_is_exit_code_3_and_loses_nothing(folder: Cli, tmp_path: Path) -> None:
    objects = folder.data / "objects"
    moved = tmp_path / "moved"
    shutil.move(objects, moved)
    objects.write_text("a file in the folder's place")
    assert folder("archive", "--now", "--json", code=3).error["kind"] == "storage"
    objects.unlink()
    shutil.move(moved, objects)
    assert folder("archive", "--now", "--json").document["archived_size"] == 301

"""The check of a store: one that is whole passes, and every object that is broken is named, and nothing else."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.checking import Report, check_store_contents
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage

LARGE = b"large value " * 100_000
"""More than a chunk."""
SETTINGS = ArchiveSettings(segment_size=32 << 10, age_threshold_secs=1 << 40, auto=False)


def fill(ledger: ServedLedger, *, start: int = 0, count: int = 600) -> None:
    """Every kind of entry, over some full tiles."""
    ledger.put_many([(f"key/{number:05}", b"value %d" % number) for number in range(start, start + count)])
    ledger.put("again", b"%d" % start, content_type="text/plain", metadata={"team": "red"})
    ledger.put("gone", b"soon %d" % start)
    ledger.delete("gone")
    ledger.put("large", LARGE + b"%d" % start)
    ledger.put("empty", b"", dedupe=False)


class Archive(NamedTuple):
    ledger: ServedLedger
    archiver: Archiver

    @property
    def store(self) -> ObjectStore:
        return self.ledger.objects

    def archive(self) -> None:
        self.archiver.run_once(everything=True)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Two passes of the archiver, with several segments each."""
    with ServedLedger.open(tmp_path / "ledger", name="example.org/log") as ledger:
        made = Archive(ledger, Archiver(ledger, SETTINGS))
        fill(ledger)
        made.archive()
        fill(ledger, start=1000, count=40)
        made.archive()
        yield made


def check(archive: Archive, **options: object) -> Report:
    return check_store_contents(archive.store, **options)  # type: ignore[arg-type]


def faults(archive: Archive, **options: object) -> list[str]:
    report = check(archive, **options)
    assert report.ok == (not report.faults)
    assert report.to_json()["ok"] is report.ok
    return [fault.place for fault in report.faults]


def file_of(archive: Archive, path: str) -> Path:
    store = archive.store
    assert isinstance(store, FolderStore)
    return store.root / path


def listed(archive: Archive, prefix: str) -> list[str]:
    return [found.path for found in archive.store.list(prefix)]


# --- whole stores ----------------------------------------------------------------------------------------------


def test_a_whole_store_passes(archive: Archive) -> None:
    report = check(archive)
    assert (report.faults, report.warnings) == ([], [])
    assert (report.size, report.root) == (archive.ledger.size, archive.ledger.root(archive.ledger.size))
    assert report.counts.entries == archive.ledger.size
    assert report.counts.segments == len(archive.ledger.manifest.segments) > 3
    assert report.counts.checkpoints == len(listed(archive, "checkpoints"))
    assert report.counts.blobs == 2
    assert report.counts.objects == len(listed(archive, ""))
    assert report.to_json()["ledger_id"] == archive.ledger.ledger_id


def test_a_whole_store_passes_beside_its_ledger(archive: Archive) -> None:
    archive.ledger.put("pending", LARGE)
    report = check(archive, ledger=archive.ledger)
    assert (report.faults, report.warnings) == ([], [])


def test_processes_find_the_same(archive: Archive) -> None:
    segment = listed(archive, "segments")[1]
    file_of(archive, segment).unlink()
    alone, together = check(archive, jobs=1), check(archive, jobs=2)
    assert alone.to_json() | {"seconds": 0} == together.to_json() | {"seconds": 0}
    assert [fault.place for fault in together.faults] == [segment]


def test_a_store_that_nothing_was_published_in_passes(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "ledger") as ledger:
        ledger.adopt_store()
        report = check_store_contents(ledger.objects)
        assert report.ok
        assert [warning.place for warning in report.warnings] == ["checkpoints"]


def test_a_compacted_store_passes(archive: Archive) -> None:
    for number in range(8):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    replaced = archive.ledger.replaced_segments()
    assert len(replaced) == 8
    assert faults(archive) == []
    assert faults(archive, ledger=archive.ledger) == []
    assert [warning.what for warning in check(archive).warnings] == [
        "not live: manifest.json lists others for its entries"
    ] * 8
    assert check(archive, ledger=archive.ledger).warnings == []


def test_progress_goes_to_the_end(archive: Archive) -> None:
    seen: list[tuple[int, int]] = []
    check(archive, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (archive.ledger.size, archive.ledger.size)


# --- damage ----------------------------------------------------------------------------------------------------


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def every_path(archive: Archive) -> list[str]:
    return [path for path in listed(archive, "") if path not in ("manifest.json", "checkpoint")]


def test_any_object_that_is_gone_is_named(archive: Archive) -> None:
    for path in every_path(archive):
        file = file_of(archive, path)
        content = file.read_bytes()
        file.unlink()
        is_older = path.startswith("checkpoints/") and path != paths.checkpoint_path(archive.ledger.size)
        expected = [] if is_older else [path]
        assert faults(archive) == expected, path
        file.write_bytes(content)
    assert faults(archive) == []


def test_any_object_with_a_flipped_byte_is_named(archive: Archive) -> None:
    for path in every_path(archive):
        if path == "scribe.json":  # most of its bytes are names, which nothing can be held against
            continue
        file = file_of(archive, path)
        content = file.read_bytes()
        for at in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            file.write_bytes(flip(content, at))
            found = faults(archive)
            if path == "scribe.json":
                assert path in found or all(place.startswith(("checkpoint", "segments")) for place in found)
            elif path.startswith("checkpoints/"):
                assert found[0] == path, (path, at)
            else:
                assert found == [path], (path, at)
        file.write_bytes(content)
    assert faults(archive) == []

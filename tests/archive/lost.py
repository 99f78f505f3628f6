"""A ledger whose machine is lost: what it wrote, its store, and what a restored one must be equal to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.paths import CHECKPOINTS, parse_checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.model import Entry
    from scribe_ledger.objects.store import ObjectStore

NAME = "example.org/log"
INLINE_MAX = 2000
LARGE = bytes(range(256)) * 5000
"""More than a chunk."""


def opened(path: Path, store: ObjectStore, **options: Any) -> ServedLedger:
    """A ledger on that store. A small value is a large one here."""
    return ServedLedger.open(path, object_store=store, inline_max=INLINE_MAX, **options)


def archive(ledger: ServedLedger, *, segment_size: int = 16 << 10) -> None:
    """All that is pending, as segments of about that size; their values leave the hot store."""
    settings = ArchiveSettings(segment_size=segment_size, hot_size=0, age_threshold_secs=1 << 40, auto=False)
    Archiver(ledger, settings).run_once(everything=True)


def write(ledger: ServedLedger, part: int) -> None:
    """Every kind of entry, and again new versions of what other parts wrote."""
    ledger.put_many([(f"key/{number:04}", f"value {part} of {number}") for number in range(0, 300, part + 1)])
    ledger.put("text", f"part {part}", content_type="text/plain", metadata={"part": str(part), "team": "red"})
    ledger.put(f"only/{part}".encode() + b"\xff", b"")
    ledger.put("large", LARGE + bytes([part]))
    ledger.put(f"same/{part}", LARGE)
    with ledger.batch() as batch:
        batch.put("gone", b"soon %d" % part)
        batch.delete("key/0000")
    ledger.delete("gone")
    ledger.configure(deletes="tombstone")


def lose(path: Path, store: ObjectStore, parts: int = 3, *, segment_size: int = 16 << 10, **options: Any) -> int:
    """Writes and archives that many parts, then something that is not archived; how many entries are archived."""
    with opened(path, store, name=NAME, **options) as ledger:
        for part in range(parts):
            write(ledger, part)
            archive(ledger, segment_size=segment_size)
        size = ledger.size
        ledger.put("never archived", "gone with the machine")
        ledger.put("key/0001", "a version that is lost")
    return size


def told(entry: Entry) -> tuple[object, ...]:
    """All fields of an entry, and its value."""
    return *(getattr(entry, name) for name in entry.__slots__ if not name.startswith("_")), entry.value


def everything(ledger: ServedLedger, size: int) -> dict[str, Any]:
    """All that can be read of a ledger as of a size, values and proofs too."""
    keys = sorted({entry.key for entry in ledger.log(0, size) if entry.key})
    return {
        "log": [told(entry) for entry in ledger.log(0, size)],
        "latest": [told(entry) for entry in ledger.scan(as_of=size)],
        "backwards": [entry.key for entry in ledger.scan(prefix=b"key/", reverse=True, as_of=size)],
        "histories": {key: [told(entry) for entry in ledger.history(key, as_of=size)] for key in keys},
        "values": {key: ledger.get(key, as_of=size) for key in keys},
        "earlier": {key: ledger.get(key, as_of=size // 2) for key in keys},
        "first versions": {key: ledger.get(key, version=1) for key in keys},
        "proofs": {key: str(ledger.prove(key, at=size)) for key in keys[::20]},
        "proofs of history": {key: str(ledger.prove_history(key, at=size)) for key in keys[::20]},
        "consistency": str(ledger.prove_consistency(size // 3, size)),
        "policy": ledger.policy,
    }


def published(store: ObjectStore) -> list[int]:
    """The sizes that the store has a checkpoint of."""
    return [size for found in store.list(CHECKPOINTS) if (size := parse_checkpoint_path(found.path)) is not None]


@contextmanager
def bystander(path: Path, store: ObjectStore) -> Iterator[ServedLedger]:
    """Another ledger with an archive of its own."""
    with opened(path, store, name="example.org/another") as ledger:
        write(ledger, 0)
        archive(ledger)
        yield ledger

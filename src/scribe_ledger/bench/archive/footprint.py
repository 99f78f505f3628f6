"""Jobs about size: bytes in the bucket and in the hot tier, and eviction, which makes the latter smaller."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.bench import engines
from scribe_ledger.ledger.folder import folder_sizes
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.objects.store import ObjectStore

HOT = "hot tier"
HOLDS = {
    "segments": "entries with their values, as Parquet",
    "tile": "hashes of the tree, and the leaves again, as tile clients read them",
    "checkpoints": "a signed head for each archived end",
    "": "identity, newest checkpoint, manifest",
}


def hot_bytes(ledger: ServedLedger) -> int:
    """Of all files of a ledger whose objects are elsewhere."""
    return sum(dict(folder_sizes(ledger.path)).values())


def bucket_bytes(store: ObjectStore, entries: int, hot: int) -> Measured:
    """Bytes of all objects per entry, by folder, beside those of the hot tier."""
    sizes: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for listed in store.list(""):
        folder = listed.path.rpartition("/")[0].partition("/")[0]
        sizes[folder] += listed.size
        objects[folder] += 1
    parts = [_part(folder, objects[folder], size / entries) for folder, size in sizes.most_common()]
    return {
        "figure": sizes.total() / entries,
        "beside": {HOT: hot / entries},
        "details": {"entries": entries, "parts": parts},
    }


def evict(task: Task) -> dict[str, Measured]:
    """Drops all archived values, each object read and checked before."""
    store = FolderStore(task.store, create=False)
    with ServedLedger.open(task.ledger, create=False, object_store=store) as ledger:
        started = perf_counter()
        Archiver(ledger, ArchiveSettings(segment_size=task.scale.segment_bytes, hot_size=0)).run_once()
        per_second = ledger.evicted / (perf_counter() - started)
        assert ledger.evicted == ledger.size
        settle(ledger)
    with ServedLedger.open(task.ledger, create=False, object_store=store) as ledger:  # files of no more use are gone
        hot = round(hot_bytes(ledger) / ledger.size, 1)
    details = {"hot_bytes_per_entry_once_evicted": hot, "evicted_per_second": round(per_second)}
    return {"evicted": {"figure": per_second, "beside": {}, "details": details}}


def settle(ledger: ServedLedger) -> None:
    """Waits until the engine has nothing left to do: it would share the processor with what is measured."""
    for table in Table:
        engines.settle(engines.column(ledger, table))


def _part(folder: str, objects: int, size: float) -> dict[str, Any]:
    holds = HOLDS.get(folder, "")
    return {"part": folder or "the rest", "objects": objects, "bytes_per_entry": round(size, 1), "holds": holds}

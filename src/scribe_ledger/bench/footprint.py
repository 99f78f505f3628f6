"""Jobs about size: memory while writing the large ledger, opening it, and what it takes on disk."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger import Ledger
from scribe_ledger.bench import workload
from scribe_ledger.bench.engines import ROCKSDB, RawRocks, column, settle
from scribe_ledger.bench.host import memory
from scribe_ledger.bench.workload import VALUE_BYTES
from scribe_ledger.ledger.folder import folder_sizes
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.bench.workload import Scale

HOLDS = {
    Table.LEAVES: "the entry as it is hashed: place, time, version, digests, key",
    Table.VALUES: "the value's bytes, and its length",
    Table.KEYS: "the key, and where its latest version stands",
    Table.HISTORY: "where earlier versions stand; none here, every key has one version",
    Table.TREE: "all nodes of full tiles, so that a proof hashes nothing",
    Table.BLOBS: "which entry brought a large value; none here",
    Table.META: "size and policies",
    Table.MANIFEST: "the segments of the archive; none here",
}


def build(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Writes the large ledger as a program would that makes its entries as it goes: the memory is the ledger's."""
    before = memory()
    with Ledger.open(work / workload.BIG) as ledger:
        for pairs in workload.batches(0, workload.batches_in(scale.entries)):
            ledger.put_many(pairs)
        after = memory()
        size, keys = ledger.size, ledger.stats()["keys"]
    assert size == keys, "every key of the workload is new"
    details = {"entries": size, "before_opening": before, "after_writing": after}
    return {"memory": {"figure": after["rss_mib"], "beside": {}, "details": details}}


def build_engine(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """The same pairs into the raw engine, for its memory."""
    with RawRocks(work / workload.BIG_RAW) as engine:
        for pairs in workload.batches(0, workload.batches_in(scale.entries)):
            engine.put_batch(workload.raw(pairs))
        after = memory()
    return {"memory": {"figure": after["rss_mib"], "beside": {}, "details": {"after_writing": after}}}


def reopen(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Opens the large ledger, the first time since it was written: the log of what no table file holds is replayed."""
    key = workload.keys_of_batch(0)[0]
    seconds = []
    for _ in range(2):
        started = perf_counter()
        with Ledger.open(work / workload.BIG, create=False) as ledger:
            seconds.append(perf_counter() - started)
            assert ledger.size >= scale.entries
            assert len(ledger.get(key) or b"") == VALUE_BYTES
            after = memory()
    details = {"second_time_seconds": seconds[1], "after_opening": after}
    return {"memory.open": {"figure": seconds[0], "beside": {}, "details": details}}


def reopen_engine(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    started = perf_counter()
    with RawRocks(work / workload.BIG_RAW):
        seconds = perf_counter() - started
    return {"memory.open": {"figure": seconds, "beside": {}}}


def disk(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Bytes on disk once memtables are written out and nothing is left to compact, by part."""
    with Ledger.open(work / workload.BIG, create=False) as ledger:
        entries = ledger.size
        parts = {table: settle(column(ledger, table)) for table in Table}
        table = [_part(ledger, part, stored, entries) for part, stored in parts.items()]
        files = dict(folder_sizes(ledger.path))
        log = sum(file.stat().st_size for file in (ledger.path / "store").glob("*.log"))
    rest = sum(files.values()) - sum(parts.values()) - log
    table.append(_row("log", "what no table file holds yet", 0, log, entries))
    table.append(_row("rest", "manifest, engine's options and messages, head, key, identity", 0, rest, entries))
    with RawRocks(work / workload.BIG_RAW) as engine:
        raw = engine.settle() / entries - VALUE_BYTES
    total = sum(files.values()) / entries
    details = {"entries": entries, "bytes_per_entry": round(total, 1), "parts": table}
    return {"disk": {"figure": total - VALUE_BYTES, "beside": {ROCKSDB: raw}, "details": details}}


def _part(ledger: Ledger, table: Table, stored: int, entries: int) -> dict[str, Any]:
    """One table: the bytes that the ledger gave the engine, and the bytes of the files that hold them."""
    cursor = column(ledger, table).iter()
    cursor.seek_to_first()
    written = 0
    while cursor.valid():
        written += len(cursor.key()) + len(cursor.value())
        cursor.next()
    return _row(table.value, HOLDS.get(table, ""), written, stored, entries)


def _row(part: str, holds: str, written: int, stored: int, entries: int) -> dict[str, Any]:
    return {
        "part": part,
        "records_bytes_per_entry": round(written / entries, 1),
        "disk_bytes_per_entry": round(stored / entries, 1),
        "holds": holds,
    }

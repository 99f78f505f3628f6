"""The job that reads cold from a ledger of few small segments and from one of many, in turns."""

from __future__ import annotations

from random import Random
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.bench import workload
from scribe_ledger.bench.archive.scale import FEW_SEGMENTS
from scribe_ledger.bench.timing import latencies
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.archive.scale import Scale, Task
    from scribe_ledger.bench.timing import Measured

CACHE_BYTES = 256 << 20
"""Holds every footer."""


def segments(task: Task) -> dict[str, Measured]:
    scale = task.scale
    built = {count: _build(task.folder / str(count), count, scale) for count in (scale.many_segments, FEW_SEGMENTS)}
    with _open(task.folder / str(scale.many_segments)) as many, _open(task.folder / str(FEW_SEGMENTS)) as few:
        reads = [_Reads(many), _Reads(few)]
        for each in reads:
            each.warm()
        for _ in range(scale.cold_reads):
            for each in reads:
                each.footer_cached()
            reads.reverse()
        for _ in range(scale.first_reads):
            for each in reads:
                each.footer_cold()
            reads.reverse()
    at_many, at_few = sorted(reads, key=lambda each: -each.segments)
    details = {
        f"at_{each.segments}": {"requests_a_read": each.requests_a_read, **latencies(each.seconds)}
        for each in (at_many, at_few)
    }
    details["with_a_cold_footer"] = {
        f"p50_ms_at_{each.segments}": median(each.first_seconds) * 1e3 for each in (at_many, at_few)
    }
    return {
        "segments": {
            "figure": median(at_many.seconds) * 1e3,
            "beside": {f"at {at_few.segments} segments": median(at_few.seconds) * 1e3},
            "details": {"entries_in_each": scale.segment_entries, "seconds_to_archive": built, **details},
        }
    }


def _open(folder: Path) -> ServedLedger:
    return ServedLedger.open(folder, cache_capacity=0, cold_cache_size=CACHE_BYTES)


def _build(folder: Path, count: int, scale: Scale) -> float:
    """A ledger with that many segments, each of one small batch, and all values evicted; seconds of the archiving."""
    keys = _keys(count * scale.segment_entries)
    with ServedLedger.open(folder) as ledger:
        for start in range(0, len(keys), scale.segment_entries):
            batch = keys[start : start + scale.segment_entries]
            ledger.put_many(list(zip(batch, workload.values(len(batch)), strict=True)))
        # Entries have the same size, so a segment is full with one batch, and none is small enough to be merged.
        size = ledger.pending.bytes // count
        started = perf_counter()
        Archiver(ledger, ArchiveSettings(segment_size=size, hot_size=0)).run_once(everything=True)
        seconds = perf_counter() - started
        assert len(ledger.manifest.segments) == count
        assert ledger.evicted == ledger.size == len(keys)
    return seconds


def _keys(entries: int) -> list[str]:
    return workload.keys_of(entries)[:entries]


class _Reads:
    """Cold reads of random keys of one ledger."""

    def __init__(self, ledger: ServedLedger) -> None:
        self._ledger = ledger
        self._keys = _keys(ledger.size)
        self._random = Random(1)
        self._reader = ledger.cold.reader
        self.segments = len(ledger.manifest.segments)
        self.seconds: list[float] = []
        self.first_seconds: list[float] = []
        self._requests = 0

    @property
    def requests_a_read(self) -> float:
        return self._requests / len(self.seconds)

    def warm(self) -> None:
        """Brings every footer into the cache."""
        for segment in self._ledger.manifest.segments:
            self._read(segment.first_index)

    def footer_cached(self) -> None:
        self._reader._row_groups.forget(lambda _: True)
        before = self._reader.requests
        self.seconds.append(self._read(self._random.randrange(len(self._keys))))
        self._requests += self._reader.requests - before

    def footer_cold(self) -> None:
        index = self._random.randrange(len(self._keys))
        self._reader.forget(self._ledger.cold.segment(index).segment_id)
        self.first_seconds.append(self._read(index))

    def _read(self, index: int) -> float:
        started = perf_counter()
        assert self._ledger.get(self._keys[index]) is not None
        return perf_counter() - started

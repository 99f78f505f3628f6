"""Jobs that read single values of the archived ledger, from a folder and from a bucket.

Every read is ``Ledger.get`` of a random key with the value cache off, so that it looks the key up, reads the row group
and holds the value against its digest. Beside it stands one bare ranged read of the same bytes of the same object.
"""

from __future__ import annotations

import os
from random import Random
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from scribe_ledger.bench import workload
from scribe_ledger.bench.timing import latencies
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.paths import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.segment import Segment

    BareRead: TypeAlias = Callable[[str, int, int], bytes]

BARE = "one bare ranged read of the same bytes"
_REQUESTS = frozenset({"get", "get_range", "open", "stat", "list"})
CACHE_BYTES = 256 << 20
"""Holds every footer of a run."""


class Counted:
    """A store that counts what it is asked to read. One ranged read is one HTTP request, if nothing fails."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        if name in _REQUESTS:
            self.requests += 1
        return getattr(self._store, name)


def cold_folder(task: Task) -> dict[str, Measured]:
    store = FolderStore(task.store, create=False)
    return _cold("cold.folder", task, store, lambda path, start, stop: _pread(task.store / path, start, stop))


def cold_s3(task: Task) -> dict[str, Measured]:
    """The same objects in a bucket: its segments are copied there first."""
    import obstore

    assert task.s3 is not None
    source, store, client = FolderStore(task.store, create=False), task.s3.open(), task.s3.open_bare()
    store.put_bytes(IDENTITY, source.get(IDENTITY) or b"")
    for listed in source.list("segments"):
        store.put_file(listed.path, task.store / listed.path)
    try:
        return _cold(
            "cold.s3",
            task,
            store,
            lambda path, start, stop: obstore.get_range(client, path, start=start, end=stop).to_bytes(),
        )
    finally:
        store.close()


def _cold(name: str, task: Task, store: ObjectStore, bare: BareRead) -> dict[str, Measured]:
    counted = Counted(store)
    with ServedLedger.open(
        task.ledger,
        create=False,
        object_store=cast("ObjectStore", counted),
        cache_capacity=0,
        cold_cache_size=CACHE_BYTES,
    ) as ledger:
        reads = ColdReads(ledger, counted, bare, task.scale.entries)
        for segment in ledger.manifest.segments:
            reads.warm(segment)
        for place in reads.drawn(task.scale.cold_reads, seed=1):
            reads.one(place)
        first = [reads.with_cold_footer(place) for place in reads.drawn(task.scale.first_reads, seed=2)]
        details = {
            "latency": latencies(reads.seconds),
            "bare_latency": latencies(reads.bare_seconds),
            "segments": len(ledger.manifest.segments),
            "mean_bytes_of_a_read": round(ledger.cold.reader.fetched_bytes / max(ledger.cold.reader.requests, 1)),
        }
    return {
        name: {
            "figure": median(reads.seconds) * 1e3,
            "beside": {BARE: median(reads.bare_seconds) * 1e3},
            "details": details,
        },
        f"{name}.requests": {"figure": max(reads.requests), "beside": {}},
        f"{name}.first": {
            "figure": max(requests for requests, _ in first),
            "beside": {},
            "details": {"p50_ms": round(median(seconds for _, seconds in first) * 1e3, 2)},
        },
    }


class ColdReads:
    """Reads of one ledger, each of a row group that is in no cache."""

    def __init__(self, ledger: ServedLedger, counted: Counted, bare: BareRead, entries: int) -> None:
        self._ledger = ledger
        self._counted = counted
        self._bare = bare
        self._keys = workload.keys_of(entries)
        """By index: the large ledger has them in the order of its log."""
        self.seconds: list[float] = []
        self.bare_seconds: list[float] = []
        self.requests: list[int] = []

    def drawn(self, count: int, *, seed: int) -> list[int]:
        return Random(seed).choices(range(len(self._keys)), k=count)

    def warm(self, segment: Segment) -> None:
        """Brings its footer into the cache, and everything that is imported and connected once."""
        self._get(segment.first_index)

    def one(self, index: int) -> None:
        """A read and a bare one, whose order turns around."""
        steps = [self._timed, self._timed_bare]
        for step in steps if len(self.seconds) % 2 else reversed(steps):
            step(index)

    def with_cold_footer(self, index: int) -> tuple[int, float]:
        """Requests and seconds."""
        self._ledger.cold.reader.forget(self._ledger.cold.segment(index).segment_id)
        before, started = self._counted.requests, perf_counter()
        self._get(index)
        return self._counted.requests - before, perf_counter() - started

    def _timed(self, index: int) -> None:
        self._ledger.cold.reader._row_groups.forget(lambda _: True)
        before, started = self._counted.requests, perf_counter()
        self._get(index)
        self.seconds.append(perf_counter() - started)
        self.requests.append(self._counted.requests - before)

    def _timed_bare(self, index: int) -> None:
        segment = self._ledger.cold.segment(index)
        directory = self._ledger.cold.reader._directories.get(segment.segment_id)
        assert directory is not None, "the footer of every segment is cached"
        start, stop = directory.ranges[directory.footer.row_group_of(self._keys[index].encode(), index)]
        started = perf_counter()
        data = self._bare(segment.path, start, stop)
        self.bare_seconds.append(perf_counter() - started)
        assert len(data) == stop - start

    def _get(self, index: int) -> None:
        value = self._ledger.get(self._keys[index])
        assert value is not None
        assert len(value) == workload.VALUE_BYTES


def _pread(file: os.PathLike[str], start: int, stop: int) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)

"""The job that archives the large ledger to a folder: rate, time of each step, and pyarrow beside it.

Sealing alone is timed on a copy. In a pass of the archiver the entries of one segment are gathered while the one before
it is published, so there its share cannot be told apart.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from importlib import import_module
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, cast

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.pacing import Pace
from scribe_ledger.archive.sealing import Sealing, wanted
from scribe_ledger.archive.waiting import Waiting
from scribe_ledger.archive.work import Work
from scribe_ledger.bench.archive.footprint import bucket_bytes, hot_bytes, settle
from scribe_ledger.bench.phases import profiled
from scribe_ledger.ledger.folder import system_clock
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.segments.sink import parquet_writer
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import Compression

PYARROW = "pyarrow, the same table"
_COMPRESSION: tuple[Compression, int] = ("zstd", 6)
"""What segments have by default."""


def archive(task: Task) -> dict[str, Measured]:
    """Sealing by itself, pyarrow writing the same tables, and one whole pass of the archiver."""
    for name in ("pyarrow.compute", "pyarrow.parquet"):  # else imported when first used, and no entry's cost
        import_module(name)
    measured = _seal_alone(task)
    store, steps = FolderStore(task.store), _Steps()
    with ServedLedger.open(task.ledger, create=False, object_store=store) as ledger:
        settle(ledger)
        hot, entries = hot_bytes(ledger), ledger.size
        steps.begin()
        Archiver(ledger, _settings(task), at_step=steps).run_once(everything=True)
        steps("rest")
        assert ledger.manifest.archived_size == entries
    published: Measured = {
        "figure": entries / steps.total,
        "beside": measured["beside"],
        "details": steps.per_entry(entries),
    }
    return {"seal": measured, "seal.published": published, "bytes": bucket_bytes(store, entries, hot)}


def _seal_alone(task: Task) -> Measured:
    folder, store, steps = task.folder / "copy", FolderStore(task.folder / "store"), _Steps()
    shutil.copytree(task.ledger, folder)
    with ServedLedger.open(folder, create=False, object_store=store) as ledger:
        settle(ledger)
        entries = ledger.size
        steps.begin()
        _seal_all(ledger, _settings(task), steps)
        segments = ledger.manifest.segments
        assert ledger.manifest.archived_size == entries
        profile = _profile(ledger, segments[0], task.folder) if task.profile else []
    seconds = [_write_again(store, segment, task.folder) for segment in segments]
    return {
        "figure": entries / steps.total,
        "beside": {PYARROW: entries / sum(seconds)},
        "blocks": {PYARROW: [segment.count / each for segment, each in zip(segments, seconds, strict=True)]},
        "details": {"segments": len(segments), **steps.per_entry(entries), "profile": profile},
    }


def _seal_all(ledger: ServedLedger, settings: ArchiveSettings, steps: _Steps) -> None:
    """What a pass does, without publishing."""

    def guard() -> None:
        ledger.adopt_store()
        ledger.check_store()

    pace = Pace(ledger, settings.segment_size, threading.Event())
    due = wanted(ledger, settings, Waiting(system_clock, time.monotonic), everything=True)
    assert due is not None
    with Sealing(Work(ledger, settings, system_clock, guard, steps, pace, pace.seen), due) as sealing:
        while sealing.next():
            pass


def _settings(task: Task) -> ArchiveSettings:
    return ArchiveSettings(segment_size=task.scale.segment_bytes)


class _Steps:
    """Seconds by step, of the clock and of all threads of this process."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._cpu_seconds: dict[str, float] = {}
        self._last = self._cpu = 0.0

    def begin(self) -> None:
        self._last, self._cpu = perf_counter(), process_time()

    def __call__(self, step: str) -> None:
        now, cpu = perf_counter(), process_time()
        self._seconds[step] = self._seconds.get(step, 0.0) + now - self._last
        self._cpu_seconds[step] = self._cpu_seconds.get(step, 0.0) + cpu - self._cpu
        self._last, self._cpu = now, cpu

    @property
    def total(self) -> float:
        return sum(self._seconds.values())

    def per_entry(self, entries: int) -> dict[str, Any]:
        """For the details of a line."""
        return {
            name: {step: round(spent / entries * 1e6, 2) for step, spent in seconds.items()}
            for name, seconds in (("us_per_entry", self._seconds), ("cpu_us_per_entry", self._cpu_seconds))
        }


def _write_again(store: FolderStore, segment: Segment, folder: Path) -> float:
    """Seconds for pyarrow to write the rows of a segment, sorted as they are, with the same settings, and a sync."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(store.root / segment.path) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    started = perf_counter()
    with (folder / "again.parquet").open("wb") as sink:
        with parquet_writer(cast("Any", sink), *_COMPRESSION) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=len(group))
        sink.flush()
        os.fdatasync(sink.fileno())
    return perf_counter() - started


def _profile(ledger: ServedLedger, segment: Segment, folder: Path) -> list[dict[str, Any]]:
    """The functions in which the sealing of one segment spends its time."""
    groups = ledger.groups(segment.first_index, segment.stop)
    return profiled(lambda: seal(gather(groups), ledger_id=ledger.ledger_id, folder=folder).close())

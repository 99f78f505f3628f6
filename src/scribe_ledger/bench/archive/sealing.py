"""The job that archives the large ledger to a folder: rate, time of each step, and pyarrow beside it."""

from __future__ import annotations

import os
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, cast

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.bench.archive.footprint import bucket_bytes, hot_bytes, settle
from scribe_ledger.bench.phases import profiled
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.segments.sink import parquet_writer
from scribe_ledger.segments.writing import seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import Compression

PYARROW = "pyarrow, the same table"
SEALING = ("seal", "upload-segment", "sequence")
"""The steps that make a segment durable and part of the manifest. The rest publishes the tree."""
_LAST_STEP = "publish-checkpoint"
"""Of a segment's."""
_COMPRESSION: tuple[Compression, int] = ("zstd", 6)
"""What segments have by default."""


def archive(task: Task) -> dict[str, Measured]:
    """One pass of the archiver over everything. After each segment pyarrow writes its table again, by itself."""
    import pyarrow.compute  # imported when it is first used, which is once a process and no entry's cost
    import pyarrow.parquet

    store = FolderStore(task.store)
    with ServedLedger.open(task.ledger, create=False, object_store=store) as ledger:
        settle(ledger)
        hot, entries = hot_bytes(ledger), ledger.size
        watch = _Watch(lambda: _write_again(store, ledger.manifest.segments[-1], task.folder))
        settings = ArchiveSettings(segment_size=task.scale.segment_bytes)
        watch.begin()
        Archiver(ledger, settings, at_step=watch).run_once(everything=True)
        watch("rest")
        segments = ledger.manifest.segments
        assert ledger.manifest.archived_size == entries
        profile = _profile(ledger, segments[0], task.folder) if task.profile else []
    sealing = sum(watch.seconds[step] for step in SEALING)
    details = {
        "segments": len(segments),
        "us_per_entry": watch.per_entry_us(watch.seconds, entries),
        "cpu_us_per_entry": watch.per_entry_us(watch.cpu_seconds, entries),
        "profile": profile,
    }
    pyarrow = {PYARROW: entries / sum(watch.others)}
    counts = [segment.count for segment in segments]
    blocks = {
        "whole pass": [count / seconds for count, seconds in zip(counts, watch.rounds, strict=True)],
        PYARROW: [count / seconds for count, seconds in zip(counts, watch.others, strict=True)],
    }
    return {
        "seal": {"figure": entries / sealing, "beside": pyarrow, "details": details},
        "seal.published": {
            "figure": entries / sum(watch.seconds.values()),
            "beside": pyarrow,
            "blocks": blocks,
        },
        "bytes": bucket_bytes(store, entries, hot),
    }


class _Watch:
    """Seconds by step, without those of what runs after each segment."""

    def __init__(self, after_segment: Callable[[], float]) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        """Of all threads of this process."""
        self.rounds: list[float] = []
        """By segment, from the end of the one before."""
        self.others: list[float] = []
        """What ran after each."""
        self._after_segment = after_segment
        self._last = self._round = self._cpu = 0.0

    def begin(self) -> None:
        self._round = perf_counter()
        self._go_on()

    def __call__(self, step: str) -> None:
        now, cpu = perf_counter(), process_time()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self.cpu_seconds[step] = self.cpu_seconds.get(step, 0.0) + cpu - self._cpu
        if step == _LAST_STEP:
            self.rounds.append(now - self._round)
            self.others.append(self._after_segment())
            self._round = perf_counter()
        self._go_on()

    @staticmethod
    def per_entry_us(seconds: dict[str, float], entries: int) -> dict[str, float]:
        return {step: round(spent / entries * 1e6, 2) for step, spent in seconds.items()}

    def _go_on(self) -> None:
        self._last, self._cpu = perf_counter(), process_time()


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
    return profiled(lambda: seal(groups, ledger_id=ledger.ledger_id, folder=folder).close())

"""The job that writes while the archiver runs, in turns with a ledger that is not archived.

Writers are threads of one process that call ``Ledger.put``, each put durable on return; the archiver runs in the
background of the same process, as in a node, with small segments, so that several are sealed while a block lasts.
"""

from __future__ import annotations

import threading
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.bench import workload
from scribe_ledger.bench.archive.scale import WRITERS
from scribe_ledger.bench.timing import alternate, measured
from scribe_ledger.errors import Unavailable
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scribe_ledger.bench.archive.scale import Task
    from scribe_ledger.bench.timing import Measured

ARCHIVED, ALONE = "archived", "without archiving"


def foreground(task: Task) -> dict[str, Measured]:
    scale = task.scale
    settings = ArchiveSettings(segment_size=scale.foreground_segment_bytes)
    batches = count()  # keys are new in every block
    with ServedLedger.open(task.folder / "archived") as ledger, ServedLedger.open(task.folder / "alone") as alone:
        watched = _Archived(ledger, settings)

        def archived(_: None) -> float:
            return watched.run(lambda: _put_for(ledger, scale.foreground_seconds, batches))

        def without(_: None) -> float:
            return _put_for(alone, scale.foreground_seconds, batches)

        blocks = alternate(scale.blocks, lambda _: None, {ARCHIVED: archived, ALONE: without})
        puts, archived_size = ledger.size, ledger.manifest.archived_size
    line = measured(
        blocks,
        ARCHIVED,
        writers=WRITERS,
        puts=puts,
        archived_meanwhile=archived_size,
        segments_sealed=watched.sealed,
        segment_mib=scale.foreground_segment_bytes / (1 << 20),
    )
    behind: Measured = {"figure": max(watched.behind), "beside": {}, "blocks": {"segments that wait": watched.behind}}
    return {"foreground": line, "foreground.behind": behind}


class _Archived:
    """Runs the archiver while a block lasts, and notes what was left to do."""

    def __init__(self, ledger: ServedLedger, settings: ArchiveSettings) -> None:
        self._ledger = ledger
        self._archiver = Archiver(ledger, settings)
        self.behind: list[float] = []
        self.sealed = 0

    def run(self, block: Callable[[], float]) -> float:
        self._archiver.start()
        try:
            figure = block()
            self.behind.append(self._ledger.pending.bytes / self._archiver.settings.segment_size)
        finally:
            self._archiver.stop()
        if not self._archiver.status.store_ok and self._archiver.runs["ok"] == 0:
            raise Unavailable(f"nothing was archived meanwhile: {self._archiver.status.last_error}")
        self.sealed = len(self._ledger.manifest.segments)
        return figure


def _put_for(ledger: ServedLedger, seconds: float, batches: Iterator[int]) -> float:
    """Puts a second, of all writers together."""
    started = perf_counter()
    writers = [_Writer(ledger, started + seconds, batches) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    failed = [writer.failure for writer in writers if writer.failure is not None]
    if failed:
        raise failed[0]
    return sum(writer.puts for writer in writers) / (perf_counter() - started)


class _Writer(threading.Thread):
    def __init__(self, ledger: ServedLedger, until: float, batches: Iterator[int]) -> None:
        super().__init__(name="bench-writer")
        self._ledger = ledger
        self._until = until
        self._batches = batches
        self.puts = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self._write()
        except Exception as error:  # noqa: BLE001  # the thread that started it raises it
            self.failure = error

    def _write(self) -> None:
        put, until = self._ledger.put, self._until
        for batch in self._batches:
            for key, value in workload.pairs_of_batch(batch):
                put(key, value)
                self.puts += 1
                if perf_counter() >= until:
                    return

"""Sealing: what is pending becomes segments, each uploaded and then sequenced.

A kill between two of these steps costs the work since the last: a temporary file that the next process removes, or an
object that nothing refers to, which the next sealing of the same range finds and takes, or else `scribe fsck` removes.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

from scribe_ledger.archive.holding import check_is_whole
from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.archive.room import room_to_seal
from scribe_ledger.archive.uploading import upload
from scribe_ledger.errors import Conflict, ScribeError
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scribe_ledger.archive.settings import ArchiveSettings
    from scribe_ledger.archive.waiting import Waiting
    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.columns import Columns, Group
    from scribe_ledger.segments.writing import SealedSegment


class Wanted(NamedTuple):
    """What is to be sealed."""

    stop: int
    """Of the entries below this index..."""
    rest_too: bool
    """... also those that do not make a full segment."""


def wanted(
    ledger: ServedLedger, settings: ArchiveSettings, waiting: Waiting, *, everything: bool = False
) -> Wanted | None:
    """What is due by its size or age; None if nothing is. It reads memory, and one entry."""
    pending = ledger.pending
    if not pending.entries:
        return None
    rest_too = everything or waiting.age(pending, ledger.manifest.archived_size) >= settings.age_threshold_secs * 1000
    return Wanted(ledger.size, rest_too) if rest_too or pending.bytes >= settings.segment_size else None


class Sealing:
    """Seals what is due, a segment at a time. For one thread; ``close`` it.

    While nobody is served, the entries of the next segment are gathered in a thread of its own beside the writing of
    one, most of which is Arrow's and leaves the interpreter to others.
    """

    def __init__(self, work: Work, due: Wanted) -> None:
        self._work = work
        self._due = due
        self._ahead: _Ahead | None = None

    def next(self) -> bool | None:
        """Seals one: True if it is in the manifest, False if somebody else was first, None if none was due."""
        work, ledger = self._work, self._work.ledger
        manifest = ledger.manifest
        start = manifest.archived_size
        if not self._is_due(start, ledger.pending.bytes):
            return None
        size = room_to_seal(work, min(ledger.pending.bytes, work.settings.segment_size))
        work.guard()
        try:
            sealed = self._seal(start, size)
        except Stopping:
            raise
        except ScribeError:
            if ledger.manifest.archived_size <= start:
                raise
            return False  # whoever was first may have evicted what was to be read
        with sealed:
            work.reached("seal")
            upload(ledger.objects, sealed)
            work.reached("upload-segment")
            try:
                ledger.change_manifest(Archive(manifest.version, (sealed.segment,)))
            except Conflict:
                if ledger.manifest.archived_size <= start:
                    raise
                return False
            work.reached("sequence")
        return True

    def close(self) -> None:
        """Ends what is gathered ahead. Closing twice is allowed."""
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_due(self, start: int, pending_bytes: int) -> bool:
        due = self._due
        return start < due.stop and (due.rest_too or pending_bytes >= self._work.settings.segment_size)

    def _seal(self, start: int, size: int) -> SealedSegment:
        work, ledger, settings = self._work, self._work.ledger, self._work.settings
        pending, seen = ledger.pending.bytes, work.seen()
        columns = self._take(start, size)
        left = pending - columns.log_bytes
        if work.seen() == seen and self._is_due(columns.stop, left):
            self._ahead = _Ahead(work, columns.stop, self._due.stop, min(left, settings.segment_size))
        return seal(
            columns,
            ledger_id=ledger.ledger_id,
            folder=ledger.spool,
            compression=settings.compression,
            level=settings.compression_level,
            pace=work.pace,
        )

    def _take(self, start: int, size: int) -> Columns:
        """What was gathered ahead, if it is what is wanted now."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and (ahead.start, ahead.size) == (start, size):
            return ahead.take()
        if ahead is not None:
            ahead.stop()
        return _gather(self._work, start, self._due.stop, size, self._work.pace)


class _Ahead:
    """The entries of one segment on their way, in a thread of their own."""

    def __init__(self, work: Work, start: int, stop: int, size: int) -> None:
        self.start, self.size = start, size
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scribe-gather")
        self._columns = self._thread.submit(_gather, work, start, stop, size, partial(self._pace, work))

    def take(self) -> Columns:
        try:
            return self._columns.result()
        finally:
            self._thread.shutdown()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.shutdown()

    def _pace(self, work: Work) -> None:
        if self._stopped.is_set():
            raise Stopping("nobody waits for these entries any more")
        work.pace()


def _gather(work: Work, start: int, stop: int, size: int, pace: Callable[[], None]) -> Columns:
    groups = _first_of(work.ledger.groups(start, stop), size)
    return gather(groups, check=partial(check_is_whole, work.ledger), pace=pace)


def _first_of(groups: Iterable[Group], size: int) -> Iterator[Group]:
    """The groups that make one segment: at least ``size`` bytes, if there are as many."""
    taken = 0
    for group in groups:
        yield group
        taken += sum(map(len, group.leaves)) + sum(map(len, group.values))
        if taken >= size:
            return

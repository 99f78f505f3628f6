"""Sealing: what is pending becomes segments, each uploaded and then sequenced.

A kill between two of these steps costs the work since the last: a temporary file that the next process removes, or an
object that nothing refers to, which the next sealing of the same range finds and takes, or else `scribe fsck` removes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.holding import check_is_whole
from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.archive.room import room_to_seal
from scribe_ledger.archive.uploading import upload
from scribe_ledger.errors import Conflict, ScribeError
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.segments.writing import seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scribe_ledger.archive.settings import ArchiveSettings
    from scribe_ledger.archive.waiting import Waiting
    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.writing import Group, SealedSegment


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


def seal_next(work: Work, due: Wanted) -> bool | None:
    """Seals one segment: True if it is in the manifest, False if somebody else was first, None if none was due."""
    ledger, settings = work.ledger, work.settings
    manifest = ledger.manifest
    start = manifest.archived_size
    if start >= due.stop or (not due.rest_too and ledger.pending.bytes < settings.segment_size):
        return None
    size = room_to_seal(work, min(ledger.pending.bytes, settings.segment_size))
    work.guard()
    try:
        sealed = _seal(work, start, due.stop, size)
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


def _seal(work: Work, start: int, stop: int, size: int) -> SealedSegment:
    ledger, settings = work.ledger, work.settings
    return seal(
        _first_of(ledger.groups(start, stop), size),
        ledger_id=ledger.ledger_id,
        folder=ledger.spool,
        compression=settings.compression,
        level=settings.compression_level,
        check=partial(check_is_whole, ledger),
        pace=work.pace,
    )


def _first_of(groups: Iterable[Group], size: int) -> Iterator[Group]:
    """The groups that make one segment: at least ``size`` bytes, if there are as many."""
    taken = 0
    for group in groups:
        yield group
        taken += sum(map(len, group.leaves)) + sum(map(len, group.values))
        if taken >= size:
            return

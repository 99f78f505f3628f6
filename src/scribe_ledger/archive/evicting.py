"""Evicting: archived values leave the hot store, oldest first, when they take more than ``hot_size``.

Only after this process has read the whole object, matched its digest, and compared it with its own log. That the
manifest names an object says that some leader has archived it, and not that it holds what would be dropped here: each
row must have the leaf hash of the own tree, and each value the digest in the own leaf. Where one differs nothing goes;
the rest of the pass is done, since what is not archived yet is in no doubt, and then the error ends it.

Leaves, key index and tree stay. What is counted is the bytes of leaves and values of the segments, so somewhat more
than the values alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from scribe_ledger.archive.holding import held
from scribe_ledger.archive.room import has_room_to_read, lacks_room
from scribe_ledger.archive.uploading import read_back
from scribe_ledger.errors import VerificationError
from scribe_ledger.objects.temporary import TemporaryFile
from scribe_ledger.segments.comparing import check_holds
from scribe_ledger.segments.scanning import open_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.segment import Segment


class Evictor:
    """For one pass: an object that differs is read once in it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._difference: VerificationError | None = None
        self._lacked_room = False
        """Once in this pass: then all that it evicts is given back, or a few writes more would be refused again."""

    def evict(self) -> int:
        """Drops values until the rest fits; of how many entries.

        Where writes are refused for want of room, the disk has it back before this returns.
        """
        work, ledger = self._work, self._work.ledger
        before = ledger.evicted
        while self._difference is None and hot_bytes(ledger) > work.settings.hot_size:
            evicted = ledger.evicted
            segment = ledger.manifest.find(evicted)
            if segment is None or not self._is_own(segment):
                break
            ledger.evict(segment.stop)
            if ledger.evicted <= evicted:
                break
            work.reached("evict")
        if ledger.reclaimable and (self._lacked_room or lacks_room(ledger, work.settings)):
            self._lacked_room = True
            ledger.reclaim()
        return ledger.evicted - before

    def report(self) -> None:
        """Raises what was found to differ, at the end of the pass."""
        if self._difference is not None:
            raise self._difference

    def _is_own(self, segment: Segment) -> bool:
        try:
            check_is_own(self._work, segment)
        except VerificationError as error:
            self._difference = error
        return self._difference is None


def check_is_own(work: Work, segment: Segment) -> None:
    """Raises ``VerificationError`` unless the object holds, byte for byte, what this ledger has in its range."""
    own = held(work.ledger, segment, work.pace)
    place = work.ledger.objects.place(segment.path)
    with _brought(work, segment) as file, open_segment(file, segment, place=place) as opened:
        check_holds(opened, own, work.pace)


@contextmanager
def _brought(work: Work, segment: Segment) -> Iterator[Path | bytes]:
    """The object, held against its digest: as a file, or in memory where that would take the last of the disk."""
    objects, spool = work.ledger.objects, work.ledger.spool
    if has_room_to_read(work, segment.size):
        with read_back(objects, segment, work.pace, lambda: TemporaryFile(spool)) as file:
            yield file.path
    else:
        with read_back(objects, segment, work.pace, BytesIO) as buffer:
            content = buffer.getvalue()
        yield content


def hot_bytes(ledger: ServedLedger) -> int:
    """Bytes of archived entries whose values are still in the hot store."""
    manifest, evicted = ledger.manifest, ledger.evicted
    if evicted == 0:
        return manifest.archived_bytes
    if evicted >= manifest.archived_size:
        return 0
    found = 0
    for segment in reversed(manifest.segments):
        if segment.stop <= evicted:
            break
        hot = segment.stop - max(segment.first_index, evicted)
        found += segment.log_bytes * hot // segment.count
    return found

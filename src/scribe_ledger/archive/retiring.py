"""Retiring: segments that were replaced, and large values that no entry refers to, leave the store after a grace time.

In two steps around the deletion, both in the log of commands: from ``retire`` on nobody may refer to the object, and
after ``retired`` a new upload may. Whatever a process left between the two is finished by the next.

Two that removed the same objects at the same time could do harm: the slower might delete what was uploaded again after
the faster had finished. Within a process a lock of the ledger prevents that; in a cluster only the leader archives, and
finishes what the one before it left only when it begins.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from scribe_ledger.errors import Conflict
from scribe_ledger.ledger.manifest import Retire, Retired
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.segment import Segment

_T = TypeVar("_T")

ROUND_OBJECTS = 256
"""So many objects are named in one command."""
DAY_SECONDS = 86_400

_removing: WeakKeyDictionary[ServedLedger, threading.Lock] = WeakKeyDictionary()
_removing_guard = threading.Lock()


class Retirer:
    """Remembers when it last looked for large values: a look lists all of them."""

    def __init__(self) -> None:
        self._unfinished = True
        """Whether a process may have been ended between the two steps."""
        self._looked_at: int | None = None

    def retire(self, work: Work) -> int:
        """Removes what is due; how many objects."""
        with _lock_of(work.ledger):
            removed = self._finish(work) if self._unfinished else 0
            removed += self._retire_segments(work)
            return removed + self._retire_blobs(work)

    def _finish(self, work: Work) -> int:
        """What was begun before."""
        segments = [each.segment for each in work.ledger.replaced_segments() if each.being_removed]
        blobs = work.ledger.blobs_being_removed()
        if segments or blobs:
            work.guard()
            _remove(work, segments, blobs)
        self._unfinished = False
        return len(segments) + len(blobs)

    def _retire_segments(self, work: Work) -> int:
        latest = work.clock() - int(work.settings.grace_secs * 1000)
        due = [
            each.segment for each in work.ledger.replaced_segments() if not each.being_removed and each.since <= latest
        ]
        return sum(self._retire(work, segments, []) for segments in _rounds(due))

    def _retire_blobs(self, work: Work) -> int:
        now = work.clock()
        pause = min(work.settings.grace_secs, DAY_SECONDS) * 1000
        if self._looked_at is not None and now - self._looked_at < pause:
            return 0
        removed = sum(self._retire(work, [], blobs) for blobs in _rounds(_unreferenced(work, now)))
        self._looked_at = now
        return removed

    def _retire(self, work: Work, segments: list[Segment], blobs: list[bytes]) -> int:
        work.guard()
        self._unfinished = True
        try:
            work.ledger.change_manifest(_retire_command(segments, blobs))
        except Conflict:  # an entry refers to one of them since, or somebody else has removed it
            known = {each.segment.segment_id for each in work.ledger.replaced_segments()}
            segments = [segment for segment in segments if segment.segment_id in known]
            blobs = [digest for digest in blobs if not work.ledger.refers_to_blob(digest)]
            if segments or blobs:
                work.ledger.change_manifest(_retire_command(segments, blobs))
        if segments or blobs:
            work.reached("retire")
            _remove(work, segments, blobs)
        self._unfinished = False
        return len(segments) + len(blobs)


def _retire_command(segments: list[Segment], blobs: list[bytes]) -> Retire:
    return Retire(tuple(segment.segment_id for segment in segments), tuple(blobs))


def _remove(work: Work, segments: list[Segment], blobs: list[bytes]) -> None:
    """Deletes what was named, and says so in the manifest."""
    ledger, store = work.ledger, work.ledger.objects
    for segment in segments:
        store.delete(segment.path)
        work.pace()
    for digest in blobs:
        store.delete(paths.blob_path(digest))
        store.delete(paths.chunk_digests_path(digest))
        work.pace()
    work.reached("remove")
    ledger.change_manifest(Retired(tuple(segment.segment_id for segment in segments), tuple(blobs)))
    work.reached("retired")


def _unreferenced(work: Work, now: int) -> Iterator[bytes]:
    """Large values in the store that no entry refers to, and that nobody can be about to refer to."""
    latest = now / 1000 - work.settings.grace_secs
    for listed in work.ledger.objects.list(paths.BLOBS):
        digest = paths.digest_of_blob_path(listed.path)
        if digest is not None and listed.modified <= latest and not work.ledger.refers_to_blob(digest):
            yield digest


def _rounds(names: Iterable[_T]) -> Iterator[list[_T]]:
    following = iter(names)
    while names_of_round := list(islice(following, ROUND_OBJECTS)):
        yield names_of_round


def _lock_of(ledger: ServedLedger) -> threading.Lock:
    with _removing_guard:
        return _removing.setdefault(ledger, threading.Lock())

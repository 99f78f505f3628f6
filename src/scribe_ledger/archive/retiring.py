"""Retiring: segments that were replaced, and large values that no entry refers to, leave the store after a grace time.

Of large values only those that this folder uploaded: the store may serve another folder too, whose entries this one
does not know. So nothing is searched for; ``uploads`` says what there is to look at.

In two steps around the deletion, both in the log of commands: from ``retire`` on nobody may refer to the object, and
after ``retired`` a new upload may. Whatever a process left between the two is finished by the next. A deletion whose
outcome is not known stays between them, and is tried again. One that the store has refused has not happened and will
not: then ``retired`` follows all the same, or nobody could store that value again, and the object stays as an orphan.

Two that removed the same objects at the same time could do harm: the slower might delete what was uploaded again after
the faster had finished. Within a process a lock of the ledger prevents that; in a cluster only the leader archives, and
finishes what the one before it left only when it begins.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from scribe_ledger.errors import Conflict, Unavailable
from scribe_ledger.ledger.manifest import Retire, Retired
from scribe_ledger.objects import paths
from scribe_ledger.objects.failures import Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.segment import Segment

_T = TypeVar("_T")

ROUND_OBJECTS = 256
"""So many objects are named in one command."""

_removing: WeakKeyDictionary[ServedLedger, threading.Lock] = WeakKeyDictionary()
_removing_guard = threading.Lock()


class Retirer:
    """Retires what is due, and remembers what the store did not let go."""

    def __init__(self) -> None:
        self._unfinished = True
        """Whether a process may have been ended between the two steps."""
        self._refused: set[bytes] = set()
        """Large values that the store refused to delete. They stay recorded, for the next process to try once."""
        self._refusal: Unavailable | None = None
        self._refusals = 0
        """The first that was not reported yet, and how many there are."""

    def retire(self, work: Work) -> int:
        """Removes what is due; how many objects. Raises at the end if the store refused some."""
        with _lock_of(work.ledger):
            removed = self._finish(work) if self._unfinished else 0
            removed += self._retire_segments(work)
            removed += self._retire_blobs(work)
            self._report()
            return removed

    def _finish(self, work: Work) -> int:
        """What was begun before. Another folder's large values, in a copy of its state, are left to that one."""
        ledger = work.ledger
        segments = [each.segment for each in ledger.replaced_segments() if each.being_removed]
        blobs = ledger.blobs_being_removed()
        uploaded = ledger.uploads.digests() if blobs else frozenset()
        own = [digest for digest in blobs if digest in uploaded]
        removed = 0
        if segments or blobs:
            work.guard()
        if segments or own:
            removed = self._remove(work, segments, own)
        if others := [digest for digest in blobs if digest not in uploaded]:
            ledger.change_manifest(Retired(blobs=tuple(others)))
        self._unfinished = False
        return removed

    def _retire_segments(self, work: Work) -> int:
        latest = work.clock() - int(work.settings.grace_secs * 1000)
        due = [
            each.segment for each in work.ledger.replaced_segments() if not each.being_removed and each.since <= latest
        ]
        return sum(self._retire(work, segments, []) for segments in _rounds(due))

    def _retire_blobs(self, work: Work) -> int:
        uploads, latest = work.ledger.uploads, work.clock() - int(work.settings.grace_secs * 1000)
        removed = 0
        for due in _rounds(digest for digest in uploads.due(latest) if digest not in self._refused):
            if unwanted := _unreferenced(work, due):
                removed += self._retire(work, [], unwanted)
            uploads.forget(set(due) - self._refused, latest)
        return removed

    def _retire(self, work: Work, segments: list[Segment], blobs: list[bytes]) -> int:
        work.guard()
        self._unfinished = True
        while segments or blobs:
            try:
                work.ledger.change_manifest(_retire_command(segments, blobs))
                break
            except Conflict:  # an entry refers to one of them since, or somebody else has removed it
                before = len(segments) + len(blobs)
                known = {each.segment.segment_id for each in work.ledger.replaced_segments()}
                segments = [segment for segment in segments if segment.segment_id in known]
                blobs = _unreferenced(work, blobs)
                if len(segments) + len(blobs) == before:
                    raise
        removed = 0
        if segments or blobs:
            work.reached("retire")
            removed = self._remove(work, segments, blobs)
        self._unfinished = False
        return removed

    def _remove(self, work: Work, segments: list[Segment], blobs: list[bytes]) -> int:
        """Deletes what was named, and says in the manifest that nothing will be deleted any more; how many went."""
        removed = 0
        for segment in segments:
            removed += self._delete(work, segment.path)
        for digest in blobs:
            if self._delete(work, paths.blob_path(digest), paths.chunk_digests_path(digest)):
                removed += 1
            else:
                self._refused.add(digest)
        work.reached("remove")
        work.ledger.change_manifest(Retired(tuple(segment.segment_id for segment in segments), tuple(blobs)))
        work.reached("retired")
        return removed

    def _delete(self, work: Work, *names: str) -> bool:
        """Whether the store did; False if it refused. Raises where nobody knows."""
        try:
            for path in names:
                work.ledger.objects.delete(path)
        except Unavailable as error:
            if not _is_refusal(error):
                raise
            self._refusal = self._refusal or error
            self._refusals += 1
            done = False
        else:
            done = True
        work.pace()
        return done

    def _report(self) -> None:
        """Raises what the store refused, once."""
        first, count = self._refusal, self._refusals
        self._refusal, self._refusals = None, 0
        if first is not None:
            objects = "1 object that is not needed stays" if count == 1 else f"{count} objects that are not needed stay"
            what = f"{objects} in the store: {first.message}"
            raise Unavailable(what, hint=first.hint) from first


def _retire_command(segments: list[Segment], blobs: list[bytes]) -> Retire:
    return Retire(tuple(segment.segment_id for segment in segments), tuple(blobs))


def _is_refusal(error: Unavailable) -> bool:
    """Whether the store certainly did nothing: it was asked once, and said no."""
    cause = error.__cause__
    return isinstance(cause, Failure) and cause.kind is Kind.REFUSED and cause.tries == 1


def _unreferenced(work: Work, blobs: list[bytes]) -> list[bytes]:
    return [digest for digest in blobs if not work.ledger.refers_to_blob(digest)]


def _rounds(names: Iterable[_T]) -> Iterator[list[_T]]:
    following = iter(names)
    while names_of_round := list(islice(following, ROUND_OBJECTS)):
        yield names_of_round


def _lock_of(ledger: ServedLedger) -> threading.Lock:
    with _removing_guard:
        return _removing.setdefault(ledger, threading.Lock())

"""Retiring: segments that were replaced, and large values that no entry refers to, leave the store after a grace time.

Of large values only those that this folder uploaded: the store may serve another folder too, whose entries this one
does not know. So nothing is searched for; ``uploads`` says what there is to look at.

In two steps around the deletion, both in the log of commands: from ``retire`` on nobody may refer to the object, and
after ``retired`` a new upload may. Whatever a process left between the two is finished by the next. One that the store
has refused has not happened and will not: then ``retired`` follows all the same, or nobody could store that value
again, and the object stays as an orphan.

A large value has the same path when it comes again. So ``retired`` may follow only when no request to delete it is on
its way any more, be it of an ended process, or of a leader before this one. Such a request is sent within
``FRESH_SECS`` of a ``retire``, whose time the ledger knows. If it was sent once, and its answer came, nothing is on its
way. Otherwise the value stays between the steps, and nothing is asked until the store's ``late_secs`` are over as well;
then it begins with another ``retire``. A segment's path never comes back, since only larger ones follow it: it waits
for nothing.

Two that removed the same objects at the same time could do harm: the slower might delete what was uploaded again after
the faster had finished. Within a process a lock of the ledger prevents that; in a cluster only the leader archives.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from scribe_ledger.archive.leading import Deposed
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
FRESH_SECS = 60
"""So long after a ``retire`` is the deletion of a large value begun, and not later."""
OTHERS_LATE_SECS = 600
"""For so long may what another process was doing in a folder, which has no late requests, go on at most."""


class _Deletion(NamedTuple):
    done: bool
    """False: the store refused."""
    tries: int
    """Of what was asked for most often. All but the last may still arrive."""


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
        """What was begun before, and not a moment ago. What another folder uploaded, in a copy of its state or by
        another member, is not deleted here."""
        ledger = work.ledger
        segments = [each.segment for each in ledger.replaced_segments() if each.being_removed]
        begun = ledger.removals()
        uploaded = ledger.uploads.digests() if begun else frozenset()
        own = [digest for digest in _settled(work, begun, 0) if digest in uploaded]
        others = [digest for digest in _settled(work, begun, OTHERS_LATE_SECS) if digest not in uploaded]
        removed = 0
        if segments or own or others:
            work.guard()
        if segments or own:
            removed, _ = self._remove(work, segments, own, 0)
        if others:
            ledger.change_manifest(Retired(blobs=tuple(others)))
        self._unfinished = bool(begun and ledger.removals())
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
        left = self._refused | work.ledger.removals().keys() if self._unfinished else self._refused
        for due in _rounds(digest for digest in uploads.due(latest) if digest not in left):
            if unwanted := _unreferenced(work, due):
                removed += self._retire(work, [], unwanted)
            uploads.forget(set(due) - self._refused, latest)
        return removed

    def _retire(self, work: Work, segments: list[Segment], blobs: list[bytes]) -> int:
        work.guard()
        unfinished, self._unfinished = self._unfinished, True
        while segments or blobs:
            since = work.clock()
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
            removed, settled = self._remove(work, segments, blobs, since)
            unfinished |= not settled
        self._unfinished = unfinished
        return removed

    def _remove(self, work: Work, segments: list[Segment], blobs: list[bytes], since: int) -> tuple[int, bool]:
        """Deletes what was named at ``since``, and says in the manifest what nothing will delete any more.

        How many went, and whether that was said of all.
        """
        removed = sum(self._delete(work, segment.path).done for segment in segments)
        unclear: set[bytes] = set()
        try:
            for place, digest in enumerate(blobs):
                since = _name_again(work, blobs[place:], since)
                unclear.add(digest)
                deletion = self._delete(work, paths.blob_path(digest), paths.chunk_digests_path(digest))
                if deletion.tries == 1:
                    unclear.remove(digest)
                if deletion.done:
                    removed += 1
                else:
                    self._refused.add(digest)
                work.pace()
        except Deposed:
            raise
        except Unavailable:  # what was not asked for is recorded as an upload, and begun again
            self._say_retired(work, [], [digest for digest in blobs if digest not in unclear])
            raise
        work.reached("remove")
        self._say_retired(work, segments, [digest for digest in blobs if digest not in unclear])
        work.reached("retired")
        return removed, not unclear

    def _say_retired(self, work: Work, segments: list[Segment], blobs: list[bytes]) -> None:
        if segments or blobs:
            work.ledger.change_manifest(Retired(tuple(segment.segment_id for segment in segments), tuple(blobs)))

    def _delete(self, work: Work, *names: str) -> _Deletion:
        """Raises where nobody knows."""
        tries = 1
        try:
            for path in names:
                tries = max(tries, work.ledger.objects.delete(path))
        except Unavailable as error:
            if not _is_refusal(error):
                raise
            self._refusal = self._refusal or error
            self._refusals += 1
            return _Deletion(False, tries)
        return _Deletion(True, tries)

    def _report(self) -> None:
        """Raises what the store refused, once."""
        first, count = self._refusal, self._refusals
        self._refusal, self._refusals = None, 0
        if first is not None:
            objects = "1 object that is not needed stays" if count == 1 else f"{count} objects that are not needed stay"
            what = f"{objects} in the store: {first.message}"
            raise Unavailable(what, hint=first.hint) from first


def _settled(work: Work, begun: dict[bytes, int], least_secs: float) -> list[bytes]:
    """The values that no request is on its way for which somebody sent before, however it ended."""
    late_secs = max(work.ledger.objects.late_secs, least_secs)
    latest = work.clock() - int((late_secs + FRESH_SECS) * 1000)
    return [digest for digest, since in begun.items() if not late_secs or since <= latest]


def _name_again(work: Work, blobs: list[bytes], since: int) -> int:
    """When they were named last, which is not long ago; where they were not, it is done now."""
    now = work.clock()
    if not work.ledger.objects.late_secs or now - since <= FRESH_SECS * 1000:
        return since
    work.ledger.change_manifest(_retire_command([], blobs))
    return now


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

"""Which segments of a store give the log from one index to another: found from the names of objects alone.

Compaction and archivers that were cut short leave segments that overlap. A cover is a chain in which each begins where
the one before it ended. Taken is the one with the fewest entries in segments that ``manifest.json`` does not name, as
what is left over may be anything; of two alike the shorter. ``check.ways`` weighs it so too. That a segment holds what
its name says, and that it is of this log, is for those who read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.errors import Corruption, SerializationError
from scribe_ledger.objects.paths import MANIFEST, SEGMENTS, range_of_segment_path
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scribe_ledger.objects.store import ObjectStore


class Candidate(NamedTuple):
    """A segment of which only the listing is known."""

    path: str
    first_index: int
    stop: int
    sha256: bytes
    size: int

    def as_segment(self) -> Segment:
        """What can be told without reading it."""
        segment = Segment.of_listing(self.path, self.size)
        assert segment is not None
        return segment


class Directory(NamedTuple):
    """All segments in a store, and those that the copy of the manifest calls live."""

    candidates: list[Candidate]
    live: list[Segment]
    archived_size: int
    """As far as the copy of the manifest reaches."""

    def cover(self, start: int, stop: int, *, without: Collection[str] = ()) -> list[Candidate]:
        """The chain from ``start`` to ``stop``, or Corruption that names what is missing."""
        usable = [found for found in self.candidates if found.path not in without]
        chain = shortest_chain(usable, start, stop, preferred={segment.path for segment in self.live})
        if chain is None:
            raise self._gap(usable, start, stop)
        return chain

    def can_cover(self, stop: int, *, without: Collection[str]) -> bool:
        """Whether there is a chain from the beginning."""
        usable = [found for found in self.candidates if found.path not in without]
        return shortest_chain(usable, 0, stop) is not None

    def _gap(self, usable: list[Candidate], start: int, stop: int) -> Corruption:
        listed = {found.path for found in self.candidates}
        missing = [segment.path for segment in self.live if segment.path not in listed and segment.stop > start]
        if missing:
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            return Corruption(f"the segment {missing[0]} is missing{more}: {MANIFEST} names it", hint=_HINT)
        reached = _reached(usable, start, stop)
        following = min((found.first_index for found in usable if found.first_index > reached), default=stop)
        return Corruption(f"entries {reached} to {min(following, stop) - 1} are in no segment of the store", hint=_HINT)


_HINT = "restore the object from a copy of the store; `scribe fsck URL` says what else is wrong"


def read_directory(store: ObjectStore) -> Directory:
    """The names of all segments: some hundred bytes of memory each."""
    candidates = []
    for found in store.list(SEGMENTS):
        parsed = range_of_segment_path(found.path)
        if parsed is not None:
            first, last, digest = parsed
            candidates.append(Candidate(found.path, first, last + 1, digest, found.size))
    return Directory(candidates, *_copy_of_manifest(store))


def shortest_chain(
    candidates: Iterable[Candidate], start: int, stop: int, *, preferred: Collection[str] = ()
) -> list[Candidate] | None:
    """Segments that join to exactly that range: the fewest entries in others than the preferred, then the fewest
    segments; None if none do."""
    best: dict[int, tuple[int, int, Candidate | None]] = {start: (0, 0, None)}
    for found in sorted(candidates, key=lambda each: (each.first_index, each.path)):
        before = best.get(found.first_index)
        if before is None or not start <= found.first_index < found.stop <= stop:
            continue
        others = 0 if found.path in preferred else found.stop - found.first_index
        cost = (before[0] + others, before[1] + 1)
        there = best.get(found.stop)
        if there is None or cost < there[:2]:
            best[found.stop] = (*cost, found)
    chain: list[Candidate] = []
    at = stop
    while at != start:
        if at not in best:
            return None
        last = best[at][2]
        assert last is not None
        chain.append(last)
        at = last.first_index
    return chain[::-1]


def _reached(candidates: Iterable[Candidate], start: int, stop: int) -> int:
    """The furthest end that a chain from ``start`` comes to."""
    ends = {start}
    for found in sorted(candidates, key=lambda each: each.first_index):
        if found.first_index in ends and found.stop <= stop:
            ends.add(found.stop)
    return max(ends)


def _copy_of_manifest(store: ObjectStore) -> tuple[list[Segment], int]:
    """What ``manifest.json`` says, or nothing where it cannot be read: it is a help, and nobody's authority."""
    content = store.get(MANIFEST)
    try:
        fields = orjson.loads(content or b"{}")
        return [Segment.from_json(each) for each in fields.get("segments", [])], int(fields.get("archived_size", 0))
    except (ValueError, TypeError, AttributeError, SerializationError):
        return [], 0

"""Values that are no longer in the hot store: found through the manifest, read from the segment that has them.

Whoever asks has the entry's leaf, and the value is held against its digest here. "Missing" is never an answer: either
the value, or an error that names the object.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.trails import Trails
from scribe_ledger.objects.identity import check_is
from scribe_ledger.objects.paths import SEGMENTS
from scribe_ledger.objects.rereading import twice
from scribe_ledger.segments.faults import SegmentMissing, broken
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.ledger.machine import Machine
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.log_values import LogValues
    from scribe_ledger.segments.reading import ColdReader
    from scribe_ledger.segments.whole import WholeSegments

T = TypeVar("T")

REMEMBERED = 4096
WHOLE_SHARE = 2
"""Segments that were loaded whole may take as much as one part in so many of the cache, beside it."""


class ColdValues:
    """The cold half of one ledger's reads. Any thread may read."""

    def __init__(
        self, machine: Machine, objects: ObjectStore, *, ledger_id: str, cache_bytes: int, folder: Path
    ) -> None:
        self._machine = machine
        self._objects = objects
        self._ledger_id = ledger_id
        self._cache_bytes = cache_bytes
        self._folder = folder
        self._reader: ColdReader | None = None
        self._whole: WholeSegments | None = None
        self.trails = Trails()
        """Of scans in log order."""
        self._instead: dict[str, Segment] = {}
        """For segments of this manifest that are gone, those that have their entries now."""
        self._making = threading.Lock()

    @property
    def reader(self) -> ColdReader:
        """Made when the first value is read: it imports what a ledger without an archive never needs."""
        if self._reader is None:
            from scribe_ledger.segments.reading import ColdReader

            with self._making:
                if self._reader is None:
                    self._reader = ColdReader(self._objects, self._ledger_id, cache_bytes=self._cache_bytes)
        return self._reader

    @property
    def whole(self) -> WholeSegments:
        """Made when the first segment is loaded whole, for the same reason."""
        if self._whole is None:
            from scribe_ledger.segments.whole import WholeSegments

            with self._making:
                if self._whole is None:
                    capacity = self._cache_bytes // WHOLE_SHARE
                    self._whole = WholeSegments(self._objects, self._folder, capacity_bytes=capacity)
        return self._whole

    @property
    def evicted(self) -> int:
        """Values of entries below this index are nowhere else."""
        return self._machine.evicted

    def checked_value(self, key: bytes, index: int) -> bytes | None:
        """The value from memory, if it was checked before for the same key: no leaf has to be looked up for it."""
        segment = self._machine.committed.manifest.find(index)
        return None if segment is None else self.reader.checked_value(segment, key, index)

    def value(self, key: bytes, index: int, digest: bytes) -> bytes:
        """The value of one entry, checked; what was wrong is fetched once more."""
        return twice(lambda: self._value(key, index, digest))

    def _value(self, key: bytes, index: int, digest: bytes) -> bytes:
        segment, value = self._from(self.segment(index), index, lambda found: self.reader.value(found, key, index))
        try:
            self.check(value, segment, index, digest)
        except Corruption:
            self.forget(segment)
            raise
        self.reader.note_checked(segment, key, index, value)
        return value

    def check(self, value: bytes | None, segment: Segment, index: int, digest: bytes) -> bytes:
        """A value that was read from a segment, if it is the entry's; else Corruption that names the object."""
        if value is None:
            raise broken(self._objects.place(segment.path), f"it has no value of entry {index}")
        if sha256(value).digest() != digest:
            raise broken(self._objects.place(segment.path), f"the value of entry {index} does not match its digest")
        return value

    def whole_segment(self, segment: Segment) -> tuple[Segment, LogValues]:
        """All of its values, and the segment that they were read from. Nobody has held them against their digests."""
        return self._from(segment, segment.first_index, self.whole.load)

    def forget(self, segment: Segment) -> None:
        """So that a repaired object is read, and not remembered bytes."""
        self.reader.forget(segment.segment_id)
        self.whole.forget(segment.segment_id)

    def _from(self, segment: Segment, index: int, read: Callable[[Segment], T]) -> tuple[Segment, T]:
        """What is read from a segment, or from the one that has this entry where the object is gone; and from which."""
        try:
            return segment, read(segment)
        except SegmentMissing as missing:
            instead = self._instead_of(segment, index, missing)
        try:
            return instead, read(instead)
        except SegmentMissing:
            self._instead.pop(segment.segment_id, None)  # it was merged in its turn: who asks again finds the newest
            raise

    def _instead_of(self, gone: Segment, index: int, missing: SegmentMissing) -> Segment:
        """Another segment with that entry: the object of one that this manifest names is not there.

        It was replaced since it was looked up; or this is a copy of a ledger whose archive another has merged. In that
        case only a listing tells. Whatever is found, its values are held against the digests that this ledger has.
        """
        newer = self.segment(index)
        if newer != gone:
            return newer
        if gone.segment_id not in self._instead:
            check_is(self._objects, self._machine.committed.manifest.store_id)
            listed = (Segment.of_listing(found.path, found.size) for found in self._objects.list(SEGMENTS))
            others = [each for each in listed if each is not None and each.first_index <= index <= each.last_index]
            if not others:
                raise missing
            if len(self._instead) >= REMEMBERED:
                self._instead.clear()
            self._instead[gone.segment_id] = max(others, key=lambda each: each.count)
        found = self._instead[gone.segment_id]
        if not found.first_index <= index <= found.last_index:
            raise missing
        return found

    def segment(self, index: int) -> Segment:
        """The segment that has an entry."""
        segment = self._machine.committed.manifest.find(index)
        if segment is None:
            raise Corruption(
                f"the value of entry {index} is missing here, and the manifest names no segment in {self._objects.url}"
                " that has it",
                hint="run `scribe fsck`",
            )
        return segment

"""``ColdReader``: one value out of a segment in an object store, by few requests, and again without any.

A cold read is one ranged request for the indexes and values of one row group. Before the first read of a segment its
footer is fetched, by one request more, two where it is long. Footers and row groups are kept whole in caches of two
generations (see ``generations``), which together hold at most ``cache_bytes``; readers of one row group share a fetch.

Page checksums and the footer are checked here, so what is wrong is found and named. A value is not: whoever asks has
its digest in a leaf, and must compare. Nothing that was found wrong stays in memory, so whoever asks once more has it
fetched once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.segments.directory import Directory, decode_directory
from scribe_ledger.segments.ending import ending_bytes
from scribe_ledger.segments.faults import SegmentMissing, broken, missing
from scribe_ledger.segments.flights import Flights
from scribe_ledger.segments.generations import Generations

if TYPE_CHECKING:
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.row_group import RowGroup
    from scribe_ledger.segments.segment import Segment

__all__ = ["ColdReader", "SegmentMissing"]

TAIL_BYTES = 128 << 10
"""How much of the end of an object is fetched in the hope that it holds the footer: that of about 80 row groups."""
FOOTER_SHARE = 4
"""One part in so many of the cache is for footers."""


class ColdReader:
    """Safe for use by several threads at once. The counters are for metrics: two threads may lose a count."""

    def __init__(self, store: ObjectStore, ledger_id: str, *, cache_bytes: int) -> None:
        self._store = store
        self._ledger_id = ledger_id
        self._directories: Generations[str, Directory] = Generations(cache_bytes // FOOTER_SHARE)
        self._row_groups: Generations[tuple[str, int], RowGroup] = Generations(
            cache_bytes - cache_bytes // FOOTER_SHARE
        )
        self._directory_flights: Flights[str, Directory] = Flights()
        self._row_group_flights: Flights[tuple[str, int], RowGroup] = Flights()
        self.requests = 0
        """Ranged reads that the store was asked for."""
        self.fetched_bytes = 0
        self.hits = 0
        """Values that came out of the cache."""
        self.misses = 0

    @property
    def cached_bytes(self) -> int:
        return self._directories.used_bytes + self._row_groups.used_bytes

    def value(self, segment: Segment, key: bytes, index: int) -> bytes:
        """The inline value of an entry, to be held against its digest by the caller.

        Raises SegmentMissing where the object is not there, Corruption where it is not what it should be or does not
        have this entry, and passes on what the store says where it cannot be asked.
        """
        value = self.cached_value(segment, key, index)
        if value is not None:
            return value
        self.misses += 1
        directory = self._directories.get(segment.segment_id)
        if directory is None:
            directory = self._directory_flights.share(segment.segment_id, lambda: self._fetch_directory(segment))
        number = directory.footer.row_group_of(key, index)
        if number < 0:
            raise broken(self._store.place(segment.path), f"it has no row group for entry {index}")
        name = (segment.segment_id, number)
        row_group = self._row_groups.get(name)
        if row_group is None:
            row_group = self._row_group_flights.share(name, lambda: self._fetch_row_group(segment, directory, number))
        value = row_group.value(index)
        if value is None:
            self.forget(segment.segment_id)
            raise broken(self._store.place(segment.path), f"row group {number} has no value of entry {index}")
        return value

    def cached_value(self, segment: Segment, key: bytes, index: int) -> bytes | None:
        """The same from memory alone; None where the store would have to be asked."""
        row_group = self._cached_row_group(segment, key, index)
        value = None if row_group is None else row_group.value(index)
        if value is not None:
            self.hits += 1
        return value

    def has(self, segment: Segment, key: bytes, index: int) -> bool:
        """Whether an entry's row group is in memory."""
        return self._cached_row_group(segment, key, index) is not None

    def checked_value(self, segment: Segment, key: bytes, index: int) -> bytes | None:
        """The same, and only a value of which ``note_checked`` was told: it needs no digest any more."""
        row_group = self._cached_row_group(segment, key, index)
        value = None if row_group is None else row_group.checked_value(index, key)
        if value is not None:
            self.hits += 1
        return value

    def note_checked(self, segment: Segment, key: bytes, index: int, value: bytes) -> None:
        """That value matches the digest of the entry, which is of that key."""
        row_group = self._cached_row_group(segment, key, index)
        if row_group is not None and row_group.value(index) == value:  # it may have been fetched anew since
            row_group.note_checked(index, key)

    def _cached_row_group(self, segment: Segment, key: bytes, index: int) -> RowGroup | None:
        directory = self._directories.get(segment.segment_id)
        if directory is None:
            return None
        return self._row_groups.get((segment.segment_id, directory.footer.row_group_of(key, index)))

    def forget(self, segment_id: str) -> None:
        """Drop what is kept of a segment: it was retired, or what came from it did not match its digest."""
        self._directories.forget(lambda name: name == segment_id)
        self._row_groups.forget(lambda name: name[0] == segment_id)

    def _fetch_directory(self, segment: Segment) -> Directory:
        known = self._directories.get(segment.segment_id)  # a flight may have landed since the caller looked
        if known is not None:
            return known
        tail = self._fetch(segment, max(segment.size - TAIL_BYTES, 0), segment.size)
        place = self._store.place(segment.path)
        length = ending_bytes(place, segment.size, tail)
        if length > len(tail):
            tail = self._fetch(segment, segment.size - length, segment.size)
            if ending_bytes(place, segment.size, tail) != length:
                raise broken(place, "its end changed between two reads")
        directory = decode_directory(segment, tail[-length:], ledger_id=self._ledger_id, place=place)
        self._directories.put(segment.segment_id, directory, directory.size_bytes)
        return directory

    def _fetch_row_group(self, segment: Segment, directory: Directory, number: int) -> RowGroup:
        name = (segment.segment_id, number)
        known = self._row_groups.get(name)
        if known is not None:
            return known
        data = self._fetch(segment, *directory.ranges[number])
        row_group = directory.decode_row_group(segment, number, data, place=self._store.place(segment.path))
        self._row_groups.put(name, row_group, row_group.size_bytes)
        return row_group

    def _fetch(self, segment: Segment, start: int, stop: int) -> bytes:
        self.requests += 1
        data = self._store.get_range(segment.path, start, stop)
        if data is None:
            raise missing(self._store, segment.path)
        self.fetched_bytes += len(data)
        if len(data) != stop - start:
            raise broken(
                self._store.place(segment.path), f"it ends at byte {start + len(data)} instead of {segment.size}"
            )
        return data

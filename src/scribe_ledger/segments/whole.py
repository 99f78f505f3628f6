"""``WholeSegments``: segments that were loaded whole for reads in the order of the log, in one bounded place.

A segment is sorted by key, so a page of the log may touch all of its row groups. Whoever reads on, and whoever reads
the same part, finds here what the first has loaded. Readers copy runs of values and hold nothing of this, so what is
in memory does not depend on how many they are: what is kept, and one segment while it is decoded.

Objects are held against their digests. Values are not: whoever asks has their digests in leaves, and must compare.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from scribe_ledger.segments.flights import Flights
from scribe_ledger.segments.memory import give_back
from scribe_ledger.segments.scanning import download, open_segment

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.log_values import LogValues
    from scribe_ledger.segments.segment import Segment


class WholeSegments:
    """Safe for use by several threads at once."""

    def __init__(self, store: ObjectStore, folder: Path, *, capacity_bytes: int) -> None:
        """Keeps so many bytes, and always what was loaded last. ``folder`` is for the files while they are read."""
        self._store = store
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._flights: Flights[str, LogValues] = Flights()
        self._decoding = threading.Lock()
        """One segment at a time is decoded: that takes memory beyond what is kept. Downloads take little."""
        self._changing = threading.Lock()
        self._kept: OrderedDict[str, LogValues] = OrderedDict()
        """By segment, the one that was used last at the end."""
        self.loads = 0
        """How often a segment was loaded."""

    @property
    def used_bytes(self) -> int:
        with self._changing:
            return sum(values.size_bytes for values in self._kept.values())

    def kept(self, segment_id: str) -> LogValues | None:
        """What is in memory of it: all or nothing."""
        with self._changing:
            if segment_id in self._kept:
                self._kept.move_to_end(segment_id)
            return self._kept.get(segment_id)

    def load(self, segment: Segment) -> LogValues:
        """The same, brought here if need be. Whoever asks meanwhile shares the load, and its failure.

        Raises SegmentMissing, Corruption or what the store says, as reads of single values do.
        """
        return self._flights.share(segment.segment_id, lambda: self._load(segment))

    def forget(self, segment_id: str) -> None:
        with self._changing:
            self._kept.pop(segment_id, None)

    def _load(self, segment: Segment) -> LogValues:
        known = self.kept(segment.segment_id)  # a flight may have landed since the caller looked
        if known is not None:
            return known
        with download(self._store, segment, self._folder) as file, self._decoding:
            self._make_room(segment.log_bytes or segment.size)
            with open_segment(file.path, segment, place=self._store.place(segment.path)) as opened:
                values = opened.values()
            self._make_room(values.size_bytes)
            with self._changing:
                self._kept[segment.segment_id] = values
            self.loads += 1
            give_back()
        return values

    def _make_room(self, size: int) -> None:
        with self._changing:
            used = size + sum(values.size_bytes for values in self._kept.values())
            while self._kept and used > self._capacity_bytes:
                _, dropped = self._kept.popitem(last=False)
                used -= dropped.size_bytes

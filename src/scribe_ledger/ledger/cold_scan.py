"""``ColdScan``: values that are in the archive only, read in the order of the log.

A segment is sorted by key, so neighbours in the log lie in different row groups, unless keys come in order. A scan
begins with single reads, and takes what the cache has. When these had to ask the store too often, the segment is loaded
whole, once for all who read it (``segments/whole.py``). Then the scan copies a run of its values at a time: of the
segment it holds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.trails import Trail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.cold import ColdValues
    from scribe_ledger.segments.segment import Segment


class _Run(NamedTuple):
    """Values of entries that follow one another, and whose they are."""

    segment: Segment
    first_index: int
    values: Sequence[bytes | None]


class ColdScan:
    """One scan, of entries below ``stop``; for one thread at a time."""

    def __init__(self, cold: ColdValues, stop: int) -> None:
        self._cold = cold
        self._stop = stop
        self._segment: Segment | None = None
        """Where the scan is."""
        self._trail = Trail()
        self._run: _Run | None = None

    def value(self, key: bytes, index: int, digest: bytes) -> bytes:
        """The value of one entry, checked."""
        run = self._run
        if run is None or not 0 <= index - run.first_index < len(run.values):
            run = self._run = self._next_run(key, index)
            if run is None:
                return self._cold.value(key, index, digest)
        try:
            return self._cold.check(run.values[index - run.first_index], run.segment, index, digest)
        except Corruption:
            self._run = None
            self._cold.forget(run.segment)
            raise

    def _next_run(self, key: bytes, index: int) -> _Run | None:
        """The run from an entry on; None where its value is better read alone."""
        segment = self._segment
        if segment is None or not segment.first_index <= index <= segment.last_index:
            segment = self._segment = self._cold.segment(index)
            self._trail = self._cold.trails.of(segment.segment_id, index)
        whole = self._cold.whole.kept(segment.segment_id)
        if whole is None:
            if not self._trail.is_scattered(index, missed=not self._cold.reader.has(segment, key, index)):
                return None
            self._segment = self._cold.segment(index)  # it may have been replaced since the scan came here
            segment, whole = self._cold.whole_segment(self._segment)
        values = whole.run(index, self._stop)
        self._trail.last = index + len(values) - 1
        return _Run(segment, index, values)

"""``Trails``: how scans in log order have fared in a segment, over the pages that one reader asks for one by one.

A page may end before it has met so many scattered values that the segment is worth loading. The next page, which
begins where that one ended, goes on counting.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

SCATTERED_READS = 64
"""So many values of one segment are read one by one in log order, before it is thought of loading the segment."""
SCATTERED_MISSES = 8
"""It is loaded when so many of these reads had to ask the store for a row group."""
GAP_ENTRIES = 1024
"""A page goes on where another ended though so many entries lie between: deleted and large ones are not met here."""
REMEMBERED = 64


class Trail:
    """Of one segment. Two scans that share it may lose a count."""

    def __init__(self) -> None:
        self.last = -1
        """The entry that was read last."""
        self._reads = self._misses = 0

    def is_scattered(self, index: int, *, missed: bool) -> bool:
        """Whether reading this entry alone, and going on so, may ask the store for more than the whole segment is."""
        self.last = index
        if missed and self._reads >= SCATTERED_READS and self._misses >= SCATTERED_MISSES:
            return True
        self._reads += 1
        self._misses += missed
        return False


class Trails:
    """Those of the segments that were read last, for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trails: OrderedDict[str, Trail] = OrderedDict()

    def of(self, segment_id: str, index: int) -> Trail:
        """The trail that a scan follows which reads this entry first."""
        with self._lock:
            trail = self._trails.pop(segment_id, None)
            if trail is None or not 0 < index - trail.last <= GAP_ENTRIES:
                trail = Trail()
            self._trails[segment_id] = trail
            if len(self._trails) > REMEMBERED:
                self._trails.popitem(last=False)
            return trail

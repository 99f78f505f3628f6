"""``RowGroup``: the values of one row group, as they came out of Arrow, and how to find one by its index.

Values are cut out of Arrow's buffers when they are asked for. A group that is read a second time gets its indexes
sorted; the first time a scan of the column is cheaper. It remembers which values were found to match their digest, and
under which key, so that nobody needs to look up the digest again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

OVERHEAD_BYTES = 2048
"""What a row group costs beside its buffers."""


class RowGroup:
    """Immutable but for what it works out about itself; any thread may read."""

    def __init__(self, indexes: pa.Array, values: pa.Array) -> None:
        """Two columns without an offset, as they are after reading: ``uint64`` without nulls, and ``binary``."""
        validity, offsets, data = values.buffers()
        self._indexes = indexes
        self._sorted: tuple[memoryview, memoryview] | None = None
        """The indexes in order, and the row of each."""
        self._asked = False
        self._checked: array[int] | None = None
        """For each row a mark of the key that its value was checked for."""
        self._offsets = memoryview(offsets).cast("i")
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._validity = memoryview(validity) if values.null_count and validity is not None else None
        held = indexes.nbytes * 4 + len(self._offsets) * 4 + len(self._data) + len(self._validity or b"")
        self.size_bytes = held + OVERHEAD_BYTES
        """What it takes in memory, the sorted indexes and the marks included."""

    def value(self, index: int) -> bytes | None:
        """The inline value of an entry; None if the entry is not here, or has none."""
        row = self._row(index)
        return None if row < 0 else self.value_at(row)

    def value_at(self, row: int) -> bytes | None:
        """The inline value in a row of the group; None if it has none."""
        if self._validity is not None and not self._validity[row >> 3] >> (row & 7) & 1:
            return None
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]])

    def checked_value(self, index: int, key: bytes) -> bytes | None:
        """The same if it was checked for that key."""
        if self._checked is None:
            return None
        row = self._row(index)
        if row < 0 or self._checked[row] != _mark(key):
            return None
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]])

    def note_checked(self, index: int, key: bytes) -> None:
        """The value of that entry is of that key, and matches its digest."""
        if self._checked is None:
            self._checked = array("q", bytes(8 * len(self._indexes)))
        self._checked[self._row(index)] = _mark(key)

    def _row(self, index: int) -> int:
        if self._sorted is None:
            if not self._asked:
                return self._scan(index)
            self._sorted = self._sort()
        indexes, rows = self._sorted
        place = bisect_left(indexes, index)
        return rows[place] if place < len(indexes) and indexes[place] == index else -1

    def _scan(self, index: int) -> int:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._asked = True
        found: int = pc.index(self._indexes, pa.scalar(index, pa.uint64())).as_py()
        return found

    def _sort(self) -> tuple[memoryview, memoryview]:
        import pyarrow.compute as pc

        order = pc.sort_indices(self._indexes)
        indexes = memoryview(self._indexes.take(order).buffers()[1]).cast("Q")[: len(order)]
        rows = memoryview(order.buffers()[1]).cast("Q")[: len(order)]
        return indexes, rows


def _mark(key: bytes) -> int:
    return hash(key) or 1

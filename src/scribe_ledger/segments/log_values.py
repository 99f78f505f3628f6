"""``LogValues``: all inline values of one segment, in the order of the log.

The row groups stay as they came out of Arrow, in the order of keys; beside them stands where each entry's row is. So
this takes little more than the bytes of the values, however small they are.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from scribe_ledger.segments.row_group import RowGroup

RUN_ENTRIES = 4096
RUN_BYTES = 4 << 20
"""A run ends with the value that takes it beyond one of these."""


class LogValues:
    """Immutable; any thread may read."""

    def __init__(self, first_index: int, groups: Sequence[RowGroup], counts: Sequence[int], order: pa.Array) -> None:
        """``counts`` has the rows of each group; ``order`` the row of each entry, counted over all groups."""
        self.first_index = first_index
        self._groups = groups
        self._starts = [*accumulate(counts[:-1], initial=0)]
        self._rows = memoryview(order.buffers()[1]).cast("Q")[order.offset : order.offset + len(order)]
        self.size_bytes = sum(group.size_bytes for group in groups) + self._rows.nbytes
        """What it takes in memory."""

    def __len__(self) -> int:
        return len(self._rows)

    def value(self, index: int) -> bytes | None:
        """The inline value of an entry of the segment; None if it has none."""
        row = self._rows[index - self.first_index]
        group = bisect_right(self._starts, row) - 1
        return self._groups[group].value_at(row - self._starts[group])

    def run(self, index: int, stop: int) -> list[bytes | None]:
        """The values of the entries from ``index`` to before ``stop``: at least one, perhaps not all."""
        found: list[bytes | None] = []
        size = 0
        for at in range(index, min(stop, index + RUN_ENTRIES, self.first_index + len(self._rows))):
            value = self.value(at)
            found.append(value)
            size += len(value or b"")
            if size >= RUN_BYTES:
                break
        return found

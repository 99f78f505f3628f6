"""Where the row groups of a segment end. The limits stand in ``schema``."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from scribe_ledger.segments.schema import GROUP_LEAF_BYTES, GROUP_ROWS, GROUP_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_ROW_LEAF_BYTES = 114
"""What a leaf has beside its key, content type and metadata."""


def cut_row_groups(table: pa.Table, order: pa.Array) -> Iterator[pa.Array]:
    """The sorted rows, cut so that each run keeps within the limits of a row group."""
    import pyarrow.compute as pc

    values = _ends(pc.fill_null(pc.binary_length(table.column("value")), 0).take(order))
    leaves = _ends(_leaf_bytes(table).take(order))
    start = 0
    while start < len(order):
        stop = min(
            start + GROUP_ROWS,
            bisect_right(values, values[start] + GROUP_VALUE_BYTES) - 1,
            bisect_right(leaves, leaves[start] + GROUP_LEAF_BYTES) - 1,
            len(order),
        )
        stop = max(stop, start + 1)
        yield order.slice(start, stop - start)
        start = stop


def _leaf_bytes(table: pa.Table) -> pa.ChunkedArray:
    """What the leaf of each row takes, without the names and values of metadata where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = pc.add(pc.binary_length(table.column("key")), _ROW_LEAF_BYTES)
    metadata = table.column("metadata").combine_chunks()
    if not len(metadata.keys):
        return sizes
    pairs = pc.add(pc.binary_length(metadata.keys), pc.binary_length(metadata.items))
    ends = _ends(pairs)
    offsets = metadata.offsets.to_pylist()
    return pc.add(sizes, pa.array([ends[stop] - ends[start] for start, stop in pairwise(offsets)]))


def _ends(lengths: pa.ChunkedArray) -> memoryview:
    """Zero, and the sum of the lengths up to and with each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = lengths.chunks if isinstance(lengths, pa.ChunkedArray) else [lengths]
    whole = pa.concat_arrays([pa.array([0], pa.int64()), *[chunk.cast(pa.int64()) for chunk in chunks]])
    return memoryview(pc.cumulative_sum(whole).buffers()[1]).cast("q")[: len(whole)]

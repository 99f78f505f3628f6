"""``Directory``: the footer of a segment as a point read keeps it: where each row group's values lie, and how to
decode them.

The metadata of Parquet is kept as the bytes it came in and decoded again for each row group that is fetched: decoded
it would take ten times the memory, and the time is little beside a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.segments.ending import MAGIC, checked_metadata
from scribe_ledger.segments.faults import broken, parquet_errors
from scribe_ledger.segments.footer import Footer, check_footer, check_schema, decode_footer
from scribe_ledger.segments.parts import Part
from scribe_ledger.segments.row_group import RowGroup
from scribe_ledger.segments.schema import POINT_COLUMNS

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from scribe_ledger.segments.segment import Segment

_PLACE_BYTES = 300
"""What a row group costs in a directory beside its key."""


class Directory(NamedTuple):
    footer: Footer
    ranges: list[tuple[int, int]]
    """For each row group, the bytes of the object that hold its indexes and values."""
    parquet: bytes
    """The metadata as it stands in the object, with its trailer."""

    @property
    def size_bytes(self) -> int:
        keys = sum(len(key) for key, _ in self.footer.places)
        return len(self.parquet) + keys + _PLACE_BYTES * len(self.ranges)

    def decode_row_group(self, segment: Segment, number: int, data: bytes, *, place: str) -> RowGroup:
        """The values of a row group from the bytes of its range; every page is held against its checksum."""
        import pyarrow.parquet as pq

        start, stop = self.ranges[number]
        what = f"row group {number}"
        if len(data) != stop - start:
            raise broken(place, f"{what} is cut: {len(data)} bytes of {stop - start}")
        with parquet_errors(place, what):
            part = Part(start, data, segment.size)
            metadata = _parse(self.parquet)
            with pq.ParquetFile(part, metadata=metadata, page_checksum_verification=True, pre_buffer=False) as file:
                table = file.read_row_group(number, columns=[*POINT_COLUMNS], use_threads=False).combine_chunks()
        indexes, values = (table.column(name).chunk(0) for name in POINT_COLUMNS)
        if len(table) != metadata.row_group(number).num_rows or indexes.null_count:
            raise broken(place, f"{what} has {len(table)} rows")
        return RowGroup(indexes, values)


def decode_directory(segment: Segment, ending: bytes, *, ledger_id: str | None, place: str) -> Directory:
    """The directory from the end of an object, held against its digest, the ledger and the manifest."""
    parquet = checked_metadata(place, ending)
    with parquet_errors(place, "its footer"):
        metadata = _parse(parquet)
        check_schema(place, metadata.schema.to_arrow_schema())
        footer = decode_footer(place, metadata.metadata, row_groups=metadata.num_row_groups, rows=metadata.num_rows)
        ranges = [_range(metadata.row_group(number)) for number in range(metadata.num_row_groups)]
    check_footer(place, footer, ledger_id=ledger_id, segment=segment)
    if any(not len(MAGIC) <= start < stop <= segment.size - len(ending) for start, stop in ranges):
        raise broken(place, "its footer names bytes that are not in it")
    return Directory(footer, ranges, parquet)


def _parse(parquet: bytes) -> pq.FileMetaData:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_metadata(pa.BufferReader(MAGIC + parquet))


def _range(row_group: pq.RowGroupMetaData) -> tuple[int, int]:
    """From the first byte of the first of the columns that a point read needs to the last byte of the last."""
    columns = [row_group.column(row_group.num_columns - left) for left in range(len(POINT_COLUMNS), 0, -1)]
    if tuple(column.path_in_schema for column in columns) != POINT_COLUMNS:
        raise ValueError(f"its last columns are not {POINT_COLUMNS}")
    starts = [
        min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset) for column in columns
    ]
    return starts[0], starts[-1] + columns[-1].total_compressed_size

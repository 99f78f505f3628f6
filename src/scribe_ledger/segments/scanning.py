"""Reading a whole segment: its rows in the order of the log, checked against themselves.

A file is in the order of keys, so its columns are loaded whole and handed out in batches: memory is that of the columns
asked for, and a batch. ``bring`` gets an object here in constant memory and holds it against its digest first.

What this proves is that a file is intact and consistent. That its leaves are those of the ledger, the tree says.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, TypeVar

from scribe_ledger.errors import ScribeError
from scribe_ledger.model import Kind
from scribe_ledger.objects.rereading import twice
from scribe_ledger.objects.temporary import TemporaryFile
from scribe_ledger.segments.ending import check_ending
from scribe_ledger.segments.faults import SegmentMissing, broken, missing, parquet_errors
from scribe_ledger.segments.footer import Footer, check_footer, check_schema, decode_footer
from scribe_ledger.segments.log_values import LogValues
from scribe_ledger.segments.rebuilding import hashes_of, leaves_of, numbers_of
from scribe_ledger.segments.row_group import RowGroup
from scribe_ledger.segments.schema import KIND_NAMES, POINT_COLUMNS, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.segment import Segment

__all__ = ["Rows", "SegmentFile", "SegmentMissing", "Sink", "bring", "download", "open_segment"]

Wanted = Literal["config"] | bool
"""Which values are read: all, none, or those of config entries, which whoever applies the log again needs."""

BATCH_ROWS = 4096
DOWNLOAD_BYTES = 8 << 20
"""How much of an object one request brings."""
_CONFIG = KIND_NAMES[Kind.CONFIG]


class Rows(NamedTuple):
    """A run of entries in the order of the log."""

    first_index: int
    leaves: list[bytes]
    leaf_hashes: list[bytes]
    values: list[bytes | None] | None
    """None for an entry without an inline value, or whose value was not asked for; None for all if none was."""


def open_segment(
    file: Path | bytes, segment: Segment | None = None, *, ledger_id: str | None = None, place: str = ""
) -> SegmentFile:
    """A segment at hand. Its footer is held against what is known of it; the caller has checked the digest, or will."""
    return SegmentFile(file, segment, ledger_id=ledger_id, place=place)


class SegmentFile:
    """An open segment. Not for two threads at once; close it, or use it as a context manager."""

    def __init__(self, file: Path | bytes, segment: Segment | None, *, ledger_id: str | None, place: str = "") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        told = place or (segment.path if segment else "")
        self.place = told or (str(file) if isinstance(file, Path) else "in memory")
        self.segment = segment
        check_ending(self.place, file)
        source = pa.BufferReader(file) if isinstance(file, bytes) else str(file)
        with parquet_errors(self.place, "its footer"):
            self._file: pq.ParquetFile = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        try:
            self.footer = self._read_footer(ledger_id)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, *, with_values: Wanted = False, batch_rows: int = BATCH_ROWS) -> Iterator[Rows]:
        """All entries in the order of the log, every leaf hash compared with the hash of the leaf as rebuilt."""
        import pyarrow.compute as pc

        table = self.table([name for name in schema().names if with_values is True or name != "value"])
        order = self._log_order(table)
        config = self._config_values(table) if with_values == "config" else None
        for start in range(0, len(order), batch_rows):
            batch = table.take(order.slice(start, batch_rows))
            with parquet_errors(self.place, f"the entries from {self.footer.first_index + start} on"):
                rows = self._rows_of(batch, self.footer.first_index + start)
            if with_values is True:
                rows = rows._replace(values=pc.cast(batch.column("value"), "binary").to_pylist())
            elif config is not None:
                rows = rows._replace(values=[config.get(rows.first_index + at) for at in range(len(rows.leaves))])
            yield rows

    def values(self) -> LogValues:
        """Every inline value; for the caller to hold against their digests. They are read a row group at a time."""
        import pyarrow as pa

        groups: list[RowGroup] = []
        indexes: list[pa.Array] = []
        for number in range(self._file.metadata.num_row_groups):
            with parquet_errors(self.place, f"row group {number}"):
                read = self._file.read_row_group(number, columns=[*POINT_COLUMNS], use_threads=False).combine_chunks()
            indexes.append(read.column("index").chunk(0))
            groups.append(RowGroup(indexes[-1], read.column("value").chunk(0)))
        order = self._log_order(pa.table({"index": pa.chunked_array(indexes, pa.uint64())}))
        return LogValues(self.footer.first_index, groups, [len(part) for part in indexes], order)

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """Columns as they stand in the file, keys and values as large binary, each one chunk."""
        import pyarrow as pa

        wide = {"key": pa.large_binary(), "value": pa.large_binary()}
        names = columns or schema().names
        with parquet_errors(self.place, "its row groups"):
            read = self._file.read(columns=names, use_threads=False).select(names)
            whole: dict[str, Any] = {}
            for name in names:
                column = read.column(name)
                column = column.cast(wide[name]) if name in wide else column
                whole[name] = column.combine_chunks()
                read = read.drop_columns([name])  # so that no column is held twice for longer than its own turn
            table = pa.table(whole)
        if len(table) != self.footer.count:
            raise broken(self.place, f"it has {len(table)} rows instead of {self.footer.count}")
        return table

    def row_groups(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns as they stand in the file, a row group at a time."""
        for number in range(self._file.metadata.num_row_groups):
            with parquet_errors(self.place, f"row group {number}"):
                read = self._file.read_row_group(number, columns=[*columns], use_threads=False)
            yield read

    def row_group_sizes(self) -> list[int]:
        """How many rows each row group has."""
        metadata = self._file.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    def _read_footer(self, ledger_id: str | None) -> Footer:
        metadata = self._file.metadata
        with parquet_errors(self.place, "its footer"):
            check_schema(self.place, self._file.schema_arrow)
        footer = decode_footer(
            self.place, metadata.metadata, row_groups=metadata.num_row_groups, rows=metadata.num_rows
        )
        check_footer(self.place, footer, ledger_id=ledger_id, segment=self.segment)
        return footer

    def _log_order(self, table: pa.Table) -> pa.Array:
        """The rows in the order of the log, without a gap."""
        import pyarrow as pa
        import pyarrow.compute as pc

        order = pc.sort_indices(table.column("index"))
        indexes = table.column("index").take(order)
        wanted = pa.array(range(self.footer.first_index, self.footer.last_index + 1), pa.uint64())
        if not indexes.combine_chunks().equals(wanted):
            raise broken(self.place, "its indexes are not those of its range, each once")
        return order

    def _config_values(self, table: pa.Table) -> dict[int, bytes]:
        """The values of config entries. They have no key, so they stand in the first row groups."""
        import pyarrow.compute as pc

        wanted = pc.indices_nonzero(pc.equal(table.column("kind"), _CONFIG)).to_pylist()
        found: dict[int, bytes] = {}
        start = 0
        for number, count in enumerate(self.row_group_sizes()):
            rows = [row - start for row in wanted if start <= row < start + count]
            start += count
            if not rows:
                continue
            with parquet_errors(self.place, f"row group {number}"):
                group = self._file.read_row_group(number, columns=["index", "value"], use_threads=False).take(rows)
            indexes, values = numbers_of(group.column("index")), group.column("value").to_pylist()
            found |= {index: value for index, value in zip(indexes, values, strict=True) if value is not None}
        return found

    def _rows_of(self, batch: pa.Table, first_index: int) -> Rows:
        try:
            leaves = leaves_of(batch)
        except ScribeError as error:
            raise broken(self.place, f"an entry from {first_index} on cannot be: {error.message}") from error
        hashes = [sha256(b"\0" + leaf).digest() for leaf in leaves]
        if hashes != (said := hashes_of(batch.column("leaf_hash"))):
            wrong = next(at for at, (found, wanted) in enumerate(zip(hashes, said, strict=True)) if found != wanted)
            raise broken(self.place, f"the fields of entry {first_index + wrong} do not have its leaf hash")
        return Rows(first_index, leaves, hashes, None)


class Sink(Protocol):
    """Where the bytes of an object go."""

    def write(self, data: bytes, /) -> object: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Sink)


def download(store: ObjectStore, segment: Segment, folder: Path) -> TemporaryFile:
    """The object as a temporary file, held against its digest. Close it."""
    return bring(store, segment, lambda: TemporaryFile(folder))


def bring(
    store: ObjectStore, segment: Segment, begin: Callable[[], S], *, pace: Callable[[], None] = lambda: None
) -> S:
    """All bytes of the object in the sink that is given, held against their digest. Close it.

    What came wrong, or was not there, is asked for once more, for a sink of its own.
    """
    return twice(lambda: _bring(store, segment, begin(), pace))


def _bring(store: ObjectStore, segment: Segment, sink: S, pace: Callable[[], None]) -> S:
    try:
        digest, size = sha256(), 0
        for piece in _pieces_of(store, segment):
            digest.update(piece)
            size += len(piece)
            sink.write(piece)
            pace()
        if (size, digest.digest()) != (segment.size, segment.sha256):
            raise broken(store.place(segment.path), f"its {size} bytes do not have the digest in its name")
    except BaseException:
        sink.close()
        raise
    return sink


def _pieces_of(store: ObjectStore, segment: Segment) -> Iterator[bytes]:
    """The bytes of the object as they come, a ranged request each; one byte more where it is longer than it should."""
    for start in range(0, segment.size, DOWNLOAD_BYTES):
        stop = start + DOWNLOAD_BYTES
        piece = store.get_range(segment.path, start, stop if stop < segment.size else segment.size + 1)
        if piece is None:
            raise missing(store, segment.path)
        yield piece

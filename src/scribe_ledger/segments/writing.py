"""Sealing: groups of the log become a finished segment in a temporary file.

The rows gather as columns, are sorted once, and go out a row group at a time, hashed on their way. Most of it is done
by Arrow outside of the interpreter's lock. Between two pieces of what is not, a few milliseconds each, ``pace`` is
called, so that whoever serves requests gets its turn. Memory: between two and three times the leaves and values.
"""

from __future__ import annotations

from bisect import bisect_right
from hashlib import sha256
from itertools import pairwise
from struct import iter_unpack
from typing import TYPE_CHECKING, Literal, Self

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.tree import EMPTY_EDGE, edge_root, grow
from scribe_ledger.objects.paths import segment_id_of_path, segment_path
from scribe_ledger.objects.temporary import TemporaryFile
from scribe_ledger.segments.columns import Columns, Group
from scribe_ledger.segments.ending import with_digest
from scribe_ledger.segments.footer import Footer, Place
from scribe_ledger.segments.schema import (
    DICTIONARY_COLUMNS,
    DIGEST_COLUMNS,
    FOOTER_KEY,
    GROUP_LEAF_BYTES,
    GROUP_ROWS,
    GROUP_VALUE_BYTES,
    STATISTICS_COLUMNS,
    schema,
)
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Compression", "Group", "SealedSegment", "seal", "write_segment"]

Compression = Literal["zstd", "gzip"] | None

ZSTD_LEVELS = (1, 1, 1, 2, 2, 3, 3, 6, 9, 15)
"""What our levels 0 to 9 are for zstd: 6 is its default of 3, and 9 as slow as the best of gzip."""
GZIP_LEVELS = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9)
PIECE_ENTRIES = 1024
PIECE_BYTES = 4 << 20
"""How much is taken apart between two calls of ``pace``."""
_ROW_LEAF_BYTES = 114
"""What a leaf has beside its key, content type and metadata."""


class SealedSegment:
    """A segment that is complete, in a temporary file that goes with it unless it was moved into a store."""

    def __init__(self, file: TemporaryFile, segment: Segment) -> None:
        self._file = file
        self.segment = segment

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        """Remove the file, unless it was moved away. Closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def seal(
    groups: Iterable[Group],
    *,
    ledger_id: str,
    folder: Path,
    compression: Compression = "zstd",
    level: int = 6,
    pace: Callable[[], object] = lambda: None,
) -> SealedSegment:
    """Write the segment of contiguous groups into ``folder``. Nothing is synced: a put into a store does that."""
    columns: Columns | None = None
    for piece in _pieces(groups):
        if columns is None:
            columns = Columns(piece.first_index)
        elif piece.first_index != columns.stop:
            raise InvalidRequest(
                f"the group at {piece.first_index} does not follow the one that ends at {columns.stop}"
            )
        columns.add(piece.leaves, piece.values)
        pace()
    if columns is None:
        raise InvalidRequest("there is nothing to seal")
    return write_segment(
        columns.table(),
        log_bytes=columns.log_bytes,
        ledger_id=ledger_id,
        folder=folder,
        compression=compression,
        level=level,
        pace=pace,
    )


def write_segment(
    table: pa.Table,
    *,
    log_bytes: int,
    ledger_id: str,
    folder: Path,
    compression: Compression,
    level: int,
    pace: Callable[[], object],
) -> SealedSegment:
    """Write rows, in whatever order, as a segment. Keys and values are large binary, each column one chunk."""
    import pyarrow.compute as pc

    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("index", "descending")])
    pace()
    bounds = pc.min_max(table.column("index")).as_py()
    places: list[Place] = []
    edge, max_key, timestamp = EMPTY_EDGE, b"", 0
    file = TemporaryFile(folder)
    try:
        sink = _Sink(file)
        with _parquet_writer(sink, compression, level) as writer:
            for rows in _row_groups(table, order):
                group = table.take(rows)
                hashes = memoryview(group.column("leaf_hash").combine_chunks().buffers()[1])[: 32 * len(rows)]
                for start in range(0, len(hashes), 32 * PIECE_ENTRIES):
                    piece = hashes[start : start + 32 * PIECE_ENTRIES]
                    edge, _ = grow(edge, [found for (found,) in iter_unpack("32s", piece)])
                    pace()
                places.append((group.column("key")[0].as_py(), -group.column("index")[0].as_py()))
                max_key = group.column("key")[-1].as_py()
                writer.write_table(group.select(schema().names).cast(schema()), row_group_size=len(rows))
                pace()
            footer = Footer(ledger_id, bounds["min"], bounds["max"], len(table), edge_root(edge), places)
            writer.add_key_value_metadata({FOOTER_KEY: footer.encode()})
            sink.hold_back()
        sink.release()
        last = pc.index(table.column("index"), bounds["max"]).as_py()
        timestamp = table.column("timestamp")[last].value % (1 << 64)
        path = segment_path(footer.first_index, footer.last_index, sink.sha256.digest())
        return SealedSegment(
            file,
            Segment(
                segment_id=segment_id_of_path(path),
                first_index=footer.first_index,
                last_index=footer.last_index,
                min_key=places[0][0],
                max_key=max_key,
                count=footer.count,
                size=sink.size,
                log_bytes=log_bytes,
                path=path,
                sha256=sink.sha256.digest(),
                merkle_root=footer.merkle_root,
                timestamp=timestamp,
            ),
        )
    except BaseException:
        file.close()
        raise


def _pieces(groups: Iterable[Group]) -> Iterator[Group]:
    """The same entries in pieces that are worth a pass over columns."""
    piece = Group(0, [], [])
    size = 0
    for group in groups:
        if piece.leaves and piece.first_index + len(piece.leaves) != group.first_index:
            yield piece  # what follows is out of line, and the caller says so
            piece, size = Group(0, [], []), 0
        if not piece.leaves:
            piece = Group(group.first_index, [], [])
        piece.leaves.extend(group.leaves)
        piece.values.extend(group.values)
        size += sum(map(len, group.values))
        if len(piece.leaves) >= PIECE_ENTRIES or size >= PIECE_BYTES:
            yield piece
            piece, size = Group(0, [], []), 0
    if piece.leaves:
        yield piece


def _row_groups(table: pa.Table, order: pa.Array) -> Iterator[pa.Array]:
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


class _Sink:
    """Where the Parquet writer writes: the file, its digest and its size."""

    closed = False

    def __init__(self, file: TemporaryFile) -> None:
        self._file = file
        self._held: bytearray | None = None
        self.sha256 = sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        if self._held is not None:
            self._held += data
        else:
            self._file.write(data)
            self.sha256.update(data)
            self.size += len(data)
        return len(data)

    def hold_back(self) -> None:
        """Keep what is written from here on, the page index and the footer, until ``release``."""
        self._held = bytearray()

    def release(self) -> None:
        held, self._held = bytes(self._held or b""), None
        self.write(with_digest(held))

    def tell(self) -> int:
        return self.size + len(self._held or b"")

    def flush(self) -> None:
        """Nothing is buffered."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file stays open: its owner closes it."""


def _parquet_writer(sink: _Sink, compression: Compression, level: int) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    if compression not in ("zstd", "gzip", None) or not 0 <= level <= 9:
        raise InvalidRequest(f"there is no compression {compression!r} of level {level}")
    names = [name for name in schema().names if name != "metadata" and name not in DIGEST_COLUMNS]
    names += ["metadata.key_value.key", "metadata.key_value.value"]
    levels = ZSTD_LEVELS if compression == "zstd" else GZIP_LEVELS
    codecs = {**dict.fromkeys(names, compression or "none"), **dict.fromkeys(DIGEST_COLUMNS, "none")}
    return pq.ParquetWriter(
        sink,
        schema(),
        version="2.6",
        compression=codecs,
        compression_level=dict.fromkeys(names, levels[level]) if compression else None,
        use_dictionary=DICTIONARY_COLUMNS,
        write_statistics=STATISTICS_COLUMNS,
        write_page_index=True,
        write_page_checksum=True,
        store_schema=False,
    )

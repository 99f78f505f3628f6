"""Sealing: groups of the log become a finished segment in a temporary file.

The rows gather as columns, are sorted once, and go out a row group at a time, hashed on their way. Most of the latter
is done by Arrow outside of the interpreter's lock. Between two pieces of what is not, a few milliseconds each, ``pace``
is called, so that whoever serves requests gets its turn. Memory: between two and three times the leaves and values.
"""

from __future__ import annotations

from struct import iter_unpack
from typing import TYPE_CHECKING, NamedTuple, Self

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, edge_root, grow
from scribe_ledger.objects.paths import segment_id_of_path, segment_path
from scribe_ledger.objects.temporary import TemporaryFile
from scribe_ledger.segments.columns import Columns, Group
from scribe_ledger.segments.cutting import cut_row_groups
from scribe_ledger.segments.footer import Footer, Place
from scribe_ledger.segments.rebuilding import hash_bytes_of
from scribe_ledger.segments.schema import FOOTER_KEY, schema
from scribe_ledger.segments.segment import Segment
from scribe_ledger.segments.sink import Compression, Sink, buffered, parquet_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Compression", "Group", "SealedSegment", "gather", "seal", "write_segment"]

PIECE_ENTRIES = 1024
PIECE_BYTES = 4 << 20
"""How much is taken apart between two calls of ``pace``."""


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


def gather(
    groups: Iterable[Group],
    *,
    check: Callable[[Group, bytes], object] = lambda _piece, _hashes: None,
    pace: Callable[[], object] = lambda: None,
) -> Columns:
    """The columns of contiguous groups.

    ``check`` is called with each piece and its leaf hashes, and raises what is against sealing it.
    """
    columns: Columns | None = None
    for piece in _pieces(groups):
        if columns is None:
            columns = Columns(piece.first_index)
        elif piece.first_index != columns.stop:
            raise InvalidRequest(
                f"the group at {piece.first_index} does not follow the one that ends at {columns.stop}"
            )
        check(piece, columns.add(piece.leaves, piece.values))
        pace()
    if columns is None:
        raise InvalidRequest("there is nothing to seal")
    return columns


def seal(
    columns: Columns,
    *,
    ledger_id: str,
    folder: Path,
    compression: Compression = "zstd",
    level: int = 6,
    pace: Callable[[], object] = lambda: None,
) -> SealedSegment:
    """Write the segment of what was gathered into ``folder``. Nothing is synced: a put into a store does that."""
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
    file = TemporaryFile(folder)
    try:
        sink = Sink(file)
        with buffered(sink) as stream:
            with parquet_writer(stream, compression, level) as writer:
                written = _write_rows(writer, table, pace)
                footer = _footer_of(table, ledger_id, written)
                writer.add_key_value_metadata({FOOTER_KEY: footer.encode()})
                stream.flush()
                sink.hold_back()
            stream.flush()
        sink.release()
        return SealedSegment(file, _describe(table, footer, written, sink, log_bytes))
    except BaseException:
        file.close()
        raise


class _Written(NamedTuple):
    """What is known once all rows went out, in the order of the file."""

    edge: Edge
    places: list[Place]
    max_key: bytes


def _write_rows(writer: pq.ParquetWriter, table: pa.Table, pace: Callable[[], object]) -> _Written:
    import pyarrow.compute as pc

    order = pc.sort_indices(table, sort_keys=[("key", "ascending"), ("index", "descending")])
    pace()
    edge, places, max_key = EMPTY_EDGE, [], b""
    for rows in cut_row_groups(table, order):
        group = table.take(rows)
        edge = _grow(edge, hash_bytes_of(group.column("leaf_hash")), pace)
        keys, indexes = group.column("key"), group.column("index")
        places.append((keys[0].as_py(), -indexes[0].as_py()))
        max_key = keys[-1].as_py()
        writer.write_table(group.select(schema().names).cast(schema()), row_group_size=len(rows))
        pace()
    return _Written(edge, places, max_key)


def _grow(edge: Edge, hashes: memoryview, pace: Callable[[], object]) -> Edge:
    step = HASH_BYTES * PIECE_ENTRIES
    for start in range(0, len(hashes), step):
        edge, _ = grow(edge, [found for (found,) in iter_unpack("32s", hashes[start : start + step])])
        pace()
    return edge


def _footer_of(table: pa.Table, ledger_id: str, written: _Written) -> Footer:
    import pyarrow.compute as pc

    bounds = pc.min_max(table.column("index")).as_py()
    return Footer(ledger_id, bounds["min"], bounds["max"], len(table), edge_root(written.edge), written.places)


def _describe(table: pa.Table, footer: Footer, written: _Written, sink: Sink, log_bytes: int) -> Segment:
    import pyarrow as pa
    import pyarrow.compute as pc

    last = pc.index(table.column("index"), pa.scalar(footer.last_index, pa.uint64())).as_py()
    digest = sink.sha256.digest()
    path = segment_path(footer.first_index, footer.last_index, digest)
    return Segment(
        segment_id=segment_id_of_path(path),
        first_index=footer.first_index,
        last_index=footer.last_index,
        min_key=written.places[0][0],
        max_key=written.max_key,
        count=footer.count,
        size=sink.size,
        log_bytes=log_bytes,
        path=path,
        sha256=digest,
        merkle_root=footer.merkle_root,
        timestamp=table.column("timestamp")[last].value % (1 << 64),
    )


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

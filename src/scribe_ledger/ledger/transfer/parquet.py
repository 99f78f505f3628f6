"""Entries as Parquet: one row each, in columns that analysts' tools read.

A value above ``STREAMED_BYTES`` spans several rows: the first has every field and the first part of the value, those
after it only ``index``, ``part`` (1, 2, …) and the next part. So no cell is large, and a value of any size is written
and read in bounded memory. Row groups are cut by rows and by bytes.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from scribe_ledger.errors import SerializationError
from scribe_ledger.ledger.transfer.rows import STREAMED_BYTES, make_row, malformed
from scribe_ledger.merkle.hashing import ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.model import Entry

GROUP_ROWS = 10_000
GROUP_BYTES = 16 << 20
READ_ROWS = 500

SCHEMA = pa.schema(
    [
        pa.field("index", pa.uint64()),
        pa.field("kind", pa.string()),
        pa.field("key", pa.binary()),
        pa.field("version", pa.uint64()),
        pa.field("timestamp", pa.timestamp("ms", tz="UTC")),
        pa.field("previous", pa.uint64()),
        pa.field("content_type", pa.string()),
        pa.field("metadata", pa.map_(pa.string(), pa.string())),
        pa.field("size", pa.uint64()),
        pa.field("sha256", pa.binary(32)),
        pa.field("chunk_root", pa.binary(32)),
        pa.field("leaf_hash", pa.binary(32)),
        pa.field("part", pa.uint32()),
        pa.field("value", pa.binary()),
    ]
)


class ParquetWriter:
    """Writes entries to a binary stream, which stays the caller's."""

    def __init__(self, file: IO[bytes]) -> None:
        self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, entry: Entry, value: IO[bytes] | None = None) -> None:
        """``value`` gives the value of an entry that is too large to be held."""
        row = {
            "index": entry.index,
            "kind": entry.kind.name.lower(),
            "key": entry.key,
            "version": entry.version,
            "timestamp": entry.timestamp,
            "previous": entry.previous,
            "content_type": entry.content_type,
            "metadata": list(entry.metadata.items()),
            "size": entry.size,
            "sha256": entry.sha256,
            "chunk_root": None if entry.chunk_root == ZERO_HASH else entry.chunk_root,
            "leaf_hash": entry.leaf_hash,
            "part": 0,
            "value": None if entry.deleted else entry.value if value is None else value.read(STREAMED_BYTES),
        }
        self._append(row)
        if value is not None:
            for part, piece in enumerate(iter(lambda: value.read(STREAMED_BYTES), b""), 1):
                self._append({"index": entry.index, "part": part, "value": piece})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Writes what is held back, and the footer. After an error the file is of no use, and only let go."""
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def _append(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._bytes += len(row["value"] or b"") + 512
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []
            self._bytes = 0


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a file, one at a time."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from _whole_rows(_plain_rows(file))
    except pa.ArrowException as error:
        raise SerializationError(f"{path} cannot be read as Parquet: {error}") from error


def _plain_rows(file: pq.ParquetFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file's rows as they stand, with their places."""
    number = 0
    for group in range(file.num_row_groups):  # a batch over several groups would hold them all
        for batch in file.iter_batches(READ_ROWS, row_groups=[group]):
            columns = {name: _plain(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            for values in zip(*columns.values(), strict=True):
                number += 1
                yield f"row {number}", dict(zip(columns, values, strict=True))


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz=column.type.tz)).cast(pa.int64())
    return column.to_pylist()  # type: ignore[no-any-return]


def _whole_rows(rows: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[Row]:
    """Joins the parts of a value: the row that begins it gets an iterator over them."""
    parts = _Parts(rows)
    while (found := parts.take()) is not None:
        place, fields = found
        if fields.pop("part", None):
            raise malformed(place, "it is part of a value that does not begin before it")
        for name in ("key", "value"):
            fields[name] = _to_bytes(place, fields.get(name), name)
        pieces = None
        if parts.next_is_part():
            pieces = fields["value"] = chain([fields["value"] or b""], parts.pieces(fields.get("index")))
        yield make_row(place, fields)
        if pieces is not None:
            for _ in pieces:  # what the caller did not want
                pass


class _Parts:
    """Rows with one of them seen ahead, to know whether a value goes on."""

    def __init__(self, rows: Iterator[tuple[str, dict[str, Any]]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def take(self) -> tuple[str, dict[str, Any]] | None:
        taken, self._next = self._next, next(self._rows, None)
        return taken

    def next_is_part(self) -> bool:
        return self._next is not None and bool(self._next[1].get("part"))

    def pieces(self, index: object) -> Iterator[bytes]:
        wanted = 1
        while self._next is not None and self.next_is_part():
            place, fields = self._next
            if fields["part"] != wanted or fields.get("index") != index:
                raise malformed(place, f"it is not part {wanted} of the value of entry {index}")
            piece = _to_bytes(place, fields.get("value"), "value")
            yield piece or b""
            self.take()
            wanted += 1


def _to_bytes(place: str, value: object, name: str) -> bytes | None:
    """Text is taken for its UTF-8, as other programs write keys and values."""
    if isinstance(value, str):
        return value.encode()
    if value is None or isinstance(value, bytes):
        return value
    raise malformed(place, f"the column {name} is neither bytes nor text")

"""Leaves put together again from the columns of a segment, in bulk: the reverse of ``columns``.

What cannot be a leaf is refused here; whether it is the right one is decided by its hash.
"""

from __future__ import annotations

from itertools import repeat
from operator import add
from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, Any

from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import FORMAT, HEADER, SHA256_ALGORITHM, encode_tail
from scribe_ledger.model import NO_PREVIOUS, Kind
from scribe_ledger.segments.schema import KIND_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_WORDED_HEADER = Struct(">IQQQQQ32s32s")
"""The header of a leaf, with its first four bytes as one number."""
_WORDS = {name: FORMAT << 24 | SHA256_ALGORITHM << 16 | kind << 8 for kind, name in KIND_NAMES.items()}
_CONFIG = KIND_NAMES[Kind.CONFIG]
_PLAIN = b"\0\0\0\0"
_KEY_LENGTH = Struct(">H")

assert _WORDED_HEADER.size == HEADER.size


def leaves_of(table: pa.Table) -> list[bytes]:
    """The leaf of each row. Raises ValueError, or a ScribeError, for fields of which no leaf can be made."""
    kinds = table.column("kind").to_pylist()
    if unknown := set(kinds) - _WORDS.keys():
        raise ValueError(f"there is no kind {min(unknown)!r}")
    headers = map(
        _WORDED_HEADER.pack,
        map(_WORDS.__getitem__, kinds),
        numbers_of(table.column("index")),
        numbers_of(table.column("timestamp")),
        numbers_of(table.column("version")),
        numbers_of(_filled(table.column("previous"), NO_PREVIOUS)),
        numbers_of(table.column("size")),
        hashes_of(table.column("sha256")),
        hashes_of(_filled(table.column("chunk_root"), ZERO_HASH)),
    )
    return [*map(add, headers, _tails(table, kinds))]


def numbers_of(column: pa.ChunkedArray) -> list[int]:
    """A column of 64-bit numbers without nulls, all read as unsigned."""
    array = column.combine_chunks()
    return memoryview(array.buffers()[1]).cast("Q")[array.offset : array.offset + len(array)].tolist()


def hashes_of(column: pa.ChunkedArray) -> list[bytes]:
    """A column of digests without nulls."""
    return [found for (found,) in iter_unpack("32s", hash_bytes_of(column))]


def hash_bytes_of(column: pa.ChunkedArray) -> memoryview:
    """The same, joined."""
    array = column.combine_chunks()
    start = array.offset * HASH_BYTES
    return memoryview(array.buffers()[1])[start : start + len(array) * HASH_BYTES]


def _filled(column: pa.ChunkedArray, filler: Any) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.fill_null(pa.scalar(filler, column.type)) if column.null_count else column


def _tails(table: pa.Table, kinds: list[str]) -> Iterable[bytes]:
    """What follows the header. Nearly all entries have no metadata, and few different content types."""
    keys = table.column("key").to_pylist()
    content_types = table.column("content_type").to_pylist()
    metadata = table.column("metadata").combine_chunks()
    if len(metadata.items):
        return map(_tail, keys, content_types, metadata.to_pylist(), kinds)
    lengths = map(_KEY_LENGTH.pack, map(len, keys))
    texts = {text: encode_tail(b"", text, system=True)[_KEY_LENGTH.size :] for text in set(content_types)}
    ends: Iterable[bytes] = repeat(_PLAIN) if texts == {"": _PLAIN} else map(texts.__getitem__, content_types)
    return map(add, map(add, lengths, keys), ends)


def _tail(key: bytes, content_type: str, metadata: list[tuple[str, str]], kind: str) -> bytes:
    return encode_tail(key, content_type, dict(metadata), system=kind == _CONFIG)

"""``Columns``: leaves and values taken apart into the columns of a segment. This is the hot loop of sealing.

Leaves are cut by Arrow, a whole column at a time and outside of the interpreter's lock; numbers turn round by one
``byteswap``. What is done for each entry in Python is to take its length and its hash, so little else counts. The text
after a key (content type and metadata) is taken as one piece, decoded once however many entries have it.

The entries were checked when they were written, so this looks only for what would make a wrong file: unknown leaf
formats and kinds, and an index out of line.
"""

from __future__ import annotations

from array import array
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import SerializationError
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER, decode_leaf
from scribe_ledger.model import NO_PREVIOUS, Kind
from scribe_ledger.segments.schema import KIND_NAMES, schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

_PLAIN = b"\0\0\0\0"
"""What follows the key of an entry that has neither content type nor metadata."""
_TAIL_BYTES = 2 + len(_PLAIN)
_WORDS = {bytes((1, 1, kind, 0)): kind for kind in KIND_NAMES}
"""The first four bytes of a leaf: format, hash algorithm, kind, flags."""


class Group(NamedTuple):
    """A run of entries. ``values`` has b"" for a delete and a large value: the leaf says which it is."""

    first_index: int
    leaves: list[bytes]
    values: list[bytes]


class Columns:
    """Grows piece by piece; ``table`` then gives all rows, in the order of the log."""

    def __init__(self, first_index: int) -> None:
        self.first_index = self.stop = first_index
        self.log_bytes = 0
        self._kinds = bytearray()
        self._numbers = {name: array("Q") for name in ("index", "timestamp", "version", "previous", "size")}
        self._sha256, self._chunk_root, self._leaf_hash = bytearray(), bytearray(), bytearray()
        self._keys, self._key_ends = bytearray(), array("q", [0])
        self._values, self._value_ends = bytearray(), array("q", [0])
        self._texts: dict[bytes, int] = {_PLAIN: 0}
        self._text_leaves: list[bytes | None] = [None]
        """For each text a leaf that has it."""
        self._text_of = array("i")

    def add(self, leaves: Sequence[bytes], values: Sequence[bytes]) -> bytes:
        """Takes the next entries of the log: some thousands are a few milliseconds of work. Their hashes."""
        import pyarrow as pa

        count = len(leaves)
        lengths = [*map(len, leaves)]
        ends = array("q", accumulate(lengths, initial=0))
        joined = pa.Array.from_buffers(
            pa.large_binary(), count, [None, pa.py_buffer(ends), pa.py_buffer(b"".join(leaves))]
        )
        headers = _cut(joined, 0, HEADER.size)
        if len(values) != count or len(headers) != count * HEADER.size:
            raise SerializationError(f"the entries from {self.stop} on cannot be sealed: a leaf or value is missing")
        self._add_headers(pa.Array.from_buffers(pa.binary(HEADER.size), count, [None, pa.py_buffer(headers)]))
        hashes = b"".join([sha256(b"\0" + leaf).digest() for leaf in leaves])
        self._leaf_hash += hashes
        key_lengths = _numbers("H", _cut(joined, HEADER.size, HEADER.size + 2)).tolist()
        overhead = HEADER.size + _TAIL_BYTES
        if [length + overhead for length in key_lengths] == lengths:
            self._keys += _cut(joined, HEADER.size + 2, -len(_PLAIN))
            self._text_of.frombytes(bytes(4 * count))
        else:
            self._add_tails(leaves, key_lengths)
        _extend_ends(self._key_ends, key_lengths)
        self._values += b"".join(values)
        _extend_ends(self._value_ends, [*map(len, values)])
        self.log_bytes += ends[-1] + sum(map(len, values))
        return hashes

    def table(self) -> pa.Table:
        """All rows, with the columns of the schema; keys and values as large binary. Nothing can be added after."""
        import pyarrow as pa
        import pyarrow.compute as pc

        count = self.stop - self.first_index

        def fixed(kind: pa.DataType, data: bytearray | array[int]) -> pa.Array:
            return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(data)])

        def binary(data: bytearray, ends: array[int]) -> pa.Array:
            return pa.Array.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(ends), pa.py_buffer(data)])

        kinds = fixed(pa.uint8(), self._kinds)
        inline = pc.not_equal(kinds, pa.scalar(int(Kind.DELETE), pa.uint8()))
        chunk_root: pa.Array = fixed(pa.binary(HASH_BYTES), self._chunk_root)
        if any_root := self._chunk_root.count(0) != len(self._chunk_root):
            is_inline = pc.equal(chunk_root, pa.scalar(ZERO_HASH, pa.binary(HASH_BYTES)))
            chunk_root = pc.if_else(is_inline, pa.scalar(None, chunk_root.type), chunk_root)
            inline = pc.and_(inline, is_inline)
        else:
            chunk_root = pa.nulls(count, chunk_root.type)
        values = binary(self._values, self._value_ends)
        if any_root or self._kinds.count(Kind.DELETE):
            values = pc.if_else(inline, values, pa.scalar(None, values.type))
        previous = fixed(pa.uint64(), self._numbers["previous"])
        previous = pc.if_else(
            pc.equal(previous, pa.scalar(NO_PREVIOUS, pa.uint64())), pa.scalar(None, pa.uint64()), previous
        )
        content_types, metadata = self._decode_texts()
        columns: dict[str, Any] = {
            "kind": pa.array([KIND_NAMES.get(kind, "") for kind in range(max(KIND_NAMES) + 1)]).take(kinds),  # type: ignore[call-overload]
            "key": binary(self._keys, self._key_ends),
            "version": fixed(pa.uint64(), self._numbers["version"]),
            "timestamp": fixed(pa.timestamp("ms", tz="UTC"), self._numbers["timestamp"]),
            "previous": previous,
            "content_type": content_types,
            "metadata": metadata,
            "size": fixed(pa.uint64(), self._numbers["size"]),
            "sha256": fixed(pa.binary(HASH_BYTES), self._sha256),
            "chunk_root": chunk_root,
            "leaf_hash": fixed(pa.binary(HASH_BYTES), self._leaf_hash),
            "index": fixed(pa.uint64(), self._numbers["index"]),
            "value": values,
        }
        return pa.table(columns)

    def _add_headers(self, headers: pa.Array) -> None:
        """The fixed parts of leaves, 108 bytes each."""
        import pyarrow.compute as pc

        count = len(headers)
        words = pc.unique(pc.binary_slice(headers, 0, 4)).to_pylist()
        if unknown := [word.hex() for word in words if word not in _WORDS]:
            raise SerializationError(f"a leaf from {self.stop} on begins with {unknown[0]}, which no segment can hold")
        self._kinds += _cut(headers, 2, 3)
        for place, name in enumerate(("index", "timestamp", "version", "previous", "size")):
            at = 4 + 8 * place
            self._numbers[name] += _numbers("Q", _cut(headers, at, at + 8))
        if self._numbers["index"][-count:] != array("Q", range(self.stop, self.stop + count)):
            raise SerializationError(f"the entries from {self.stop} on cannot be sealed: an index is out of line")
        self._sha256 += _cut(headers, 44, 76)
        self._chunk_root += _cut(headers, 76, 108)
        self.stop += count

    def _add_tails(self, leaves: Sequence[bytes], key_lengths: list[int]) -> None:
        """Keys and texts, for entries some of which have a content type or metadata."""
        start = HEADER.size + 2
        self._keys += b"".join([leaf[start : start + length] for leaf, length in zip(leaves, key_lengths, strict=True)])
        texts = [leaf[start + length :] for leaf, length in zip(leaves, key_lengths, strict=True)]
        for text, leaf in zip(texts, leaves, strict=True):
            if text not in self._texts:
                self._texts[text] = len(self._texts)
                self._text_leaves.append(leaf)
        self._text_of.extend(map(self._texts.__getitem__, texts))

    def _decode_texts(self) -> tuple[pa.Array, pa.Array]:
        import pyarrow as pa

        decoded: list[tuple[str, list[tuple[str, str]]]] = [("", [])] + [
            (found.content_type, [*found.metadata.items()])
            for found in (decode_leaf(leaf) for leaf in self._text_leaves if leaf is not None)
        ]
        places = pa.Array.from_buffers(pa.int32(), len(self._text_of), [None, pa.py_buffer(self._text_of)])
        types, metadata = zip(*decoded, strict=True)
        return (
            pa.array(types, pa.string()).take(places),
            pa.array(metadata, schema().field("metadata").type).take(places),
        )


def _numbers(code: str, data: memoryview) -> array[int]:
    """The numbers that are joined in ``data``, big-endian."""
    numbers = array(code)
    numbers.frombytes(data)
    numbers.byteswap()
    return numbers


def _cut(column: pa.Array, start: int, stop: int) -> memoryview:
    """The same piece of every byte string of a column, joined. All must be as long as ``stop``, or some are missing."""
    import pyarrow.compute as pc

    pieces = pc.binary_slice(column, start, stop)
    return memoryview(pieces.buffers()[-1])


def _extend_ends(ends: array[int], lengths: list[int]) -> None:
    ends.extend([*accumulate(lengths, initial=ends[-1])][1:])

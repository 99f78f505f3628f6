"""The pieces in which one member gives another what it lacks: their bytes, and nothing else.

The first piece is a header, the last a trailer, both JSON. Between them come entries, in the groups that they are
stored in, and then records of the manifest. Numbers are big-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from scribe_ledger.errors import SerializationError
from scribe_ledger.ledger.records import REQUEST_DIGEST_BYTES, U64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMAT = 1
PIECE_BYTES = 100 << 10
HEADER, ENTRIES, MANIFEST, TRAILER = b"H", b"E", b"M", b"T"
_GROUP = struct.Struct(">QIII")
"""index of the first entry, and the lengths of what follows: leaves, values, requests"""
_RECORD = struct.Struct(">II")
_NO_VALUES = (1 << 32) - 1
_REQUEST_BYTES = U64.size + REQUEST_DIGEST_BYTES


class Group(NamedTuple):
    """A run of entries as it is stored, and what the keys remember of whose latest version is among them."""

    first: int
    leaves: bytes
    """A pack, as in ``records``."""
    values: bytes | None
    """A pack; None where they are archived, and gone from the giver's disk."""
    requests: Sequence[bytes]
    """For each entry the request ids that its key remembers, as in the key's record; or nothing for all."""

    @property
    def bytes(self) -> int:
        return len(self.leaves) + len(self.values or b"") + sum(map(len, self.requests))


def encode_fields(kind: bytes, fields: dict[str, Any]) -> bytes:
    return kind + orjson.dumps({"format": FORMAT, **fields})


def decode_fields(text: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(text)
        form = fields["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise SerializationError("what a member has, or was given, cannot be read") from error
    if form != FORMAT:
        raise SerializationError(f"a member gives or asks in format {form}, this program knows {FORMAT}")
    return dict(fields)


def encode_groups(groups: Iterable[Group]) -> bytes:
    parts = [ENTRIES]
    for first, leaves, values, requests in groups:
        remembered = b"".join((bytes([len(each) // _REQUEST_BYTES for each in requests]), *requests))
        held = _NO_VALUES if values is None else len(values)
        parts += (_GROUP.pack(first, len(leaves), held, len(remembered)), leaves, values or b"", remembered)
    return b"".join(parts)


def decode_groups(piece: bytes, at: int = 1) -> Iterator[Group]:
    """``SerializationError`` for what is cut."""
    while at < len(piece):
        try:
            first, leaves_bytes, held, remembered = _GROUP.unpack_from(piece, at)
        except struct.error as error:
            raise _cut() from error
        at += _GROUP.size
        leaves, at = piece[at : at + leaves_bytes], at + leaves_bytes
        values = None if held == _NO_VALUES else piece[at : at + held]
        at += 0 if values is None else held
        requests, at = piece[at : at + remembered], at + remembered
        if at > len(piece):
            raise _cut()
        yield Group(first, leaves, values, _decode_requests(requests, int.from_bytes(leaves[:2], "big")))


def _decode_requests(block: bytes, count: int) -> Sequence[bytes]:
    if not block:
        return ()
    found, at = [], count
    for length in block[:count]:
        stop = at + length * _REQUEST_BYTES
        found.append(block[at:stop])
        at = stop
    if at != len(block) or len(found) != count:
        raise _cut()
    return found


def encode_records(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    return MANIFEST + b"".join([_RECORD.pack(len(key), len(value)) + key + value for key, value in items])


def decode_records(piece: bytes, at: int = 1) -> Iterator[tuple[bytes, bytes]]:
    while at < len(piece):
        try:
            key_bytes, value_bytes = _RECORD.unpack_from(piece, at)
        except struct.error as error:
            raise _cut() from error
        middle = at + _RECORD.size + key_bytes
        if middle + value_bytes > len(piece):
            raise _cut()
        yield piece[at + _RECORD.size : middle], piece[middle : middle + value_bytes]
        at = middle + value_bytes


def _cut() -> SerializationError:
    return SerializationError("a piece of a snapshot is cut")

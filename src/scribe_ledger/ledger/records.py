"""How the ledger's records stand in the store: the one place that knows their bytes.

- Entries are kept in *groups*: runs of consecutive entries near ``GROUP_BYTES``, never across a batch. A group has one
  record of leaves and one of inline values, both under the index of its first entry, both *packs*.
- The key index has one record a key for its latest version (``Latest``). When a later version supersedes it, it moves
  to two history records (by version and by inverted index), so that a key with one version costs one record, and
  ``version=`` and ``as_of=`` are one look-up or one seek in a key of any number of versions.
- A ``Spot`` says where an entry is: its group is ``index - ordinal``, and its value a slice of the group's values.

``docs/reference/formats.md`` describes the same for other readers. ``FORMAT`` rises when any of it changes.
"""

from __future__ import annotations

import struct
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.store import TableReader

FORMAT = 1
GROUP_BYTES = 8192
GROUP_ENTRIES = 128
REMEMBERED_REQUESTS = 16
"""A retry is recognised among this many last versions of its key."""
REQUEST_DIGEST_BYTES = 16

DELETED = 1
IN_BLOB = 2

U64 = struct.Struct(">Q")
LATEST = struct.Struct(">QQHBII8s")
"""index, version, ordinal, flags, offset, length, first bytes of the value digest; then the remembered requests"""
SPOT = struct.Struct(">QQHBII")
_REQUEST = struct.Struct(">Q16s")
_TILE_KEY = struct.Struct(">BQ")
_U16 = struct.Struct(">H")
_PACK_OF_ONE = struct.Struct(">HI")
_LENGTHS = [struct.Struct(f">{count}I") for count in range(GROUP_ENTRIES + 1)]
_MAX_U64 = (1 << 64) - 1


class Spot(NamedTuple):
    """Where one version of a key stands."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    version: int
    ordinal: int
    flags: int
    offset: int
    length: int

    @property
    def group(self) -> int:
        return self.index - self.ordinal

    @property
    def deleted(self) -> bool:
        return bool(self.flags & DELETED)

    @property
    def in_blob(self) -> bool:
        return bool(self.flags & IN_BLOB)


class Latest(NamedTuple):
    """A key's latest version, and the request ids of its last versions."""

    spot: Spot
    digest_prefix: bytes
    requests: dict[bytes, int]
    """request digest → version, the newest ``REMEMBERED_REQUESTS`` versions only"""


def latest_spot(record: bytes) -> Spot:
    """Where the latest version stands, which is all that a read wants of a record of the key index."""
    try:
        spot = Spot._make(SPOT.unpack_from(record))
        if (len(record) - LATEST.size) % _REQUEST.size:
            raise struct.error("the requests are cut")
    except struct.error as error:
        raise Corruption("a record of the key index has the wrong size", hint="run `scribe fsck`") from error
    if spot.ordinal > spot.index:
        raise Corruption("a record of the key index points nowhere", hint="run `scribe fsck`")
    return spot


def decode_latest(record: bytes) -> Latest:
    spot = latest_spot(record)
    requests = {digest: earlier for earlier, digest in _REQUEST.iter_unpack(record[LATEST.size :])}
    return Latest(spot, record[SPOT.size : LATEST.size], requests)


def remembered(requests: dict[bytes, int], version: int) -> dict[bytes, int]:
    """What of a key's request ids is still known once the key is at ``version``."""
    oldest = version - REMEMBERED_REQUESTS
    return {digest: earlier for digest, earlier in requests.items() if earlier > oldest}


def encode_requests(requests: dict[bytes, int]) -> bytes:
    return b"".join([_REQUEST.pack(earlier, digest) for digest, earlier in requests.items()])


def encode_first_request(digest: bytes) -> bytes:
    """The same for a key's first version; empty if that came without a request id."""
    return _REQUEST.pack(1, digest) if digest else b""


def decode_spot(record: bytes) -> Spot:
    try:
        spot = Spot._make(SPOT.unpack(record))
    except struct.error as error:
        raise Corruption("a history record has the wrong size", hint="run `scribe fsck`") from error
    if spot.ordinal > spot.index:
        raise Corruption("a history record points nowhere", hint="run `scribe fsck`")
    return spot


def version_key(key: bytes, version: int) -> bytes:
    return _U16.pack(len(key)) + key + b"v" + U64.pack(version)


def index_key(key: bytes, index: int) -> bytes:
    """Inverted, so that a seek upwards finds the newest entry at or below ``index``."""
    return _U16.pack(len(key)) + key + b"i" + U64.pack(_MAX_U64 - index)


def index_prefix(key: bytes) -> bytes:
    return _U16.pack(len(key)) + key + b"i"


def superseded_until(history: TableReader, key: bytes, index: int) -> Spot | None:
    """The newest version of a key at or below an index, of those that are not its latest."""
    start = index_key(key, index)
    found = history.seek(start)
    return decode_spot(found[1]) if found and found[0].startswith(start[: -U64.size]) else None


def key_of_history(record_key: bytes) -> bytes:
    return record_key[2 : 2 + int.from_bytes(record_key[:2], "big")]


def tile_key(level: int, index: int) -> bytes:
    return _TILE_KEY.pack(level, index)


# --- packs: several byte strings in one record -----------------------------------------------------------------


def pack(items: Sequence[bytes], lengths: Sequence[int]) -> bytes:
    """A count, the length of each item, then the items."""
    count = len(items)
    return b"".join((struct.pack(f">H{count}I", count, *lengths), *items))


def pack_one(item: bytes) -> bytes:
    return _PACK_OF_ONE.pack(1, len(item)) + item


def pack_header_bytes(count: int) -> int:
    return 2 + 4 * count


def unpack(record: bytes) -> list[bytes]:
    lengths = _lengths(record)
    offsets = accumulate(lengths, initial=pack_header_bytes(len(lengths)))
    return [record[start:end] for start, end in pairwise(offsets)]


def count_of(record: bytes) -> int:
    return len(_lengths(record))


def unpack_item(record: bytes, ordinal: int) -> bytes:
    lengths = _lengths(record)
    if ordinal >= len(lengths):
        raise Corruption("a group has fewer entries than its index says", hint="run `scribe fsck`")
    start = pack_header_bytes(len(lengths)) + sum(lengths[:ordinal])
    return record[start : start + lengths[ordinal]]


def _lengths(record: bytes) -> tuple[int, ...]:
    try:
        (count,) = _U16.unpack_from(record)
        lengths: tuple[int, ...] = _LENGTHS[count].unpack_from(record, 2)
    except IndexError as error:
        raise Corruption("a group record has more entries than a group", hint="run `scribe fsck`") from error
    except struct.error as error:
        raise Corruption("a group record is cut", hint="run `scribe fsck`") from error
    if pack_header_bytes(count) + sum(lengths) != len(record):
        raise Corruption("a group record has the wrong size", hint="run `scribe fsck`")
    return lengths

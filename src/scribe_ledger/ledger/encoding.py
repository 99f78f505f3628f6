"""Encoding: turns what a batch appends into leaves, hashes and store records. This is the hot loop of every write.

It works on columns: one pass over a whole field of all entries costs a fraction of one pass over all fields of each
entry. What the records are is written in ``records``.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from hashlib import sha256
from itertools import accumulate, repeat
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.ledger import records
from scribe_ledger.ledger.commands import columns_of
from scribe_ledger.ledger.records import DELETED, IN_BLOB, LATEST, SPOT, U64
from scribe_ledger.ledger.store import Table, TableReader, WriteBatch
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.merkle.tree import Edge, grow
from scribe_ledger.model import NO_PREVIOUS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.judging import Judged

_WORDED_HEADER = struct.Struct(">IQQQQQ32s32s")
"""A leaf's header with its first four bytes, format to flags, as one number: fewer arguments for each entry."""
_WORDS = {kind: 0x01010000 | kind << 8 for kind in Kind}
_PUT_WORD = _WORDS[Kind.PUT]

assert _WORDED_HEADER.size == HEADER.size


class Encoded(NamedTuple):
    """What the batch adds to the tree and to the totals."""

    edge: Edge
    hashes: list[bytes]
    digests: Sequence[bytes]
    value_bytes: int
    blob_bytes: int
    log_bytes: int


def encode(
    write: WriteBatch,
    judged: Judged,
    edge: Edge,
    timestamps: Iterable[int],
    blobs: TableReader,
    *,
    values_archived: bool = False,
) -> Encoded:
    """Fills ``write`` with the records of all entries that ``judged`` appends to the tree at ``edge``.

    With ``values_archived`` the values are in a segment and stay there; all other records are as if they were here.
    """
    commands, first = judged.commands, edge.size
    if (
        len(commands) == 1
        and commands[0].kind is Kind.PUT
        and judged.versions[0] == 1
        and commands[0].value is not None
        and not values_archived
    ):
        return _encode_put(write, commands[0], edge, next(iter(timestamps)))
    kinds, keys, tails, values, sizes, digests, chunk_roots, _, _, _ = columns_of(commands)
    count = len(kinds)
    plain = kinds.count(Kind.PUT) == count and None not in values
    indexes = range(first, first + count)
    words = repeat(_PUT_WORD) if plain else [_WORDS[kind] for kind in kinds]
    previous = judged.previous
    headers = map(
        _WORDED_HEADER.pack, words, indexes, timestamps, judged.versions, previous, sizes, digests, chunk_roots
    )
    leaves = list(map(add, headers, tails))
    hashes = [sha256(b"\0" + leaf).digest() for leaf in leaves]

    grown, full_tiles = grow(edge, hashes)
    for tile in full_tiles:
        write.put(Table.TREE, records.tile_key(tile.level, tile.index), tile.nodes)

    flags = [0] * count if plain else [_flags(command) for command in commands]
    lengths = list(sizes) if plain else [0 if flag else size for flag, size in zip(flags, sizes, strict=True)]
    held = None if values_archived else [value or b"" for value in values]
    slices = _write_groups(write, first, leaves, held, lengths)
    latest = map(LATEST.pack, indexes, judged.versions, slices.ordinals, flags, slices.offsets, slices.lengths, digests)
    _write_keys(write, judged, keys, latest)
    for key, spot, place in judged.superseded:
        if place >= 0:
            spot = spot._replace(  # noqa: PLW2901  # judged before its place in a group was known
                ordinal=slices.ordinals[place],
                flags=flags[place],
                offset=slices.offsets[place],
                length=slices.lengths[place],
            )
        record = SPOT.pack(*spot)
        write.put(Table.HISTORY, records.version_key(key, spot.version), record)
        write.put(Table.HISTORY, records.index_key(key, spot.index), record)
    blob_bytes = 0 if plain else _write_blobs(write, commands, first, blobs)
    return Encoded(grown, hashes, digests, sum(sizes), blob_bytes, sum(map(len, leaves)) + sum(lengths))


def _encode_put(write: WriteBatch, command: Command, edge: Edge, timestamp: int) -> Encoded:
    """The same records for the lone put of a new key, in a third of the time: it is what one writer waits for."""
    _, key, tail, value, size, digest, chunk_root, request, _, _ = command
    assert value is not None
    index = edge.size
    header = _WORDED_HEADER.pack(_PUT_WORD, index, timestamp, 1, NO_PREVIOUS, size, digest, chunk_root)
    leaf = header + tail
    leaf_hash = sha256(b"\0" + leaf).digest()
    grown, full_tiles = grow(edge, [leaf_hash])
    for tile in full_tiles:
        write.put(Table.TREE, records.tile_key(tile.level, tile.index), tile.nodes)
    group = U64.pack(index)
    write.put(Table.LEAVES, group, records.pack_one(leaf))
    write.put(Table.VALUES, group, records.pack_one(value))
    latest = LATEST.pack(index, 1, 0, 0, records.pack_header_bytes(1), size, digest)
    write.put(Table.KEYS, key, latest + records.encode_first_request(request))
    return Encoded(grown, [leaf_hash], [digest], size, 0, len(leaf) + size)


class _Slices(NamedTuple):
    """Where each entry of a batch went: its ordinal in its group, and its slice of the group's values."""

    ordinals: Sequence[int]
    offsets: list[int]
    lengths: list[int]


def _write_groups(
    write: WriteBatch, first: int, leaves: list[bytes], values: Sequence[bytes] | None, lengths: list[int]
) -> _Slices:
    """Cuts a batch into groups and writes their two records; without ``values`` only that of the leaves."""
    count = len(leaves)
    ends = [*accumulate(lengths, initial=0)]
    if ends[-1] <= records.GROUP_BYTES and count <= records.GROUP_ENTRIES:
        _write_group(write, first, leaves, values, lengths)
        shift = records.pack_header_bytes(count)
        return _Slices(range(count), [at + shift for at in ends[:-1]], lengths)
    ordinals: list[int] = []
    offsets: list[int] = []
    start = 0
    while start < count:
        end = bisect_right(ends, ends[start] + records.GROUP_BYTES, start + 1, count + 1) - 1
        end = min(max(end, start + 1), start + records.GROUP_ENTRIES)
        part = None if values is None else values[start:end]
        _write_group(write, first + start, leaves[start:end], part, lengths[start:end])
        shift = records.pack_header_bytes(end - start) - ends[start]
        ordinals += range(end - start)
        offsets += [at + shift for at in ends[start:end]]
        start = end
    return _Slices(ordinals, offsets, lengths)


def _write_group(
    write: WriteBatch, first: int, leaves: Sequence[bytes], values: Sequence[bytes] | None, lengths: Sequence[int]
) -> None:
    group = U64.pack(first)
    write.put(Table.LEAVES, group, records.pack(leaves, [*map(len, leaves)]))
    if values is not None:
        write.put(Table.VALUES, group, records.pack(values, lengths))


def _write_keys(write: WriteBatch, judged: Judged, keys: Sequence[bytes], latest: map[bytes]) -> None:
    if judged.requests is None:
        write.put_many(Table.KEYS, keys, latest)
        return
    complete = map(add, latest, judged.requests)
    if all(keys):
        write.put_many(Table.KEYS, keys, complete)
        return
    for key, record in zip(keys, complete, strict=True):
        if key:  # system entries have none
            write.put(Table.KEYS, key, record)


def _write_blobs(write: WriteBatch, commands: Sequence[Command], first: int, blobs: TableReader) -> int:
    """Notes which large values are referred to for the first time; how many bytes those have."""
    fresh: dict[bytes, int] = {}
    for place, command in enumerate(commands):
        if command.in_blob and blobs.get(command.sha256) is None:
            fresh.setdefault(command.sha256, place)
    for digest, place in fresh.items():
        write.put(Table.BLOBS, digest, U64.pack(first + place))
    return sum(commands[place].size for place in fresh.values())


def _flags(command: Command) -> int:
    if command.kind is Kind.DELETE:
        return DELETED
    return IN_BLOB if command.in_blob else 0

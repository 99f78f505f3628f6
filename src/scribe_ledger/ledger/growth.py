"""``Growth``: what entries add to a state, by what their leaves and values say alone. Nothing is read or written.

Entries must stand where their leaves say, one after the other, and each value that is there must match its leaf. What
follows from the keys, such as how many of them have a value now, is for whoever looks them up.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import VerificationError
from scribe_ledger.ledger import records
from scribe_ledger.ledger.records import DELETED, IN_BLOB
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.merkle.tree import grow
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.machine import State
    from scribe_ledger.merkle.tree import FullTile


class Entries(NamedTuple):
    """A run of entries as it is stored."""

    first: int
    leaves: list[bytes]
    values: list[bytes] | None
    """None where they are archived only."""
    requests: Sequence[bytes]
    leaf_pack: bytes
    value_pack: bytes | None

    @classmethod
    def packed(cls, first: int, leaves: list[bytes], values: list[bytes] | None, requests: Sequence[bytes]) -> Entries:
        leaf_pack = records.pack(leaves, [*map(len, leaves)])
        value_pack = None if values is None else records.pack(values, [*map(len, values)])
        return cls(first, leaves, values, requests, leaf_pack, value_pack)


class Fields(NamedTuple):
    """What the leaves of a run say, each field for all of them."""

    indexes: tuple[int, ...]
    versions: tuple[int, ...]
    previous: tuple[int, ...]
    sizes: tuple[int, ...]
    digests: tuple[bytes, ...]
    flags: list[int]
    lengths: list[int]
    """Of the values that stand among the entries: neither deleted, nor in a file of their own."""


class Growth:
    def __init__(self, before: State) -> None:
        self._before = before
        self._hashes: list[bytes] = []
        self._keys = self._value_bytes = self._log_bytes = 0
        self._timestamp = before.timestamp

    def add(self, group: Entries) -> Fields:
        """``VerificationError`` for what does not follow, or is not what it says."""
        following = self._before.size + len(self._hashes)
        if group.first != following:
            raise VerificationError(f"entry {following} is lacking: entry {group.first} follows")
        try:
            headers = [*map(HEADER.unpack_from, group.leaves)]
        except struct.error as error:
            raise VerificationError(f"entry {group.first} or one after it has no leaf") from error
        _, _, kinds, _, indexes, timestamps, versions, previous, sizes, digests, chunk_roots = zip(
            *headers, strict=True
        )
        if indexes != tuple(range(group.first, group.first + len(headers))):
            raise VerificationError(f"entry {group.first} or one after it is in the wrong place")
        flags = [
            DELETED if kind == Kind.DELETE else 0 if root == ZERO_HASH else IN_BLOB
            for kind, root in zip(kinds, chunk_roots, strict=True)
        ]
        lengths = [0 if flag else size for flag, size in zip(flags, sizes, strict=True)]
        if group.values is not None:
            _check_values(group.first, group.values, lengths, digests, flags)
        self._hashes += [sha256(b"\0" + leaf).digest() for leaf in group.leaves]
        self._keys += versions.count(1)
        self._value_bytes += sum(sizes)
        self._log_bytes += sum(map(len, group.leaves)) + sum(lengths)
        self._timestamp = timestamps[-1]
        return Fields(indexes, versions, previous, sizes, digests, flags, lengths)

    def end(self, live: int = 0, blob_bytes: int = 0) -> tuple[State, list[FullTile]]:
        """The state after all of them, and the tiles that became full."""
        before = self._before
        edge, full = grow(before.edge, self._hashes)
        after = before._replace(
            timestamp=self._timestamp,
            size=edge.size,
            keys=before.keys + self._keys,
            live=before.live + live,
            value_bytes=before.value_bytes + self._value_bytes,
            blob_bytes=before.blob_bytes + blob_bytes,
            log_bytes=before.log_bytes + self._log_bytes,
            edge=edge,
        )
        return after, full


def _check_values(
    first: int, values: Sequence[bytes], lengths: list[int], digests: Sequence[bytes], flags: list[int]
) -> None:
    if [*map(len, values)] != lengths:
        raise VerificationError(f"a value of entry {first}, or of one after it, has another size than its leaf")
    for place, (value, digest, flag) in enumerate(zip(values, digests, flags, strict=True)):
        if not flag and sha256(value).digest() != digest:
            raise VerificationError(f"the value of entry {first + place} does not match its digest")

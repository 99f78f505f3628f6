"""What this ledger itself holds of a range: what a segment is compared with before anything rests on it.

Leaf hashes come from the tree, which is what is signed and what members agree on, and not from the leaves: an altered
leaf would hide an altered object. Digests of values come from the leaves, since those will judge what is read.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import DIGEST
from scribe_ledger.merkle.tiles import TILE_WIDTH
from scribe_ledger.model import Kind
from scribe_ledger.segments.comparing import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.columns import Group
    from scribe_ledger.segments.segment import Segment

PIECE_ENTRIES = 16 * TILE_WIDTH
"""So much is read between two calls of ``pace``."""
_KIND_AT, _CHUNK_ROOT = 2, slice(DIGEST.stop, DIGEST.stop + HASH_BYTES)
"""Where a leaf has these."""
_DELETE = int(Kind.DELETE)


def held(ledger: ServedLedger, segment: Segment, pace: Callable[[], object]) -> Held:
    """Of a segment's range. Memory: 65 bytes for each entry."""
    hashes, digests, inline = bytearray(), bytearray(), bytearray()
    for start in range(segment.first_index, segment.stop, PIECE_ENTRIES):
        stop = min(start + PIECE_ENTRIES, segment.stop)
        leaves = ledger.leaves(start, stop)
        hashes += leaf_hashes(ledger, start, stop)
        digests += b"".join([leaf[DIGEST] for leaf in leaves])
        inline += bytes([leaf[_CHUNK_ROOT] == ZERO_HASH and leaf[_KIND_AT] != _DELETE for leaf in leaves])
        pace()
    return Held(segment.first_index, hashes, digests, inline)


def leaf_hashes(ledger: ServedLedger, start: int, stop: int) -> bytes:
    """From the level 0 tiles of the tree, joined."""
    size = ledger.size
    tiles = [
        ledger.tile(0, index, min(TILE_WIDTH, size - index * TILE_WIDTH))
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH))
    ]
    skipped = start % TILE_WIDTH
    return b"".join(tiles)[skipped * HASH_BYTES : (skipped + stop - start) * HASH_BYTES]


def check_is_whole(ledger: ServedLedger, piece: Group, hashes: bytes) -> None:
    """Of what is to be sealed, with its leaf hashes: they must be the tree's, and each value must match its leaf."""
    first, leaves = piece.first_index, piece.leaves
    if hashes != leaf_hashes(ledger, first, first + len(leaves)):
        raise _damaged(first, len(leaves), "the leaves do not match the tree")
    if [sha256(value).digest() for value in piece.values] != [leaf[DIGEST] for leaf in leaves] and any(
        map(_is_altered, leaves, piece.values)
    ):
        raise _damaged(first, len(leaves), "the values do not match their digests")


def _is_altered(leaf: bytes, value: bytes) -> bool:
    has_one = leaf[_CHUNK_ROOT] == ZERO_HASH and leaf[_KIND_AT] != _DELETE
    return has_one and sha256(value).digest() != leaf[DIGEST]


def _damaged(first: int, count: int, what: str) -> Corruption:
    return Corruption(
        f"entries {first} to {first + count - 1} cannot be archived: {what}",
        hint="run `scribe fsck`; it names the entry",
    )

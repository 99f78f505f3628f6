"""Tiles: how the tree is cut for storage and for the wire, after C2SP tlog-tiles (https://c2sp.org/tlog-tiles).

A tile is 256 neighbouring hashes of one level, where level ``l`` holds the roots of perfect subtrees of 256**l leaves.
A tile on the wire is those hashes alone; locally a full tile is kept *expanded*, with its inner nodes, so that a proof
costs slices instead of hashing. Entry bundles hold the leaves below one level 0 tile.

Every reader here is strict: one spelling of a path, one encoding of a bundle, nothing left over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import InvalidRequest, SerializationError, TooLarge
from scribe_ledger.merkle.hashing import HASH_BYTES, hash_pairs
from scribe_ledger.model import MAX_LEAF_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

TILE_HEIGHT = 8
TILE_WIDTH = 256
TILE_BYTES = TILE_WIDTH * HASH_BYTES
EXPANDED_BYTES = (2 * TILE_WIDTH - 1) * HASH_BYTES
MAX_LEVEL = 63

_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


class TileId(NamedTuple):
    """What a tile path names. ``level`` is None for an entry bundle."""

    level: int | None
    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    width: int


# --- expanded tiles --------------------------------------------------------------------------------------------


def expand_tile(hashes: bytes) -> bytes:
    """All nodes of a full tile: its 256 hashes, then their 128 parents, and so on up to the one root."""
    if len(hashes) != TILE_BYTES:
        raise InvalidRequest(f"a full tile has {TILE_BYTES} bytes, this one has {len(hashes)}")
    rows = [hashes]
    while len(rows[-1]) > HASH_BYTES:
        rows.append(hash_pairs(rows[-1]))
    return b"".join(rows)


def tile_node(nodes: bytes, height: int, index: int) -> bytes:
    """The node ``index`` places from the left, ``height`` rows above the tile's own hashes."""
    at = (2 * TILE_WIDTH - (2 * TILE_WIDTH >> height) + index) * HASH_BYTES
    return nodes[at : at + HASH_BYTES]


def tile_root(nodes: bytes) -> bytes:
    return nodes[-HASH_BYTES:]


# --- paths -----------------------------------------------------------------------------------------------------


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """``tile/0/x001/x234/067``, with ``.p/8`` behind a partial tile of 8 hashes."""
    if not 0 <= level <= MAX_LEVEL:
        raise InvalidRequest(f"tile level {level} is not between 0 and {MAX_LEVEL}")
    return f"tile/{level}/{_place(index, width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """The same for the bundle of the leaves below one level 0 tile: ``tile/entries/x001/x234/067``."""
    return f"tile/entries/{_place(index, width)}"


def parse_tile_path(path: str) -> TileId:
    match = _PATH.fullmatch(path)
    if match:
        kind, place, partial = match.groups()
        level = None if kind == "entries" else int(kind)
        index = int(place.replace("x", "").replace("/", ""))
        width = TILE_WIDTH if partial is None else int(partial)
        # Rendering again finds what the pattern lets through: leading zeros, a level or width out of range, ".p/256".
        if (level is None or level <= MAX_LEVEL) and 1 <= width <= TILE_WIDTH:
            again = bundle_path(index, width) if level is None else tile_path(level, index, width)
            if again == path:
                return TileId(level, index, width)
    raise SerializationError(
        f"{path[:80]!r} is not the path of a tile", hint="for example tile/0/x001/x234/067 or tile/entries/000.p/8"
    )


def _place(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise InvalidRequest(f"there is no tile at index {index} with width {width}")
    place = f"{index % 1000:03}"
    while index := index // 1000:
        place = f"x{index % 1000:03}/{place}"
    return place if width == TILE_WIDTH else f"{place}.p/{width}"


# --- entry bundles ---------------------------------------------------------------------------------------------


def encode_bundle(leaves: Iterable[bytes]) -> bytes:
    """Each leaf behind its length as two big-endian bytes."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_LEAF_BYTES:
            raise TooLarge(f"the leaf has {len(leaf)} bytes", hint=f"a leaf has at most {MAX_LEAF_BYTES} bytes")
        parts += (len(leaf).to_bytes(2, "big"), leaf)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """The leaves of a bundle. How many there must be, the caller knows from the tile's width."""
    leaves = []
    position, size = 0, len(data)
    while position < size:
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        leaves.append(data[start:position])
    if position != size:
        raise SerializationError(f"the entry bundle ends inside leaf {len(leaves) - 1}")
    return leaves

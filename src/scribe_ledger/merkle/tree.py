"""The Merkle tree of the log: growing it, its roots, and making proofs from stored tiles (RFC 6962, section 2.1).

The tree is a value. ``grow`` takes its right ``Edge`` and new leaf hashes and gives the next edge with the tiles that
became full; who stores those is not decided here. ``Nodes`` reads any node, root or proof, of the tree at an edge or
at any earlier size, from full tiles that the caller fetches.

Heights count from the leaves: the node ``(height, index)`` is the root of the perfect subtree over the leaves from
``index << height`` to ``(index + 1) << height``. All other subtrees lie on the right edge of some size; they depend
on that size alone, which is why ``Nodes`` remembers them by size.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption, InvalidRequest
from scribe_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, hash_node, hash_pairs
from scribe_ledger.merkle.tiles import EXPANDED_BYTES, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, expand_tile, tile_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES_REMEMBERED = 64
"""For how many tree sizes ``Nodes`` keeps the right edge: a few kilobytes each, and proofs share few checkpoints."""


class Edge(NamedTuple):
    """All of a tree that is not in full tiles: per level, level 0 first, the hashes of its partial tile, joined."""

    size: int
    tiles: tuple[bytes, ...]


class FullTile(NamedTuple):
    """A tile that became full, expanded to its 511 nodes."""

    level: int
    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    nodes: bytes


EMPTY_EDGE = Edge(0, ())


def grow(edge: Edge, leaf_hashes: Sequence[bytes]) -> tuple[Edge, list[FullTile]]:
    """Appends leaves: the new edge, and the tiles that became full, lower levels first."""
    rising = b"".join(leaf_hashes)
    if len(rising) != len(leaf_hashes) * HASH_BYTES:
        raise InvalidRequest(f"a leaf hash has {HASH_BYTES} bytes")
    full: list[FullTile] = []
    tiles = list(edge.tiles)
    level = 0
    while rising:
        if level == len(tiles):
            tiles.append(b"")
        row = tiles[level] + rising
        if len(row) < TILE_BYTES:
            tiles[level] = row
            break
        first = edge.size >> TILE_HEIGHT * (level + 1)
        done = len(row) - len(row) % TILE_BYTES
        fresh = [
            FullTile(level, first + at // TILE_BYTES, expand_tile(row[at : at + TILE_BYTES]))
            for at in range(0, done, TILE_BYTES)
        ]
        full += fresh
        tiles[level] = row[done:]
        rising = b"".join([tile_root(tile.nodes) for tile in fresh])
        level += 1
    return Edge(edge.size + len(leaf_hashes), tuple(tiles)), full


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The RFC 6962 root over leaf hashes that are all at hand."""
    row = b"".join(hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > HASH_BYTES:
        paired = len(row) - len(row) % (2 * HASH_BYTES)
        row = hash_pairs(row[:paired]) + row[paired:]  # a last node without a sibling rises as it is
    return row


def edge_root(edge: Edge) -> bytes:
    """The root at an edge, from the partial tiles alone: what is below a level rises to its right end."""
    rising: list[bytes] = []
    for tile in edge.tiles:
        row = [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)] + rising
        rising = [root_of(row)] if row else []
    return rising[0] if rising else EMPTY_ROOT


class Nodes:
    """Reads nodes, roots and proofs of the tree at ``edge``, or at any size before it.

    ``fetch(level, index)`` gives the expanded record of a full tile and is never asked for a partial one. Methods may
    be called from several threads at once.
    """

    def __init__(self, edge: Edge, fetch: Callable[[int, int], bytes]) -> None:
        self.edge = edge
        self._fetch = fetch
        self._partial: list[_Rows | None] = [None] * len(edge.tiles)
        self._edges: dict[int, _RightEdge] = {}

    def advance(self, edge: Edge) -> Nodes:
        """The same for the tree grown to ``edge``, keeping what was already hashed of its partial tiles."""
        later = Nodes(edge, self._fetch)
        later._partial[: len(self._partial)] = self._partial
        later._edges = self._edges
        return later

    def node(self, height: int, index: int) -> bytes:
        """The root of one perfect subtree, which must lie inside the tree."""
        if height < 0 or not 0 <= index < self.edge.size >> height:
            raise InvalidRequest(f"a tree of {self.edge.size} entries has no node {index} at height {height}")
        level, rise = divmod(height, TILE_HEIGHT)
        tile, place = divmod(index, TILE_WIDTH >> rise)
        return _slice(self._tile(level, tile), _ROW[rise] + place)

    def leaf_hash(self, index: int) -> bytes:
        return self.node(0, index)

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile, joined, which must lie inside the tree."""
        held = (self.edge.size >> TILE_HEIGHT * level) - index * TILE_WIDTH
        if index < 0 or not 1 <= width <= min(held, TILE_WIDTH):
            raise InvalidRequest(f"a tree of {self.edge.size} entries has no {width} hashes in tile {level}/{index}")
        return self._tile(level, index)[: width * HASH_BYTES]

    def root(self, size: int | None = None) -> bytes:
        size = self._checked_size(size)
        return self._right_edge(size).cut[-1] if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The audit path of one leaf in the tree of that size, from the leaf's sibling upwards."""
        size = self._checked_size(size)
        if not 0 <= index < size:
            raise InvalidRequest(f"a tree of {size} entries has no entry {index}")
        return self._path(index, 0, size)

    def consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """What shows that the tree of ``new_size`` begins with the tree of ``old_size``."""
        new_size = self._checked_size(new_size)
        if not 0 <= old_size <= new_size:
            raise InvalidRequest(f"a tree of {new_size} entries does not begin with one of {old_size}")
        if old_size in (0, new_size):
            return []
        # The old tree ends in a perfect subtree that both trees share: its path in the new tree is the proof. Where
        # that subtree is the whole old tree its hash is the old root, which the verifier has.
        height = (old_size & -old_size).bit_length() - 1
        path = self._path(old_size - 1, height, new_size)
        return path if old_size == 1 << height else [self.node(height, old_size - 1 >> height), *path]

    def _path(self, index: int, start: int, size: int) -> list[bytes]:
        """The siblings from height ``start`` up along the way from leaf ``index`` to the root."""
        # Below ``ragged``, where the way meets the right edge from its left, all siblings are in tiles, a tile's in one
        # go. From there on they depend on the size alone.
        last = size - 1
        ragged = (index ^ last).bit_length() - 1
        lowest = start // TILE_HEIGHT
        path: list[bytes] = []
        for level in range(lowest, -(-ragged // TILE_HEIGHT)):
            place = index >> level * TILE_HEIGHT
            path += _SIBLINGS[place % TILE_WIDTH](self._tile(level, place >> TILE_HEIGHT))
        foot = lowest * TILE_HEIGHT
        path = path[start - foot : ragged - foot]
        edge = self._right_edge(size)
        if ragged < 0:
            return edge.left[:]
        path.append(edge.cut[ragged])
        return path + edge.left[(last & (2 << ragged) - 1).bit_count() :]

    def _right_edge(self, size: int) -> _RightEdge:
        edge = self._edges.get(size)
        if edge is None:
            last = size - 1
            edge = _RightEdge([self.node(0, last)], [])
            for height in range(last.bit_length()):
                place = last >> height
                node = edge.cut[-1]
                if place & 1:
                    edge.left.append(self.node(height, place - 1))
                    node = hash_node(edge.left[-1], node)
                edge.cut.append(node)
            if len(self._edges) >= SIZES_REMEMBERED:
                self._edges.clear()
            self._edges[size] = edge
        return edge

    def _tile(self, level: int, index: int) -> bytes:
        """The expanded record of a tile; of a partial one, with zeros where it has no nodes yet."""
        if index < self.edge.size >> TILE_HEIGHT * (level + 1):
            nodes = self._fetch(level, index)
            if len(nodes) != EXPANDED_BYTES:
                raise Corruption(f"tile {index} of level {level} has {len(nodes)} bytes, not {EXPANDED_BYTES}")
            return nodes
        hashes = self.edge.tiles[level]
        rows = self._partial[level]
        if rows is None or rows.hashes != hashes:
            rows = self._partial[level] = _expand_partial(hashes, rows)
        return rows.record

    def _checked_size(self, size: int | None) -> int:
        if size is None:
            return self.edge.size
        if not 0 <= size <= self.edge.size:
            raise InvalidRequest(f"the tree has {self.edge.size} entries, {size} were asked for")
        return size


class _RightEdge(NamedTuple):
    """The way from the last leaf of some size up to the root."""

    cut: list[bytes]
    """By height, the hash of the subtree that holds the last leaf, cut off at the size; the last is the root."""
    left: list[bytes]
    """The perfect subtrees on the left of that way, lowest first."""


class _Rows(NamedTuple):
    """A partial tile with all nodes that it determines: row by row, and laid out as a full tile's record."""

    hashes: bytes
    rows: list[bytes]
    record: bytes


def _expand_partial(hashes: bytes, before: _Rows | None) -> _Rows:
    """Hashes only what ``before``, the same tile when it was shorter, does not hold already."""
    known = before.rows if before and hashes.startswith(before.hashes) else []
    rows = [hashes]
    while len(rows[-1]) >= 2 * HASH_BYTES:
        row = rows[-1]
        kept = known[len(rows)] if len(rows) < len(known) else b""
        rows.append(kept + hash_pairs(row[2 * len(kept) : len(row) - len(row) % (2 * HASH_BYTES)]))
    record = b"".join([row.ljust(TILE_BYTES >> height, b"\0") for height, row in enumerate(rows)])
    return _Rows(hashes, rows, record.ljust(EXPANDED_BYTES, b"\0"))


_ROW = [2 * TILE_WIDTH - (2 * TILE_WIDTH >> height) for height in range(TILE_HEIGHT + 1)]
"""At which node of an expanded tile each row begins."""


def _siblings(place: int) -> Callable[[bytes], tuple[bytes, ...]]:
    """Takes from a tile's record all siblings on the way up from the hash at ``place``, in one call."""
    nodes = [_ROW[rise] + (place >> rise ^ 1) for rise in range(TILE_HEIGHT)]
    return itemgetter(*[slice(node * HASH_BYTES, node * HASH_BYTES + HASH_BYTES) for node in nodes])


_SIBLINGS = [_siblings(place) for place in range(TILE_WIDTH)]


def _slice(nodes: bytes, place: int) -> bytes:
    return nodes[place * HASH_BYTES : place * HASH_BYTES + HASH_BYTES]

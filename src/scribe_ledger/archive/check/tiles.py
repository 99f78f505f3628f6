"""The check of tiles and entry bundles: what a tile client would be given, against hashes of leaves.

Nothing here knows which hashes are right. It says what the tiles of a range say, and in what a tile differs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.report import Finding
from scribe_ledger.errors import SerializationError
from scribe_ledger.merkle.hashing import HASH_BYTES, hash_leaf
from scribe_ledger.merkle.tiles import TILE_BYTES, TILE_WIDTH, bundle_path, decode_bundle, tile_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scribe_ledger.objects.store import ObjectStore


class Wanted(NamedTuple):
    """A tile or bundle as it should be: the hashes that it holds, or the hashes of the leaves that it holds."""

    path: str
    hashes: bytes
    is_bundle: bool


class Slice(NamedTuple):
    """The part of one tile or bundle that is about a range of entries."""

    path: str
    start: int
    stop: int
    hashes: bytes | None
    """Of its entries; None if the object does not say."""
    trouble: Finding | None
    """Why it does not."""


def check_tiles(store: ObjectStore, tiles: Sequence[Wanted]) -> list[Finding]:
    """What is wrong with tiles whose content is known."""
    findings = []
    for wanted in tiles:
        width = len(wanted.hashes) // HASH_BYTES
        found = (_bundle_hashes if wanted.is_bundle else _tile_hashes)(store, wanted.path, width)
        if isinstance(found, Finding):
            findings.append(found)
        elif found != wanted.hashes:
            findings.append(differs(wanted.path, found, wanted.hashes))
    return findings


def tiles_say(store: ObjectStore, first: int, stop: int, tree_size: int) -> list[Slice]:
    """What the level 0 tiles of a tree say of the leaf hashes from ``first`` to before ``stop``."""
    return [*_slices(store, first, stop, tree_size, partial(tile_path, 0), _tile_hashes)]


def bundles_say(store: ObjectStore, first: int, stop: int, tree_size: int) -> list[Slice]:
    """The same of the entry bundles, whose leaves are hashed."""
    return [*_slices(store, first, stop, tree_size, bundle_path, _bundle_hashes)]


def part(hashes: bytes, first: int, piece: Slice) -> bytes:
    """What hashes that begin with entry ``first`` say of a slice's entries."""
    return hashes[(piece.start - first) * HASH_BYTES : (piece.stop - first) * HASH_BYTES]


def disagreeing(slices: Sequence[Slice], first: int, right: bytes) -> list[Finding]:
    """The tiles that do not say what is right; ``right`` are hashes that begin with entry ``first``."""
    found = []
    for piece in slices:
        wanted = part(right, first, piece)
        if piece.hashes is not None and piece.hashes != wanted:
            entry = piece.start + first_difference(piece.hashes, wanted)
            found.append(Finding(piece.path, f"it does not have entry {entry} as it is"))
    return found


def differs(path: str, found: bytes, right: bytes) -> Finding:
    return Finding(path, f"it differs at hash {first_difference(found, right)}")


def first_difference(left: bytes, right: bytes) -> int:
    """The number of the first hash that is not the same in both."""
    for at in range(0, max(len(left), len(right)), HASH_BYTES):
        if left[at : at + HASH_BYTES] != right[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    raise AssertionError("they are the same")


def _slices(
    store: ObjectStore,
    first: int,
    stop: int,
    tree_size: int,
    path_of: Callable[[int, int], str],
    read: Callable[[ObjectStore, str, int], bytes | Finding],
) -> Iterator[Slice]:
    for at in range(first - first % TILE_WIDTH, min(stop, tree_size), TILE_WIDTH):
        width = min(TILE_WIDTH, tree_size - at)
        start, end = max(first, at), min(stop, at + width)
        path = path_of(at // TILE_WIDTH, width)
        found = read(store, path, width)
        if isinstance(found, Finding):
            yield Slice(path, start, end, None, found)
        else:
            yield Slice(path, start, end, found[(start - at) * HASH_BYTES : (end - at) * HASH_BYTES], None)


def _tile_hashes(store: ObjectStore, path: str, width: int) -> bytes | Finding:
    # One byte more than is right tells a longer object, and no more of it is read.
    content = store.get_range(path, 0, TILE_BYTES + 1)
    if content is None:
        return Finding(path, "missing")
    if len(content) != width * HASH_BYTES:
        return Finding(path, f"it has {len(content)} bytes, and should have {width * HASH_BYTES}")
    return content


def _bundle_hashes(store: ObjectStore, path: str, width: int) -> bytes | Finding:
    content = store.get(path)
    if content is None:
        return Finding(path, "missing")
    try:
        leaves = decode_bundle(content)
    except SerializationError as error:
        return Finding(path, error.message)
    if len(leaves) != width:
        return Finding(path, f"it has {len(leaves)} leaves, and should have {width}")
    return b"".join(map(hash_leaf, leaves))

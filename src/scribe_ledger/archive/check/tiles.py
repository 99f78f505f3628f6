"""The check of tiles and entry bundles: what a tile client would be given, against hashes of leaves.

Nothing here knows which hashes are right. It says what the tiles of a range say, and in what a tile differs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.looking import is_fault
from scribe_ledger.archive.check.report import Finding
from scribe_ledger.errors import SerializationError
from scribe_ledger.merkle.hashing import HASH_BYTES, hash_leaf
from scribe_ledger.merkle.tiles import TILE_BYTES, TILE_WIDTH, bundle_path, decode_bundle, tile_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.archive.check.looking import Looks
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


class Witnesses(NamedTuple):
    """Two objects that say the same of the same entries."""

    tile: Slice
    bundle: Slice

    def agree(self, hashes: bytes | None) -> bool:
        """Whether they say the same, and these hashes of their entries too, if there are any."""
        said = self.tile.hashes
        return said is not None and said == self.bundle.hashes and (hashes is None or said == hashes)


class _Span(NamedTuple):
    """Which entries a tile is about, and which of them are asked for."""

    number: int
    width: int
    start: int
    stop: int


def check_tiles(looks: Looks, tiles: Sequence[Wanted]) -> list[Finding]:
    """What is wrong with tiles whose content is known."""
    found = [looks.twice(partial(_wrong_tile, wanted), is_wrong=is_fault) for wanted in tiles]
    return [finding for finding in found if finding is not None]


def witnesses_say(looks: Looks, first: int, stop: int, tree_size: int, by_rows: bytes | None) -> list[Witnesses]:
    """What level 0 tiles and entry bundles of a tree say of the leaf hashes from ``first`` to before ``stop``.

    Both are read once more where they do not say the same, or not what the rows say, if there are rows.
    """
    found = []
    for at in range(first - first % TILE_WIDTH, min(stop, tree_size), TILE_WIDTH):
        width = min(TILE_WIDTH, tree_size - at)
        span = _Span(at // TILE_WIDTH, width, max(first, at), min(stop, at + width))
        hashes = None if by_rows is None else _from(by_rows, first, span.start, span.stop)
        found.append(looks.twice(partial(_witnesses, span), is_wrong=partial(_disagree, hashes)))
    return found


def part(hashes: bytes, first: int, piece: Slice) -> bytes:
    """What hashes that begin with entry ``first`` say of a slice's entries."""
    return _from(hashes, first, piece.start, piece.stop)


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


def _from(hashes: bytes, first: int, start: int, stop: int) -> bytes:
    return hashes[(start - first) * HASH_BYTES : (stop - first) * HASH_BYTES]


def _disagree(hashes: bytes | None, said: Witnesses) -> bool:
    return not said.agree(hashes)


def _witnesses(span: _Span, store: ObjectStore) -> Witnesses:
    tile, bundle = tile_path(0, span.number, span.width), bundle_path(span.number, span.width)
    return Witnesses(
        _slice(span, tile, _tile_hashes(store, tile, span.width)),
        _slice(span, bundle, _bundle_hashes(store, bundle, span.width)),
    )


def _slice(span: _Span, path: str, found: bytes | Finding) -> Slice:
    if isinstance(found, Finding):
        return Slice(path, span.start, span.stop, None, found)
    return Slice(path, span.start, span.stop, _from(found, span.number * TILE_WIDTH, span.start, span.stop), None)


def _wrong_tile(wanted: Wanted, store: ObjectStore) -> Finding | None:
    width = len(wanted.hashes) // HASH_BYTES
    found = (_bundle_hashes if wanted.is_bundle else _tile_hashes)(store, wanted.path, width)
    if isinstance(found, Finding):
        return found
    return None if found == wanted.hashes else differs(wanted.path, found, wanted.hashes)


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

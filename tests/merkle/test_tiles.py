from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle import reference

from scribe_ledger.errors import InvalidRequest, SerializationError, TooLarge
from scribe_ledger.merkle import (
    TileId,
    bundle_path,
    decode_bundle,
    encode_bundle,
    expand_tile,
    parse_tile_path,
    root_of,
    tile_node,
    tile_path,
    tile_root,
)

pytestmark = pytest.mark.crypto

HASHES = [sha256(bytes([index])).digest() for index in range(256)]


def test_expanded_tile_holds_every_node() -> None:
    nodes = expand_tile(b"".join(HASHES))
    assert len(nodes) == 511 * 32
    for height in range(9):
        for index in range(256 >> height):
            assert tile_node(nodes, height, index) == reference.root(HASHES[index << height : (index + 1) << height])
    assert tile_root(nodes) == root_of(HASHES)


@pytest.mark.parametrize("size", [0, 32, 255 * 32, 256 * 32 - 1, 257 * 32])
def test_only_full_tiles_are_expanded(size: int) -> None:
    with pytest.raises(InvalidRequest):
        expand_tile(bytes(size))


def test_any_changed_hash_changes_the_tile_root() -> None:
    root = tile_root(expand_tile(b"".join(HASHES)))
    for index in range(256):
        changed = [*HASHES[:index], b"\xff" * 32, *HASHES[index + 1 :]]
        assert tile_root(expand_tile(b"".join(changed))) != root


# --- paths -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("tile/0/000", TileId(0, 0, 256)),
        ("tile/0/x001/x234/067", TileId(0, 1_234_067, 256)),
        ("tile/63/999.p/255", TileId(63, 999, 255)),
        ("tile/2/x001/000.p/1", TileId(2, 1000, 1)),
        ("tile/entries/x001/x234/067", TileId(None, 1_234_067, 256)),
        ("tile/entries/000.p/8", TileId(None, 0, 8)),
    ],
)
def test_path_and_tile_lead_to_each_other(path: str, tile: TileId) -> None:
    assert parse_tile_path(path) == tile
    if tile.level is None:
        assert bundle_path(tile.index, tile.width) == path
    else:
        assert tile_path(tile.level, tile.index, tile.width) == path


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, (1 << 63) - 1), st.integers(1, 256))
def test_any_tile_is_found_again(level: int | None, index: int, width: int) -> None:
    path = bundle_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_tile_path(path) == TileId(level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/x000/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x1/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/08",
        "tile/0/000.p/256",
        "tile/0/000.p/300",
        "tile/0/000.p/-1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        " tile/0/000",
        "tile//000",
        "tile/0/../000",
        "tile/data/000",
        "tile/entries/0",
        "tile/entries/000.p/256",
        "tile/٣/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x001/" * 7 + "000",
    ],
)
def test_other_spellings_of_a_path_are_refused(path: str) -> None:
    with pytest.raises(SerializationError):
        parse_tile_path(path)


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_impossible_tiles_have_no_path(level: int, index: int, width: int) -> None:
    with pytest.raises(InvalidRequest):
        tile_path(level, index, width)


# --- bundles ---------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=70), max_size=256))
def test_bundle_gives_back_its_leaves(leaves: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(leaves)) == leaves


def test_bundle_is_leaves_behind_their_lengths() -> None:
    assert encode_bundle([b"ab", b"", b"c" * 258]) == b"\0\x02ab" + b"\0\0" + b"\x01\x02" + b"c" * 258


def test_largest_leaf_fits_and_a_larger_one_does_not() -> None:
    assert decode_bundle(encode_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(TooLarge):
        encode_bundle([bytes(65_536)])


def test_cut_bundle_is_refused_or_misses_whole_leaves() -> None:
    leaves = [b"first", b"second", b"third"]
    bundle = encode_bundle(leaves)
    borders = {0: 0, 7: 1, 15: 2}
    for end in range(len(bundle)):
        if end in borders:
            assert decode_bundle(bundle[:end]) == leaves[: borders[end]]
        else:
            with pytest.raises(SerializationError):
                decode_bundle(bundle[:end])

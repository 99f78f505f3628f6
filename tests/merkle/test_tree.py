from __future__ import annotations

import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.merkle import reference

from scribe_ledger.errors import Corruption, InvalidRequest
from scribe_ledger.merkle import (
    EMPTY_EDGE,
    EMPTY_ROOT,
    Edge,
    Nodes,
    expand_tile,
    grow,
    hash_leaf,
    root_of,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.crypto

PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text())
HASHES = [sha256(index.to_bytes(8, "big")).digest() for index in range(70_000)]


class Log:
    """A tree with its full tiles in a dictionary, grown in batches."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.nodes = Nodes(EMPTY_EDGE, self.fetch)

    def fetch(self, level: int, index: int) -> bytes:
        return self.tiles[level, index]

    def append(self, hashes: Sequence[bytes]) -> None:
        edge, full = grow(self.nodes.edge, hashes)
        self.tiles.update({(tile.level, tile.index): tile.nodes for tile in full})
        self.nodes = self.nodes.advance(edge)


def log_of(size: int) -> Log:
    log = Log()
    log.append(HASHES[:size])
    return log


# --- published vectors -----------------------------------------------------------------------------------------


def published_nodes() -> Nodes:
    log = Log()
    log.append([hash_leaf(bytes.fromhex(leaf)) for leaf in PUBLISHED["leaves"]])
    return log.nodes


def test_roots_are_the_published_ones() -> None:
    nodes = published_nodes()
    assert [nodes.root(size).hex() for size in range(9)] == PUBLISHED["roots"]
    leaf_hashes = [nodes.leaf_hash(index) for index in range(8)]
    assert [root_of(leaf_hashes[:size]).hex() for size in range(9)] == PUBLISHED["roots"]


def test_proofs_are_the_published_ones() -> None:
    nodes = published_nodes()
    for case in PUBLISHED["inclusion"]:
        assert [value.hex() for value in nodes.inclusion(case["index"], case["size"])] == case["proof"]
    for case in PUBLISHED["consistency"]:
        assert [value.hex() for value in nodes.consistency(case["old_size"], case["new_size"])] == case["proof"]


# --- against the definition ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.integers(1, 900), min_size=1, max_size=5), data=st.data())
def test_any_tree_agrees_with_the_definition_at_any_size(batches: list[int], data: st.DataObject) -> None:
    log = Log()
    for batch in batches:
        start = log.nodes.edge.size
        log.append(HASHES[start : start + batch])
        assert log.nodes.root() == reference.root(HASHES[: start + batch])
    nodes, total = log.nodes, log.nodes.edge.size
    size = data.draw(st.integers(1, total), label="size")
    index = data.draw(st.integers(0, size - 1), label="index")
    root = reference.root(HASHES[:size])
    assert nodes.root(size) == root == root_of(HASHES[:size])
    assert nodes.leaf_hash(index) == HASHES[index]
    assert nodes.inclusion(index, size) == reference.inclusion(index, HASHES[:size])
    verify_inclusion(index, size, HASHES[index], root, nodes.inclusion(index, size))
    old_size = index + 1
    consistency = nodes.consistency(old_size, size)
    assert consistency == reference.consistency(old_size, HASHES[:size])
    verify_consistency(old_size, size, nodes.root(old_size), root, consistency)


def test_every_proof_of_small_trees_agrees_with_the_definition() -> None:
    nodes = log_of(40).nodes
    for size in range(1, 41):
        for index in range(size):
            assert nodes.inclusion(index, size) == reference.inclusion(index, HASHES[:size])
            assert nodes.consistency(index + 1, size) == reference.consistency(index + 1, HASHES[:size])
        assert nodes.consistency(0, size) == []


@pytest.mark.parametrize("size", [256, 65_535, 65_536, 65_537, 70_000])
def test_proofs_across_levels_of_tiles_hold(size: int) -> None:
    nodes = log_of(size).nodes
    root = root_of(HASHES[:size])
    assert nodes.root() == root
    for index in {0, 255, size // 2, size - 1, *range(0, size, 7919)}:
        verify_inclusion(index, size, HASHES[index], root, nodes.inclusion(index))
        verify_consistency(index + 1, size, root_of(HASHES[: index + 1]), root, nodes.consistency(index + 1))


# --- growing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 255, 256, 257, 1000])
def test_growth_does_not_depend_on_batches(batch: int) -> None:
    log = Log()
    for start in range(0, 1500, batch):
        log.append(HASHES[start : min(start + batch, 1500)])
    whole = log_of(1500)
    assert log.nodes.edge == whole.nodes.edge
    assert log.tiles == whole.tiles


def test_growth_gives_each_full_tile_once_and_keeps_the_partial_ones() -> None:
    edge, full = grow(EMPTY_EDGE, HASHES[:65_537])
    assert [(tile.level, tile.index) for tile in full] == [*((0, index) for index in range(256)), (1, 0)]
    assert full[1].nodes == expand_tile(b"".join(HASHES[256:512]))
    assert edge == Edge(65_537, (HASHES[65_536], b"", full[-1].nodes[-32:]))


def test_growth_by_nothing_changes_nothing() -> None:
    edge, _ = grow(EMPTY_EDGE, HASHES[:300])
    assert grow(edge, []) == (edge, [])


def test_growth_refuses_what_is_not_a_hash() -> None:
    with pytest.raises(InvalidRequest):
        grow(EMPTY_EDGE, [b"short"])


# --- reading ---------------------------------------------------------------------------------------------------


def test_empty_tree_has_the_empty_root_and_no_entries() -> None:
    nodes = Log().nodes
    assert nodes.root() == nodes.root(0) == EMPTY_ROOT == root_of([])
    assert nodes.consistency(0, 0) == []
    with pytest.raises(InvalidRequest):
        nodes.inclusion(0)


def test_partial_tiles_are_never_fetched() -> None:
    def refuse(level: int, index: int) -> bytes:
        raise AssertionError(f"{level}/{index} is not full")

    edge, _ = grow(EMPTY_EDGE, HASHES[:255])
    nodes = Nodes(edge, refuse)
    for index in range(255):
        verify_inclusion(index, 255, HASHES[index], nodes.root(), nodes.inclusion(index))


def test_earlier_reader_still_answers_after_the_tree_has_grown() -> None:
    log = log_of(1000)
    before = log.nodes
    root = before.root()
    log.append(HASHES[1000:1300])
    assert before.root() == log.nodes.root(1000) == root
    assert before.inclusion(999) == log.nodes.inclusion(999, 1000)


def test_readers_along_a_growing_tree_hash_each_node_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(200)
    log.nodes.root()
    hashed = 0

    def counting(hashes: bytes) -> bytes:
        nonlocal hashed
        hashed += len(hashes) // 64
        return b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes), 64)])

    monkeypatch.setattr("scribe_ledger.merkle.tree.hash_pairs", counting)
    for index in range(200, 250):
        log.append([HASHES[index]])
        assert log.nodes.root() == reference.root(HASHES[: index + 1])
    assert hashed < 60  # a perfect subtree is completed once an entry, on average; not 200 hashes a root


def test_roots_of_many_sizes_are_not_all_remembered() -> None:
    nodes = log_of(500).nodes
    for size in range(1, 501):
        assert nodes.root(size) == root_of(HASHES[:size])
    assert len(nodes._edges) <= 64


def test_sizes_outside_the_tree_are_refused() -> None:
    nodes = log_of(300).nodes
    for ask in (
        lambda: nodes.root(301),
        lambda: nodes.root(-1),
        lambda: nodes.inclusion(300),
        lambda: nodes.inclusion(5, 5),
        lambda: nodes.inclusion(-1, 5),
        lambda: nodes.consistency(6, 5),
        lambda: nodes.consistency(-1, 5),
        lambda: nodes.consistency(1, 301),
        lambda: nodes.leaf_hash(300),
        lambda: nodes.node(8, 1),
        lambda: nodes.node(-1, 0),
    ):
        with pytest.raises(InvalidRequest):
            ask()


def test_tile_of_the_wrong_length_is_corruption() -> None:
    edge, _ = grow(EMPTY_EDGE, HASHES[:300])
    with pytest.raises(Corruption, match="tile 0 of level 0"):
        Nodes(edge, lambda _level, _index: b"\0" * 8192).inclusion(3)


def test_node_is_the_root_of_its_leaves() -> None:
    nodes = log_of(1100).nodes
    for height, index in [(0, 1099), (3, 100), (7, 3), (8, 0), (8, 3), (9, 1), (10, 0)]:
        assert nodes.node(height, index) == reference.root(HASHES[index << height : (index + 1) << height])


def test_different_leaves_give_different_roots() -> None:
    roots = [reference.root(HASHES[:size]) for size in range(50)]
    assert all(older != newer for older, newer in pairwise(roots))


def test_tile_gives_the_hashes_of_any_width_that_the_tree_has() -> None:
    log = log_of(300)
    nodes = log.nodes
    assert nodes.tile(0, 0, 256) == b"".join(HASHES[:256])
    assert nodes.tile(0, 0, 3) == b"".join(HASHES[:3])
    assert nodes.tile(0, 1, 44) == b"".join(HASHES[256:300])
    assert nodes.tile(1, 0, 1) == root_of(HASHES[:256])


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [(0, 1, 45), (0, 2, 1), (1, 0, 2), (2, 0, 1), (63, 0, 1), (0, 0, 257), (0, 0, 0), (0, -1, 1)],
)
def test_tile_outside_the_tree_is_refused(level: int, index: int, width: int) -> None:
    log = log_of(300)
    with pytest.raises(InvalidRequest, match="hashes"):
        log.nodes.tile(level, index, width)

"""Which segments make up the log, from names alone: any overlap, any gap, and against every chain there is."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import orjson
import pytest

from scribe_ledger.archive.covering import Candidate, Directory, read_directory, shortest_chain
from scribe_ledger.errors import Corruption
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


def segment(first: int, stop: int, mark: int = 0) -> Candidate:
    digest = bytes([mark]) * 32
    return Candidate(paths.segment_path(first, stop - 1, digest), first, stop, digest, 100)


def ranges(chain: list[Candidate] | None) -> list[tuple[int, int]] | None:
    return None if chain is None else [(found.first_index, found.stop) for found in chain]


def test_the_fewest_segments_are_taken() -> None:
    small = [segment(at, at + 10) for at in range(0, 40, 10)]
    assert ranges(shortest_chain(small, 0, 40)) == [(0, 10), (10, 20), (20, 30), (30, 40)]
    assert ranges(shortest_chain([*small, segment(10, 40)], 0, 40)) == [(0, 10), (10, 40)]
    assert ranges(shortest_chain([*small, segment(0, 20)], 20, 40)) == [(20, 30), (30, 40)]
    assert shortest_chain(small, 0, 0) == []


def test_overlaps_and_what_reaches_too_far_are_left_out() -> None:
    found = [segment(0, 10), segment(5, 15), segment(10, 20), segment(10, 30), segment(15, 20)]
    assert ranges(shortest_chain(found, 0, 20)) == [(0, 10), (10, 20)]
    assert shortest_chain(found, 0, 25) is None


def test_live_ones_are_taken_however_many_before_one_that_is_left_over() -> None:
    live = [segment(at, at + 10) for at in range(0, 40, 10)]
    preferred = {found.path for found in live}
    assert shortest_chain([*live, segment(0, 40, 1)], 0, 40, preferred=preferred) == live
    without = [found for found in live if found.first_index != 20]
    spare = [segment(20, 30, 1), segment(10, 40, 1)]
    assert shortest_chain([*without, *spare], 0, 40, preferred=preferred) == [*live[:2], spare[0], live[3]]


def test_of_two_as_short_the_live_one_is_taken() -> None:
    one, other, after = segment(0, 10, 1), segment(0, 10, 2), segment(10, 20)
    for live in (one, other):
        assert shortest_chain([one, other, after], 0, 20, preferred={live.path}) == [live, after]


@pytest.mark.parametrize("seed", range(30))
def test_any_set_of_segments_against_all_of_its_chains(seed: int) -> None:
    chance = random.Random(seed)
    found = [
        segment(first, chance.randint(first + 1, 8), mark) for mark in range(9) for first in [chance.randint(0, 7)]
    ]
    chains = [
        [*chain]
        for count in range(1, len(found) + 1)
        for chain in combinations(sorted(found, key=lambda each: each.first_index), count)
        if chain[0].first_index == 0
        and chain[-1].stop == 8
        and all(a.stop == b.first_index for a, b in pairwise(chain))
    ]
    made = shortest_chain(found, 0, 8)
    assert (made is None) is (not chains)
    if made is not None:
        assert made in chains
        assert len(made) == min(map(len, chains))


def test_what_is_missing_is_named() -> None:
    found = [segment(0, 10), segment(20, 30)]
    with pytest.raises(Corruption, match="entries 10 to 19 are in no segment"):
        Directory(found, [], 0).cover(0, 30)
    with pytest.raises(Corruption, match="entries 10 to 14 are in no segment"):
        Directory(found, [], 0).cover(0, 15)
    live = [each.as_segment() for each in (segment(0, 10), segment(10, 20), segment(20, 30))]
    with pytest.raises(Corruption, match=live[1].path) as error:
        Directory(found, live, 30).cover(0, 30)
    assert paths.MANIFEST in str(error.value)


def test_a_directory_is_read_from_names_and_passes_over_the_rest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_bytes(segment(0, 10).path, b"x")
    store.put_bytes("segments/readme.txt", b"put here by hand")
    assert [found.path for found in read_directory(store).candidates] == [segment(0, 10).path]
    for content in (b"", b"[]", b"{}", b"null", b'{"segments": 1}', b'{"segments": [{}]}', b"\xff"):
        store.put_bytes(paths.MANIFEST, content, replace=True)
        assert read_directory(store).live == []
    told = {"segments": [segment(0, 10).as_segment().to_json()], "archived_size": 10}
    store.put_bytes(paths.MANIFEST, orjson.dumps(told), replace=True)
    assert read_directory(store).live == [segment(0, 10).as_segment()]
    assert read_directory(store).archived_size == 10

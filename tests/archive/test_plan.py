"""Which segments a check takes for the log: orphans that overlap it, of any length, are no fault of the store."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from scribe_ledger.archive.check.plan import Directory, plan
from scribe_ledger.archive.check.report import Report
from scribe_ledger.archive.check.ways import cheapest_way
from scribe_ledger.archive.covering import Candidate, shortest_chain
from scribe_ledger.objects import paths
from scribe_ledger.objects.store import ListedObject
from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage


def name(first: int, stop: int, mark: int = 0) -> str:
    return paths.segment_path(first, stop - 1, bytes([mark]) * 32)


def planned(there: list[str], live: list[str], published: int) -> tuple[list[tuple[int, int, str]], list[str]]:
    """The tasks as first, stop and segment, and what was found missing."""
    segments = [Segment.of_listing(path, 100) for path in live]
    known = tuple(segment for segment in segments if segment is not None)
    directory = Directory(paths.MANIFEST, 1, "store", known[-1].stop, known) if known else None
    report = Report("file:///store")
    made = plan([ListedObject(path, 100, 0.0) for path in there], directory, published, "ledger", report)
    return [(task.first, task.stop, task.path) for task in made.tasks], [fault.place for fault in report.faults]


ONE, TWO, THREE = name(0, 10), name(10, 20), name(20, 30)
WHOLE = [(0, 10, ONE), (10, 20, TWO), (20, 30, THREE)]


@pytest.mark.parametrize("live", [[], [ONE], [ONE, TWO], [ONE, TWO, THREE]])
@pytest.mark.parametrize("orphan", [name(0, 15), name(10, 25), name(20, 35), name(0, 29), name(5, 30), name(10, 20, 9)])
def test_an_orphan_that_is_longer_than_what_is_live_makes_no_gap(orphan: str, live: list[str]) -> None:
    steps, missing = planned([ONE, TWO, THREE, orphan], live, 30)
    assert missing == []
    assert [step[:2] for step in steps] == [step[:2] for step in WHOLE]
    assert {ONE, THREE} < {step[2] for step in steps}
    assert [step[2] for step in steps][: len(live)] == live


def test_a_copy_of_the_manifest_from_before_a_merge_makes_no_gap() -> None:
    merged = name(10, 30)
    assert planned([ONE, merged], [ONE, TWO], 30)[0] == [(0, 10, ONE), (10, 30, merged)]
    assert planned([ONE, TWO, THREE, merged], [ONE, TWO, THREE], 30) == (WHOLE, [])
    assert planned([ONE, TWO, THREE, merged], [], 30)[0] == [(0, 10, ONE), (10, 30, merged)]


def test_what_is_missing_is_a_gap_and_named() -> None:
    assert planned([ONE, THREE], [ONE, TWO, THREE], 30) == ([WHOLE[0], (10, 20, ""), WHOLE[2]], [TWO])
    assert planned([ONE, THREE], [], 30)[1] == ["entries 10 to 19"]
    assert planned([ONE, name(10, 15), THREE], [], 30)[1] == ["entries 15 to 19"]
    assert planned([TWO], [], 30)[1] == ["entries 0 to 9", "entries 20 to 29"]
    assert planned([], [], 30) == ([(0, 30, "")], ["entries 0 to 29"])
    assert planned([], [], 0) == ([], [])


@pytest.mark.parametrize("seed", range(30))
def test_where_a_restore_finds_a_chain_a_check_finds_one_as_short(seed: int) -> None:
    chance = random.Random(seed)
    found = {}
    for mark in range(9):
        first = chance.randint(0, 7)
        stop = chance.randint(first + 1, 8)
        found[name(first, stop, mark)] = (first, stop)
    way = cheapest_way(found, (), 8)
    assert (way[0][0], way[-1][1]) == (0, 8)
    assert all(one[1] == other[0] and (one[2] or other[2]) for one, other in pairwise(way))
    assert all(found[path] == (first, stop) for first, stop, path in way if path)
    chain = shortest_chain([Candidate(path, *ends, b"", 1) for path, ends in found.items()], 0, 8)
    assert (chain is not None) is all(path for _, _, path in way)
    assert chain is None or len(chain) == len(way)

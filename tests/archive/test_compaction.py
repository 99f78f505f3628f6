"""Which segments are merged, how often an entry is written again, and what readers see meanwhile."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import archiver, check_archived, check_ledger, open_ledger, write_round
from tests.archive.stores import NotingStore

from scribe_ledger.archive.compaction import MAX_RUN, MIN_RUN, find_run
from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.folder import UPLOADS
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scribe_ledger.ledger.served import ServedLedger

pytestmark = pytest.mark.storage

LONG = 1_000_000_000
"""A grace time of decades: the ledger's clock in these tests stands in the past."""


def segments_of(*sizes: int) -> list[Segment]:
    return [
        Segment(f"s{place}", place, place, b"", b"", 1, size, size, f"p{place}", bytes(32), bytes(32), 0)
        for place, size in enumerate(sizes)
    ]


def run_of(*sizes: int, segment_size: int = 100) -> list[int]:
    return [segment.first_index for segment in find_run(segments_of(*sizes), segment_size)]


# --- which -----------------------------------------------------------------------------------------------------


def test_few_segments_are_left_alone() -> None:
    assert run_of(*[1] * (MIN_RUN - 1)) == []
    assert run_of() == []


def test_a_run_of_small_neighbours_is_merged_whole() -> None:
    assert run_of(*[1] * 20) == list(range(20))
    assert len(run_of(*[1] * 1000, segment_size=10_000)) == MAX_RUN


def test_what_is_merged_is_not_larger_than_a_segment() -> None:
    assert run_of(*[10] * 15) == list(range(10))
    assert run_of(100, 100, *[10] * 15, 100) == list(range(2, 12))


def test_full_segments_part_the_small_ones() -> None:
    assert run_of(*[1] * 7, 100, *[1] * 7, 100, *[1] * 7) == []
    assert run_of(*[1] * 7, 100, *[1] * 8) == list(range(8, 16))


def test_a_segment_that_is_larger_than_all_others_together_waits() -> None:
    assert run_of(9, *[1] * 8) == list(range(1, 9))
    assert run_of(8, *[1] * 8) == list(range(9))
    assert run_of(*[1] * 8, 30, *[1] * 7) == list(range(8))


@pytest.mark.parametrize("seed", range(5))
def test_an_entry_is_written_again_a_few_times_only_and_few_small_segments_stay(seed: int) -> None:
    """One small segment after the other, as a quiet ledger seals them, for years."""
    chance = random.Random(seed)
    segment_size, count = 10_000, 3000
    sizes: list[int] = []
    sealed = written = most = 0
    for _ in range(count):
        sizes.append(chance.randrange(5, 60))
        sealed += sizes[-1]
        while run := run_of(*sizes, segment_size=segment_size):
            merged = sum(sizes[run[0] : run[-1] + 1])
            assert merged <= segment_size
            sizes[run[0] : run[-1] + 1] = [merged]
            written += merged
        small = [size for size in sizes if size < segment_size // 2]
        most = max(most, len(small))
    assert written <= sealed * math.log2(segment_size / 5)
    assert written < 4 * sealed, "in fact far less"
    assert most < 60
    assert sum(sizes) == sealed


# --- merging ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: NotingStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


def archive_rounds(ledger: ServedLedger, rounds: Sequence[int]) -> None:
    """One small segment each."""
    archive = archiver(ledger, segment_size=1, hot_size=1 << 30)
    for number in rounds:
        write_round(ledger, number)
        while ledger.manifest.archived_size < ledger.size:
            archive.run_once(everything=True)


def test_small_segments_become_one_with_the_same_entries(ledger: ServedLedger) -> None:
    archive_rounds(ledger, range(10))
    before = ledger.manifest
    assert len(before.segments) >= 10
    result = archiver(ledger, segment_size=1 << 20, hot_size=0).run_once()
    (merged,) = ledger.manifest.segments
    assert result.compacted == len(before.segments)
    assert (merged.first_index, merged.stop, merged.log_bytes) == (0, ledger.size, before.archived_bytes)
    assert ledger.evicted == ledger.size
    check_ledger(ledger, 10)
    check_archived(ledger, 10)


def test_readers_in_flight_are_not_disturbed_and_old_objects_stay_for_the_grace_time(
    ledger: ServedLedger, store: NotingStore
) -> None:
    archive_rounds(ledger, range(9))
    archiver(ledger, segment_size=1, hot_size=0, grace_secs=LONG).run_once()
    log = ledger.log()
    first = next(log)
    archiver(ledger, segment_size=1 << 20, grace_secs=LONG).run_once()
    assert len(ledger.manifest.segments) == 1
    assert [first.value, *[entry.value for entry in log]] == [entry.value for entry in ledger.log()]
    replaced = ledger.replaced_segments()
    assert len(replaced) >= 9
    assert all(store.stat(each.segment.path) is not None for each in replaced)
    archiver(ledger, segment_size=1 << 20, grace_secs=0).run_once()
    assert all(store.stat(each.segment.path) is None for each in replaced)
    check_ledger(ledger, 9)


def test_what_was_altered_is_not_merged(ledger: ServedLedger, store: NotingStore) -> None:
    archive_rounds(ledger, range(9))
    segment = ledger.manifest.segments[4]
    whole = (store.root / segment.path).read_bytes()
    (store.root / segment.path).write_bytes(whole[:100] + b"?" + whole[101:])
    version = ledger.manifest.version
    with pytest.raises(Corruption, match=segment.path):
        archiver(ledger, segment_size=1 << 20, hot_size=1 << 30).run_once()
    assert ledger.manifest.version == version
    assert [path for path in ledger.spool.iterdir() if path.name != UPLOADS] == []


def test_a_merged_object_that_the_store_garbled_is_not_named(ledger: ServedLedger, store: NotingStore) -> None:
    archive_rounds(ledger, range(9))
    known = {listed.path for listed in store.list("segments")}

    def garble(step: str) -> None:
        if step == "upload-merged":
            (path,) = {listed.path for listed in store.list("segments")} - known
            (store.root / path).write_bytes(b"garbled")

    version = ledger.manifest.version
    with pytest.raises(Corruption, match="do not have the digest in its name"):
        archiver(ledger, garble, segment_size=1 << 20, hot_size=1 << 30).run_once()
    assert ledger.manifest.version == version
    check_ledger(ledger, 9)


def test_the_second_to_merge_the_same_segments_drops_its_own(ledger: ServedLedger) -> None:
    archive_rounds(ledger, range(9))
    first = archiver(ledger, segment_size=1 << 20, compression="gzip")

    def meanwhile(step: str) -> None:
        if step == "upload-merged" and len(ledger.manifest.segments) > 1:
            first.run_once()

    result = archiver(ledger, meanwhile, segment_size=1 << 20).run_once()
    assert result.compacted == 0
    assert len(ledger.manifest.segments) == 1
    check_ledger(ledger, 9)

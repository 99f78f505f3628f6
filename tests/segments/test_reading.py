from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.segments.example import LEDGER, CountingStore, Log, logs, many

from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.segments import reading
from scribe_ledger.segments.ending import ending_bytes
from scribe_ledger.segments.reading import ColdReader, SegmentMissing

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage

ROOMY = 64 << 20


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def read(reader: ColdReader, segment: Segment, log: Log, index: int) -> None:
    leaf, value = log.entries[index - log.first_index]
    assert reader.value(segment, leaf.key, index) == value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs())
def test_every_inline_value_is_found_and_nothing_else(store: CountingStore, tmp_path: Path, log: Log) -> None:
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    for _ in range(2):
        for leaf, value in log.entries:
            if value is not None:
                assert reader.value(segment, leaf.key, leaf.index) == value
            else:
                with pytest.raises(Corruption, match=f"no value of entry {leaf.index}"):
                    reader.value(segment, leaf.key, leaf.index)
    with pytest.raises(Corruption, match=segment.path):
        reader.value(segment, b"no such key", segment.stop)
    assert store.delete(segment.path)


def test_versions_of_a_key_over_many_row_groups_are_found(store: CountingStore, tmp_path: Path) -> None:
    log = many(20_000, keys=1)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    for index in range(0, 20_000, 37):
        read(reader, segment, log, index)
    assert reader.requests == 1 + 3


# --- requests --------------------------------------------------------------------------------------------------


def test_a_cold_read_is_one_request_two_with_its_footer_and_none_again(store: CountingStore, tmp_path: Path) -> None:
    log = many(30_000)
    segment = store.keep(log.seal(tmp_path))
    assert segment.size > reading.TAIL_BYTES
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    first, other = sorted((written.leaf.key, written.leaf.index) for written in log.entries)[:: len(log.entries) - 1]
    assert reader.cached_value(segment, *first) is None
    read(reader, segment, log, first[1])
    assert len(store.reads) == reader.requests == 2
    read(reader, segment, log, other[1])
    assert len(store.reads) == reader.requests == 3
    assert store.reads[0] == (segment.path, segment.size - reading.TAIL_BYTES, segment.size)
    for _ in range(3):
        read(reader, segment, log, first[1])
        assert reader.cached_value(segment, *other) == log.entries[other[1]].value
    assert len(store.reads) == 3
    assert (reader.misses, reader.hits) == (2, 6)
    assert reader.fetched_bytes == sum(stop - start for _, start, stop in store.reads)


def test_a_footer_longer_than_the_first_guess_takes_one_request_more(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TAIL_BYTES", 100)
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    read(ColdReader(store, LEDGER, cache_bytes=ROOMY), segment, log, 3)
    assert len(store.reads) == 3


def test_the_range_of_a_row_group_holds_two_columns_and_no_more(store: CountingStore, tmp_path: Path) -> None:
    log = many(8192)
    segment = store.keep(log.seal(tmp_path, compression=None))
    read(ColdReader(store, LEDGER, cache_bytes=ROOMY), segment, log, 0)
    _, start, stop = store.reads[-1]
    assert 8192 * (8 + 4 + 128) <= stop - start < 8192 * (8 + 4 + 128) + 1000


def test_row_groups_that_are_read_again_stay_through_a_skewed_load_and_a_scan(
    store: CountingStore, tmp_path: Path
) -> None:
    """Of 60 row groups, four times what the cache may hold, four get most reads, and all are read in turn beside."""
    dice, written = random.Random(7), [many(40 + number) for number in range(60)]
    kept = [store.keep(log.seal(tmp_path)) for log in written]
    whole = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    for segment, log in zip(kept, written, strict=True):
        read(whole, segment, log, 0)
    capacity = whole.cached_bytes // 4
    reader = ColdReader(store, LEDGER, cache_bytes=capacity)
    popular = range(0, 60, 15)
    reads = {True: 0, False: 0}
    fetches = {True: 0, False: 0}
    for turn in range(1200):
        place = dice.choice(popular) if dice.random() < 0.8 else turn % 60
        before = reader.misses
        read(reader, kept[place], written[place], dice.randrange(len(written[place].entries)))
        reads[place in popular] += 1
        fetches[place in popular] += reader.misses - before
        assert reader.cached_bytes <= capacity
    assert fetches[True] < 0.05 * reads[True], "what is read again and again stays"
    assert fetches[False] > 0.7 * reads[False], "at the cost of what is not"


def test_readers_of_one_row_group_share_a_fetch(store: CountingStore, tmp_path: Path) -> None:
    log = many(1000)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        barrier.wait()
        for index in range(number, 1000, 16):
            read(reader, segment, log, index)

    with ThreadPoolExecutor(16) as threads:
        assert [*threads.map(work, range(16))] == [None] * 16
    assert len(store.reads) == 2


def test_those_who_wait_for_a_fetch_that_fails_get_its_error_and_the_next_tries_again(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    fetching, release = threading.Event(), threading.Event()

    def fail(path: str, start: int, stop: int) -> bytes | None:
        fetching.set()
        assert release.wait(30)
        raise Unavailable("the bucket is down")

    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as threads:
        patched.setattr(store, "get_range", fail)
        first = threads.submit(read, reader, segment, log, 1)
        assert fetching.wait(30)
        second = threads.submit(read, reader, segment, log, 2)
        release.set()
        errors = [first.exception(30), second.exception(30)]
    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert errors[0] is not errors[1]
    read(reader, segment, log, 1)


# --- what stays in the cache ---------------------------------------------------------------------------------------


def test_hot_row_groups_stay_while_cold_ones_pass_and_the_cache_keeps_its_bytes(
    store: CountingStore, tmp_path: Path
) -> None:
    log = many(60_000, value_bytes=1000)
    segment = store.keep(log.seal(tmp_path))
    capacity = 32 << 20
    reader = ColdReader(store, LEDGER, cache_bytes=capacity)
    by_key = [index for _, index in sorted((written.leaf.key, written.leaf.index) for written in log.entries)]
    hot = by_key[:3000]  # three row groups of about sixty
    dice = random.Random(1)
    for index in hot:
        read(reader, segment, log, index)
    before = reader.misses
    hot_misses = 0
    for _ in range(3000):
        if dice.random() < 0.8:
            missed = reader.misses
            read(reader, segment, log, dice.choice(hot))
            hot_misses += reader.misses - missed
        else:
            read(reader, segment, log, dice.choice(by_key))
        assert reader.cached_bytes <= capacity
    assert hot_misses == 0
    assert reader.misses - before > 300


def test_a_cache_of_no_bytes_still_reads(store: CountingStore, tmp_path: Path) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=0)
    for _ in range(2):
        read(reader, segment, log, 3)
    assert reader.cached_bytes == 0
    assert len(store.reads) == 4


def test_books_of_the_cache_are_not_below_what_arrow_holds(store: CountingStore, tmp_path: Path) -> None:
    import pyarrow as pa

    log = many(40_000)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    before = pa.total_allocated_bytes()
    for _ in range(2):
        for index in range(0, 40_000, 50):
            read(reader, segment, log, index)
    held = pa.total_allocated_bytes() - before
    assert 5 << 20 < held <= reader.cached_bytes


def test_what_is_forgotten_is_fetched_again(store: CountingStore, tmp_path: Path) -> None:
    log, other_log = many(10), many(10, first_index=10)
    segment, other = store.keep(log.seal(tmp_path)), store.keep(other_log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    read(reader, segment, log, 3)
    read(reader, other, other_log, 13)
    reader.forget(segment.segment_id)
    assert reader.cached_value(segment, log.entries[3].leaf.key, 3) is None
    assert reader.cached_value(other, other_log.entries[3].leaf.key, 13) is not None
    read(reader, segment, log, 3)
    assert len(store.reads) == 6


# --- errors --------------------------------------------------------------------------------------------------------


def test_an_object_that_is_gone_is_missing_and_named(store: CountingStore, tmp_path: Path) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    assert store.delete(segment.path)
    with pytest.raises(SegmentMissing, match=segment.path):
        read(reader, segment, log, 3)


def test_a_store_that_cannot_be_asked_is_unavailable_and_what_is_cached_is_still_read(
    store: CountingStore, tmp_path: Path
) -> None:
    log = many(10_000)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    by_key = [index for _, index in sorted((written.leaf.key, written.leaf.index) for written in log.entries)]
    read(reader, segment, log, by_key[0])
    store.failure = Unavailable("the bucket is down")
    read(reader, segment, log, by_key[1])
    with pytest.raises(Unavailable, match="the bucket is down"):
        read(reader, segment, log, by_key[-1])
    store.failure = None
    read(reader, segment, log, by_key[-1])


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [("last_index", 8, "range"), ("merkle_root", bytes(32), "root"), ("size", 700, "ends|end"), ("count", 3, "range")],
)
def test_a_segment_that_the_manifest_describes_otherwise_is_refused(
    store: CountingStore, tmp_path: Path, field: str, value: Any, complaint: str
) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    with pytest.raises(Corruption, match=complaint):
        read(reader, segment._replace(**{field: value}), log, 3)


def test_a_segment_of_another_ledger_is_refused(store: CountingStore, tmp_path: Path) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    with pytest.raises(Corruption, match=f"{store.place(segment.path)}.*of the ledger {LEDGER}, not of another"):
        read(ColdReader(store, "another", cache_bytes=ROOMY), segment, log, 3)


def test_a_page_that_does_not_match_its_checksum_names_object_and_row_group(
    store: CountingStore, tmp_path: Path
) -> None:
    log = many(10_000)
    segment = store.keep(log.seal(tmp_path))
    last = max(log.entries, key=lambda written: written.leaf.key).leaf.index
    reader = ColdReader(store, LEDGER, cache_bytes=ROOMY)
    read(reader, segment, log, last)
    _, start, stop = store.reads[-1]
    path = store.root / segment.path
    content = bytearray(path.read_bytes())
    content[(start + stop) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    reader.forget(segment.segment_id)
    with pytest.raises(Corruption, match=f"{store.place(segment.path)}.*row group 1"):
        read(reader, segment, log, last)


def test_a_footer_that_claims_to_be_longer_than_the_object_is_refused(tmp_path: Path) -> None:
    with many(10).seal(tmp_path) as sealed:
        size, tail = sealed.segment.size, sealed.path.read_bytes()[-8:]
    assert ending_bytes("it", size, tail) < size
    with pytest.raises(Corruption, match="longer than the object"):
        ending_bytes("it", size, b"\xff\xff\xff\xff" + tail[4:])

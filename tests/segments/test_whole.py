from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.segments.example import CountingStore, Log, many

from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.segments import log_values
from scribe_ledger.segments.faults import SegmentMissing
from scribe_ledger.segments.whole import WholeSegments

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage

READERS = 8


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


def values(log: Log) -> list[bytes | None]:
    return [written.value for written in log.entries]


def read(whole: WholeSegments, segment: Segment) -> list[bytes | None]:
    return whole.load(segment).run(segment.first_index, segment.stop)


def test_readers_of_one_segment_share_its_load_and_those_who_come_later_too(
    store: CountingStore, tmp_path: Path
) -> None:
    log = many(1000)
    segment = store.keep(log.seal(tmp_path))
    whole = WholeSegments(store, tmp_path, capacity_bytes=0)
    barrier = threading.Barrier(READERS)

    def work(_: int) -> list[bytes | None]:
        barrier.wait()
        return read(whole, segment)

    with ThreadPoolExecutor(READERS) as threads:
        assert [*threads.map(work, range(READERS))] == [values(log)] * READERS
    assert (whole.loads, len(store.reads)) == (1, 1)
    kept = whole.kept(segment.segment_id)
    assert kept is not None and kept is whole.load(segment)
    assert len(store.reads) == 1
    assert not list(tmp_path.glob("*.partial"))


def test_a_load_that_fails_fails_those_who_wait_and_is_not_remembered(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = many(10)
    segment = store.keep(log.seal(tmp_path))
    whole = WholeSegments(store, tmp_path, capacity_bytes=1 << 20)
    asked, release = threading.Semaphore(0), threading.Event()
    share = whole._flights.share

    def fail(path: str, start: int, stop: int) -> bytes | None:
        assert release.wait(30)
        raise Unavailable("the bucket is down")

    def counted(*flight: object) -> object:
        asked.release()
        return share(*flight)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, ThreadPoolExecutor(READERS) as threads:
        patched.setattr(store, "get_range", fail)
        patched.setattr(whole._flights, "share", counted)
        waiting = [threads.submit(whole.load, segment) for _ in range(READERS)]
        for _ in waiting:
            assert asked.acquire(timeout=30)
        release.set()
        errors = [reader.exception(30) for reader in waiting]
    assert [type(error) for error in errors] == [Unavailable] * READERS
    assert len({id(error) for error in errors}) == READERS, "each has an error of its own"
    assert (whole.loads, whole.used_bytes) == (0, 0)
    assert read(whole, segment) == values(log)


def test_what_is_kept_has_its_bound_and_the_last_segment_always_stays(store: CountingStore, tmp_path: Path) -> None:
    logs = [many(1000, first_index=start) for start in range(0, 4000, 1000)]
    segments = [store.keep(log.seal(tmp_path)) for log in logs]
    one = WholeSegments(store, tmp_path, capacity_bytes=0)
    two = WholeSegments(store, tmp_path, capacity_bytes=450_000)
    for log, segment in zip(logs, segments, strict=True):
        for whole in (one, two):
            assert read(whole, segment) == values(log)
        assert one.used_bytes < 200_000
        assert two.used_bytes <= 450_000
    assert [one.kept(each.segment_id) is not None for each in segments] == [False, False, False, True]
    assert [two.kept(each.segment_id) is not None for each in segments] == [False, False, True, True]
    assert two.kept(segments[2].segment_id) is not None
    read(two, segments[0])
    assert two.kept(segments[3].segment_id) is None, "what was used last stays"
    assert two.kept(segments[2].segment_id) is not None


def test_one_segment_is_decoded_at_a_time(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [store.keep(many(100, first_index=start).seal(tmp_path)) for start in range(0, 400, 100)]
    whole = WholeSegments(store, tmp_path, capacity_bytes=0)
    decoding = threading.Semaphore(1)
    made = log_values.LogValues.__init__

    def alone(*parts: object) -> None:
        assert decoding.acquire(blocking=False)
        made(*parts)  # type: ignore[arg-type]
        threading.Event().wait(0.02)  # long enough for the others to come here, if they could
        decoding.release()

    monkeypatch.setattr(log_values.LogValues, "__init__", alone)
    with ThreadPoolExecutor(len(segments)) as threads:
        loaded = [*threads.map(whole.load, segments)]
    assert [len(each) for each in loaded] == [100] * len(segments)
    assert whole.loads == len(segments)


def test_its_books_are_not_below_what_arrow_holds(store: CountingStore, tmp_path: Path) -> None:
    import pyarrow as pa

    segment = store.keep(many(40_000).seal(tmp_path))
    whole = WholeSegments(store, tmp_path, capacity_bytes=0)
    before = pa.total_allocated_bytes()
    whole.load(segment)
    assert 5 << 20 < pa.total_allocated_bytes() - before <= whole.used_bytes < 9 << 20
    whole.forget(segment.segment_id)
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert whole.used_bytes == 0


def test_a_run_ends_where_it_was_told_or_has_enough(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = many(100, value_bytes=100, first_index=1000)
    loaded = WholeSegments(store, tmp_path, capacity_bytes=0).load(store.keep(log.seal(tmp_path)))
    assert loaded.run(1010, 1015) == values(log)[10:15]
    assert loaded.run(1098, 5000) == values(log)[98:]
    monkeypatch.setattr(log_values, "RUN_BYTES", 250)
    assert loaded.run(1000, 1100) == values(log)[:3]
    monkeypatch.setattr(log_values, "RUN_ENTRIES", 2)
    assert loaded.run(1000, 1100) == values(log)[:2]


def test_an_object_that_is_missing_or_altered_is_named(store: CountingStore, tmp_path: Path) -> None:
    segment = store.keep(many(100).seal(tmp_path))
    whole = WholeSegments(store, tmp_path, capacity_bytes=0)
    with (store.root / segment.path).open("r+b") as file:
        file.seek(2000)
        file.write(b"not this")
    with pytest.raises(Corruption, match=segment.segment_id):
        whole.load(segment)
    store.delete(segment.path)
    with pytest.raises(SegmentMissing, match=segment.segment_id):
        whole.load(segment)
    assert not list(tmp_path.glob("*.partial"))

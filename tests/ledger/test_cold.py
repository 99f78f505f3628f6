"""Reads of values that are in segments only: every face of the library gives what it gave when they were hot."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.ledger.trails import SCATTERED_READS
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.segments.columns import Group
from scribe_ledger.segments.log_values import LogValues
from scribe_ledger.segments.whole import WholeSegments
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.ledger.records import Spot
    from scribe_ledger.segments.segment import Segment

pytestmark = pytest.mark.storage


def archive(ledger: ServedLedger, stop: int | None = None) -> Segment:
    """Seals from the archived end up, without an archiver."""
    first = ledger.manifest.archived_size
    ledger.adopt_store()
    groups = ledger.groups(first, ledger.size if stop is None else stop)
    with seal(gather(groups), ledger_id=ledger.ledger_id, folder=ledger.spool) as sealed:
        ledger.objects.put_file(sealed.segment.path, sealed.path)
        ledger.change_manifest(Archive(ledger.manifest.version, (sealed.segment,)))
        return sealed.segment


def fill(ledger: ServedLedger, seed: int, *, rounds: int = 8) -> None:
    """Versions, deletes, empty values, metadata, config entries and large values, in batches of many sizes."""
    chance = random.Random(seed)
    for number in range(rounds):
        with ledger.batch() as batch:
            for _ in range(chance.randrange(1, 25)):
                key = f"key {chance.randrange(60)}"
                batch.put(key, chance.randbytes(chance.choice([0, 1, 40, 300])), metadata={"round": str(number)})
        key = f"key {chance.randrange(60)}"
        if ledger.get(key) is not None:
            ledger.delete(key)
        if number % 4 == 3:
            ledger.put(f"large {number}", chance.randbytes(5000))
            ledger.configure(deletes="tombstone")


def everything(ledger: ServedLedger) -> dict[str, Any]:
    """All that readers can learn, by every way of reading."""
    keys = [*dict.fromkeys(entry.key for entry in ledger.log() if entry.key)]
    half = ledger.size // 2
    return {
        "log": [(entry.index, entry.key, entry.value, entry.leaf_hash) for entry in ledger.log()],
        "latest": {key: ledger.get(key) for key in keys},
        "many": ledger.get_many(keys),
        "entries": {key: (entry := ledger.entry(key)) and (entry.index, entry.value) for key in keys},
        "as of": {key: ledger.get(key, as_of=half) for key in keys},
        "first": {key: ledger.get(key, version=1) for key in keys},
        "history": {key: [(entry.version, entry.value) for entry in ledger.history(key)] for key in keys},
        "scan": [(entry.key, entry.value) for entry in ledger.scan()],
        "back": [(entry.key, entry.value) for entry in ledger.scan("key 1", reverse=True, as_of=half)],
        "opened": {key: file.read() for key in keys if (file := ledger.open_value(key)) is not None},
        "proofs": [str(ledger.prove(key)) for key in keys[:50]],
        "root": ledger.checkpoint().root,
    }


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ServedLedger]:
    with ServedLedger.open(tmp_path / "data", inline_max=1000, max_cache_size=0, cold_cache_size=1 << 20) as opened:
        yield opened


@pytest.mark.no_cover
def test_every_read_is_as_it_was_when_values_were_hot(ledger: ServedLedger, tmp_path: Path) -> None:
    fill(ledger, 1)
    archive(ledger)
    fill(ledger, 2)
    archive(ledger)
    fill(ledger, 3)
    before = everything(ledger)
    hot = len(list(ledger._store.table(Table.VALUES).scan()))
    ledger.evict(ledger.manifest.archived_size)
    assert len(list(ledger._store.table(Table.VALUES).scan())) < hot / 2
    assert ledger.evicted == ledger.manifest.archived_size
    assert everything(ledger) == before
    ledger.close()
    for cold_cache_size in (0, 10_000, 1 << 20):
        with ServedLedger.open(tmp_path / "data", inline_max=1000, cold_cache_size=cold_cache_size) as again:
            assert everything(again) == before


def test_eviction_never_takes_a_value_that_is_not_archived(ledger: ServedLedger) -> None:
    """Groups are dropped whole, so one that reaches beyond the archived end stays."""
    ledger.put_many([(f"key {number}", b"value") for number in range(100)])
    ledger.put_many([(f"more {number}", b"value") for number in range(100)])
    first = archive(ledger, 100)
    ledger.change_manifest(  # of half a group, as another replica's groups may fall
        Archive(ledger.manifest.version, (first._replace(segment_id="x", first_index=100, last_index=149, count=50),))
    )
    ledger.evict(ledger.size)
    assert ledger.evicted == 100
    assert all(ledger.get(f"more {number}") == b"value" for number in range(100))
    ledger.evict(20)
    assert ledger.evicted == 100


def test_a_missing_object_is_named_and_never_absent(ledger: ServedLedger) -> None:
    ledger.put("key", "value")
    segment = archive(ledger)
    ledger.evict(1)
    ledger.objects.delete(segment.path)
    for read in (
        lambda: ledger.get("key"),
        lambda: ledger.get_many(["key"]),
        lambda: [entry.value for entry in ledger.log()],
        lambda: [entry.value for entry in ledger.scan()],
        lambda: ledger.get("key", version=1),
    ):
        with pytest.raises(Corruption, match=segment.segment_id):
            read()
    assert ledger.entry("key") is not None


def test_a_segment_with_another_value_is_corruption(ledger: ServedLedger, tmp_path: Path) -> None:
    """A whole and well-formed object, whose value is not what was written."""
    ledger.put("key", "value")
    segment = archive(ledger)
    with ServedLedger.open(tmp_path / "other") as other:
        other.put("key", "wrong")
        groups = list(other.groups(0, 1))
    with seal(gather(groups), ledger_id=ledger.ledger_id, folder=tmp_path) as sealed:
        ledger.objects.put_file(segment.path, sealed.path, replace=True)
        lying = sealed.segment._replace(path=segment.path)
    ledger._machine.applied = ledger._machine.committed = ledger._machine.committed._replace(
        manifest=ledger.manifest._replace(segments=(lying,))
    )
    ledger.evict(1)
    with pytest.raises(Corruption, match=r"the value of entry 0 does not match its digest") as caught:
        ledger.get("key")
    assert ledger.objects.place(segment.path) in caught.value.message


def test_a_value_that_no_segment_has_is_corruption_that_names_the_store(ledger: ServedLedger) -> None:
    ledger.put("key", "value")
    archive(ledger)
    ledger.evict(1)
    lacking = ledger.manifest._replace(segments=(), starts=(), archived_size=0)
    ledger._machine.applied = ledger._machine.committed = ledger._machine.committed._replace(manifest=lacking)
    with pytest.raises(Corruption, match="entry 0 is missing here") as caught:
        ledger.get("key")
    assert ledger.objects.url in caught.value.message


def test_a_value_that_was_checked_is_read_again_without_its_leaf(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.put_many([("key", "value"), ("other", "another"), ("empty", "")])
    archive(ledger)
    ledger.evict(3)
    leaves: list[Spot] = []
    read = ledger._reader.leaf_bytes

    def counted(spot: Spot) -> bytes:
        leaves.append(spot)
        return read(spot)

    monkeypatch.setattr(ledger._reader, "leaf_bytes", counted)
    for _ in range(3):
        assert (ledger.get("key"), ledger.get("empty")) == (b"value", b"")
    assert len(leaves) == 2
    assert ledger.get("other") == b"another"
    assert len(leaves) == 3


def test_a_damaged_key_index_is_found_though_the_value_was_checked_for_its_own_key(ledger: ServedLedger) -> None:
    ledger.put_many([("key", "value"), ("other", "another")])
    archive(ledger)
    ledger.evict(2)
    assert (ledger.get("key"), ledger.get("other")) == (b"value", b"another")
    batch = ledger._store.batch()
    batch.put(Table.KEYS, b"other", ledger._store.table(Table.KEYS).get(b"key") or b"")
    ledger._store.write(batch)
    with pytest.raises(Corruption, match="key index"):
        ledger.get("other")


def test_a_store_that_cannot_be_asked_is_unavailable_and_never_absent(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.put("key", "value")
    archive(ledger)
    ledger.evict(1)

    def fail(*_: object) -> None:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(ledger.objects, "get_range", fail)
    with pytest.raises(Unavailable, match="does not answer"):
        ledger.get("key")
    monkeypatch.undo()
    assert ledger.get("key") == b"value"


def test_a_reader_that_finds_its_segment_replaced_and_gone_reads_the_new_one(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.put("key", "value")
    old = archive(ledger)
    ledger.put("other", "value")
    archive(ledger)
    with seal(gather(ledger.groups(0, 2)), ledger_id=ledger.ledger_id, folder=ledger.spool) as sealed:
        ledger.objects.put_file(sealed.segment.path, sealed.path)
        names = tuple(segment.segment_id for segment in ledger.manifest.segments)
        ledger.evict(2)
        read = ledger.cold.reader.value

        def replaced_meanwhile(segment: Segment, key: bytes, index: int) -> bytes:
            if segment == old:
                ledger.change_manifest(Archive(ledger.manifest.version, (sealed.segment,), names))
                ledger.objects.delete(old.path)
            return read(segment, key, index)

        monkeypatch.setattr(ledger.cold.reader, "value", replaced_meanwhile)
        assert ledger.get("key") == b"value"


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_a_scan_in_log_order_loads_a_segment_once_and_none_whose_row_groups_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_bytes: int
) -> None:
    with ServedLedger.open(tmp_path / "data", max_cache_size=0, cold_cache_size=cache_bytes) as ledger:
        for start in (0, 1000):
            ledger.put_many([(f"key {number:04}", b"%d" % number) for number in range(start, start + 1000)])
            archive(ledger)
        ledger.evict(2000)
        whole: list[int] = []
        load = ledger.cold.whole_segment

        def counted(segment: Segment) -> Any:
            whole.append(segment.first_index)
            return load(segment)

        monkeypatch.setattr(ledger.cold, "whole_segment", counted)
        assert [entry.value for entry in ledger.log()] == [b"%d" % number for number in range(2000)]
        assert whole == ([] if cache_bytes else [0, 1000])
        whole.clear()
        assert [entry.value for entry in ledger.log(500, 500 + SCATTERED_READS)] == [
            b"%d" % number for number in range(500, 500 + SCATTERED_READS)
        ]
        assert whole == []


class CountingStore(FolderStore):
    """Counts what it was asked for."""

    requests = 0

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        self.requests += 1
        return super().get_range(path, start, stop)


@pytest.fixture
def scattered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedLedger]:
    """Two evicted segments with keys in no order, in small row groups, of which the cache holds few."""
    monkeypatch.setattr("scribe_ledger.segments.cutting.GROUP_ROWS", 32)
    store = CountingStore(tmp_path / "objects")
    with ServedLedger.open(
        tmp_path / "data", object_store=store, max_cache_size=0, cold_cache_size=80_000, inline_max=2000
    ) as ledger:
        for start in (0, 1000):
            with ledger.batch() as batch:
                for number in range(start, start + 1000):
                    batch.put(f"{number * 7919 % 2003:04}", b"%d" % number + bytes(number % 100))
            ledger.delete(f"{7919 * start % 2003:04}")
            ledger.put(f"large {start}", bytes(3000))
            archive(ledger)
        ledger.evict(ledger.size)
        store.requests = 0
        yield ledger


def whole_log() -> list[bytes]:
    halves = [[b"%d" % number + bytes(number % 100) for number in range(at, at + 1000)] for at in (0, 1000)]
    return [*halves[0], b"", bytes(3000), *halves[1], b"", bytes(3000)]


def page(ledger: ServedLedger, start: int, limit: int) -> list[bytes]:
    return [entry.value for entry in ledger.log(start, min(start + limit, ledger.size))]


@pytest.mark.parametrize("limit", [50, 64, 100, 700])
@pytest.mark.no_cover
def test_the_log_page_after_page_loads_each_segment_once(scattered: ServedLedger, limit: int) -> None:
    pages = [page(scattered, start, limit) for start in range(0, scattered.size, limit)]
    assert [value for each in pages for value in each] == whole_log()
    assert scattered.cold.whole.loads == 2
    assert isinstance(scattered.objects, CountingStore)
    alone = 2 * (SCATTERED_READS + 1)  # a footer and a row group each: the cache is too small for the end of an object
    assert scattered.objects.requests <= 2 * (alone + 1)


@pytest.mark.no_cover
def test_readers_of_the_log_at_once_share_each_load(scattered: ServedLedger) -> None:
    scattered.cold._whole = WholeSegments(scattered.objects, scattered.spool, capacity_bytes=1 << 20)
    barrier = threading.Barrier(8)

    def read(_: int) -> list[bytes]:
        barrier.wait()
        return [value for start in range(0, scattered.size, 250) for value in page(scattered, start, 250)]

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(read, range(8))] == [whole_log()] * 8
    assert scattered.cold.whole.loads == 2


@pytest.mark.no_cover
def test_single_reads_here_and_there_in_the_log_load_no_segment(scattered: ServedLedger) -> None:
    chance = random.Random(1)
    for _ in range(2 * SCATTERED_READS):
        index = chance.randrange(1000)
        assert page(scattered, index, 1) == [whole_log()[index]]
    assert scattered.cold.whole.loads == 0


def test_a_segment_that_was_loaded_with_a_wrong_value_is_read_anew_once_it_is_repaired(
    scattered: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LogValues.value
    with monkeypatch.context() as patched:
        patched.setattr(LogValues, "value", lambda self, index: b"wrong" if index == 500 else right(self, index))
        with pytest.raises(Corruption, match="the value of entry 500 does not match its digest") as caught:
            page(scattered, 0, 1000)
    assert scattered.objects.place(scattered.cold.segment(500).path) in caught.value.message
    assert page(scattered, 0, 1000) == whole_log()[:1000]
    assert scattered.cold.whole.loads == 2


def test_readers_beside_archiving_and_eviction_never_miss_a_value(ledger: ServedLedger) -> None:
    stop, wrong = threading.Event(), []
    ledger.put_many([(f"key {number}", b"%d" % number) for number in range(200)])

    def read(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            number = chance.randrange(200)
            if ledger.get(f"key {number}", version=1) != b"%d" % number:
                wrong.append(number)
            if chance.random() < 0.1 and ledger.get_many(["key 1", "key 150"])[1] is None:
                wrong.append(150)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(20):
            ledger.put_many([(f"key {each}", f"{number} {each}") for each in range(0, 200, 7)])
            archive(ledger)
            ledger.evict(ledger.manifest.archived_size)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []


# --- recovery's way in -----------------------------------------------------------------------------------------


def test_entries_taken_over_from_their_leaves_make_the_same_ledger(ledger: ServedLedger, tmp_path: Path) -> None:
    fill(ledger, 5)
    segment = archive(ledger)
    before = everything(ledger)
    configs = {entry.index: entry.value for entry in ledger.log() if not entry.key}
    leaves = ledger.leaves(0, ledger.size)
    hashes = [entry.leaf_hash for entry in ledger.log()]
    with ServedLedger.open(tmp_path / "taken", inline_max=1000, object_store=ledger.objects) as taken:
        for start in range(0, len(leaves), 100):
            taken.take_over(leaves[start : start + 100], hashes[start : start + 100], configs)
        taken._identity = taken._identity._replace(ledger_id=ledger.ledger_id)
        taken.cold._ledger_id = ledger.ledger_id
        taken.change_manifest(Archive(0, (segment,)))
        assert taken.evicted == taken.size == ledger.size
        found = everything(taken)
        for name in set(before) - {"proofs"}:
            assert found[name] == before[name], name


# --- copies ----------------------------------------------------------------------------------------------------


def test_a_copy_reads_what_the_original_has_merged_and_removed(
    ledger: ServedLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        ledger.put(f"key {number}", f"value {number}")
        archive(ledger)
    ledger.evict(3)
    ledger.snapshot(tmp_path / "copy")
    old = ledger.manifest.segments
    leaves, values = ledger.leaves(0, 3), [b"value %d" % number for number in range(3)]
    with seal(gather([Group(0, leaves, values)]), ledger_id=ledger.ledger_id, folder=ledger.spool) as merged:
        ledger.objects.put_file(merged.segment.path, merged.path)
    for segment in old:
        ledger.objects.delete(segment.path)
    with ServedLedger.open(tmp_path / "copy", object_store=ledger.objects, max_cache_size=0) as copy:
        listings: list[str] = []
        listing = ledger.objects.list

        def counted(prefix: str) -> Any:
            listings.append(prefix)
            return listing(prefix)

        monkeypatch.setattr(ledger.objects, "list", counted)
        assert [copy.get(f"key {number}") for number in range(3)] == values
        assert [entry.value for entry in copy.log()] == values
        assert len(listings) == 3


def test_a_snapshot_leaves_out_what_was_published_meanwhile(ledger: ServedLedger, tmp_path: Path) -> None:
    ledger.put("key", "value")
    archive(ledger)
    for size in (1, 2):
        ledger.objects.put_bytes(f"checkpoints/{size:020}", b"of that size")
    ledger.objects.put_bytes("checkpoint", b"of the largest")
    ledger.objects.put_bytes("manifest.json", b"{}")
    ledger.snapshot(tmp_path / "copy")
    copied = tmp_path / "copy" / "objects"
    assert sorted(path.name for path in copied.iterdir() if path.is_file()) == ["scribe.json"]
    assert [path.name for path in (copied / "checkpoints").iterdir()] == [f"{1:020}"]
    assert [path.name for path in (copied / "segments").iterdir()] == [
        path.name for path in (ledger.path / "objects" / "segments").iterdir()
    ]

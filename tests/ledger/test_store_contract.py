"""One suite for every hot store, and what only one of them promises."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Protocol

import pytest

from scribe_ledger.errors import Corruption, LedgerClosed, StorageError
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.store import Store, Table, WriteBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.storage


class Reopen(Protocol):
    """Closes a store after a sync and opens what it left, in the same process."""

    def __call__(self, store: Store) -> Store: ...


@pytest.fixture(params=["rocks", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Iterator[tuple[Store, Reopen]]:
    stores: list[Store] = [RocksStore(tmp_path / "store") if kind == "rocks" else MemoryStore()]

    def reopen(store: Store) -> Store:
        store.close()
        if isinstance(store, MemoryStore):
            store.crash(keep=store.unsynced)
        else:
            stores.append(RocksStore(tmp_path / "store"))
        return stores[-1]

    yield stores[0], reopen
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: tuple[Store, Reopen]) -> Store:
    return opened[0]


def write(store: Store, *puts: tuple[bytes, bytes], table: Table = Table.KEYS) -> None:
    batch = store.batch()
    for key, value in puts:
        batch.put(table, key, value)
    store.write(batch)


def fill(store: Store) -> list[tuple[bytes, bytes]]:
    found = [(key, b"value of " + key) for key in (b"\0", b"a", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff")]
    write(store, *found)
    return found


# --- reading what was written ----------------------------------------------------------------------------------


def test_get_gives_what_was_put_and_none_for_what_was_not(store: Store) -> None:
    write(store, (b"a", b"1"), (b"empty", b""))
    table = store.table(Table.KEYS)
    assert table.get(b"a") == b"1"
    assert table.get(b"empty") == b""
    assert table.get(b"b") is None
    assert table.get(b"") is None


def test_get_many_answers_in_order_and_for_repeated_keys(store: Store) -> None:
    write(store, (b"a", b"1"), (b"b", b"2"))
    table = store.table(Table.KEYS)
    assert table.get_many([b"b", b"x", b"a", b"b"]) == [b"2", None, b"1", b"2"]
    assert table.get_many((b"a",)) == [b"1"]
    assert table.get_many([]) == []


def test_a_pinned_table_stays_as_it_was(store: Store) -> None:
    table = store.table(Table.KEYS)
    write(store, (b"a", b"1"), (b"b", b"2"), (b"c", b""))
    pinned, dropped = table.pin(), table.pin()
    dropped.close()
    changed = store.batch()
    changed.put(Table.KEYS, b"a", b"later")
    changed.put(Table.KEYS, b"aa", b"new")
    changed.delete_range(Table.KEYS, b"b", b"d")
    store.write(changed)
    assert [pinned.get(key) for key in (b"b", b"a", b"aa", b"c", b"d", b"")] == [b"2", b"1", None, b"", None, None]
    assert table.get(b"a") == b"later"
    store.close()
    pinned.close()


def test_tables_are_separate_key_spaces(store: Store) -> None:
    for number, table in enumerate(Table):
        write(store, (b"key", b"%d" % number), table=table)
    assert [store.table(table).get(b"key") for table in Table] == [b"%d" % number for number in range(len(Table))]
    assert [list(store.table(table).scan()) for table in Table] == [
        [(b"key", b"%d" % number)] for number in range(len(Table))
    ]


@pytest.mark.parametrize(
    ("start", "up", "down"),
    [
        (b"", b"\0", None),
        (b"\0", b"\0", b"\0"),
        (b"\0\0", b"a", b"\0"),
        (b"a", b"a", b"a"),
        (b"aa", b"ab", b"a\0"),
        (b"c", b"\xff", b"b"),
        (b"\xff\xff", b"\xff\xff", b"\xff\xff"),
        (b"\xff\xff\0", None, b"\xff\xff"),
    ],
)
def test_seek_finds_the_nearest_record_on_its_side(
    store: Store, start: bytes, up: bytes | None, down: bytes | None
) -> None:
    table = store.table(Table.KEYS)
    assert table.seek(start) is None
    assert table.seek(start, reverse=True) is None
    fill(store)
    assert table.seek(start) == (None if up is None else (up, b"value of " + up))
    assert table.seek(start, reverse=True) == (None if down is None else (down, b"value of " + down))


def test_scan_goes_both_ways_from_any_start(store: Store) -> None:
    table = store.table(Table.KEYS)
    assert list(table.scan()) == list(table.scan(reverse=True)) == []
    found = fill(store)
    assert list(table.scan()) == found
    assert list(table.scan(reverse=True)) == found[::-1]
    for start in [b"", b"\xff\xff\xff", *(key + tail for key, _ in found for tail in (b"", b"\0", b"\xff"))]:
        assert list(table.scan(start)) == [record for record in found if record[0] >= start], start
        assert list(table.scan(start, reverse=True)) == [r for r in found[::-1] if r[0] <= start], start


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_sees_the_table_as_it_was_when_it_began(store: Store, *, reverse: bool) -> None:
    before = fill(store)
    scans = [store.table(Table.KEYS).scan(reverse=reverse) for _ in range(2)]
    begun = [next(scans[0])]
    write(store, (b"a", b"changed"), (b"aa", b"new"), (b"zz", b"new"), (b"\0\0", b"new"))
    expected = before[::-1] if reverse else before
    assert begun + list(scans[0]) == expected
    assert list(scans[1]) == expected
    assert len(list(store.table(Table.KEYS).scan())) == len(before) + 3


# --- writing ---------------------------------------------------------------------------------------------------


def test_of_two_puts_of_one_key_the_later_wins(store: Store) -> None:
    write(store, (b"a", b"1"), (b"a", b"2"))
    assert store.table(Table.KEYS).get(b"a") == b"2"
    batch = store.batch()
    batch.put_many(Table.KEYS, [b"a", b"a"], [b"3", b"4"])
    batch.put(Table.KEYS, b"b", b"1")
    batch.put_many(Table.KEYS, iter([b"b"]), iter([b"2"]))
    store.write(batch)
    assert list(store.table(Table.KEYS).scan()) == [(b"a", b"4"), (b"b", b"2")]


def test_a_removed_record_is_gone_and_removing_one_that_is_not_there_changes_nothing(store: Store) -> None:
    fill(store)
    batch = store.batch()
    batch.delete(Table.KEYS, b"a")
    batch.delete(Table.KEYS, b"never was")
    store.write(batch)
    assert store.table(Table.KEYS).get(b"a") is None
    assert [key for key, _ in store.table(Table.KEYS).scan()] == [b"\0", b"a\0", b"ab", b"b", b"\xff", b"\xff\xff"]


def test_a_removed_range_has_its_start_and_not_its_end(store: Store) -> None:
    fill(store)
    write(store, (b"b", b"of another table"), table=Table.VALUES)
    batch = store.batch()
    batch.delete_range(Table.KEYS, b"a\0", b"b")
    store.write(batch)
    keys = store.table(Table.KEYS)
    assert [key for key, _ in keys.scan()] == [b"\0", b"a", b"b", b"\xff", b"\xff\xff"]
    assert keys.get_many([b"a\0", b"ab", b"b"]) == [None, None, b"value of b"]
    assert keys.seek(b"a\0") == (b"b", b"value of b")
    assert keys.seek(b"aa", reverse=True) == (b"a", b"value of a")
    assert store.table(Table.VALUES).get(b"b") == b"of another table"


def test_of_a_removal_and_a_put_in_one_batch_the_later_wins(store: Store) -> None:
    fill(store)
    batch = store.batch()
    batch.put(Table.KEYS, b"a", b"new")
    batch.delete_range(Table.KEYS, b"a", b"b")
    batch.put(Table.KEYS, b"ab", b"newer")
    batch.delete(Table.KEYS, b"b")
    batch.put(Table.KEYS, b"b", b"newest")
    store.write(batch)
    assert store.table(Table.KEYS).get_many([b"a", b"a\0", b"ab", b"b"]) == [None, None, b"newer", b"newest"]


def test_nothing_of_a_batch_is_visible_before_its_write_and_all_after_it(store: Store) -> None:
    batch = store.batch()
    for table in Table:
        batch.put(table, b"key", b"value")
    assert [store.table(table).get(b"key") for table in Table] == [None] * len(Table)
    store.write(batch)
    assert [store.table(table).get(b"key") for table in Table] == [b"value"] * len(Table)


def test_put_many_refuses_columns_of_different_lengths(store: Store) -> None:
    with pytest.raises(ValueError, match="shorter"):
        store.batch().put_many(Table.KEYS, [b"a", b"b"], [b"1"])


def test_an_empty_batch_changes_nothing(store: Store) -> None:
    store.write(store.batch())
    assert list(store.table(Table.KEYS).scan()) == []


def test_a_written_batch_is_visible_before_it_is_synced(store: Store) -> None:
    write(store, (b"a", b"1"))
    assert store.table(Table.KEYS).get(b"a") == b"1"
    store.sync()
    assert store.table(Table.KEYS).get(b"a") == b"1"


def test_a_batch_of_another_store_is_refused(store: Store, kind: str, tmp_path: Path) -> None:
    other: Store = MemoryStore() if kind == "rocks" else RocksStore(tmp_path / "other")
    batch = other.batch()
    batch.put(Table.KEYS, b"a", b"1")
    with pytest.raises(StorageError, match="batch of another store"):
        store.write(batch)
    assert store.table(Table.KEYS).get(b"a") is None
    other.close()


def test_a_batch_is_seen_wholly_or_not_at_all_by_other_threads(store: Store) -> None:
    """The reader asks the tables in the order of writing: what it misses first, it must not find later."""
    stop = threading.Event()
    torn: list[tuple[bytes | None, bytes | None]] = []

    def read() -> None:
        while not stop.is_set():
            second = store.table(Table.VALUES).get(b"key")
            first = store.table(Table.LEAVES).get(b"key")
            if int(first or b"0") < int(second or b"0"):
                torn.append((first, second))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(500):
        batch = store.batch()
        batch.put(Table.VALUES, b"key", b"%d" % number)
        batch.put_many(Table.KEYS, [b"%d" % other for other in range(20)], [b""] * 20)
        batch.put(Table.LEAVES, b"key", b"%d" % number)
        store.write(batch)
    stop.set()
    reader.join()
    assert torn == []


def test_disk_bytes_grow_with_what_is_written(store: Store) -> None:
    before = store.disk_bytes()
    write(store, *((b"%d" % number, random.Random(number).randbytes(1000)) for number in range(200)))
    assert store.disk_bytes() >= before + 100_000


def test_the_room_of_a_removed_range_is_given_back_at_once_when_it_is_asked_for(store: Store) -> None:
    chance = random.Random(1)
    for group in range(40):
        batch = store.batch()
        batch.put(Table.VALUES, b"%04d" % group, chance.randbytes(200_000))
        store.write(batch)
    before = store.disk_bytes()
    batch = store.batch()
    batch.delete_range(Table.VALUES, b"0000", b"0036")
    store.write(batch)
    store.reclaim(Table.VALUES, b"0036")
    assert store.disk_bytes() < before / 5
    assert [key for key, _ in store.table(Table.VALUES).scan()] == [b"0036", b"0037", b"0038", b"0039"]


# --- closing ---------------------------------------------------------------------------------------------------


def test_what_was_synced_is_there_after_reopening(opened: tuple[Store, Reopen]) -> None:
    store, reopen = opened
    found = fill(store)
    store.sync()
    assert list(reopen(store).table(Table.KEYS).scan()) == found


def write_more(store: Store, batch: WriteBatch) -> None:
    batch.put(Table.KEYS, b"b", b"1")
    store.write(batch)


def uses(store: Store) -> dict[str, Callable[[], object]]:
    table = store.table(Table.KEYS)
    batch = store.batch()
    batch.put(Table.KEYS, b"a", b"1")
    return {
        "get": lambda: table.get(b"a"),
        "get_many": lambda: table.get_many([b"a"]),
        "seek": lambda: table.seek(b"a"),
        "scan": lambda: list(table.scan()),
        "write": lambda: store.write(batch),
        "new batch": lambda: write(store, (b"a", b"1")),
        "put and write": lambda: write_more(store, batch),
        "sync": store.sync,
        "disk_bytes": store.disk_bytes,
    }


def test_a_closed_store_says_so(store: Store) -> None:
    operations = uses(store)
    store.close()
    for operation in operations.values():
        with pytest.raises(LedgerClosed):
            operation()
    store.close()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_that_close_cuts_off_does_not_look_complete(opened: tuple[Store, Reopen], *, reverse: bool) -> None:
    store, reopen = opened
    found = fill(store)
    store.sync()
    begun, untouched = (store.table(Table.KEYS).scan(reverse=reverse) for _ in range(2))
    next(begun)
    again = reopen(store)  # RocksDB would still be locked if a cursor lived
    if again is not store:
        for scan in (begun, untouched):
            with pytest.raises(LedgerClosed):
                next(scan)
    assert list(again.table(Table.KEYS).scan()) == found


def test_a_memory_scan_ends_with_its_store() -> None:
    store = MemoryStore()
    fill(store)
    scan = store.table(Table.KEYS).scan()
    next(scan)
    store.close()
    with pytest.raises(LedgerClosed):
        next(scan)


def test_close_beside_readers_cuts_them_off_and_lets_the_engine_go(opened: tuple[Store, Reopen]) -> None:
    store, reopen = opened
    keys = [b"%04d" % number for number in range(300)]
    write(store, *((key, b"") for key in keys))
    store.sync()
    table = store.table(Table.KEYS)
    reads: list[Callable[[], object]] = [
        lambda: table.get(keys[5]),
        lambda: table.get_many(keys),
        lambda: table.seek(keys[5]),
        lambda: list(table.scan()),
        lambda: store.disk_bytes() > 0,
    ]
    begun = threading.Barrier(len(reads) + 1)
    ends: list[str] = []

    def repeat(read: Callable[[], object]) -> None:
        expected = read()
        begun.wait()
        try:
            while True:
                assert read() == expected
        except LedgerClosed:
            ends.append("closed")

    threads = [threading.Thread(target=repeat, args=(read,)) for read in reads]
    for thread in threads:
        thread.start()
    begun.wait()
    store.close()
    if isinstance(store, RocksStore):
        assert len(list(reopen(store).table(Table.KEYS).scan())) == 300
    for thread in threads:
        thread.join()
    assert ends == ["closed"] * len(reads)


# --- only RocksDB ----------------------------------------------------------------------------------------------


def test_a_rocksdb_checkpoint_is_a_store_of_its_own(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    found = fill(store)
    store.checkpoint(tmp_path / "copy")
    write(store, (b"a", b"changed"))
    copy = RocksStore(tmp_path / "copy")
    assert list(copy.table(Table.KEYS).scan()) == found
    write(copy, (b"b", b"changed in the copy"))
    assert store.table(Table.KEYS).get(b"b") == b"value of b"
    with pytest.raises(StorageError):
        store.checkpoint(tmp_path / "copy")
    copy.close()
    store.close()
    with pytest.raises(LedgerClosed):
        store.checkpoint(tmp_path / "late")


def test_a_memory_store_cannot_be_copied(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be copied"):
        MemoryStore().checkpoint(tmp_path)


def test_a_second_rocksdb_store_on_a_folder_is_refused(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    with pytest.raises(StorageError):
        RocksStore(tmp_path / "store")
    store.close()
    RocksStore(tmp_path / "store").close()


def test_a_damaged_rocksdb_manifest_is_corruption(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    fill(store)
    store.close()
    (manifest,) = (tmp_path / "store").glob("MANIFEST-*")
    content = bytearray(manifest.read_bytes())
    content[len(content) // 2] ^= 1
    manifest.write_bytes(content)
    with pytest.raises(Corruption, match="not what was written"):
        RocksStore(tmp_path / "store")


# --- only memory: crashes --------------------------------------------------------------------------------------


def numbered(count: int) -> MemoryStore:
    """One synced batch, then ``count`` unsynced ones that each add a key and overwrite a common one."""
    store = MemoryStore()
    write(store, (b"common", b"synced"), (b"first", b""))
    store.sync()
    for number in range(count):
        write(store, (b"%d" % number, b""), (b"common", b"%d" % number), (b"common", b"%d again" % number))
    return store


@pytest.mark.parametrize("keep", range(4))
def test_a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest(keep: int) -> None:
    store = numbered(3)
    assert store.unsynced == 3
    store.crash(keep=keep)
    assert store.unsynced == 0
    expected = {b"first": b"", b"common": b"%d again" % (keep - 1) if keep else b"synced"}
    expected |= {b"%d" % number: b"" for number in range(keep)}
    assert dict(store.table(Table.KEYS).scan()) == expected
    store.crash()
    assert dict(store.table(Table.KEYS).scan()) == expected


def test_a_crash_brings_back_what_an_unsynced_batch_removed() -> None:
    store = MemoryStore()
    before = fill(store)
    store.sync()
    batch = store.batch()
    batch.delete(Table.KEYS, b"a")
    batch.delete_range(Table.KEYS, b"ab", b"\xff")
    store.write(batch)
    assert len(list(store.table(Table.KEYS).scan())) == len(before) - 3
    store.crash()
    assert list(store.table(Table.KEYS).scan()) == before


def test_a_sync_makes_a_crash_harmless() -> None:
    store = numbered(3)
    before = dict(store.table(Table.KEYS).scan())
    store.sync()
    store.crash()
    assert dict(store.table(Table.KEYS).scan()) == before


def test_a_crash_opens_a_closed_store_and_clears_its_faults() -> None:
    store = numbered(1)
    store.fail_sync = store.fail_write = StorageError("broken")
    store.close()
    store.crash()
    write(store, (b"a", b"1"))
    store.sync()
    assert store.table(Table.KEYS).get(b"a") == b"1"


def test_faults_are_raised_and_change_nothing() -> None:
    store = numbered(0)
    store.fail_write = StorageError("no room")
    with pytest.raises(StorageError, match="no room"):
        write(store, (b"a", b"1"))
    assert store.table(Table.KEYS).get(b"a") is None
    store.fail_write, store.fail_sync = None, StorageError("broken")
    write(store, (b"a", b"1"))
    with pytest.raises(StorageError, match="broken"):
        store.sync()
    assert store.unsynced == 1
    store.crash()
    assert store.table(Table.KEYS).get(b"a") is None


def test_a_write_during_a_sync_may_still_be_lost() -> None:
    store = numbered(0)
    write(store, (b"before", b""))

    def write_once() -> None:
        store.on_sync = None
        write(store, (b"during", b""))

    store.on_sync = write_once
    store.sync()
    store.crash()
    assert store.table(Table.KEYS).get(b"before") == b""
    assert store.table(Table.KEYS).get(b"during") is None

"""The full self-check: a sound ledger passes, and every kind of damage is found and its place named."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING, cast

import pytest
from tests.ledger.opening import Clock, open_on, reopen

from scribe_ledger import Ledger
from scribe_ledger.errors import Corruption, LedgerClosed
from scribe_ledger.ledger import records
from scribe_ledger.ledger.check_damage import groups_around_damage
from scribe_ledger.ledger.machine import POLICY_KEY, STATE_KEY
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import DamagedBlock, Table
from scribe_ledger.merkle import Leaf, decode_leaf, encode_leaf
from scribe_ledger.model import Kind
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from scribe_ledger.ledger.store import TableReader

pytestmark = pytest.mark.storage

LARGE = b"large value " * 100


def fill(ledger: Ledger, many: int = 300) -> None:
    """Every kind of entry, groups of one and of many; by default one full tile and a partial one."""
    ledger.put("a", b"first", content_type="text/plain", metadata={"team": "red"})
    ledger.put("a", b"second", request_id="the second")
    ledger.put("gone", b"soon")
    ledger.delete("gone", metadata={"why": "test"})
    ledger.put("large", LARGE)
    ledger.put("large", b"small again")
    ledger.put("copy", LARGE)
    ledger.configure(overwrite="version", deletes="tombstone")
    ledger.put_many([(f"many:{number:03}", b"%d" % number) for number in range(many)])
    with ledger.batch() as batch:
        for number in range(5):
            batch.put("busy", b"%d" % number, dedupe=False, request_id=f"busy {number}")
        batch.delete("busy")
    ledger.put("empty", b"")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def ledger(store: MemoryStore, tmp_path: Path) -> Iterator[Ledger]:
    with open_on(store, tmp_path / "ledger", inline_max=200) as ledger:
        fill(ledger)
        yield ledger


@pytest.fixture
def small(store: MemoryStore, tmp_path: Path) -> Iterator[Ledger]:
    """The same with fewer entries, for what is checked hundreds of times."""
    with open_on(store, tmp_path / "small", inline_max=200) as ledger:
        fill(ledger, many=10)
        yield ledger


def put(store: MemoryStore, table: Table, key: bytes, value: bytes) -> None:
    batch = store.batch()
    batch.put(table, key, value)
    store.write(batch)


def remove(store: MemoryStore, table: Table, key: bytes) -> None:
    store.table(table).set(key, None)


def sha(value: bytes) -> bytes:
    return sha256(value).digest()


def flipped(value: bytes, at: int, bit: int = 0) -> bytes:
    return value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]


def places(ledger: Ledger) -> list[str]:
    report = ledger.verify()
    assert report.ok == (not report.problems)
    assert report.to_json()["ok"] is report.ok
    return [str(problem) for problem in report.problems]


# --- sound ledgers ---------------------------------------------------------------------------------------------


def test_an_empty_ledger_passes(tmp_path: Path) -> None:
    with open_on(MemoryStore(), tmp_path) as ledger:
        report = ledger.verify()
        assert report.ok
        assert report.entries == 0
        assert report.root == ledger.checkpoint().root


def test_a_sound_ledger_passes_and_its_root_is_what_is_signed(ledger: Ledger) -> None:
    assert places(ledger) == []
    report = ledger.verify()
    assert (report.entries, report.root) == (ledger.size, ledger.checkpoint().root)
    assert places(ledger) == []


def test_a_sound_ledger_passes_after_reopening(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path, inline_max=200) as ledger:
        fill(ledger)
        root = ledger.checkpoint().root
    with open_on(store, tmp_path) as ledger:
        assert places(ledger) == []
        assert ledger.verify().root == root


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, 513])
def test_the_root_is_that_of_the_tree_at_its_borders(size: int, tmp_path: Path) -> None:
    with open_on(MemoryStore(), tmp_path) as ledger:
        ledger.put_many([(b"%d" % number, b"") for number in range(size)])
        report = ledger.verify()
        assert report.problems == []
        assert report.root == ledger.checkpoint().root


def test_progress_is_told_from_group_to_group_up_to_the_end(ledger: Ledger) -> None:
    calls: list[tuple[int, int]] = []
    ledger.verify(lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert len(calls) > 5
    assert calls[-1] == (ledger.size, ledger.size)


def test_entries_that_come_meanwhile_are_not_looked_at(ledger: Ledger) -> None:
    size, root = ledger.size, ledger.checkpoint().root
    written: list[int] = []

    def write(done: int, _: int) -> None:
        if not written or done == size:
            written.append(ledger.put("a", b"meanwhile %d" % done).index)
            ledger.put(f"new {done}", LARGE)
            ledger.put_many([(f"new {done} {number}", b"") for number in range(300)])
            ledger.configure(deletes="forbid")

    report = ledger.verify(write)
    assert len(written) == 2
    assert report.problems == []
    assert (report.entries, report.root) == (size, root)


def test_what_is_written_but_not_synced_is_not_a_problem(store: MemoryStore, ledger: Ledger) -> None:
    found: list[str] = []
    store.on_sync = lambda: found.extend(places(ledger))
    ledger.put("a", b"third")
    ledger.put_many([(f"more {number}", LARGE) for number in range(300)])
    ledger.configure(deletes="forbid")
    assert found == []


def test_a_ledger_whose_sync_failed_can_still_be_checked(store: MemoryStore, ledger: Ledger) -> None:
    store.fail_sync = Corruption("the disk")
    with pytest.raises(Exception, match="the disk"):
        ledger.put("a", b"third")
    assert places(ledger) == []


def test_closing_in_the_middle_is_an_error_and_not_a_finding(ledger: Ledger) -> None:
    with pytest.raises(LedgerClosed):
        ledger.verify(lambda *_: ledger.close())


# --- damage ----------------------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_a_flipped_byte_in_any_leaf_is_found_with_its_entry(store: MemoryStore, ledger: Ledger) -> None:
    random_ = random.Random(1)
    for group, record in store.table(Table.LEAVES).scan():
        first = int.from_bytes(group, "big")
        leaves = records.unpack(record)
        for ordinal in random_.sample(range(len(leaves)), min(2, len(leaves))):
            at = random_.randrange(len(leaves[ordinal]))
            damaged = [*leaves]
            damaged[ordinal] = flipped(leaves[ordinal], at, random_.randrange(8))
            put(store, Table.LEAVES, group, records.pack(damaged, [*map(len, damaged)]))
            found = places(ledger)
            assert any(f"entry {first + ordinal}:" in place for place in found), (first + ordinal, at, found)
        put(store, Table.LEAVES, group, record)
    assert places(ledger) == []


def test_a_flipped_byte_in_the_header_of_a_group_is_found(store: MemoryStore, small: Ledger) -> None:
    for table in (Table.LEAVES, Table.VALUES):
        for group, record in store.table(table).scan():
            for at in range(6):
                put(store, table, group, flipped(record, at))
                found = places(small)
                assert any(str(int.from_bytes(group, "big")) in place for place in found), (group, at, found)
            put(store, table, group, record)
    assert places(small) == []


@pytest.mark.no_cover
def test_a_flipped_byte_in_any_value_is_found_with_its_entry(store: MemoryStore, ledger: Ledger) -> None:
    for group, record in store.table(Table.VALUES).scan():
        values = records.unpack(record)
        for ordinal in [ordinal for ordinal, value in enumerate(values) if value][:3]:
            damaged = [*values]
            damaged[ordinal] = flipped(values[ordinal], 0)
            put(store, Table.VALUES, group, records.pack(damaged, [*map(len, damaged)]))
            index = int.from_bytes(group, "big") + ordinal
            key = ledger.entry_at(index).key
            assert places(ledger) == [f"entry {index}: the value of key {key!r} does not match its digest"]
        put(store, Table.VALUES, group, record)
    assert places(ledger) == []


def key_damages(record: bytes) -> Iterator[bytes]:
    """Every bit of a key's record but those of remembered request ids, which nothing can recompute."""
    latest = records.LATEST.size
    for at in range(len(record)):
        if at < latest or (at - latest) % 24 < 7:
            yield flipped(record, at, at % 8)
    yield record[:-1]
    yield record + b"\0"
    yield b""


@pytest.mark.no_cover
def test_a_flipped_byte_in_any_key_record_is_found_with_its_key(store: MemoryStore, small: Ledger) -> None:
    for key in (b"a", b"busy", b"gone", b"large", b"copy", b"many:007"):
        record = store.table(Table.KEYS).records[key]
        for damaged in key_damages(record):
            put(store, Table.KEYS, key, damaged)
            found = places(small)
            assert any(repr(key) in place for place in found), (key, damaged, found)
        put(store, Table.KEYS, key, record)
    assert places(small) == []


@pytest.mark.no_cover
def test_a_flipped_byte_in_any_history_record_is_found_with_its_key(store: MemoryStore, small: Ledger) -> None:
    for key, record in store.table(Table.HISTORY).scan():
        for damaged in (*(flipped(record, at, at % 8) for at in range(len(record))), record[:-1], record + b"\0", b""):
            put(store, Table.HISTORY, key, damaged)
            found = places(small)
            assert any(repr(records.key_of_history(key)) in place for place in found), (key, damaged, found)
        put(store, Table.HISTORY, key, record)
    assert places(small) == []


def test_a_flipped_byte_in_a_tile_is_found_with_its_place(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path) as ledger:
        ledger.put_many([(b"%d" % number, b"") for number in range(600)])
        for key, record in store.table(Table.TREE).scan():
            for at in (0, 32 * 77 + 5, 32 * 256, len(record) - 1):
                put(store, Table.TREE, key, flipped(record, at))
                found = places(ledger)
                assert found[0] == f"tile {key[-1]} of level 0: differs from the hashes of its entries"
                if at < 32 * 256:
                    assert found[1].startswith(f"entry {key[-1] * 256 + at // 32}: ")
                assert len(found) <= 2
            put(store, Table.TREE, key, record[:-1])
            assert places(ledger)
            put(store, Table.TREE, key, record)
        assert places(ledger) == []


@pytest.mark.no_cover
@pytest.mark.parametrize("table", [Table.LEAVES, Table.VALUES, Table.KEYS, Table.HISTORY, Table.TREE, Table.BLOBS])
def test_any_record_that_is_missing_is_found(table: Table, store: MemoryStore, ledger: Ledger) -> None:
    found = list(store.table(table).scan())
    assert found
    for key, record in found if len(found) < 30 else found[:: len(found) // 30]:
        remove(store, table, key)
        assert places(ledger), key
        put(store, table, key, record)
    assert places(ledger) == []


def test_a_missing_record_is_named(store: MemoryStore, ledger: Ledger) -> None:
    cases = [
        (Table.LEAVES, U64.pack(3), "entry 3: missing: the next group begins at 4"),
        (Table.LEAVES, max(store.table(Table.LEAVES).records), f"entry {ledger.size - 1}: missing: the log ends there"),
        (Table.VALUES, U64.pack(3), "values of entries from 3: missing"),
        (Table.KEYS, b"many:123", "key b'many:123', version 1: entry 131 is not in the key index"),
        (Table.HISTORY, records.version_key(b"a", 1), "key b'a', version 1: entry 0 is missing from the key's history"),
        (Table.HISTORY, records.index_key(b"a", 0), "key b'a', version 1: entry 0 is missing from the key's history"),
        (Table.TREE, records.tile_key(0, 0), "tile 0 of level 0: missing"),
        (Table.BLOBS, sha(LARGE), "entry 4: the value of key b'large'"),
    ]
    for table, key, expected in cases:
        record = store.table(table).records[key]
        remove(store, table, key)
        found = places(ledger)
        assert any(place.startswith(expected) for place in found), (expected, found)
        put(store, table, key, record)


def test_a_record_that_no_entry_accounts_for_is_named(store: MemoryStore, ledger: Ledger) -> None:
    size = ledger.size
    keys, history = store.table(Table.KEYS).records, store.table(Table.HISTORY).records
    leaf, value = records.pack([b"leaf"], [4]), records.pack([b""], [0])
    of_a = history[records.version_key(b"a", 1)]
    later = records.LATEST.pack(size, 1, 0, 0, 6, 0, b"\0" * 8)
    cases = [
        (Table.LEAVES, U64.pack(size), leaf, f"entry {size}: it lies beyond the end of the log"),
        (Table.LEAVES, U64.pack(1 << 60), leaf, f"entry {1 << 60}: it lies beyond the end of the log"),
        (Table.LEAVES, U64.pack(9), leaf, "entry 136: another group begins at 9"),
        (Table.VALUES, U64.pack(9), value, "values of entries from 9: no group of entries has them"),
        (Table.VALUES, U64.pack(size), value, f"values of entries from {size}: no group of entries has them"),
        (Table.KEYS, b"another", keys[b"a"], "key b'another': the key index points to entry 1"),
        (Table.KEYS, b"another", later, f"key b'another': the key index points to entry {size}"),
        (Table.HISTORY, records.version_key(b"a", 9), of_a, "history of key b'a': no such version"),
        (Table.HISTORY, records.index_key(b"a", 9), of_a, "history of key b'a': no such version"),
        (Table.HISTORY, records.version_key(b"b", 1), of_a, "history of key b'b': no such version"),
        (
            Table.HISTORY,
            records.version_key(b"b", 1),
            records.SPOT.pack(size, 1, 0, 0, 0, 0),
            "history of key b'b': it",
        ),
        (Table.TREE, records.tile_key(0, 1), b"", "tile 1 of level 0: no entries account for it"),
        (Table.TREE, b"tile", b"", "tile 0 of level -1: no entries account for it"),
        (Table.BLOBS, bytes(32), U64.pack(4), f"blob {bytes(32).hex()}: entry 4 does not refer to it"),
        (Table.BLOBS, bytes(32), U64.pack(size), f"blob {bytes(32).hex()}: entry {size} does not refer to it"),
    ]
    for table, key, record, expected in cases:
        put(store, table, key, record)
        found = places(ledger)
        assert any(place.startswith(expected) for place in found), (expected, found)
        remove(store, table, key)
    assert places(ledger) == []


def test_a_wrong_reference_to_a_large_value_is_found(store: MemoryStore, ledger: Ledger) -> None:
    for index in (0, 5, 6, 1 << 40):
        put(store, Table.BLOBS, sha(LARGE), U64.pack(index))
        assert places(ledger), index
    put(store, Table.BLOBS, sha(LARGE), b"\x04")
    assert places(ledger)


def test_a_damaged_or_missing_large_value_is_found(ledger: Ledger) -> None:
    (blob,) = [path for path in ledger.path.rglob("*") if path.is_file() and path.stat().st_size == len(LARGE)]
    blob.chmod(0o600)
    blob.write_bytes(flipped(LARGE, 500))
    assert [place.split(": ")[0] for place in places(ledger)] == ["entry 4"]
    blob.unlink()
    assert [place.split(": ")[0] for place in places(ledger)] == ["entry 4"]


def test_a_damaged_state_or_policy_record_is_found_while_the_ledger_is_open(store: MemoryStore, small: Ledger) -> None:
    for key, name in ((STATE_KEY, "state"), (POLICY_KEY, "policies")):
        record = store.table(Table.META).records[key]
        for at in range(len(record)):
            put(store, Table.META, key, flipped(record, at))
            assert places(small) == [
                f"{name}: {'its record is' if key == STATE_KEY else 'their record is'} not what was written"
            ]
        remove(store, Table.META, key)
        assert len(places(small)) == 1
        put(store, Table.META, key, record)


def test_a_damaged_state_record_is_refused_or_found_after_reopening(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path, inline_max=200) as ledger:
        fill(ledger, many=10)
    position_and_format = 10
    record = store.table(Table.META).records[STATE_KEY]
    for at in range(position_and_format, len(record)):
        reopen(store)
        put(store, Table.META, STATE_KEY, flipped(record, at))
        try:
            with open_on(store, tmp_path) as ledger:
                assert places(ledger), at
        except Corruption:
            pass
        reopen(store)
        put(store, Table.META, STATE_KEY, record)
    with open_on(store, tmp_path) as ledger:
        assert places(ledger) == []


def test_policies_that_are_not_those_of_the_log_are_found(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path) as ledger:
        ledger.configure(deletes="forbid")
    reopen(store)
    record = store.table(Table.META).records[POLICY_KEY]
    put(store, Table.META, POLICY_KEY, record.replace(b'"forbid"', b'"tombstone"'))
    with open_on(store, tmp_path) as ledger:
        assert [place.split(": ")[0] for place in places(ledger)] == ["policies"]


def rewritten(leaf: Leaf, **changes: object) -> bytes:
    return encode_leaf(leaf._replace(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda leaf: rewritten(leaf, timestamp=leaf.timestamp + 1), "entry 1: its leaf"),
        (lambda leaf: rewritten(leaf, timestamp=5), "entry 1: its timestamp is before that of entry 0"),
        (lambda leaf: rewritten(leaf, key=b"b"), "key b'b', version 2: entry 1 is not in the key index"),
        (lambda leaf: rewritten(leaf, version=3), "key b'a', version 3: "),
        (lambda leaf: rewritten(leaf, kind=Kind.DELETE, size=0, sha256=bytes(32)), "entry 1: it has 6 bytes"),
    ],
)
def test_a_leaf_that_was_rewritten_is_found(
    change: Callable[[Leaf], bytes], expected: str, store: MemoryStore, ledger: Ledger
) -> None:
    leaf = decode_leaf(records.unpack(store.table(Table.LEAVES).records[U64.pack(1)])[0])
    forged = change(leaf)
    put(store, Table.LEAVES, U64.pack(1), records.pack([forged], [len(forged)]))
    assert any(place.startswith(expected) for place in places(ledger)), places(ledger)


def test_a_forged_entry_is_found_after_reopening_by_what_was_signed(store: MemoryStore, tmp_path: Path) -> None:
    """The last leaves have no tile yet: only the signed head still tells what they were."""
    with open_on(store, tmp_path) as ledger:
        ledger.put("a", b"value", metadata={"who": "alice"})
        ledger.checkpoint()
        ledger.put("b", b"value")
    reopen(store)
    (leaf,) = records.unpack(store.table(Table.LEAVES).records[U64.pack(0)])
    forged = leaf.replace(b"alice", b"mallo")
    put(store, Table.LEAVES, U64.pack(0), records.pack([forged], [len(forged)]))
    with pytest.raises(Corruption, match="the ledger's root at 1 entry is not the one that it once signed"):
        open_on(store, tmp_path)


def test_a_signed_size_inside_a_batch_is_checked(store: MemoryStore, tmp_path: Path) -> None:
    with open_on(store, tmp_path) as ledger:
        ledger.put_many([(b"%d" % number, b"") for number in range(20)])
        ledger.checkpoint(at=7)
        assert places(ledger) == []
        leaves = records.unpack(store.table(Table.LEAVES).records[U64.pack(0)])
        leaves[3] = leaves[3].replace(b"\x013", b"\x01x")
        put(store, Table.LEAVES, U64.pack(0), records.pack(leaves, [*map(len, leaves)]))
        found = places(ledger)
        assert "head: the root at 7 entries is not the one that was signed" in found
        assert any(place.startswith("entry 3: its leaf") for place in found)


@pytest.mark.no_cover
def test_a_damaged_block_of_a_table_file_is_named_once_and_read_around(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    with Ledger.open(folder, clock=Clock()) as ledger:
        for first in range(0, 3000, 1000):
            ledger.put_many([(b"%d" % number, b"value %d" % number) for number in range(first, first + 1000)])
        root = ledger.checkpoint().root
        ledger.snapshot(tmp_path / "copy")  # moves everything from the log to table files
    found: set[str] = set()
    for table in sorted((tmp_path / "copy" / "store").glob("*.sst")):
        whole = table.read_bytes()
        table.write_bytes(flipped(flipped(whole, len(whole) // 4), len(whole) // 2))
        try:
            with Ledger.open(tmp_path / "copy") as ledger:
                report = ledger.verify()
        except Corruption:  # in what is read on opening
            pass
        else:
            assert len(report.problems) == 2, report
            assert len({problem.what for problem in report.problems}) == 2
            assert report.root == root
            place = report.problems[0].place.split()[0]
            assert (report.entries < 3000) == (place == "entry")
            assert report.entries > 2000
            found.add(place)
        table.write_bytes(whole)
    assert {"entry", "key", "values"} <= found
    with Ledger.open(tmp_path / "copy") as ledger:
        assert ledger.verify().ok


def test_damage_at_the_end_of_the_log_and_of_all_of_it_ends_the_check(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger", clock=Clock()) as ledger:
        ledger.put_many([(b"%d" % number, b"") for number in range(500)])
        ledger.snapshot(tmp_path / "copy")
    with Ledger.open(tmp_path / "copy") as ledger:
        leaves = ledger._store.table(Table.LEAVES)
        groups = [group for group, _ in leaves.scan()]
        for readable in range(len(groups)):
            damaged: list[DamagedBlock] = []
            shown = groups_around_damage(unreadable(leaves, groups[readable:]), 500, damaged.append)
            assert [group for group, _ in shown] == groups[:readable]
            assert len(damaged) == 1
        for hole in range(len(groups)):
            shown = groups_around_damage(unreadable(leaves, groups[hole : hole + 1]), 500, damaged.append)
            assert [group for group, _ in shown] == groups[:hole] + groups[hole + 1 :]


def unreadable(table: TableReader, damaged: Sequence[bytes]) -> TableReader:
    return cast("TableReader", Unreadable(table, damaged))


class Unreadable:
    """A table some of whose records lie in a damaged block."""

    def __init__(self, table: TableReader, damaged: Sequence[bytes]) -> None:
        self._table = table
        self._damaged = damaged

    def seek(self, start: bytes) -> tuple[bytes, bytes] | None:
        return next(self.scan(start), None)

    def scan(self, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        for key, record in self._table.scan(start):
            if key in self._damaged:
                raise DamagedBlock("a block")
            yield key, record


# --- the archive -----------------------------------------------------------------------------------------------


@pytest.fixture
def archived(store: MemoryStore, tmp_path: Path) -> Iterator[ServedLedger]:
    """Two segments, the values of the first evicted, and some entries after them."""
    with ServedLedger.open(tmp_path / "archived", open_store=lambda _: store, clock=Clock(), inline_max=200) as ledger:
        fill(ledger)
        ledger.adopt_store()
        for stop in (8, ledger.size):
            archive(ledger, ledger.manifest.archived_size, stop)
        ledger.put_many([(f"later:{number}", b"%d" % number) for number in range(5)])
        ledger.put("large", LARGE + b"later")
        ledger.evict(8)
        yield ledger


def archive(ledger: ServedLedger, start: int, stop: int) -> None:
    groups = ledger.groups(start, stop)
    with seal(gather(groups), ledger_id=ledger.ledger_id, folder=ledger.spool) as sealed:
        ledger.objects.put_file(sealed.segment.path, sealed.path)
    ledger.change_manifest(Archive(ledger.manifest.version, (sealed.segment,)))


def test_a_sound_ledger_with_an_archive_passes(archived: ServedLedger) -> None:
    assert archived.evicted == 8
    assert places(archived) == []
    archived.evict(archived.manifest.archived_size)
    assert places(archived) == []
    assert len(archived.manifest.segments) == 2
    assert archived.verify(archive=False).ok


def test_a_missing_value_below_the_evicted_mark_is_right_and_one_above_is_not(
    archived: ServedLedger, store: MemoryStore
) -> None:
    key, record = next(store.table(Table.VALUES).scan(U64.pack(8)))
    remove(store, Table.VALUES, key)
    assert places(archived) == [f"values of entries from {int.from_bytes(key, 'big')}: missing"]
    put(store, Table.VALUES, key, record)
    put(store, Table.VALUES, U64.pack(3), records.pack([b""], [0]))
    assert places(archived) == ["values of entries from 3: they were evicted, and are still here"]


@pytest.mark.no_cover
@pytest.mark.parametrize("step", [31, pytest.param(3, marks=pytest.mark.soak)])
def test_a_flipped_byte_in_any_record_of_the_manifest_is_found(
    archived: ServedLedger, store: MemoryStore, step: int
) -> None:
    for number, (key, record) in enumerate(store.table(Table.MANIFEST).scan()):
        for at in range(number % step, len(record), step):  # at other places in each record
            put(store, Table.MANIFEST, key, flipped(record, at))
            assert any(place.startswith("manifest: ") for place in places(archived)), (key, at)
        remove(store, Table.MANIFEST, key)
        assert any(place.startswith("manifest: ") for place in places(archived)), key
        put(store, Table.MANIFEST, key, record)
    assert places(archived) == []


def test_a_segment_that_is_gone_or_altered_is_named(archived: ServedLedger) -> None:
    objects = archived.objects
    for segment in archived.manifest.segments:
        content = objects.get(segment.path)
        assert content is not None
        objects.put_bytes(segment.path, flipped(content, len(content) // 2), replace=True)
        assert [place.split(": ")[0] for place in places(archived)] == [segment.path]
        objects.delete(segment.path)
        assert [place.split(": ")[0] for place in places(archived)] == [segment.path]
        assert archived.verify(archive=False).ok
        objects.put_bytes(segment.path, content)
    assert places(archived) == []


def test_a_manifest_with_wrong_sums_is_found(archived: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    state = archived._machine.committed
    manifest = state.manifest
    first = manifest.segments[0]
    wrong = [
        manifest._replace(archived_size=manifest.archived_size + 1),
        manifest._replace(archived_bytes=manifest.archived_bytes + 1),
        manifest._replace(digest=bytes(32)),
        manifest._replace(store_id="another"),
        manifest._replace(version=manifest.version + 1),
        manifest._replace(segments=manifest.segments[:1], starts=manifest.starts[:1]),
        manifest._replace(starts=(0, 9)),
        manifest._replace(segments=(first._replace(log_bytes=first.log_bytes + 1), *manifest.segments[1:])),
    ]
    for other in wrong:
        monkeypatch.setattr(archived._machine, "committed", state._replace(manifest=other))
        report = archived.verify(archive=False)
        assert [problem for problem in report.problems if problem.place == "manifest"], other
    monkeypatch.setattr(archived._machine, "committed", state)
    monkeypatch.setattr(archived._machine, "evicted", manifest.archived_size + 1)
    assert any(place.startswith("manifest: values below entry") for place in places(archived))


def test_the_bytes_of_the_log_are_counted(archived: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    state = archived._machine.committed
    monkeypatch.setattr(archived._machine, "committed", state._replace(log_bytes=state.log_bytes + 1))
    assert any(place.startswith("state: it says that the log has") for place in places(archived))


def test_a_key_that_took_anothers_place_is_found_though_the_count_is_right(store: MemoryStore, small: Ledger) -> None:
    keys = store.table(Table.KEYS).records
    record = keys[b"a"]
    remove(store, Table.KEYS, b"a")
    put(store, Table.KEYS, b"another", record)
    found = places(small)
    assert any(place.startswith("key b'another': the key index points to entry") for place in found), found
    assert any("is not in the key index" in place for place in found), found

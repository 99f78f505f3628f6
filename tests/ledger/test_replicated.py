"""The machine as a cluster drives it: the same entries make the same records everywhere, whatever crashed meanwhile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.ledger.programs import Record, program, segment, tables

from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    InvalidRequest,
    Overloaded,
    SerializationError,
    StorageError,
)
from scribe_ledger.ledger import commands, policy, wire
from scribe_ledger.ledger.manifest import Adopt, Archive, Manifest
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.receipts import Receipts
from scribe_ledger.ledger.replicated import ReplicatedMachine
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.ledger.store import Store

pytestmark = pytest.mark.storage


def new(store: Store | None = None) -> ReplicatedMachine:
    return ReplicatedMachine.create(store or MemoryStore(), Policy())


def put(key: str, value: str = "v", request_id: str | None = None) -> bytes:
    return wire.encode_unit([commands.put(key, value, request_id=request_id)])


# --- the same everywhere ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_members_have_the_same_records_whatever_crashed(seed: int) -> None:
    """One applies its own objects and evicts; the other decodes, and loses again and again what was not synced."""
    log = program(seed)
    first, store, dice = new(), MemoryStore(), random.Random(seed)
    second = new(store)
    expected: dict[int, list[object]] = {}
    for entry in log:
        expected[entry.position] = entry.apply(first, local=True)
        first.evict(dice.randrange(first.extent.size + 1))
    at = 0
    while at < len(log):
        assert log[at].apply(second) == expected[log[at].position]
        at += 1
        if dice.random() < 0.1:
            durable = second.flush()
            assert durable == second.position
        if dice.random() < 0.1:
            durable = second.position - 1
            store.crash(keep=dice.randrange(store.unsynced + 1))
            second = ReplicatedMachine(store)
            assert second.position <= durable + 1
            at = next((place for place, entry in enumerate(log) if entry.position > second.position), len(log))
    assert second.extent == first.extent
    assert (second.membership, second.position) == (first.membership, first.position)
    assert tables(store, values=False) == tables(first._store, values=False)
    assert dict(first._store.table(Table.VALUES).scan()).items() <= dict(store.table(Table.VALUES).scan()).items()


@pytest.mark.parametrize("fresh", [True, False])
def test_a_bundle_of_puts_is_the_same_by_columns_and_one_by_one(fresh: bool) -> None:
    """``fresh``: no key comes twice, so nothing is to be judged."""
    dice = random.Random(1)
    first, second = new(), new()
    for position in range(1, 30):
        named = [
            f"{position}-{number}" if fresh else f"{dice.randrange(20)}" for number in range(dice.randrange(2, 40))
        ]
        ids = [None if position % 3 else f"{dice.randrange(30)}" for _ in named]
        asked = [
            [commands.put(key, f"{dice.randrange(3)}", request_id=request_id)]
            for key, request_id in zip(named, ids, strict=True)
        ]
        units = [wire.encode_unit(unit) for unit in asked]
        told = first.apply(position, position, units, asked)
        assert [_plainly(each) for each in second.apply(position, position, units, None)] == [*map(_plainly, told)]
    assert tables(second._store) == tables(first._store)
    assert second.extent == first.extent


def _plainly(outcome: object) -> object:
    return str(outcome) if isinstance(outcome, Exception) else outcome


@pytest.mark.parametrize("seed", range(3))
def test_both_stores_come_to_the_same(seed: int, tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "store")
    first, second = new(), new(store)
    log = program(seed)
    for place, entry in enumerate(log):
        assert entry.apply(first) == entry.apply(second)
        if place == len(log) // 2:
            store.close()
            store = RocksStore(tmp_path / "store")
            second = ReplicatedMachine(store)
    assert tables(store) == tables(first._store)
    store.close()


def test_what_is_flushed_survives_a_crash_and_nothing_more_is_claimed() -> None:
    store = MemoryStore()
    machine = new(store)
    machine.apply(3, 1, [put("a")], None)
    assert machine.flush() == 3
    machine.apply(7, 1, [put("b")], None)
    store.crash()
    machine = ReplicatedMachine(store)
    assert (machine.position, machine.extent.size) == (3, 1)
    machine.apply(7, 1, [put("b")], None)
    assert (machine.position, machine.extent.size, machine.flush()) == (7, 2, 7)


def test_a_flush_syncs_once_for_what_there_is() -> None:
    machine = new()
    machine.apply(1, 1, [put("a")], None)
    machine.flush()
    machine.flush_before_signing()
    machine.flush()
    assert machine.syncs == 1


# --- what an entry does ----------------------------------------------------------------------------------------


def test_an_entry_is_one_batch_and_each_unit_has_its_outcome() -> None:
    machine = new()
    outcomes = machine.apply(5, 77, [put("a"), b"junk", wire.encode_change(Adopt("x")), put("b")], None)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Receipts, SerializationError, InvalidRequest, Receipts]
    assert [receipt.timestamp for receipt in receipts(outcomes[3])] == [77]
    assert (machine.position, machine.batches, machine.extent.size) == (5, 1, 2)


def test_what_changes_nothing_moves_no_position() -> None:
    machine = new()
    machine.apply(2, 1, [put("a")], None)
    machine.apply(4, 1, [b"junk", put("a")], None)
    machine.apply(6, 1, [], None)
    (refused,) = machine.apply(8, 1, [wire.encode_change(Archive(0, (segment(5, 9),)))], None)
    assert isinstance(refused, Conflict)
    assert machine.position == 2
    machine.apply(4, 1, [b"junk", put("a")], None)  # again, after a restart


def test_a_change_of_the_manifest_gives_the_manifest() -> None:
    machine = new()
    (outcome,) = machine.apply(1, 1, [wire.encode_change(Adopt("x"))], None)
    assert isinstance(outcome, Manifest)
    assert (outcome.version, outcome.store_id, machine.extent.manifest_version) == (1, "x", 1)
    (outcome,) = machine.apply(2, 1, [wire.encode_change(Adopt("x"))], [Adopt("x")])
    assert isinstance(outcome, Manifest)
    assert outcome.version == 2


def test_the_digest_of_every_version_of_the_manifest_is_known() -> None:
    machine = new()
    digests = [machine.extent.manifest_digest]
    for number in range(1, 20):
        machine.apply(number, 1, [wire.encode_change(Adopt("x"))], None)
        digests.append(machine.extent.manifest_digest)
    assert len(set(digests)) == 20
    for version in (19, 3, 7, 0, 12, 3):
        assert machine.manifest_digest(version) == digests[version]
        assert ReplicatedMachine(machine._store).manifest_digest(version) == digests[version]
    with pytest.raises(InvalidRequest):
        machine.manifest_digest(20)


def test_roots_of_all_sizes_are_known() -> None:
    machine = new()
    roots = [machine.extent.root]
    for number in range(1, 30):
        machine.apply(number, 1, [put(f"key {number}")], None)
        roots.append(machine.extent.root)
    assert [machine.root_at(size) for size in range(30)] == roots


def test_the_record_of_the_members_comes_with_its_position() -> None:
    store = MemoryStore()
    machine = new(store)
    assert machine.membership == b""
    machine.set_membership(9, b"three members")
    assert (machine.position, machine.membership, machine.flush()) == (9, b"three members", 9)
    machine.set_membership(12, b"four members")
    store.crash()
    machine = ReplicatedMachine(store)
    assert (machine.position, machine.membership) == (9, b"three members")


def test_positions_only_rise() -> None:
    machine = new()
    machine.apply(3, 1, [put("a")], None)
    for position in (1, 3):
        with pytest.raises(ValueError, match="applied before"):
            machine.apply(position, 1, [put("b")], None)
        with pytest.raises(ValueError, match="applied before"):
            machine.set_membership(position, b"m")


def test_a_retry_gets_its_first_receipt_in_any_later_entry() -> None:
    machine = new()
    (first,) = machine.apply(1, 5, [put("a", "1", "id")], None)
    machine.apply(2, 6, [put("a", "2")], None)
    (again,) = machine.apply(3, 7, [put("a", "1", "id")], None)
    assert receipts(again)[0] == receipts(first)[0]._replace(created=False)


# --- when something fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["unit", "change", "members"])
def test_an_overloaded_store_has_changed_nothing_and_the_call_may_be_repeated(what: str) -> None:
    store = MemoryStore()
    machine = new(store)
    entry = {
        "unit": Record(1, 1, ([commands.put("a", "1")],)),
        "change": Record(1, 1, (Adopt("x"),)),
        "members": Record(1, 1, (), b"m"),
    }[what]
    before = tables(store)
    store.fail_write = Overloaded("the engine is catching up")
    for _ in range(3):
        with pytest.raises(Overloaded):
            entry.apply(machine)
    assert (tables(store), machine.position, machine.failure) == (before, 0, None)
    store.fail_write = None
    entry.apply(machine)
    assert machine.position == 1


@pytest.mark.parametrize("error", [StorageError("the disk is gone"), ValueError("unforeseen")])
def test_a_failed_write_ends_applying_and_not_reading(error: Exception) -> None:
    store = MemoryStore()
    machine = new(store)
    machine.apply(1, 1, [put("a")], None)
    extent = machine.extent
    store.fail_write = error
    with pytest.raises(type(error)):
        machine.apply(2, 1, [put("b")], None)
    store.fail_write = None
    for _ in range(2):
        with pytest.raises(StorageError, match="nothing is applied since"):
            machine.apply(2, 1, [put("b")], None)
        with pytest.raises(StorageError, match="nothing is applied since"):
            machine.flush()
    assert machine.extent == extent


def test_a_failed_sync_ends_applying() -> None:
    store = MemoryStore()
    machine = new(store)
    machine.apply(1, 1, [put("a")], None)
    store.fail_sync = OSError("no more")
    with pytest.raises(OSError, match="no more"):
        machine.flush()
    store.fail_sync = None
    with pytest.raises(StorageError, match="the sync failed"):
        machine.flush()
    with pytest.raises(StorageError, match="the sync failed"):
        machine.apply(2, 1, [put("b")], None)


def test_a_unit_of_a_newer_version_ends_the_node_and_changes_nothing() -> None:
    machine = new()
    newer = b"\x02" + put("a")[1:]
    for units in ([put("b"), newer], [newer], [b"\x02\x04{}"]):
        with pytest.raises(ConfigurationError, match="version 2"):
            machine.apply(1, 1, units, None)
    assert machine.position == 0


# --- newer rules -----------------------------------------------------------------------------------------------


def test_an_entry_that_asks_for_rules_nobody_here_knows_ends_the_node() -> None:
    """Whoever skipped it would judge what follows by other rules than the others."""
    machine = new()
    machine.apply(1, 1, [put("a")], None)
    newer = wire.encode_unit([commands.configure({"apply_version": 2})])
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="rules of version 2") as stopped:
            machine.apply(2, 1, [put("b"), newer, put("c")], None)
        assert "newer scribe-ledger" in stopped.value.hint
    assert (machine.position, machine.extent.size, machine.failure) == (1, 1, None)


def test_rules_rise_and_never_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "APPLY_VERSION", 3)
    machine = new()

    def configure(version: object) -> object:
        unit = wire.encode_unit([commands.configure({"apply_version": version})])
        return machine.apply(machine.position + 1, 1, [unit], None)[0]

    assert isinstance(configure(3), Receipts)
    assert machine.machine.policy.apply_version == 3
    for refused in (2, "3", True, None):
        assert isinstance(configure(refused), ConfigurationError)
    assert ReplicatedMachine(machine._store).machine.policy.apply_version == 3
    monkeypatch.setattr(policy, "APPLY_VERSION", 2)
    with pytest.raises(ConfigurationError, match="rules of version 3"):
        ReplicatedMachine(machine._store)


def receipts(outcome: object) -> Receipts:
    assert isinstance(outcome, Receipts)
    return outcome

"""Thousands of random crashes that lose what was not synced: what was acknowledged is there, and nothing else is."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.ledger.model import Model, Op, Refused, configure, delete, put
from tests.ledger.opening import Clock, load_machine, new_machine, open_on

from scribe_ledger.errors import Corruption, ScribeError, StorageError
from scribe_ledger.ledger import check
from scribe_ledger.ledger.cold import ColdValues
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.reads import Reader
from scribe_ledger.ledger.sequencer import Sequencer
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from scribe_ledger.ledger.machine import Machine

pytestmark = pytest.mark.storage

CRASHES_A_BLOCK = 300
KEYS = [b"a", b"b", b"c", b"d", b"e"]


class PowerLoss(BaseException):
    """Nothing after it is executed."""


class NoHead:
    """What the self-check asks of a head, where nothing was signed."""

    checkpoint = None


class Node:
    """The whole way of a write but for the folder: sequencer, machine and store, with the power going at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = MemoryStore()
        self.model = Model()
        self.clock = Clock()
        self.machine: Machine = new_machine(self.store)
        self.start()

    def start(self) -> None:
        self.machine = load_machine(self.store)
        self.sequencer = Sequencer(self.machine, self.store, clock=self.clock, on_commit=self.commit, durability="full")

    def commit(self, _: object) -> None:
        self.machine.commit()

    def op(self) -> Op:
        draw = self.random
        key = draw.choice(KEYS)
        kind = draw.random()
        if kind < 0.1:
            return configure(
                **draw.choice([{"overwrite": "forbid"}, {"overwrite": "version"}, {"deletes": "tombstone"}])
            )
        if kind < 0.25:
            return delete(key, request=draw.choice(["", "r", "s"]))
        version = draw.choice([None, None, 0, 1, 2])
        value = draw.choice([b"", b"1", b"2", b"x" * draw.randrange(3000)])
        return put(key, value, if_version=version, request=draw.choice(["", "r", "s"]), dedupe=draw.random() < 0.5)

    def unit(self) -> list[Op]:
        if self.random.random() < 0.1:  # now and then enough to fill a tile
            return [put(b"%d %d" % (self.model.size, number), b"") for number in range(self.random.randrange(200))]
        return [self.op() for _ in range(self.random.choice([1, 1, 1, 2, 5]))]

    def write(self) -> None:
        """One unit, acknowledged or refused as the model says."""
        unit = self.unit()
        self.clock.now += self.random.randrange(-3, 5)
        try:
            expected = self.model.write(unit, self.clock.now)
        except Refused as refusal:
            with pytest.raises(ScribeError) as raised:
                self.sequencer.write([op.command() for op in unit])
            kinds = (raised.value.kind, refusal.kind)
            assert kinds[0] == kinds[1]
            return
        receipts = self.sequencer.write([op.command() for op in unit])
        assert [(receipt.index, receipt.created) for receipt in receipts] == expected

    def write_and_crash(self) -> None:
        """The power goes, or the sync fails, or the write does. The unit may be there or not, but wholly."""
        acknowledged = self.model.size
        unit = self.unit()
        with suppress(Refused):
            self.model.write(unit, self.clock.now)
        fault = self.random.choice(["power", "sync", "write"])
        if fault == "power":
            self.store.on_sync = self.lose_power
        elif fault == "sync":
            self.store.fail_sync = StorageError("the disk")
        else:
            self.store.fail_write = StorageError("the disk")
        with suppress(ScribeError, PowerLoss):
            self.sequencer.write([op.command() for op in unit])
        assert self.machine.committed.size == acknowledged
        keep = self.random.choice([0, 1])
        there = self.store.unsynced > 0 and keep > 0
        self.store.on_sync = None
        self.store.crash(keep=keep)
        if not there:
            self.model.cut(acknowledged)
        self.start()

    def lose_power(self) -> None:
        raise PowerLoss

    def check(self) -> None:
        """Against the model, entry for entry, and by the ledger's own check."""
        state = self.machine.committed
        assert state.size == self.model.size
        assert self.machine.nodes.root() == self.model.root()
        assert self.machine.policy._asdict() == {**self.model.policies, "apply_version": 1}
        cold = ColdValues(self.machine, None, ledger_id="", cache_bytes=0, folder=Path())  # type: ignore[arg-type]
        reader = Reader(self.store, None, cold)  # type: ignore[arg-type]  # there are no large values
        for key in KEYS:
            assert reader.latest_value(key, state.size) == self.model.get(key)
            assert [entry.index for entry in reader.history(key, state.size)] == [
                item.index for item in self.model.history(key)
            ]

    def fsck(self) -> None:
        report = check.verify(self.store, self.machine, None, NoHead())  # type: ignore[arg-type]
        assert report.problems == []
        assert report.root == self.model.root()


@pytest.mark.parametrize("block", [*range(4), *(pytest.param(more, marks=pytest.mark.soak) for more in range(4, 40))])
@pytest.mark.no_cover
def test_every_acknowledged_write_survives_random_crashes(block: int) -> None:
    per_ledger = 15
    for seed in range(block * CRASHES_A_BLOCK, (block + 1) * CRASHES_A_BLOCK, per_ledger):
        node = Node(seed)
        try:
            for _ in range(per_ledger):
                for _ in range(node.random.randrange(4)):
                    node.write()
                node.write_and_crash()
                node.check()
            node.fsck()
        except BaseException as error:
            error.add_note(f"seed {seed}: run Node({seed}) as in this test")
            raise


def test_a_ledger_that_lost_what_it_signed_is_refused(tmp_path: Path) -> None:
    """An older copy of the store under the newer head: the disk lied, or somebody restored the wrong folder."""
    store = MemoryStore()
    with open_on(store, tmp_path) as ledger:
        ledger.put("a", b"1")
        older = {table: dict(store.table(table).records) for table in Table}
        ledger.put("b", b"2")
        ledger.checkpoint()
    old_store = MemoryStore()
    batch = old_store.batch()
    for table, found in older.items():
        batch.put_many(table, found.keys(), found.values())
    old_store.write(batch)
    with pytest.raises(Corruption, match="has 1 entry, but once signed a checkpoint of 2"):
        open_on(old_store, tmp_path)
    with open_on(store, tmp_path) as ledger:
        assert ledger.size == 2


def test_another_history_under_the_same_head_is_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    with open_on(store, tmp_path / "one") as ledger:
        ledger.put("a", b"1")
        ledger.checkpoint()
    other = MemoryStore()
    with open_on(other, tmp_path / "other") as ledger:
        ledger.put("a", b"2")
    with pytest.raises(Corruption, match="is not the one that it once signed"):
        open_on(other, tmp_path / "one")


def test_a_checkpoint_is_in_the_head_file_before_it_leaves(tmp_path: Path) -> None:
    with open_on(MemoryStore(), tmp_path) as ledger:
        for number in range(5):
            ledger.put("a", b"%d" % number)
            checkpoint = ledger.checkpoint()
            assert checkpoint.text.encode() in (tmp_path / "head").read_bytes()


def test_a_head_that_cannot_be_written_keeps_the_checkpoint_back(tmp_path: Path) -> None:
    with open_on(MemoryStore(), tmp_path) as ledger:
        ledger.put("a", b"1")
        first = ledger.checkpoint()
        ledger.put("a", b"2")

        def fail(_: object) -> None:
            raise StorageError("no space")

        head = ledger._signing.head
        head.record, record = fail, head.record  # type: ignore[method-assign,assignment]
        for _ in range(2):
            with pytest.raises(StorageError, match="no space"):
                ledger.checkpoint()
            with pytest.raises(StorageError, match="no space"):
                ledger.prove("a")
        assert ledger.checkpoint(at=1) == first
        head.record = record  # type: ignore[method-assign]
        assert ledger.checkpoint().size == 2


def test_a_relaxed_ledger_tells_on_closing_that_writes_were_lost(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = open_on(store, tmp_path, durability="relaxed", flush_interval_ms=10**9)
    ledger.put("a", b"1")
    store.fail_sync = StorageError("the disk")
    with pytest.raises(StorageError, match="the disk"):
        ledger.flush()
    store.fail_sync = None  # a second sync would report success for bytes that the first one lost
    for use in (ledger.checkpoint, ledger.flush, lambda: ledger.put("b", b""), ledger.close):
        with pytest.raises(StorageError, match="refused since one failed"):
            use()
    assert store.unsynced == 1


def test_a_relaxed_flusher_that_fails_freezes_the_ledger(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = open_on(store, tmp_path, durability="relaxed", flush_interval_ms=0)
    store.fail_sync = StorageError("the disk")
    ledger.put("a", b"1")
    assert isinstance(ledger._sequencer, Sequencer)
    assert ledger._sequencer._flusher is not None
    ledger._sequencer._flusher._thread.join(60)
    assert ledger.get("a") == b"1"
    with pytest.raises(StorageError, match="the disk"):
        ledger.put("a", b"2")
    with pytest.raises(StorageError, match="the disk"):
        ledger.close()

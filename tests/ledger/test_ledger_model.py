"""Random programs on a whole ledger against a plain model: on RocksDB, and in memory with crashes."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.ledger.model import Item, Model, Op, Refused, configure, delete, put
from tests.ledger.opening import START, Clock, open_on

from scribe_ledger import Checkpoint, ConsistencyProof, Entry, HistoryProof, Ledger, Proof, Receipt, verify
from scribe_ledger.errors import NotFound, ScribeError, StorageError
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.storage, pytest.mark.no_cover]

KEYS = [b"a", b"ab", b"ab\0", b"b", "ü".encode(), b"\xff", b"\xff\xff"]
VALUES = [b"", b"1", b"2", b"large " * 300]
"""The last is above ``inline_max``."""
KEY = st.sampled_from(KEYS)
REQUEST = st.sampled_from(["", "", "r", "s"])
METADATA = st.sampled_from([{}, {}, {"team": "red"}])
RARELY = st.sampled_from([False, False, False, True])
NUMBER = st.sampled_from([None, None, None, 0, 1, 2, 5])
PUT = st.builds(
    put,
    KEY,
    st.sampled_from(VALUES),
    content_type=st.sampled_from(["", "text/plain"]),
    metadata=METADATA,
    if_absent=RARELY,
    if_index=NUMBER,
    if_version=NUMBER,
    request=REQUEST,
    dedupe=st.booleans(),
)
PLAIN_PUT = st.builds(put, KEY, st.sampled_from(VALUES))
DELETE = st.builds(delete, KEY, metadata=METADATA, if_index=NUMBER, if_version=NUMBER, request=REQUEST)
CONFIGURE = st.sampled_from(
    [
        configure(overwrite="forbid"),
        configure(overwrite="version"),
        configure(deletes="forbid"),
        configure(deletes="tombstone"),
    ]
)
OPS = PLAIN_PUT | PUT | DELETE
REQUESTED = st.builds(
    put, st.sampled_from(KEYS[:2]), st.sampled_from(VALUES), request=st.sampled_from("rstu"), dedupe=st.booleans()
) | st.builds(delete, st.sampled_from(KEYS[:2]), request=st.sampled_from("rs"))
UNIT = (
    OPS.map(lambda op: [op])
    | st.lists(OPS, max_size=8)
    | st.lists(PLAIN_PUT, min_size=2, max_size=12)
    | st.lists(REQUESTED, min_size=2, max_size=6)
)
FRACTION = st.integers(0, 1000)
"""A place in the log, in thousandths of what there is."""


def perform(ledger: Ledger, unit: Sequence[Op]) -> Sequence[Receipt]:
    """The unit through the method that a user would call for it."""
    if len(unit) != 1:
        with ledger.batch() as batch:
            for op in unit:
                if op.kind is Kind.DELETE:
                    batch.delete(op.key, **options(op))
                else:
                    batch.put(op.key, op.value, **options(op))
        return batch.receipts
    (op,) = unit
    if op.kind is Kind.CONFIG:
        return [ledger.configure(**op.policies)]
    if op.kind is Kind.DELETE:
        return [ledger.delete(op.key, **options(op))]
    return [ledger.put(op.key, op.value, **options(op))]


def options(op: Op) -> dict[str, Any]:
    given: dict[str, Any] = {"metadata": op.metadata, "if_index": op.if_index, "if_version": op.if_version}
    given["request_id"] = op.request or None
    if op.kind is Kind.PUT:
        given |= {"content_type": op.content_type, "if_absent": op.if_absent, "dedupe": op.dedupe}
    return given


def assert_entry(entry: Entry | None, item: Item | None) -> None:
    assert (entry is None) == (item is None)
    if entry is None or item is None:
        return
    leaf = item.leaf()
    assert (entry.index, entry.kind, entry.timestamp, entry.key) == (leaf.index, leaf.kind, leaf.timestamp, leaf.key)
    assert (entry.version, entry.previous, entry.size) == (leaf.version, leaf.previous, leaf.size)
    assert (entry.sha256, entry.content_type, entry.metadata) == (leaf.sha256, leaf.content_type, leaf.metadata)
    assert entry.value == item.value
    assert entry.deleted == item.deleted
    if entry.chunk_root == bytes(32):
        assert entry.leaf_hash == leaf.hash()


class Programs(RuleBasedStateMachine):
    """The rules that every ledger keeps. Subclasses say how one is opened, and what can happen to it."""

    inline_max = 1 << 18

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="scribe-model-"))
        self.clock = Clock()
        self.model = Model()
        self.checkpoints: list[Checkpoint] = []
        self.units: list[Sequence[Op]] = []
        """That have request ids for all their operations, and were accepted."""
        self.ledger = self.open()

    def open(self) -> Ledger:
        raise NotImplementedError

    def teardown(self) -> None:
        with contextlib.suppress(StorageError):
            self.ledger.close()
        shutil.rmtree(self.folder)

    def place(self, fraction: int) -> int:
        """A tree size between 0 and the present one."""
        return self.model.size * fraction // 1000

    # --- writing -----------------------------------------------------------------------------------------------

    @rule(unit=UNIT)
    def write(self, unit: list[Op]) -> None:
        self.perform(unit)

    @rule(place=FRACTION)
    def write_again(self, place: int) -> None:
        """A unit that was accepted, whatever has happened to its keys meanwhile."""
        if self.units:
            self.perform(self.units[place * (len(self.units) - 1) // 1000])

    @rule(change=CONFIGURE)
    def configure(self, change: Op) -> None:
        self.perform([change])

    def perform(self, unit: Sequence[Op]) -> None:
        try:
            expected = self.model.write(unit, self.clock.now)
        except Refused as refusal:
            self.must_refuse(unit, refusal.kind)
            return
        if len(unit) > 1 and all(op.request for op in unit):
            self.units.append(unit)
        receipts = perform(self.ledger, unit)
        assert [(receipt.index, receipt.created) for receipt in receipts] == expected
        for receipt in receipts:
            item = self.model.items[receipt.index]
            assert (receipt.version, receipt.timestamp) == (item.version, item.timestamp)
            assert receipt.sha256 == item.leaf().sha256

    def must_refuse(self, unit: Sequence[Op], kind: str) -> None:
        with pytest.raises(ScribeError) as raised:
            perform(self.ledger, unit)
        assert raised.value.kind == kind

    @rule(key=KEY, count=st.integers(14, 20))
    def put_many_versions(self, key: bytes, count: int) -> None:
        """Past what is remembered of request ids."""
        self.perform([put(key, b"%d" % number) for number in range(count)])

    @rule(count=st.integers(100, 300), name=st.integers(0, 3))
    def put_many_keys(self, count: int, name: int) -> None:
        """Past the border of a group, and of a tile."""
        pairs = [(b"many %d %d" % (name, number), b"x" * (number % 40)) for number in range(count)]
        unit = [put(key, value) for key, value in pairs]
        with contextlib.suppress(Refused):
            expected = self.model.write(unit, self.clock.now)
            receipts = self.ledger.put_many(pairs)
            assert [(receipt.index, receipt.created) for receipt in receipts] == expected

    @rule(now=st.integers(START - 5, START + 50))
    def set_clock(self, now: int) -> None:
        self.clock.now = now

    # --- reading -----------------------------------------------------------------------------------------------

    @invariant()
    def reads_show_the_latest(self) -> None:
        assert self.ledger.size == self.model.size
        values = [self.model.get(key) for key in KEYS]
        assert [self.ledger.get(key) for key in KEYS] == values
        assert self.ledger.get_many(KEYS) == values
        assert self.ledger.get("ü") == self.model.get("ü".encode())

    @rule(key=KEY, fraction=FRACTION, version=st.integers(1, 25))
    def read_the_past(self, key: bytes, fraction: int, version: int) -> None:
        size = self.place(fraction)
        assert self.ledger.get(key, as_of=size) == self.model.get(key, size)
        assert_entry(self.ledger.entry(key), self.model.latest(key))
        assert_entry(self.ledger.entry(key, as_of=size), self.model.latest(key, size))
        assert_entry(self.ledger.entry(key, version=version), self.model.version(key, version))
        assert_entry(self.ledger.entry(key, version=version, as_of=size), self.model.version(key, version, size))
        found = self.model.version(key, version)
        assert self.ledger.get(key, version=version) == (None if found is None or found.deleted else found.value)
        with self.ledger.open_value(key, as_of=size) or contextlib.nullcontext() as file:
            assert (None if file is None else file.read()) == self.model.get(key, size)

    @rule(key=KEY, fraction=FRACTION)
    def read_a_history(self, key: bytes, fraction: int) -> None:
        for size in (None, self.place(fraction)):
            found = list(self.ledger.history(key, as_of=size))
            expected = self.model.history(key, size)
            assert len(found) == len(expected)
            for entry, item in zip(found, expected, strict=True):
                assert_entry(entry, item)

    @rule(key=KEY, taken=st.integers(0, 3))
    def read_a_history_while_it_grows(self, key: bytes, taken: int) -> None:
        expected = self.model.history(key)
        reading = self.ledger.history(key)
        begun = [entry for entry, _ in zip(reading, range(taken), strict=False)]
        read_ahead = 1 if len(begun) == taken and taken < len(expected) else 0  # zip takes one more than it gives
        self.perform([put(key, b"more", dedupe=False)])
        found = [entry.index for entry in (*begun, *reading)]
        indexes = [item.index for item in expected]
        assert found == indexes[:taken] + indexes[taken + read_ahead :]

    @rule(
        prefix=st.sampled_from([b"", b"a", b"ab", b"many 1", b"\xff", b"\xff\xff", b"zz"]),
        start=st.sampled_from([None, b"a", b"aa", b"ab\0", b"b", b"many 2", b"\xff\xff\xff"]),
        limit=st.sampled_from([None, 0, 1, 3, 1000]),
        reverse=st.booleans(),
        fraction=st.none() | FRACTION,
    )
    def scan(self, prefix: bytes, start: bytes | None, limit: int | None, reverse: bool, fraction: int | None) -> None:
        size = None if fraction is None else self.place(fraction)
        found = list(self.ledger.scan(prefix, start=start, limit=limit, reverse=reverse, as_of=size))
        expected = self.model.scan(size, prefix=prefix, start=start, limit=limit, reverse=reverse)
        assert [entry.key for entry in found] == [item.op.key for item in expected]
        for entry, item in list(zip(found, expected, strict=True))[:10]:
            assert_entry(entry, item)

    @rule(start=FRACTION, stop=st.none() | FRACTION)
    def read_the_log(self, start: int, stop: int | None) -> None:
        first, last = self.place(start), None if stop is None else self.place(stop)
        found = list(self.ledger.log(first, last))
        expected = self.model.items[first:last] if last is None or last >= first else []
        assert [entry.index for entry in found] == [item.index for item in expected]
        for entry, item in list(zip(found, expected, strict=True))[:20]:
            assert_entry(entry, item)
        if first < self.model.size:
            assert_entry(self.ledger.entry_at(first), self.model.items[first])

    # --- proving -----------------------------------------------------------------------------------------------

    @rule(fraction=st.none() | FRACTION)
    def sign(self, fraction: int | None) -> None:
        at = None if fraction is None else self.place(fraction)
        checkpoint = self.ledger.checkpoint(at)
        verify.checkpoint(checkpoint.text, public_key=self.ledger.public_key)
        assert checkpoint.size == (self.model.size if at is None else at)
        if not any(item.leaf().size > self.inline_max for item in self.model.items):
            assert checkpoint.root == self.model.root(checkpoint.size)
        for old in self.checkpoints:
            if old.size <= checkpoint.size:
                proof = ConsistencyProof.parse(str(self.ledger.prove_consistency(old.size, checkpoint.size)))
                verify.consistency(proof, old, checkpoint, public_key=self.ledger.public_key)
        self.checkpoints.append(checkpoint)

    @rule(key=KEY, version=st.none() | st.integers(1, 5), fraction=st.none() | FRACTION)
    def prove(self, key: bytes, version: int | None, fraction: int | None) -> None:
        at = None if fraction is None else self.place(fraction)
        item = self.model.latest(key, at) if version is None else self.model.version(key, version, at)
        if item is None:
            with pytest.raises(NotFound):
                self.ledger.prove(key, version, at)
            with pytest.raises(NotFound):
                self.ledger.prove_history(key, version, at)
            return
        vkey = self.ledger.public_key
        proof = Proof.parse(str(self.ledger.prove(key, version, at)))
        value = None if item.deleted else item.value
        assert verify.inclusion(proof, value, public_key=vkey, key=key, version=item.version).index == item.index
        assert proof.checkpoint.size == (self.model.size if at is None else at)
        history = HistoryProof.parse(str(self.ledger.prove_history(key, version, at)))
        leaves = verify.history(history, public_key=vkey, key=key)
        assert [leaf.index for leaf in leaves] == [i.index for i in self.model.history(key) if i.index <= item.index]

    # --- looking after -----------------------------------------------------------------------------------------

    @rule()
    def check(self) -> None:
        report = self.ledger.verify()
        assert report.problems == []
        assert report.entries == self.model.size
        stats = self.ledger.stats()
        assert (stats["entries"], stats["keys"], stats["live_keys"]) == (
            self.model.size,
            len(self.model.keys()),
            len(self.model.live()),
        )
        assert stats["value_bytes"] == sum(len(item.value) for item in self.model.items)
        assert stats["policy"] == {**self.model.policies, "apply_version": 1}

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = self.open()


class OnRocks(Programs):
    """With large values in files, as they are in use."""

    inline_max = 1000

    def open(self) -> Ledger:
        return Ledger.open(self.folder / "ledger", clock=self.clock, inline_max=self.inline_max)

    @rule()
    @precondition(lambda self: self.model.size)
    def snapshot(self) -> None:
        copy = self.folder / "copy"
        self.ledger.snapshot(copy)
        with Ledger.open(copy, clock=self.clock) as ledger:
            assert ledger.size == self.model.size
            assert ledger.checkpoint().root == self.ledger.checkpoint().root
            assert ledger.verify().ok
        shutil.rmtree(copy)


class PowerLoss(BaseException):
    """Nothing after it is executed."""


class InMemory(Programs):
    """On a store that loses what was not synced; every acknowledged write must be there again."""

    durability = "full"

    def __init__(self) -> None:
        self.store = MemoryStore()
        super().__init__()

    def open(self) -> Ledger:
        return open_on(
            self.store, self.folder / "ledger", clock=self.clock, durability=self.durability, flush_interval_ms=10**9
        )

    def crash(self, keep: int) -> None:
        """The power goes: the store is closed first, so that no sync on the way out can help."""
        self.store.close()
        with contextlib.suppress(ScribeError):
            self.ledger.close()
        self.store.on_sync = None
        self.store.crash(keep=keep)
        self.ledger = self.open()

    @rule(unit=UNIT, keep=st.integers(0, 1))
    def lose_power_in_the_gap(self, unit: list[Op], keep: int) -> None:
        """Between a write and its sync. Nobody was told anything, so the unit may be there or not, but wholly."""
        acknowledged, now = self.model.size, self.clock.now
        with contextlib.suppress(Refused):
            self.model.write(unit, now)

        def lose() -> None:
            raise PowerLoss

        self.store.on_sync = lose
        with contextlib.suppress(ScribeError, PowerLoss):
            perform(self.ledger, unit)
        self.crash(keep)
        if not keep:
            self.model.cut(acknowledged)

    @rule(unit=UNIT, keep=st.integers(0, 1))
    def fail_to_sync(self, unit: list[Op], keep: int) -> None:
        """Writes are refused from then on, and reads go on with what was acknowledged."""
        acknowledged = self.model.size
        self.store.fail_sync = StorageError("the disk")
        try:
            expected = self.model.write(unit, self.clock.now)
        except Refused:
            expected = []
        appends = any(created for _, created in expected)
        if appends:
            with pytest.raises(StorageError, match="the disk"):
                perform(self.ledger, unit)
            self.model, whole = Model(), self.model
            self.model.items = whole.items[:acknowledged]
            self.model.cut(acknowledged)
            self.reads_show_the_latest()
            self.sign(None)
            with pytest.raises(StorageError, match="refused"):
                self.ledger.put("x", b"")
            self.model = whole
        self.crash(keep)
        if not keep:
            self.model.cut(acknowledged)

    @rule()
    def lose_power(self) -> None:
        assert self.store.unsynced == 0
        self.crash(0)


class Relaxed(InMemory):
    """Acknowledged before the sync: a crash may lose the last batches, but none before a flush or a checkpoint."""

    durability = "relaxed"

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [0]
        """What the model's size was after each batch since the last sync, that sync's first."""

    def perform(self, unit: Sequence[Op]) -> None:
        super().perform(unit)
        if self.sizes[-1] != self.model.size:
            self.sizes.append(self.model.size)

    def synced(self) -> None:
        self.sizes = [self.model.size]
        assert self.store.unsynced == 0

    @rule(count=st.integers(100, 300), name=st.integers(0, 3))
    def put_many_keys(self, count: int, name: int) -> None:
        super().put_many_keys(count, name)
        if self.sizes[-1] != self.model.size:
            self.sizes.append(self.model.size)

    @rule()
    def flush(self) -> None:
        self.ledger.flush()
        self.synced()

    @rule(fraction=st.none() | FRACTION)
    def sign(self, fraction: int | None) -> None:
        super().sign(fraction)
        self.synced()

    @rule(key=KEY, version=st.none() | st.integers(1, 5), fraction=st.none() | FRACTION)
    def prove(self, key: bytes, version: int | None, fraction: int | None) -> None:
        super().prove(key, version, fraction)
        self.synced()

    @rule()
    def reopen(self) -> None:
        super().reopen()
        self.synced()

    @rule(fraction=FRACTION)
    def lose_some(self, fraction: int) -> None:
        assert self.store.unsynced == len(self.sizes) - 1
        keep = (len(self.sizes) - 1) * fraction // 1000
        self.crash(keep)
        self.model.cut(self.sizes[keep])
        self.synced()

    lose_power = None  # type: ignore[assignment]  # those of full durability
    lose_power_in_the_gap = None  # type: ignore[assignment]
    fail_to_sync = None  # type: ignore[assignment]


def programs(kind: type[Programs], *, examples: int, steps: int) -> Any:
    case = kind.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    return case


def long_programs(kind: type[Programs]) -> Any:
    """The same rules, for so long that only the soak has the time."""
    return pytest.mark.soak(programs(type(f"Long{kind.__name__}", (kind,), {}), examples=300, steps=50))


TestOnRocks = programs(OnRocks, examples=15, steps=30)
TestInMemory = programs(InMemory, examples=20, steps=40)
TestRelaxed = programs(Relaxed, examples=15, steps=30)
TestLongOnRocks = long_programs(OnRocks)
TestLongInMemory = long_programs(InMemory)
TestLongRelaxed = long_programs(Relaxed)

"""Group commit on the store in memory, whose syncs are held, counted and made to fail."""

from __future__ import annotations

import linecache
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.ledger.opening import START, Clock, load_machine, new_machine, open_on
from tests.ledger.threads import LIMIT_SECONDS, Gate, spawn, wait_until

from scribe_ledger.errors import (
    LedgerClosed,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    ScribeError,
    StorageError,
)
from scribe_ledger.ledger import commands, sequencer
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.sequencer import Sequencer
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path
    from types import FrameType

    from scribe_ledger.model import Receipt

pytestmark = pytest.mark.storage

DISK_FULL = StorageError("the disk is full", hint="free space")


class Rig:
    """A sequencer over a machine over a store in memory."""

    def __init__(self, *, clock: Callable[[], int] | None = None, **options: Any) -> None:
        self.store = MemoryStore()
        self.machine = new_machine(self.store)
        self.pauses: list[float] = []
        self.sequencer = Sequencer(
            self.machine,
            self.store,
            clock=clock or Clock(),
            on_commit=self._commit,
            pause=self.pauses.append,
            **options,
        )

    def _commit(self, _: object) -> None:
        self.machine.commit()

    def put(self, key: str, value: str = "value", **options: Any) -> Receipt:
        return self.sequencer.write([commands.put(key, value, **options)])[0]

    def put_batch(self, keys: Sequence[str]) -> None:
        self.sequencer.write([commands.put(key, "value") for key in keys])

    def hold_sync(self) -> tuple[Gate, Future[Receipt]]:
        """A writer that is in the middle of its sync, and the gate that holds it there."""
        gate = self.store.on_sync = Gate()
        first = spawn(self.put, "first")
        gate.wait_entered()
        return gate, first

    def queue(self, *keys: str) -> list[Future[Receipt]]:
        """Writers that wait in the queue, in this order."""
        waiting = []
        for key in keys:
            expected = self.sequencer.queued[0] + 1
            waiting.append(spawn(self.put, key))
            self.wait_queued(expected)
        return waiting

    def wait_queued(self, count: int) -> None:
        wait_until(lambda: self.sequencer.queued[0] == count)

    def visible(self) -> int:
        return self.machine.committed.size

    def stored(self, key: str) -> bool:
        return self.store.table(Table.KEYS).get(key.encode()) is not None


# --- sharing syncs -------------------------------------------------------------------------------------------------


def test_a_lone_writer_commits_in_its_own_thread() -> None:
    rig = Rig()
    threads: list[threading.Thread] = []
    rig.store.on_sync = lambda: threads.append(threading.current_thread())
    before = threading.active_count()
    for number in range(3):
        rig.put(f"key {number}")
    assert threads == [threading.current_thread()] * 3
    assert threading.active_count() == before
    assert (rig.sequencer.syncs, rig.sequencer.batches) == (3, 3)


def test_one_sync_serves_all_who_wait() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    others = [spawn(rig.put, f"key {number}") for number in range(60)]
    rig.wait_queued(60)
    assert not any(other.done() for other in others)
    gate.open()
    indexes = {future.result(LIMIT_SECONDS).index for future in (first, *others)}
    assert indexes == set(range(61))
    assert (rig.sequencer.syncs, rig.sequencer.batches) == (2, 2)
    assert rig.store.unsynced == 0


def test_writers_are_served_in_the_order_of_their_arrival_and_the_first_leads() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    idents: list[int] = []

    def put(key: str) -> Receipt:
        idents.append(threading.get_ident())
        return rig.put(key)

    waiting = []
    for number in range(5):
        waiting.append(spawn(put, f"key {number}"))
        rig.wait_queued(number + 1)
    gate.open()
    assert first.result(LIMIT_SECONDS).index == 0
    assert [future.result(LIMIT_SECONDS).index for future in waiting] == [1, 2, 3, 4, 5]
    assert gate.visitors[1:] == idents[:1]


def test_a_round_is_bounded_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_ROUND_ENTRIES", 2)
    rig = Rig()
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b", "c", "d", "e")
    gate.open()
    assert [future.result(LIMIT_SECONDS).index for future in (first, *waiting)] == [0, 1, 2, 3, 4, 5]
    assert rig.sequencer.syncs == 4


def test_a_unit_larger_than_a_round_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_ROUND_ENTRIES", 2)
    rig = Rig()
    gate, first = rig.hold_sync()
    batch = spawn(rig.put_batch, ["a", "b", "c"])
    rig.wait_queued(3)
    gate.open()
    batch.result(LIMIT_SECONDS)
    assert first.result(LIMIT_SECONDS).index == 0
    assert (rig.visible(), rig.sequencer.syncs) == (4, 2)


def test_an_answer_that_appends_nothing_waits_for_the_sync_it_rests_on() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    same = spawn(rig.put, "first")
    rig.wait_queued(1)
    refused = spawn(rig.put, "first", "other", if_absent=True)
    rig.wait_queued(2)
    assert not same.done() and not refused.done()
    assert rig.visible() == 0
    gate.open()
    assert first.result(LIMIT_SECONDS).created
    assert not same.result(LIMIT_SECONDS).created
    assert isinstance(refused.exception(LIMIT_SECONDS), PreconditionFailed)


def test_nothing_is_seen_between_write_and_sync(tmp_path: Path) -> None:
    store = MemoryStore()
    with open_on(store, tmp_path) as ledger:
        ledger.put("key", "old")
        gate = store.on_sync = Gate()
        writing = spawn(ledger.put_many, [("key", "new"), ("fresh", "value")])
        gate.wait_entered()
        assert store.unsynced == 1
        assert ledger.get("key") == b"old"
        assert ledger.get_many(["key", "fresh"]) == [b"old", None]
        assert ledger.entry("fresh") is None
        assert [entry.version for entry in ledger.history("key")] == [1]
        assert [entry.key for entry in ledger.scan()] == [b"key"]
        assert len(list(ledger.log())) == 1
        assert ledger.checkpoint().size == ledger.size == ledger.stats()["entries"] == 1
        gate.open()
        writing.result(LIMIT_SECONDS)
        assert ledger.get_many(["key", "fresh"]) == [b"new", b"value"]
        assert ledger.checkpoint().size == 3


# --- bounds --------------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_QUEUE_ENTRIES", 3)
    rig = Rig()
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b", "c")
    with pytest.raises(Overloaded, match="3 entries wait"):
        rig.put("refused")
    outcomes = rig.sequencer.write_all([[commands.put("refused", "value")]])
    assert [type(outcome) for outcome in outcomes] == [Overloaded]
    assert rig.sequencer.queued[0] == 3
    gate.open()
    assert sorted(future.result(LIMIT_SECONDS).index for future in (first, *waiting)) == [0, 1, 2, 3]
    assert not rig.stored("refused")
    assert rig.put("refused").index == 4
    assert rig.sequencer.queued == (0, 0)


def test_the_queue_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_QUEUE_BYTES", 10_000)
    rig = Rig()
    gate, first = rig.hold_sync()
    large = spawn(rig.put, "large", "x" * 20_000)  # alone it may be over: it could never be written otherwise
    rig.wait_queued(1)
    assert rig.sequencer.queued[1] > 20_000
    with pytest.raises(Overloaded):
        rig.put("small", "")
    gate.open()
    assert [first.result(LIMIT_SECONDS).index, large.result(LIMIT_SECONDS).index] == [0, 1]
    assert rig.sequencer.queued == (0, 0)


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1], ids=["lost", "kept"])
def test_a_failed_sync_fails_every_waiter_and_freezes_writes(keep: int) -> None:
    rig = Rig()
    rig.put("before")
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b", "c")
    rig.store.fail_sync = DISK_FULL
    gate.open()
    failures = [future.exception(LIMIT_SECONDS) for future in (first, *waiting)]
    assert all(isinstance(failure, StorageError) and "disk is full" in str(failure) for failure in failures)
    assert len(set(map(id, failures))) == 4, "each has an error, and so a traceback, of its own"

    rig.store.fail_sync = None
    with pytest.raises(StorageError, match=r"writes are refused since one failed.*the disk is full"):
        rig.put("after")
    assert rig.sequencer.failure is not None
    assert rig.visible() == 1, "reads go on with what was committed"
    assert rig.sequencer.syncs == 1, "a sync is never tried again"
    rig.sequencer.close()

    rig.store.crash(keep=keep)
    reopened = load_machine(rig.store)
    assert reopened.committed.size == 1 + keep
    assert rig.stored("before") and rig.stored("first") == bool(keep)
    assert not any(map(rig.stored, ("a", "b", "c", "after")))


def test_reads_go_on_after_a_failed_sync_and_never_show_it(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = open_on(store, tmp_path)
    ledger.put("key", "old")
    store.fail_sync = DISK_FULL
    with pytest.raises(StorageError, match="the sync failed"):
        ledger.put_many([("key", "new"), ("fresh", "value")])
    store.fail_sync = None
    for _ in range(2):
        with pytest.raises(StorageError, match="writes are refused"):
            ledger.put("key", "newer")
        assert ledger.get_many(["key", "fresh"]) == [b"old", None]
        assert [entry.version for entry in ledger.history("key")] == [1]
        assert [entry.key for entry in ledger.scan()] == [b"key"]
        assert ledger.checkpoint().size == 1
        assert ledger.prove("key").index == 0
        assert ledger.verify().ok
    with pytest.raises(StorageError, match="writes are refused"):
        ledger.snapshot(tmp_path / "copy")
    assert not ledger.stats()["writable"]
    ledger.close()
    store.crash()
    with open_on(store, tmp_path) as ledger:
        assert ledger.size == 1
        assert ledger.put("key", "newer").version == 2


def test_a_failed_write_of_the_engine_freezes_writes() -> None:
    rig = Rig()
    rig.put("before")
    rig.store.fail_write = DISK_FULL
    with pytest.raises(StorageError, match="the disk is full"):
        rig.put("failed")
    rig.store.fail_write = None
    with pytest.raises(StorageError, match="writes are refused since one failed: the disk is full"):
        rig.put("after")
    assert rig.visible() == 1
    rig.sequencer.flush_before_signing()  # what is visible is durable


def test_a_stall_of_the_engine_is_waited_out() -> None:
    rig = Rig()
    rig.store.fail_write = Overloaded("the engine is catching up")

    def pause(_: float) -> None:
        rig.pauses.append(_)
        if len(rig.pauses) == 5:
            rig.store.fail_write = None

    rig.sequencer._pause = pause
    assert rig.put("key").index == 0
    assert len(rig.pauses) == 5


def test_a_stall_that_lasts_refuses_the_write_and_freezes_nothing() -> None:
    rig = Rig()
    rig.store.fail_write = Overloaded("the engine is catching up")
    with pytest.raises(Overloaded, match="catching up"):
        rig.put("key")
    assert sum(rig.pauses) >= sequencer.STALL_LIMIT_SECONDS
    assert max(rig.pauses) <= 0.2, "short, so that the engine is asked again soon"
    rig.store.fail_write = None
    assert rig.sequencer.failure is None
    assert rig.put("key").index == 0


def test_a_mistake_before_anything_was_written_freezes_nothing() -> None:
    def broken() -> int:
        raise ZeroDivisionError

    rig = Rig()
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b")
    rig.sequencer._clock = broken
    gate.open()
    assert first.result(LIMIT_SECONDS).index == 0
    assert isinstance(waiting[0].exception(LIMIT_SECONDS), ZeroDivisionError), "its own thread sees what happened"
    assert isinstance(waiting[1].exception(LIMIT_SECONDS), OutcomeUnknown)
    rig.sequencer._clock = Clock()
    assert rig.put("c").index == 1


def _fail(_: object) -> None:
    raise ZeroDivisionError


def test_a_mistake_after_the_write_freezes_writes_and_nobody_hangs() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b")
    rig.sequencer._on_commit = _fail
    gate.open()
    assert isinstance(first.exception(LIMIT_SECONDS), ZeroDivisionError)
    for future in waiting:
        assert isinstance(future.exception(LIMIT_SECONDS), StorageError)
    assert rig.visible() == 0
    with pytest.raises(StorageError, match="writes are refused"):
        rig.put("after")


# --- interrupts ----------------------------------------------------------------------------------------------------


class InterruptAt:
    """A trace function that raises KeyboardInterrupt at the n-th line of the sequencer that its thread comes to.

    A real interrupt is noticed between two lines or after a call. So lines where it never is are passed over: a bare
    ``try:``, and the second visit of a ``with``, which is its end.
    """

    def __init__(self, number: int) -> None:
        self._left = number
        self._inside: set[tuple[int, int]] = set()
        self._frames: list[FrameType] = []
        self.raised_at = 0

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != sequencer.__file__:
            return None
        self._frames.append(frame)  # so that no other gets its id
        return self._on_line

    def _on_line(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line" and not self.raised_at and self._may_interrupt(frame):
            if self._left == 0:
                self.raised_at = frame.f_lineno
                raise KeyboardInterrupt
            self._left -= 1
        return self._on_line

    def _may_interrupt(self, frame: FrameType) -> bool:
        line = linecache.getline(sequencer.__file__, frame.f_lineno).strip()
        visit = (id(frame), frame.f_lineno)
        if frame.f_code.co_name == "queued":  # only this test looks there, in the middle of a sync
            return False
        if line == "try:" or (line.startswith("with ") and visit in self._inside):
            return False
        self._inside.add(visit)
        return True


def _put_interrupted(rig: Rig, interrupt: InterruptAt) -> Receipt:
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        return rig.put("victim")
    finally:
        sys.settrace(before)


def _is_settled(rig: Rig, writers: list[Future[Receipt]]) -> bool:
    """Each of the writers waits in the queue, or has been interrupted."""
    return rig.sequencer.queued[0] == sum(not writer.done() for writer in writers)


def _check_all_is_well(rig: Rig, written: dict[str, Future[Receipt]]) -> None:
    """Everybody has an answer, whoever was acknowledged is there, and later writes are made or refused."""
    for key, future in written.items():
        error = future.exception(LIMIT_SECONDS)
        assert error is None or isinstance(error, ScribeError | KeyboardInterrupt), error
        assert error is not None or rig.stored(key)
    later = spawn(rig.put, "later").exception(LIMIT_SECONDS)
    assert later is None or (isinstance(later, StorageError) and rig.sequencer.failure is not None)
    assert rig.sequencer.queued == (0, 0)
    assert rig.visible() == rig.machine.applied.size or rig.sequencer.failure is not None
    spawn(rig.sequencer.close).result(LIMIT_SECONDS)


def test_an_interrupt_at_any_line_of_a_lone_leader_leaves_nobody_waiting() -> None:
    number = 0
    while True:
        rig, interrupt = Rig(), InterruptAt(number)
        written: dict[str, Future[Receipt]] = {}

        def gather(rig: Rig = rig, written: dict[str, Future[Receipt]] = written) -> None:
            rig.store.on_sync = None
            written.update(zip(("a", "b"), rig.queue("a", "b"), strict=True))

        rig.store.on_sync = gather
        written["victim"] = spawn(_put_interrupted, rig, interrupt)
        written["victim"].exception(LIMIT_SECONDS)
        rig.store.on_sync = None  # it may not have come that far
        _check_all_is_well(rig, written)
        if not interrupt.raised_at:
            break
        number += 1
    assert number > 30, "the lines were not traced"


def test_an_interrupt_at_any_line_of_a_waiter_leaves_nobody_waiting() -> None:
    number = 0
    while True:
        rig, interrupt = Rig(), InterruptAt(number)
        gate, first = rig.hold_sync()
        victim = spawn(_put_interrupted, rig, interrupt)
        wait_until(partial(_is_settled, rig, [victim]))
        behind = spawn(rig.put, "behind")
        wait_until(partial(_is_settled, rig, [victim, behind]))
        gate.open()
        _check_all_is_well(rig, {"first": first, "victim": victim, "behind": behind})
        if not interrupt.raised_at:
            break
        number += 1
    assert number > 50, "the lines were not traced"


# --- closing -------------------------------------------------------------------------------------------------------


def test_close_finishes_what_was_accepted_and_refuses_what_comes() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    waiting = rig.queue("a", "b", "c")
    closing = spawn(rig.sequencer.close)
    wait_until(lambda: rig.sequencer._closed)
    with pytest.raises(LedgerClosed):
        rig.put("late")
    assert not closing.done()
    gate.open()
    closing.result(LIMIT_SECONDS)
    assert [future.result(LIMIT_SECONDS).index for future in (first, *waiting)] == [0, 1, 2, 3]
    assert not rig.stored("late")
    rig.sequencer.close()


def test_close_in_a_storm_loses_no_acknowledged_write(tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = open_on(store, tmp_path)
    acknowledged: list[str] = []

    def write(writer: int) -> None:
        for number in range(1_000_000):
            key = f"{writer} {number}"
            try:
                ledger.put(key, "value")
            except LedgerClosed:
                return
            acknowledged.append(key)

    writers = [spawn(write, number) for number in range(8)]
    wait_until(lambda: len(acknowledged) > 200)
    ledger.close()
    for writer in writers:
        writer.result(LIMIT_SECONDS)
    store.crash()
    with open_on(store, tmp_path) as reopened:
        assert None not in reopened.get_many(acknowledged)
        assert reopened.size == len(acknowledged)


# --- relaxed durability --------------------------------------------------------------------------------------------


def test_a_relaxed_write_is_acknowledged_before_its_sync_which_follows() -> None:
    rig = Rig(durability="relaxed", flush_interval_ms=1)
    gate = rig.store.on_sync = Gate()
    assert rig.put("key").index == 0
    assert rig.visible() == 1
    gate.wait_entered()
    assert rig.store.unsynced == 1
    assert gate.visitors[0] != threading.get_ident()
    gate.open()
    wait_until(lambda: rig.store.unsynced == 0)
    rig.sequencer.close()


def test_relaxed_is_reported_and_flush_makes_durable(tmp_path: Path) -> None:
    store = MemoryStore()
    with open_on(store, tmp_path, durability="relaxed", flush_interval_ms=3_600_000) as ledger:
        ledger.put("key", "value")
        assert ledger.stats()["durability"] == "relaxed"
        assert store.unsynced == 1
        ledger.flush()
        assert store.unsynced == 0
        ledger.put("key", "again")
        assert store.unsynced == 1
        assert ledger.checkpoint().size == 2
        assert store.unsynced == 0, "no checkpoint leaves before its entries are durable"
        ledger.put("key", "and again")
    assert store.unsynced == 0, "close syncs"
    with open_on(store, tmp_path) as ledger:
        assert ledger.stats()["durability"] == "full"


def test_many_relaxed_writes_share_a_background_sync() -> None:
    rig = Rig(durability="relaxed", flush_interval_ms=3_600_000)
    for number in range(100):
        rig.put(f"key {number}")
    assert (rig.sequencer.batches, rig.sequencer.syncs) == (100, 0)
    rig.sequencer.close()
    assert rig.sequencer.syncs == 1


@pytest.mark.parametrize("error", [DISK_FULL, ZeroDivisionError("a mistake")], ids=["disk", "mistake"])
def test_a_failed_background_sync_freezes_writes(error: Exception) -> None:
    rig = Rig(durability="relaxed", flush_interval_ms=1)
    rig.store.fail_sync = error
    rig.put("key")
    wait_until(lambda: rig.sequencer.failure is not None)
    rig.store.fail_sync = None
    with pytest.raises(StorageError, match=r"writes are refused since one failed: the sync failed.*(disk|mistake)"):
        rig.put("after")
    assert rig.visible() == 1
    with pytest.raises(StorageError):
        rig.sequencer.flush()
    with pytest.raises(StorageError):
        rig.sequencer.flush_before_signing()
    assert rig.sequencer.syncs == 0, "a sync is never tried again"
    with pytest.raises(StorageError):
        rig.sequencer.close()


def test_who_waits_for_a_sync_that_fails_does_not_sync_again() -> None:
    rig = Rig(durability="relaxed", flush_interval_ms=3_600_000)
    rig.put("key")
    gate = rig.store.on_sync = Gate()
    failing = spawn(rig.sequencer.flush)
    gate.wait_entered()
    others = [spawn(rig.sequencer.flush_before_signing) for _ in range(4)]
    rig.put("meanwhile")  # so that there is something to sync again
    others += [spawn(rig.sequencer.flush_before_signing) for _ in range(4)]
    rig.store.fail_sync = DISK_FULL
    gate.open()
    for future in (failing, *others):
        assert isinstance(future.exception(LIMIT_SECONDS), StorageError)
    assert len(gate.visitors) == 1


def test_an_interrupted_flush_is_made_again() -> None:
    rig = Rig(durability="relaxed", flush_interval_ms=3_600_000)
    rig.put("key")

    def interrupt() -> None:
        rig.store.on_sync = None
        raise KeyboardInterrupt

    rig.store.on_sync = interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.sequencer.flush()
    assert rig.store.unsynced == 1
    rig.sequencer.flush_before_signing()
    assert rig.store.unsynced == 0


# --- time ----------------------------------------------------------------------------------------------------------


def test_timestamps_never_go_back_though_the_clock_does() -> None:
    clock = Clock()
    rig = Rig(clock=clock)
    moments = []
    for offset in (5, -100, 0, 6, 3):
        clock.now = START + offset
        moments.append(rig.put(f"at {offset}").timestamp - START)
    assert moments == [5, 5, 5, 6, 6]
    clock.now = START
    rig.machine.commit()
    reopened = load_machine(rig.store)
    reopened.apply([[commands.put("later", "value")]], position=10, timestamp=clock.now)
    assert reopened.applied.timestamp - START == 6


# --- several units of one caller -------------------------------------------------------------------------------------


def write_all(rig: Rig, *keys: str, **options: Any) -> list[Any]:
    return rig.sequencer.write_all([[commands.put(key, "value", **options)] for key in keys])


def test_write_all_commits_its_units_with_one_sync_in_their_order() -> None:
    rig = Rig()
    outcomes = write_all(rig, "a", "b", "c")
    assert [outcome[0].index for outcome in outcomes] == [0, 1, 2]
    assert (rig.sequencer.syncs, rig.sequencer.batches) == (1, 1)
    assert rig.visible() == 3


def test_write_all_of_nothing_does_nothing() -> None:
    rig = Rig()
    assert rig.sequencer.write_all([]) == []
    assert rig.sequencer.syncs == 0


def test_write_all_gives_each_unit_its_own_refusal() -> None:
    rig = Rig()
    outcomes: list[Any] = rig.sequencer.write_all(
        [
            [commands.put("a", "1"), commands.put("b", "1")],
            [commands.put("c", "1"), commands.put("a", "2", if_absent=True)],
            [commands.put("a", "3", if_version=1)],
        ]
    )
    good, bad, better = outcomes
    assert [receipt.index for receipt in good] == [0, 1]
    assert isinstance(bad, PreconditionFailed)
    assert better[0].index == 2
    assert not rig.stored("c")
    assert rig.visible() == 3


def test_write_all_waits_its_turn_and_shares_the_sync_of_others() -> None:
    rig = Rig()
    gate, first = rig.hold_sync()
    before = rig.queue("before")
    many = spawn(write_all, rig, "a", "b", "c")
    rig.wait_queued(4)
    after = spawn(rig.put, "after")
    rig.wait_queued(5)
    assert not many.done()
    gate.open()
    assert first.result(LIMIT_SECONDS).index == 0
    assert before[0].result(LIMIT_SECONDS).index == 1
    assert [outcome[0].index for outcome in many.result(LIMIT_SECONDS)] == [2, 3, 4]
    assert after.result(LIMIT_SECONDS).index == 5
    assert rig.sequencer.syncs == 2


def test_write_all_is_served_though_its_units_take_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_ROUND_ENTRIES", 2)
    rig = Rig()
    gate, first = rig.hold_sync()
    many = spawn(write_all, rig, *"abcde")
    rig.wait_queued(5)
    gate.open()
    first.result(LIMIT_SECONDS)
    assert [outcome[0].index for outcome in many.result(LIMIT_SECONDS)] == [1, 2, 3, 4, 5]
    assert rig.sequencer.syncs == 4
    assert rig.sequencer.queued == (0, 0)


def test_write_all_past_the_queues_limit_refuses_those_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "MAX_QUEUE_ENTRIES", 2)
    rig = Rig()
    gate, first = rig.hold_sync()
    many = spawn(write_all, rig, "a", "b", "c", "d")
    rig.wait_queued(2)
    gate.open()
    first.result(LIMIT_SECONDS)
    outcomes = many.result(LIMIT_SECONDS)
    assert [outcome[0].index for outcome in outcomes[:2]] == [1, 2]
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes[2:])
    assert not rig.stored("c")


def test_write_all_hears_of_a_failed_sync_and_then_is_refused() -> None:
    rig = Rig()
    rig.store.on_sync = partial(_raise, DISK_FULL)
    outcomes = write_all(rig, "a", "b")
    assert [type(outcome) for outcome in outcomes] == [StorageError, StorageError]
    assert outcomes[0] is not outcomes[1]
    assert rig.visible() == 0
    with pytest.raises(StorageError, match="writes are refused"):
        write_all(rig, "c")


def test_write_all_after_close_is_refused() -> None:
    rig = Rig()
    rig.sequencer.close()
    with pytest.raises(LedgerClosed):
        write_all(rig, "a")


def _raise(error: Exception) -> None:
    raise error

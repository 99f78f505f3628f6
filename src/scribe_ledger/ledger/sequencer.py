"""Group commit: turns the writes of many threads into batches that share one sync.

A thread that finds nobody leading commits its own write, alone and at once, without another thread. Whoever comes
meanwhile queues; when the leader is done, the first in the queue leads everything that has gathered. So the batch
grows with the load and a lone writer never waits for company.

- The queue is bounded by entries and bytes; past the bound a write is refused with ``Overloaded``, at once.
- Nothing is answered before the sync, refusals included: they may rest on entries of the same batch.
- After a failed sync nobody knows what the disk holds. Every waiter gets the error, and writes are refused until the
  ledger is opened again; reads go on with what was committed before.
- In ``relaxed`` durability a batch is committed before its sync, which a background thread makes soon after.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import (
    OPEN_AGAIN,
    Conflict,
    LedgerClosed,
    OutcomeUnknown,
    Overloaded,
    ScribeError,
    StorageError,
)
from scribe_ledger.ledger.commands import queue_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Machine, Outcome
    from scribe_ledger.ledger.manifest import Change, Manifest
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.ledger.store import Store

MAX_QUEUE_ENTRIES = 100_000
MAX_QUEUE_BYTES = 128 << 20
STALL_LIMIT_SECONDS = 10.0
"""How long a leader waits for an engine that is catching up. Meanwhile the queue fills, and then refuses."""
MAX_ROUND_ENTRIES = 8192
"""A leader takes no more than this from the queue at once, so that the first to wait do not wait for the last."""

_INTERRUPTED = OutcomeUnknown(
    "the thread that was writing was interrupted", hint="a retry with the same request id settles it"
)


class Replayed(NamedTuple):
    """Entries that another ledger has accepted, and the leaves that they must come out as."""

    commands: Sequence[Command]
    timestamps: Sequence[int]
    leaf_hashes: Sequence[bytes]
    values_archived: bool = False
    """The commands have no values: a segment has them."""


class _Ticket:
    """A thread that waits: woken with an outcome, or without one to lead the next round.

    Whoever is woken with an outcome wakes the next of its round. All at once, they would only wait for each other: the
    interpreter runs one at a time.
    """

    __slots__ = ("_following", "_signal", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._following: _Ticket | None = None
        self._signal = threading.Lock()
        self._signal.acquire()

    def wait(self) -> Outcome | None:
        self._signal.acquire()
        self.pass_on()
        return self.outcome

    def settle(self, outcome: Outcome, following: _Ticket | None) -> None:
        """Only the first outcome counts. It wakes nobody yet."""
        if self.outcome is None:
            self.outcome = outcome
        self._following = following

    def wake(self) -> None:
        if self._signal.locked():  # else it was woken before, by somebody who was interrupted and begins again
            self._signal.release()

    def pass_on(self) -> None:
        """Wakes the next of the round, if this one was to do that and has not."""
        following = self._following
        if following is not None:
            following.wake()
            self._following = None


class Sequencer:
    """Orders writes, applies them to the machine and syncs the store. It owns who may apply, and when."""

    def __init__(
        self,
        machine: Machine,
        store: Store,
        *,
        clock: Callable[[], int],
        on_commit: Callable[[Sequence[Sequence[Command]]], None],
        durability: str = "full",
        flush_interval_ms: int = 200,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._machine = machine
        self._store = store
        self._clock = clock
        self._pause = pause
        self._on_commit = on_commit
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._idle_wanted = 0
        self._sync_lock = threading.Lock()
        self._leader: object | None = None
        """Who leads, or was asked to: a waiter, or a mark of its own."""
        self._round: Sequence[_Ticket] = ()
        """Whose units the leader has taken and not answered."""
        self._queue: deque[tuple[Sequence[Command], _Ticket]] = deque()
        self._queued_entries = self._queued_bytes = 0
        self._guests: deque[_Ticket] = deque()
        """Who waits to lead alone; see ``_alone``."""
        self._failure: ScribeError | None = None
        self._refusal: ScribeError | None = None
        self._closed = False
        self._unsynced = False
        self.syncs = self.batches = 0
        self.last_sync_seconds = 0.0
        self._flusher = _Flusher(self.flush, flush_interval_ms) if durability == "relaxed" else None

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, unit: Sequence[Command]) -> Receipts:
        """Blocks until the unit is durable (or, when relaxed, applied), or raises why it was refused."""
        leader, ticket = object(), None
        try:
            with self._lock:
                if self._closed or self._failure is not None or self._refusal is not None:
                    self._check_writable()
                if self._leader is None:
                    self._leader = leader
                else:
                    ticket = _Ticket()
                    self._enqueue(unit, ticket)
            if ticket is None:
                outcome = self._run([unit])[0]
                self._hand_over(leader)
            else:
                outcome = self._wait(ticket)
        except ScribeError:  # refused at once: it was never in the queue
            raise
        except BaseException:  # Ctrl-C may come at any line
            self._leave(ticket or leader)
            raise
        if isinstance(outcome, ScribeError):
            raise outcome
        return outcome

    def write_all(self, units: Sequence[Sequence[Command]]) -> list[Outcome]:
        """The same for several independent units that one caller has gathered; errors are returned, each unit's own."""
        leader = object()
        tickets: list[_Ticket | ScribeError] = []
        try:
            with self._lock:
                self._check_writable()
                if self._leader is None:
                    self._leader = leader
                else:
                    tickets += [self._queue_up(unit) for unit in units]
            if not tickets:
                outcomes = self._run(units)
                self._hand_over(leader)
            else:
                outcomes = [ticket if isinstance(ticket, ScribeError) else self._wait(ticket) for ticket in tickets]
        except BaseException:
            for waiter in (leader, *tickets):
                self._leave(waiter)
            raise
        return outcomes

    def _queue_up(self, unit: Sequence[Command]) -> _Ticket | ScribeError:
        ticket = _Ticket()
        try:
            self._enqueue(unit, ticket)
        except Overloaded as error:
            return error
        return ticket

    def _wait(self, ticket: _Ticket) -> Outcome:
        while (outcome := ticket.wait()) is None:
            self._lead(ticket)
        return outcome

    def _lead(self, ticket: _Ticket) -> None:
        """Runs one round for everything that waits, then hands over. Only for a ticket that was asked to."""
        leader = object()
        try:
            with self._lock:
                if self._leader is not ticket:
                    return  # it has left since
                self._leader = leader
            self._lead_round()
            self._hand_over(leader)
        except BaseException:
            self._hand_over(leader)
            raise

    def _lead_round(self) -> None:
        with self._lock:
            units = self._take_round()
        self._answer(self._run(units))

    def _answer(self, outcomes: list[Outcome]) -> None:
        """Answers the tickets of the round; those without an outcome learn that nobody knows it."""
        answered = self._round
        for place, (ticket, following) in enumerate(zip_longest(answered, answered[1:])):
            ticket.settle(outcomes[place] if place < len(outcomes) else _again(_INTERRUPTED), following)
        if answered:
            answered[0].wake()
        self._round = ()

    def replay(self, batch: Replayed, *, first: int) -> None:
        """Writes entries of another ledger, the first of them at index ``first``, or raises why they do not hold."""

        def write() -> None:
            machine = self._machine
            if machine.applied.size != first:
                raise Conflict(f"somebody else has written to the ledger: it has {machine.applied.size} entries")
            machine.replay(
                batch.commands,
                batch.timestamps,
                batch.leaf_hashes,
                position=machine.applied.position + 1,
                values_archived=batch.values_archived,
            )

        self._alone(write, [batch.commands])

    def change_manifest(self, change: Change) -> Manifest:
        """Changes the manifest, durably on return, or raises ``Conflict``."""

        def write() -> None:
            machine = self._machine
            machine.change_manifest(change, position=machine.applied.position + 1, timestamp=self._clock())

        self._alone(write, [])
        return self._machine.committed.manifest

    def evict(self, stop: int) -> None:
        """Drops the values of archived entries below ``stop``."""
        self._alone(lambda: self._machine.evict(stop), [])

    def _alone(self, write: Callable[[], None], units: Sequence[Sequence[Command]]) -> None:
        """Leads for one piece of work that no batch can hold, with its own sync. It comes before those who wait."""
        leader, ticket = object(), None
        try:
            with self._lock:
                self._check_writable()
                if self._leader is None:
                    self._leader = leader
                else:
                    ticket = _Ticket()
                    self._guests.append(ticket)
            if ticket is not None:
                ticket.wait()
                with self._lock:
                    self._leader = leader
            self._check_may_apply()
            write()
            if self._machine.applied is not self._machine.committed:
                self.batches += 1
                self._sync()
                self._on_commit(units)
            self._hand_over(leader)
        except BaseException as error:
            if self._leader is leader:
                self._note_failure(error)
            self._hand_over(leader)
            if ticket is not None:
                self._leave(ticket)
            raise

    def _run(self, units: Sequence[Sequence[Command]]) -> list[Outcome]:
        """Applies, syncs and commits one batch. Whatever goes wrong becomes the outcome of every unit in it."""
        try:
            return self._apply_and_sync(units)
        except ScribeError as error:
            self._note_failure(error)
            return [_again(error) for _ in units]
        except BaseException as error:
            self._note_failure(error)
            raise

    def _apply_and_sync(self, units: Sequence[Sequence[Command]]) -> list[Outcome]:
        machine = self._machine
        if self._failure is not None or machine.torn or machine.applied is not machine.committed:
            self._check_may_apply()
        outcomes = self._apply(units)
        if machine.applied is not machine.committed:
            self.batches += 1
            if self._flusher is None:
                self._sync()
            else:
                self._unsynced = True
                self._flusher.wake()
            self._on_commit(units)
        return outcomes

    def _apply(self, units: Sequence[Sequence[Command]]) -> list[Outcome]:
        """Waits out a stall of the engine here, where other threads go on, and not inside the engine."""
        machine = self._machine
        waited = 0.0
        while True:
            try:
                return machine.apply(units, position=machine.applied.position + 1, timestamp=self._clock())
            except Overloaded:
                if waited >= STALL_LIMIT_SECONDS:
                    raise
                pause = min(0.001 + waited / 4, 0.1)
                self._pause(pause)
                waited += pause

    def _sync(self, *, only_if_unsynced: bool = False) -> None:
        with self._sync_lock:
            if only_if_unsynced and not self._unsynced:
                return  # somebody else has done it meanwhile, perhaps as the last before closing
            if self._failure is not None:  # never again: a second sync might succeed, and prove nothing
                self._check_healthy()
            self._unsynced = False
            started = time.perf_counter()
            try:
                self._store.sync()
            except Exception as error:
                self._unsynced = True
                reason, hint = (error.message, error.hint) if isinstance(error, ScribeError) else (repr(error), "")
                failure = StorageError(
                    f"the sync failed, so nothing since the last one is acknowledged: {reason}",
                    hint=hint or f"free the cause, {OPEN_AGAIN}",
                )
                self._freeze(failure)  # before anybody else can look
                raise failure from error
            except BaseException:
                self._unsynced = True
                raise
            self.syncs += 1
            self.last_sync_seconds = time.perf_counter() - started

    def _note_failure(self, error: BaseException) -> None:
        """Freezes writes if the store may hold what was never acknowledged; it stays unseen."""
        machine = self._machine
        if machine.torn or machine.applied is not machine.committed:
            self._freeze(error if isinstance(error, ScribeError) else _INTERRUPTED)

    def _freeze(self, error: ScribeError) -> None:
        if self._failure is None:
            failure = StorageError(
                f"writes are refused since one failed: {error.message}",
                hint=f"reads go on; free the cause, {OPEN_AGAIN}",
            )
            failure.__cause__ = error
            self._failure = failure

    def _check_may_apply(self) -> None:
        self._note_failure(_INTERRUPTED)  # by Ctrl-C at a moment when the leader before could not say so
        self._check_healthy()

    # --- leading -----------------------------------------------------------------------------------------------

    def _enqueue(self, unit: Sequence[Command], ticket: _Ticket) -> None:
        entries, size = len(unit), queue_bytes(unit)
        if self._queue and (
            self._queued_entries + entries > MAX_QUEUE_ENTRIES or self._queued_bytes + size > MAX_QUEUE_BYTES
        ):
            raise Overloaded(
                f"{self._queued_entries} entries wait to be written", hint="retry after a moment, or write in batches"
            )
        self._queue.append((unit, ticket))
        self._queued_entries += entries
        self._queued_bytes += size

    def _take_round(self) -> list[Sequence[Command]]:
        """Takes the first in the queue, in one step that Ctrl-C cannot cut in two."""
        taken: list[tuple[Sequence[Command], _Ticket]] = []
        entries = 0
        for unit, waiter in self._queue:
            if taken and entries + len(unit) > MAX_ROUND_ENTRIES:
                break
            taken.append((unit, waiter))
            entries += len(unit)
        units = [unit for unit, _ in taken]
        waiters = [waiter for _, waiter in taken]
        rest = deque(islice(self._queue, len(taken), None))
        waiting = self._queued_entries - entries, self._queued_bytes - sum(map(queue_bytes, units))
        self._round, self._queue, (self._queued_entries, self._queued_bytes) = waiters, rest, waiting
        return units

    def _hand_over(self, leader: object) -> None:
        """Passes the lead to the first in the queue, or lets it go. It does nothing for whom does not lead."""
        if self._leader is leader and self._round:
            self._answer([])
        with self._lock:
            if self._leader is not leader:
                return
            following = self._queue[0][1] if self._queue else None
            if self._guests:
                following = self._guests.popleft()
            if following is not None:
                following.wake()
            elif self._idle_wanted:
                self._idle.notify_all()
            self._leader = following

    def _wait_until_idle(self) -> None:
        """Until nobody leads. The caller holds the lock."""
        self._idle_wanted += 1
        try:
            while self._leader is not None:
                self._idle.wait()
        finally:
            self._idle_wanted -= 1

    def _leave(self, waiter: object) -> None:
        """Takes back a unit that nobody has begun on, and passes on the lead if it fell to this waiter."""
        if isinstance(waiter, _Ticket):
            waiter.pass_on()
        with self._lock:
            self._guests = deque([guest for guest in self._guests if guest is not waiter])
            self._queue = deque([place for place in self._queue if place[1] is not waiter])
            self._queued_entries = sum([len(unit) for unit, _ in self._queue])
            self._queued_bytes = sum([queue_bytes(unit) for unit, _ in self._queue])
        self._hand_over(waiter)

    # --- the rest ----------------------------------------------------------------------------------------------

    @property
    def queued(self) -> tuple[int, int]:
        """Entries and bytes that wait."""
        return self._queued_entries, self._queued_bytes

    @property
    def failure(self) -> ScribeError | None:
        """Why writes are refused, or None while they are not."""
        return self._failure or self._refusal

    @property
    def frozen(self) -> ScribeError | None:
        """Why nobody knows what the disk holds, or None: what was only refused here has not failed."""
        return self._failure

    def refuse(self, error: ScribeError) -> None:
        """From now on every write gets this error: nothing has failed here, but the ledger must not grow here."""
        self._refusal = self._refusal or error

    def flush(self) -> None:
        """Makes everything that was committed durable. Without ``relaxed`` there is never anything to do."""
        self._check_healthy()
        self.flush_before_signing()

    def flush_before_signing(self) -> None:
        """The same, but fails only if something that was committed is not durable."""
        if self._flusher is None:
            return
        if self._unsynced and self._failure is None:
            self._sync(only_if_unsynced=True)
        with self._sync_lock:  # another thread's sync may still be under way
            if self._unsynced:
                self._check_healthy()

    def close(self) -> None:
        """Refuses what comes, finishes what waits, syncs."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._flusher is not None:
            self._flusher.stop()
        with self._lock:
            self._wait_until_idle()
        if self._failure is None:
            self.flush()
        elif self._flusher is not None and self._unsynced:
            self._check_healthy()

    def leave_to_parent(self) -> None:
        """In a forked child: closed, and free of a lock that another thread may have held."""
        self._closed = True
        self._lock = threading.Lock()

    def _check_writable(self) -> None:
        if self._closed:
            raise LedgerClosed("the ledger is closed")
        self._check_healthy()
        if self._refusal is not None:
            raise _again(self._refusal)

    def _check_healthy(self) -> None:
        if self._failure is not None:
            raise _again(self._failure)


def _again(error: ScribeError) -> ScribeError:
    """The same error for another caller."""
    again = type(error)(error.message, hint=error.hint)
    again.__cause__ = error.__cause__
    return again


class _Flusher:
    """Calls ``flush`` at most one interval after it was woken, from a thread of its own."""

    def __init__(self, flush: Callable[[], None], interval_ms: int) -> None:
        self._flush = flush
        self._interval = interval_ms / 1000
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scribe-flush", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wanted.set()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.wait()
            self._stopped.wait(self._interval)
            self._wanted.clear()
            try:
                self._flush()
            except ScribeError:
                return  # the sequencer has frozen itself and says so to every writer

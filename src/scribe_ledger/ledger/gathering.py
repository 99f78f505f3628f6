"""``Gatherer``: group commit for an event loop. It hands what has gathered to one thread, and answers in the loop.

While the thread writes and syncs one round, the loop goes on and gathers the next. So a round costs one hand-over each
way, however many units it has; and it grows with the load, since a round begins only when the last is answered and
those who were answered have had a chance to ask again. All methods are for the loop's own thread.
"""

from __future__ import annotations

import asyncio
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from scribe_ledger.errors import LedgerClosed, Overloaded, ScribeError, StorageError
from scribe_ledger.ledger.commands import queue_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.receipts import Receipts

MAX_WAITING_ENTRIES = 100_000
MAX_WAITING_BYTES = 128 << 20
MAX_ROUND_UNITS = 2048
"""A round takes no more at once, so that the first to wait do not wait for the last."""


class _Round:
    """Units, and who waits for each."""

    __slots__ = ("done", "units")

    def __init__(self) -> None:
        self.units: list[Sequence[Command]] = []
        self.done: list[Callable[[Outcome], object]] = []

    def split(self, count: int) -> _Round:
        """Takes off the first ``count``."""
        first = _Round()
        first.units, self.units = self.units[:count], self.units[count:]
        first.done, self.done = self.done[:count], self.done[count:]
        return first


class Gatherer:
    """Gathers units in the running event loop, and commits them in a thread of its own."""

    def __init__(self, write_all: Callable[[Sequence[Sequence[Command]]], list[Outcome]]) -> None:
        self._write_all = write_all
        self._loop = asyncio.get_running_loop()
        self._waiting = _Round()
        self._entries = self._bytes = 0
        self.accepted_bytes = 0
        """Of all units that were queued since it began."""
        self._round_bytes = 0
        self._under_way = False
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._rounds: SimpleQueue[_Round | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="scribe-commit", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> tuple[int, int]:
        """Entries and bytes that wait, without those of the round under way."""
        return self._entries, self._bytes

    @property
    def settled_bytes(self) -> int:
        """Of those that were accepted, what is answered by now."""
        return self.accepted_bytes - self._bytes - self._round_bytes

    def submit(self, unit: Sequence[Command], done: Callable[[Outcome], object]) -> None:
        """Queues a unit; ``done`` gets receipts or the error, later and from the loop. Nothing in it needs a blob."""
        if self._closed:
            raise LedgerClosed("the ledger is closed")
        entries, size = len(unit), queue_bytes(unit)
        if self._waiting.units and (
            self._entries + entries > MAX_WAITING_ENTRIES or self._bytes + size > MAX_WAITING_BYTES
        ):
            raise Overloaded(f"{self._entries} entries wait to be written", hint="retry after a moment")
        self._waiting.units.append(unit)
        self._waiting.done.append(done)
        self._entries += entries
        self._bytes += size
        self.accepted_bytes += size
        if not self._under_way:
            self._under_way = True
            self._idle.clear()
            self._loop.call_soon(self._start)  # after all that this turn of the loop has received

    async def write(self, unit: Sequence[Command]) -> Receipts:
        """The same for a task, which gets the receipts or the error."""
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self.submit(unit, lambda outcome: None if answer.done() else answer.set_result(outcome))
        outcome = await answer
        if isinstance(outcome, ScribeError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Refuses what comes, and returns when all that was accepted is answered. Idempotent."""
        self._closed = True
        await self._idle.wait()
        self._rounds.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _start(self) -> None:
        """Hands the next round to the thread, or rests."""
        taken = self._waiting
        if not taken.units:
            self._round_bytes = 0
            self._under_way = False
            self._idle.set()
            return
        if len(taken.units) <= MAX_ROUND_UNITS:
            self._waiting = _Round()
            self._round_bytes = self._bytes
            self._entries = self._bytes = 0
        else:
            taken = taken.split(MAX_ROUND_UNITS)
            self._entries -= sum(map(len, taken.units))
            self._round_bytes = sum(map(queue_bytes, taken.units))
            self._bytes -= self._round_bytes
        self._rounds.put(taken)

    def _finish(self, taken: _Round, outcomes: Sequence[Outcome]) -> None:
        for done, outcome in zip(taken.done, outcomes, strict=True):
            try:
                done(outcome)
            except Exception as error:  # noqa: BLE001  # the others must hear of theirs
                self._loop.call_exception_handler({"message": "an answer could not be given", "exception": error})
        # Whoever was answered may come back at once with more. Two turns of the loop let them join those who wait;
        # begun earlier, rounds would be half as large and twice as many, for the same number of syncs a second.
        self._loop.call_soon(self._loop.call_soon, self._start)

    def _run(self) -> None:
        while (taken := self._rounds.get()) is not None:
            outcomes: Sequence[Outcome]
            try:
                outcomes = self._write_all(taken.units)
            except ScribeError as error:
                outcomes = [error] * len(taken.units)
            except Exception as error:  # noqa: BLE001  # whoever waits must hear of it; the sequencer has frozen itself
                failure = StorageError(f"the write failed in a way that nobody foresaw: {error!r}")
                failure.__cause__ = error
                outcomes = [failure] * len(taken.units)
            try:
                self._loop.call_soon_threadsafe(self._finish, taken, outcomes)
            except RuntimeError:  # the loop was closed: nobody waits any more
                return

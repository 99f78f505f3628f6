"""The writer of Raft's log in simulated time: as ``LogWriter``, but each step of its thread is an event of its own.

So a crash can come between two writes, between a write and its sync, and between the sync and what is sent after it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from scribe_ledger.consensus.writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from tests.simulator.log import WatchedLog

    from scribe_ledger.consensus.log.store import LogWrite
    from scribe_ledger.errors import ScribeError

    Later = Callable[[float, Callable[[], object]], None]


class _Queue(deque[tuple[int, "LogWrite"]]):
    """In place of the queue at which the thread waits."""

    def __init__(self, log: WatchedLog, wake: Callable[[], None]) -> None:
        super().__init__()
        self._log, self._wake = log, wake

    def put(self, write: tuple[int, LogWrite]) -> None:
        self._log.handed_over(write[1])
        self.append(write)
        self._wake()


class SimulatedWriter(LogWriter):
    """Takes writes as the production writer does; what its thread does is done here in events."""

    def __init__(
        self,
        log: WatchedLog,
        *,
        later: Later,
        seconds: Callable[[], float],
        done: Callable[[int], object],
        failed: Callable[[ScribeError], object],
        early: bool = False,
    ) -> None:
        """``early`` plants a bug: what is written counts as durable before it is."""
        self._log = log
        self._later = later
        self._seconds = seconds
        self._done = done
        self._failed = failed
        self._early = early
        self._waiting = _Queue(log, self._wake)
        self._queue = cast("SimpleQueue[tuple[int, LogWrite] | None]", self._waiting)
        self._kept_back: LogWrite | None = None
        self._closing = False
        self._busy = False
        self.syncs = 0

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._later(0.00005, lambda: self._step(0))

    def _step(self, last: int) -> None:
        if self._waiting:
            number, write = self._waiting.popleft()
            self._log.write(write)
            self._later(0.00002, lambda: self._step(max(last, number)))
            return
        if self._early:
            self._done(last)
        self._later(self._seconds(), lambda: self._sync(last))

    def _sync(self, last: int) -> None:
        self._log.sync()
        self.syncs += 1
        self._later(0.00005, lambda: self._tell_done(last))

    def _tell_done(self, last: int) -> None:
        self._busy = False
        if self._waiting:
            self._wake()
        if not self._early:
            self._done(last)

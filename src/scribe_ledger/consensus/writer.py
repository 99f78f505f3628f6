"""``LogWriter``: the one thread that writes Raft's log, many writes with one sync.

Writes are handed over in order. Whatever has gathered while the disk was busy goes with the next sync, so the number of
syncs does not grow with the load. What only moves the commit index is kept back for the next write: losing it does no
harm. After a failed write or sync nothing is written any more, and the owner hears of it once.

How much may wait is bounded by who hands over: the engine stops giving out entries that are not acknowledged.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.errors import ScribeError, StorageError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from scribe_ledger.consensus.log.store import LogStore


class LogWriter:
    """Made and used in the loop's thread; ``done`` and ``failed`` are called there too."""

    def __init__(
        self,
        log: LogStore,
        loop: AbstractEventLoop,
        *,
        done: Callable[[int], object],
        failed: Callable[[ScribeError], object],
    ) -> None:
        """``done`` gets the number of the last write that is durable, with all before it."""
        self._log = log
        self._loop = loop
        self._done = done
        self._failed = failed
        self._queue: SimpleQueue[tuple[int, LogWrite] | None] = SimpleQueue()
        self._kept_back: LogWrite | None = None
        self._closing = False
        self.syncs = 0
        self._thread = threading.Thread(target=self._run, name="scribe-raft-log", daemon=True)
        self._thread.start()

    def write(self, number: int, write: LogWrite) -> None:
        """Queues a write that somebody waits for."""
        kept_back, self._kept_back = self._kept_back, None
        if write.hard_state is None and kept_back is not None:
            write = write._replace(hard_state=kept_back.hard_state)
        self._queue.put((number, write))

    def keep_back(self, write: LogWrite) -> None:
        """Takes a hard state with nothing new but the commit index, for the next write."""
        assert not write.entries, "entries are waited for"
        assert write.reset is None, "a new beginning of the log is waited for"
        self._kept_back = write

    async def close(self) -> None:
        """Returns when all that was queued is written, and the thread has ended. The log is its owner's to close."""
        if not self._closing:
            if self._kept_back is not None:
                self.write(0, LogWrite())
            self._closing = True
            self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    # --- in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (asked := self._queue.get()) is not None:
                last, ended = self._write_what_waits(asked)
                self._log.sync()
                self.syncs += 1
                if last:
                    self._tell(self._done, last)
                if ended:
                    return
        except ScribeError as error:
            self._tell(self._failed, error)
        except BaseException as error:  # noqa: BLE001  # a thread that ends in silence would leave all waiting
            failure = StorageError(f"Raft's log could not be written: {error!r}")
            failure.__cause__ = error
            self._tell(self._failed, failure)

    def _write_what_waits(self, asked: tuple[int, LogWrite] | None) -> tuple[int, bool]:
        """Writes all that has gathered. The last number that somebody waits for, 0: nobody; and whether it is over."""
        last = 0
        while asked is not None:
            number, write = asked
            self._log.write(write)
            last = max(last, number)
            try:
                asked = self._queue.get_nowait()
            except Empty:
                return last, False
        return last, True

    def _tell(self, what: Callable[..., object], fact: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, fact)
        except RuntimeError:  # the loop was closed: nobody waits any more
            return

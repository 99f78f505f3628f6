"""``LogCutter``: cuts Raft's log when ``Compaction`` says so: first the ledger is flushed, then nobody needs what goes.

The flush and the removal of files run in a thread, one at a time; the engine forgets in the loop, in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from scribe_ledger.consensus.compaction import Compaction, LogState
from scribe_ledger.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scribe_ledger.consensus.compaction import CompactionSettings
    from scribe_ledger.consensus.log.store import LogStore
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.consensus.statemachine import StateMachine


class LogCutter:
    def __init__(
        self, replica: Replica, log_store: LogStore, machine: StateMachine, settings: CompactionSettings
    ) -> None:
        self._replica = replica
        self._log_store = log_store
        self._machine = machine
        self._compaction = Compaction(settings)
        self._cutting = asyncio.Lock()
        self.cuts = 0
        self.sending: Callable[[], int | None] = lambda: None
        """The lowest position of a snapshot that is under way."""

    def look(self, now: float, spawn: Callable[[Coroutine[None, None, None]], object]) -> None:
        """To be called now and then. What it begins is handed to ``spawn``."""
        if self._cutting.locked() or self._replica.installing:
            return
        state = self._state()
        self._compaction.mark(state.position, now)
        if self._compaction.position_lags(state):
            self._move_position(state.applied)
            return
        if self._compaction.due(state, now):
            spawn(self._cut(now))

    def _move_position(self, applied: int) -> None:
        """By writing once more who the members are: refused commands alone would keep the log for ever."""
        with contextlib.suppress(Overloaded):  # it is asked for again
            self._machine.set_membership(applied, self._machine.membership)

    async def wait(self) -> None:
        """Until nothing is under way."""
        async with self._cutting:
            pass

    async def _cut(self, now: float) -> None:
        async with self._cutting:
            durable = await asyncio.to_thread(self._machine.flush)
            upto = self._compaction.cut(self._state(), durable, now)
            forgotten = self._replica.compact(upto) if upto else None
            if forgotten is not None:
                await asyncio.to_thread(self._log_store.cut, *forgotten)
                self.cuts += 1

    def _state(self) -> LogState:
        replica = self._replica
        return LogState(
            truncated=replica.last_index - replica.log_entries,
            applied=replica.applied_index,
            position=self._machine.position,
            last=replica.last_index,
            bytes=replica.log_bytes,
            sending=self.sending(),
        )

"""``Turns``: lets the replica take its turns, in the order that makes it safe. Send, persist, send, apply.

One turn serves all inputs of an iteration of the event loop. What a turn says at once is sent at once; its write goes
to the log's thread; what must not be said before that is durable waits here, in order. Several turns may be out.

Nothing of this is ever skipped: a write that fails, or a replica whose engine broke, ends the member by ``on_failure``,
called once, and then nothing is sent any more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scribe_ledger.consensus.writer import LogWriter
from scribe_ledger.errors import ConsensusError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence

    from scribe_ledger.consensus.log.store import LogStore
    from scribe_ledger.consensus.replica import Replica, Turn

MAX_TURNS_AT_ONCE = 16
"""Then others have their turn in the loop."""


class Turns:
    """Used in the loop's thread."""

    def __init__(
        self,
        replica: Replica,
        log: LogStore,
        loop: AbstractEventLoop,
        *,
        send: Callable[[int, Sequence[bytes]], bool],
        send_snapshot: Callable[[int, int, bytes], object],
        on_failure: Callable[[BaseException], object],
        after_turn: Callable[[], object] = lambda: None,
        make_writer: Callable[..., LogWriter] = LogWriter,
    ) -> None:
        """``send`` says whether it took all frames. ``after_turn`` is called after each round of turns.

        ``make_writer`` is the simulator's way to a writer without a thread.
        """
        self._replica = replica
        self._loop = loop
        self._send = send
        self._send_snapshot = send_snapshot
        self._on_failure = on_failure
        self._after_turn = after_turn
        self._under_way: deque[Turn] = deque()
        self._woken = False
        self._ended = False
        self.writer = make_writer(log, loop, done=self._persisted, failed=self.fail)
        if replica.initial_write is not None:
            self.writer.write(0, replica.initial_write)

    def wake(self) -> None:
        """Something was given to the replica: it gets its turn, after all else that this iteration brings."""
        if not self._woken and not self._ended:
            self._woken = True
            self._loop.call_soon(self._run)

    def fail(self, error: BaseException) -> None:
        """Ends it all, once."""
        if not self._ended:
            self._ended = True
            self._on_failure(error)

    async def close(self) -> None:
        """No more turns; returns when what was handed to the log is written."""
        self._ended = True
        await self.writer.close()

    # --- one round of turns ------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._woken = False
        if self._ended:
            return
        try:
            for _ in range(MAX_TURNS_AT_ONCE):
                turn = self._replica.ready()
                if turn is None:
                    break
                self._take(turn)
            else:
                self.wake()
            self._after_turn()
        except Exception as error:  # noqa: BLE001  # whatever it is, this member must not go on
            self.fail(error)
            return
        if self._replica.poisoned:
            self.fail(ConsensusError(f"the engine of the cluster broke: {self._replica.poisoned}"))

    def _take(self, turn: Turn) -> None:
        self._send_all(turn.messages)
        write = turn.write
        if write is not None and (turn.must_sync or write.entries or write.reset is not None):
            self._under_way.append(turn)
            self.writer.write(turn.number, write)
            return
        if write is not None:
            self.writer.keep_back(write)
        if self._under_way:  # what it says may rest on what is being written
            self._under_way.append(turn)
            return
        self._finish(turn)
        self._replica.persisted(turn.number)

    def _persisted(self, number: int) -> None:
        """All writes up to that turn's are durable, and turns without one that followed them may go too."""
        if self._ended:
            return
        try:
            waiting = self._under_way
            last = 0
            while waiting and (waiting[0].number <= number or _writes_nothing(waiting[0])):
                turn = waiting.popleft()
                self._finish(turn)
                last = turn.number
            self._replica.persisted(last)
        except Exception as error:  # noqa: BLE001  # as above
            self.fail(error)
            return
        self._run() if not self._woken else None

    def _finish(self, turn: Turn) -> None:
        self._send_all(turn.after)
        for peer, index, message in turn.snapshots:
            self._send_snapshot(peer, index, message)

    def _send_all(self, messages: Mapping[int, Sequence[bytes]]) -> None:
        for peer, frames in messages.items():
            if not self._send(peer, frames):
                self._replica.report_unreachable(peer)


def _writes_nothing(turn: Turn) -> bool:
    write = turn.write
    return write is None or not (turn.must_sync or write.entries or write.reset is not None)

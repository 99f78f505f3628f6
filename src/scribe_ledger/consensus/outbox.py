"""``Outbox``: how turns are made of what the engine gives out and of the replica's own frames.

Frames of its own go out with the next turn, before the engine's. Turns count up by one. A turn is *out* until it is
known to be durable: the engine is told then of the last of its readies in it, in their order.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from scribe_ledger.consensus import frames
from scribe_ledger.consensus.exchange import Turn
from scribe_ledger.consensus.log.store import LogWrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_raft import Ready


class Outbox:
    def __init__(self) -> None:
        self._number = 0
        self._frames: dict[int, list[bytes]] = {}
        self._out: deque[tuple[int, int]] = deque()
        """Turns that are out, and the engine's readies in them."""
        self.canvasses = True
        """Whether the engine's requests for votes go out. To others it is as if they were lost."""

    def post(self, peer: int, frame: bytes) -> None:
        self._frames.setdefault(peer, []).append(frame)

    @property
    def filled(self) -> bool:
        """Whether frames wait for a turn."""
        return bool(self._frames)

    # --- turns -------------------------------------------------------------------------------------------------

    def turn(self, write: LogWrite | None = None) -> Turn:
        """One in which the engine has no say."""
        return Turn(self._next(), self._take_frames(), write, write is not None, {}, ())

    def turn_of(self, ready: Ready) -> Turn:
        messages = self._take_frames()
        for peer, framed in self._framed(ready.messages).items():
            messages.setdefault(peer, []).extend(framed)
        snapshots = [(peer, index, frames.RAFT_PREFIX + message) for peer, index, message in ready.snapshot_messages]
        after = self._framed(ready.persisted_messages)
        return Turn(self._next(), messages, _write_of(ready), ready.must_sync, after, snapshots)

    def _framed(self, messages: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes]]:
        framed = {}
        for peer, batch in messages.items():
            going = [frames.RAFT_PREFIX + each for each in batch if self.canvasses or not frames.is_canvassing(each)]
            if going:
                framed[peer] = going
        return framed

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _take_frames(self) -> dict[int, list[bytes]]:
        taken, self._frames = self._frames, {}
        return taken

    # --- what is out -------------------------------------------------------------------------------------------

    @property
    def writing(self) -> bool:
        return bool(self._out)

    def went_out(self, turn: Turn, ready: Ready) -> bool:
        """Whether it must become durable, or wait for one that must. If not, it is as good as durable."""
        if turn.write is None and not self._out:
            return False
        self._out.append((turn.number, ready.number))
        return True

    def persisted(self, number: int) -> int:
        """The last ready in that turn and those before it; 0: none."""
        out, last = self._out, 0
        while out and out[0][0] <= number:
            last = out.popleft()[1]
        return last

    def forget_readies(self) -> None:
        """They were of another engine."""
        self._out.clear()


def _write_of(ready: Ready) -> LogWrite | None:
    if ready.snapshot is None and not ready.entries and ready.hard_state is None:
        return None
    reset = None if ready.snapshot is None else (ready.snapshot[0], ready.snapshot[1])
    return LogWrite(ready.entries, ready.hard_state, reset)

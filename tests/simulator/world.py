"""``World``: the time, the dice and the record of one run. Whatever happens in a run happens in one of its events.

The same seed gives the same events in the same order, to the last byte: nothing here reads a real clock, and all
chance comes from one generator. The digest covers every message, write, answer and crash.
"""

from __future__ import annotations

import struct
from collections import deque
from hashlib import sha256
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LINES_KEPT = 60
"""Of the trace, for whoever does not print all of it."""
_STAMP = struct.Struct(">dQQI")


class Violation(AssertionError):  # it is what a check found, not an error of the simulator
    """A promise of the cluster is broken."""


class World:
    def __init__(self, seed: int, *, show: Callable[[str], object] | None = None) -> None:
        self.random = Random(seed)
        self.now = 0.0
        """Seconds since the beginning."""
        self.events = 0
        self.digest = sha256()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._show = show
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def after(self, seconds: float, event: Callable[[], object]) -> None:
        """Events of one moment happen in the order in which they were asked for."""
        self._count += 1
        heappush(self._queue, (self.now + seconds, self._count, event))

    def run_until(self, moment: float, *, check: Callable[[], bool] = lambda: False) -> None:
        """Until that moment, or until ``check`` says that it is enough."""
        queue = self._queue
        while queue and queue[0][0] <= moment:
            self.now, _, event = heappop(queue)
            self.events += 1
            event()
            if check():
                return
        self.now = max(self.now, moment)

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def tell(self, what: str) -> None:
        """A line of the trace."""
        self.digest.update(what.encode())
        line = f"{self.now * 1000:10.3f}  {what}"
        self.lines.append(line)
        if self._show is not None:
            self._show(line)

    def tell_frame(self, sender: int, to: int, frame: bytes, fate: str) -> None:
        """A message: all of it in the digest, a line only for whoever watches."""
        self.digest.update(_STAMP.pack(self.now, sender, to, len(frame)))
        self.digest.update(frame)
        self.digest.update(fate.encode())
        if self._show is not None:
            self._show(f"{self.now * 1000:10.3f}  {sender} → {to}: {_name(frame)} {fate}")


def _name(frame: bytes) -> str:
    if frame[0] != 1:
        return {2: "forward", 3: "forwarded"}.get(frame[0], f"kind {frame[0]}") + f" {len(frame)} bytes"
    from scribe_raft import describe

    told = describe(frame[1:])
    return " ".join(f"{name}={told[name]}" for name in told if name not in {"from", "to", "entries", "snapshot"})

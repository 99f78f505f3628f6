"""``Ticker``: the beat of a member, which does not make up for time that the process was not running.

After a stall (a stopped process, a machine that slept) a burst of ticks would let a leader act on time that nobody
measured. So at most ``MAX_AT_ONCE`` are made up for, and the rest is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

MAX_AT_ONCE = 3


class Ticker:
    """Calls ``beat`` in the loop, every so many seconds, between ``start`` and ``stop``."""

    def __init__(self, loop: AbstractEventLoop, seconds: float, beat: Callable[[], object]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._beat = beat
        self._due = 0.0
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._due, self._ring)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        now = self._loop.time()
        missed = int((now - self._due) / self._seconds)
        self._due += (missed + 1) * self._seconds
        self._timer = self._loop.call_at(self._due, self._ring)
        for _ in range(min(missed + 1, MAX_AT_ONCE)):
            self._beat()

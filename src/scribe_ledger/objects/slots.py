"""``Slots``: how many requests may be under way at once, so that there are no more sockets than slots.

A client's connection goes back to its pool a moment after the answer is complete. A request that began in that moment
would open one socket more. So a slot rests before it is given out again, and the one that rested longest goes first:
where slots are free nobody waits.
"""

from __future__ import annotations

import contextlib
import queue
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

REST_SECONDS = 0.003
"""Measured: without a rest one request of some hundreds opened a socket more; with 1 ms one of some thousands did, on a
machine with twice as much work as processors; with 3 ms none."""


class Slots:
    """Safe for use by several threads."""

    def __init__(self, count: int) -> None:
        self._rested_at: queue.SimpleQueue[float] = queue.SimpleQueue()
        for _ in range(count):
            self._rested_at.put(0.0)

    @contextlib.contextmanager
    def take(self, timeout: float | None = None) -> Iterator[None]:
        """Waits for a slot; raises TimeoutError when none came free in time."""
        try:
            rested_at = self._rested_at.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"all slots were taken for {timeout} seconds") from None
        try:
            if (rest := rested_at - time.monotonic()) > 0:
                time.sleep(rest)
            yield
        finally:
            self._rested_at.put(time.monotonic() + REST_SECONDS)

"""``Slots``: how many requests may be under way at once, so that there are no more sockets than ``pool_size``.

A client's connection goes back to its pool a moment after the answer is complete, and a request that begins in that
moment opens one socket more. Nothing tells when the moment is over. So a slot rests before it is given out again, the
one that rested longest first, while more than half of the slots are taken: fewer requests cannot bring the pool to its
bound, because as many connections would have to be on their way back at once. And a pool of two and more keeps one
connection spare: a multipart upload asks several times within one slot, and a busy machine takes longer than the rest.
"""

from __future__ import annotations

import queue
import time

REST_SECONDS = 0.003
"""Measured: without a rest one request of some hundreds opened a socket more; with 1 ms one of some thousands, and with
3 ms one of ten thousand, both on a machine with several times as much work as processors."""

LONG_REST_SECONDS = 0.01
_POOL_WITH_SPARE = 2


class Slots:
    """Safe for use by several threads."""

    def __init__(self, pool_size: int) -> None:
        self.count = requests_at_once(pool_size)
        self.rest_seconds = REST_SECONDS if self.count < pool_size else LONG_REST_SECONDS
        self._rested_at: queue.SimpleQueue[float] = queue.SimpleQueue()
        for _ in range(self.count):
            self._rested_at.put(0.0)

    def take(self, timeout: float | None = None) -> None:
        """Waits for a slot, which is to be given back; raises TimeoutError when none came free in time."""
        try:
            rested_at = self._rested_at.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"all slots were taken for {timeout} seconds") from None
        if 2 * (self.count - self._rested_at.qsize()) > self.count:
            rest = rested_at - time.monotonic()
            if rest > 0:
                time.sleep(rest)

    def give_back(self) -> None:
        self._rested_at.put(time.monotonic() + self.rest_seconds)


def requests_at_once(pool_size: int) -> int:
    """How many requests a pool takes: one fewer than it has connections, if it has some."""
    return pool_size - 1 if pool_size >= _POOL_WITH_SPARE else pool_size

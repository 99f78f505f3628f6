"""``Checkpoints``: the checkpoint under which this node answers, shared by all that prove something.

Signing syncs the head file, so a node that signed for each request would do no more requests than its disk does syncs.
A signed checkpoint is used again while it covers what is asked about, and for a limited time once the log has grown.
All routes take it from here, so that one client never sees the head go back from one answer to the next.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint

CHECKPOINT_SECONDS = 0.2
"""How old a checkpoint may be that the log has outgrown and that covers what is asked about all the same."""


CONSISTENCY_REMEMBERED = 256


class Checkpoints:
    """The newest signed checkpoint of one ledger. Safe to use from several threads."""

    def __init__(self, ledger: ServedLedger, *, clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._signed = float("-inf")
        self._lock = threading.Lock()
        self.consistency: Callable[[int, int], str] = lru_cache(CONSISTENCY_REMEMBERED)(self._consistency)
        """The text of a consistency proof from one size to another. Clients that were served together share both."""

    def at_hand(self, size: int = 0) -> Checkpoint | None:
        """One of at least that size, if nothing has to be signed for it. It never waits."""
        newest = self._ledger.published
        if newest.size < size:
            return None
        fresh = newest.size == self._ledger.size or self._clock() - self._signed < CHECKPOINT_SECONDS
        return newest if fresh else None

    def covering(self, size: int = 0) -> Checkpoint:
        """One of at least that size, which the ledger must have. Whoever waits meanwhile shares the signing."""
        with self._lock:
            found = self.at_hand(size)
            if found is None:
                begun = self._clock()
                found = self._ledger.checkpoint()
                self._signed = begun
            return found

    def _consistency(self, old_size: int, new_size: int) -> str:
        return str(self._ledger.prove_consistency(old_size, new_size))

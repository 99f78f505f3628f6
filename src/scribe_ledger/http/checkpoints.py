"""``Checkpoints``: the checkpoint under which this node answers, shared by all that prove something.

Signing syncs the head file, so a node that signed for each request would do no more requests than its disk does syncs.
A signed checkpoint is used again while it covers what is asked about, and for a limited time once the log has grown.
All routes take it from here, so that one client never sees the head go back from one answer to the next.

In a cluster it is one that a quorum has cosigned, so that a proof can be held against the quorum without a second
question; where none can be had it is this member's own (``cosigned``).
"""

from __future__ import annotations

import threading
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from scribe_ledger.errors import Unavailable, counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scribe_ledger.http.cosigned import Cosigned
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint

CHECKPOINT_SECONDS = 0.2
"""How old a checkpoint may be that the log has outgrown and that covers what is asked about all the same."""


CONSISTENCY_REMEMBERED = 256
ROUNDS = 2
"""Of cosigning that one answer waits for. What is written all the time is proven under an own checkpoint at last."""
_T = TypeVar("_T")


class NotCosigned(Unavailable):
    """No checkpoint at hand covers what is asked about, and a quorum can be asked for one."""


class Checkpoints:
    """The newest signed checkpoint of one ledger. Safe to use from several threads."""

    def __init__(
        self, ledger: ServedLedger, *, cosigned: Cosigned | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._ledger = ledger
        self._cosigned = cosigned
        self.given = 0
        """In a cluster, size of the largest that was given, own or cosigned: no smaller one is given after it."""
        self._clock = clock
        self._signed = float("-inf")
        self._lock = threading.Lock()
        self.consistency: Callable[[int, int], str] = lru_cache(CONSISTENCY_REMEMBERED)(self._consistency)
        """The text of a consistency proof from one size to another. Clients that were served together share both."""

    def at_hand(self, size: int = 0) -> Checkpoint | None:
        """One of at least that size, if nothing has to be signed for it. It never waits."""
        cosigned = self._cosigned
        if cosigned is None:
            return self._own_at_hand(size)
        newest, least = cosigned.newest, max(size, self.given)
        if newest is not None and least <= newest.size and self._is_fresh(newest, cosigned.asked):
            return self.give(newest)
        own = None if cosigned.lost is None else self._own_at_hand(least)
        return None if own is None else self.give(own)

    def of(self, size: int) -> Checkpoint:
        """The checkpoint of exactly that size, with the cosignatures that are known here. It may wait for the disk."""
        found = None if self._cosigned is None else self._cosigned.at(size)
        return self._ledger.checkpoint(size) if found is None else found

    async def under(self, work: Callable[[Callable[[int], Checkpoint]], Awaitable[_T]]) -> _T:
        """What ``work`` makes, which gets a function like ``covering``; begun again once a quorum has cosigned."""
        cosigned = self._cosigned
        if cosigned is not None:
            for _ in range(ROUNDS):
                try:
                    return await work(self._cosigned_covering)
                except NotCosigned:
                    await cosigned.collect()
        return await work(self.covering)

    def _cosigned_covering(self, size: int) -> Checkpoint:
        found = self.at_hand(size)
        if found is not None:
            return found
        if self._cosigned is not None and self._cosigned.lost is None:
            raise NotCosigned(f"no cosigned checkpoint of {counted(size)} is at hand")
        return self.covering(size)

    def _own_at_hand(self, size: int) -> Checkpoint | None:
        newest = self._ledger.published
        return newest if newest.size >= size and self._is_fresh(newest, self._signed) else None

    def _is_fresh(self, newest: Checkpoint, since: float) -> bool:
        size = self._ledger.size
        return newest.size == size or (newest.size < size and self._clock() - since < CHECKPOINT_SECONDS)

    def give(self, found: Checkpoint) -> Checkpoint:
        """Takes note that somebody gets it."""
        self.given = max(self.given, found.size)
        return found

    def covering(self, size: int = 0) -> Checkpoint:
        """One of at least that size, which the ledger must have. Whoever waits meanwhile shares the signing."""
        with self._lock:
            found = self.at_hand(size) or self._own_at_hand(max(size, self.given))
            if found is None:
                begun = self._clock()
                found = self._ledger.checkpoint()
                self._signed = begun
            return self.give(found)

    def _consistency(self, old_size: int, new_size: int) -> str:
        return str(self._ledger.prove_consistency(old_size, new_size))

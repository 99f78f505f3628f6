"""``Cosigned``: the checkpoints that a quorum of members has signed, as this member has seen them, for its proofs.

A round asks the leader for the newest; whoever waits meanwhile shares it. Where no quorum answers in time, the member's
own signature is all there is: nobody waits any more then, and a round now and then looks whether that has changed.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from scribe_ledger.errors import ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scribe_ledger.merkle.checkpoint import Checkpoint

PATIENCE_SECONDS = 1.0
"""So long may a request wait for a round."""
AGAIN_SECONDS = 2.0
"""Between two rounds while no quorum answers."""
REMEMBERED = 64
"""Sizes whose cosignatures are kept, for who proves at the size of a checkpoint that he has."""


class Cosigned:
    """Lives in the event loop; ``newest``, ``at`` and ``lost`` may be asked from any thread."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Checkpoint]],
        check: Callable[[Checkpoint], Awaitable[object]],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``ask`` gives one of a moment after the call, its signatures verified. ``check`` returns when this ledger has
        that root, and raises if it has another."""
        self._ask = ask
        self._check = check
        self._clock = clock
        self._round: asyncio.Task[None] | None = None
        self._ended = float("-inf")
        self._known: dict[int, Checkpoint] = {}
        self.newest: Checkpoint | None = None
        self.asked = float("-inf")
        """When the newest was asked for: it is no older than that."""
        self.lost: ScribeError | None = None
        """Why no quorum could be had the last time; None while it can."""

    def at(self, size: int) -> Checkpoint | None:
        """The cosigned checkpoint of exactly that size, if it is known here."""
        return self._known.get(size)

    async def collect(self) -> None:
        """Returns when a round has ended, or nobody is to wait for it. What came of it is in the attributes."""
        if self._round is None or self._round.done():
            if self.lost is not None and self._clock() - self._ended < AGAIN_SECONDS:
                return
            self._round = asyncio.ensure_future(self._collect())
        if self.lost is None and not (await asyncio.wait([self._round], timeout=PATIENCE_SECONDS))[0]:
            self.lost = Unavailable("no quorum has cosigned a checkpoint in time")

    async def fresh(self) -> Checkpoint:
        """One of a moment after this call; raises why there is none."""
        begun = self._clock()
        found = await self._ask()
        await self._check(found)
        self._keep(found, begun)
        return found

    async def close(self) -> None:
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait([self._round])

    async def _collect(self) -> None:
        try:
            await self.fresh()
        except ScribeError as error:  # answers say so by having no cosignatures
            self.lost = error
        finally:
            self._ended = self._clock()

    def _keep(self, found: Checkpoint, begun: float) -> None:
        self.lost = None
        if self.newest is None or found.size >= self.newest.size:
            self.newest, self.asked = found, begun
        known = {**self._known, found.size: found}
        self._known = {size: known[size] for size in sorted(known)[-REMEMBERED:]}

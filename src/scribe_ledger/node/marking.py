"""``Marking``: what was found of this member's ledger goes into its folder, so that the next start knows it.

It writes when the member's standing and the folder say different things: a mark that is new, or one that has gone. In a
thread, one write at a time, and again after a pause where the disk refuses. It decides nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.formation.identity import NodeIdentity
    from scribe_ledger.consensus.standing import Standing

AGAIN_SECONDS = 5.0
"""After a write that failed."""
log = structlog.get_logger("scribe.cluster")


class Marking:
    """Used in the loop's thread."""

    def __init__(self, identity: NodeIdentity, standing: Standing, *, on_cleared: Callable[[], object]) -> None:
        """``on_cleared`` is called when the folder has no mark any more, durably."""
        self._identity = identity
        self._standing = standing
        self._on_cleared = on_cleared
        self._writing: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def look(self, now: float) -> None:
        """Each beat."""
        if self._writing is not None:
            if not self._writing.done():
                return
            self._writing.result()
            self._writing = None
        if now >= self._not_before and self._standing.mark != self._identity.mark:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Writes what is still to be written."""
        if self._writing is not None:
            await self._writing
        if self._standing.mark != self._identity.mark:
            await self._write()

    async def _write(self) -> None:
        mark = self._standing.mark
        try:
            await asyncio.to_thread(self._identity.save_mark, mark)
        except StorageError as error:
            self._not_before = asyncio.get_running_loop().time() + AGAIN_SECONDS
            log.warning("what was found of this ledger could not be kept: a restart may not know it", error=str(error))
            return
        if mark is None:
            self._on_cleared()

"""``Archiving``: the archiver's life within a node's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe_ledger.archive.archiver import Archiver
    from scribe_ledger.ledger.served import ServedLedger

PATIENCE_SECONDS = 5.0
"""So long may a pass take to end by itself. Then the object store is closed, and what it asks next fails at once."""


class Archiving:
    """Used in the event loop's thread; the archiver works in its own."""

    def __init__(self, archiver: Archiver, ledger: ServedLedger) -> None:
        self.archiver = archiver
        self._ledger = ledger
        self._stopping: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Not for a ledger that only reads, or whose store goes on without it: there is nothing to archive."""
        if self._ledger.failure is None:
            self.archiver.start()

    def begin_to_stop(self) -> None:
        """Orders to archive that are waited for are answered soon after this."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(asyncio.to_thread(self.archiver.stop))

    async def stop(self) -> None:
        """Returns when no background pass runs. Nothing may be asked of the object store afterwards."""
        self.begin_to_stop()
        assert self._stopping is not None
        await asyncio.wait([self._stopping], timeout=PATIENCE_SECONDS)
        self._ledger.objects.close()
        await self._stopping

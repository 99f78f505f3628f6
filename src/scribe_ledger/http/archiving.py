"""What a node does about its archive between requests: orders to archive now, and what is known of the object store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scribe_ledger.archive.archiver import Archiver, ArchiveResult
    from scribe_ledger.ledger.served import ServedLedger


class StoreHealth(NamedTuple):
    """What the last look at the object store found."""

    url: str
    """Without secrets."""
    ok: bool | None
    """None before the first look, and in a cluster that has no store to look at."""
    error: str = ""
    checked: int = 0
    """When, in milliseconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url, "ok": self.ok, "error": self.error or None, "checked": self.checked or None}


class ArchiveFigures(NamedTuple):
    """How archiving and cold reads stand, for metrics. Counts are of this process."""

    pending_entries: int = 0
    pending_bytes: int = 0
    lag_seconds: float = 0
    """The age of the oldest entry that is pending."""
    runs: Mapping[str, int] = {}
    """Passes of the archiver, by how they ended."""
    sealed_entries: int = 0
    cold_hits: int = 0
    cold_misses: int = 0
    cold_requests: int = 0
    store_up: bool | None = None


def archive_figures(ledger: ServedLedger, archiver: Archiver | None, health: StoreHealth) -> ArchiveFigures:
    """It may wait for the disk. Nothing is pending where nothing is to be archived."""
    figures = ArchiveFigures(store_up=health.ok)
    if archiver is not None:
        pending = ledger.pending
        figures = figures._replace(
            pending_entries=pending.entries,
            pending_bytes=pending.bytes,
            lag_seconds=archiver.lag_seconds,
            runs=dict(archiver.runs),
            sealed_entries=archiver.sealed_entries,
        )
    if ledger.evicted:  # else nothing was ever read from segments, and what reads them is not loaded
        reader = ledger.cold.reader
        figures = figures._replace(cold_hits=reader.hits, cold_misses=reader.misses, cold_requests=reader.requests)
    return figures


class ArchiveDesk:
    """Takes orders to archive all that is committed.

    One pass runs at a time, and one more may be owed: whoever comes while a pass runs shares the next one, since the
    one that runs may have begun before the caller's entries. So a thousand orders at once are two passes.
    """

    def __init__(self, archiver: Archiver) -> None:
        self._archiver = archiver
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scribe-archive-now")
        self._running: asyncio.Future[ArchiveResult] | None = None
        self._owed: asyncio.Future[ArchiveResult] | None = None
        self._closed = False

    async def archive(self) -> ArchiveResult:
        """What the pass did. It goes on when its caller does not wait any more."""
        if self._closed:
            raise Unavailable("the node is stopping", hint="archive again when it is back")
        if self._running is None or self._running.done():
            self._running = self._begin()
            return await asyncio.shield(self._running)
        if self._owed is None:
            self._owed = asyncio.ensure_future(self._after(self._running))
            self._owed.add_done_callback(_look_at)
        return await asyncio.shield(self._owed)

    async def close(self) -> None:
        """Returns when no pass runs any more. Who stops the archiver first does not wait for long."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, partial(self._pool.shutdown, cancel_futures=True))

    async def _after(self, running: asyncio.Future[ArchiveResult]) -> ArchiveResult:
        await asyncio.wait([running])
        if self._closed:
            raise Unavailable("the node is stopping", hint="archive again when it is back")
        self._owed, self._running = None, self._begin()
        return await asyncio.shield(self._running)

    def _begin(self) -> asyncio.Future[ArchiveResult]:
        work = partial(self._archiver.run_once, everything=True)
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(_look_at)
        return future


def _look_at(done: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is in the archiver's status, and no surprise."""
    if not done.cancelled():
        done.exception()


def archive_json(result: ArchiveResult) -> dict[str, Any]:
    """What is answered when all is archived."""
    fields = result._asdict()
    return {"version": fields.pop("manifest_version"), **fields}

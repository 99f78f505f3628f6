"""What a node does about its archive between requests: orders to archive now, and what is known of the object store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from scribe_ledger.errors import ConfigurationError, Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scribe_ledger.archive.archiver import Archiver, ArchiveResult
    from scribe_ledger.http.service import Service
    from scribe_ledger.ledger.served import ServedLedger

_T = TypeVar("_T")


class StoreHealth(NamedTuple):
    """What the last look at the object store found."""

    url: str
    """Without secrets. Empty in a cluster whose members share no store."""
    ok: bool | None
    """None before the first look, and in a cluster that has no store to look at."""
    error: str = ""
    checked: int = 0
    """When, in milliseconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        return {"url": self.url or None, "ok": self.ok, "error": self.error or None, "checked": self.checked or None}


class ArchiveFigures(NamedTuple):
    """How archiving and cold reads stand, for metrics. Counts are of this process."""

    pending_entries: int = 0
    pending_bytes: int = 0
    lag_seconds: float = 0
    """The age of the oldest entry that is pending."""
    runs: Mapping[str, int] = {}
    """Passes of the archiver, by how they ended."""
    running: bool | None = None
    """Whether archiving goes on that the settings ask for; None where it is not asked for."""
    failures_in_a_row: int = 0
    errors: Mapping[str, int] = {}
    """What passes in the background failed with, by kind."""
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
            running=archiver.running if archiver.settings.auto and not ledger.identity.read_only else None,
            failures_in_a_row=archiver.failures_in_a_row,
            errors=dict(archiver.errors),
            sealed_entries=archiver.sealed_entries,
        )
    if ledger.evicted:  # else nothing was ever read from segments, and what reads them is not loaded
        reader = ledger.cold.reader
        figures = figures._replace(cold_hits=reader.hits, cold_misses=reader.misses, cold_requests=reader.requests)
    return figures


class Passes(Generic[_T]):
    """One pass runs at a time, and one more may be owed: whoever comes while a pass runs shares the next one, since the
    one that runs may have begun before the caller's entries. So a thousand orders at once are two passes.
    """

    def __init__(self, begin: Callable[[], asyncio.Future[_T]]) -> None:
        self._begin = begin
        self._running: asyncio.Future[_T] | None = None
        self._owed: asyncio.Future[_T] | None = None
        self.closed = False
        """No more passes begin."""

    async def next(self) -> _T:
        """What a pass gave that began after this call. It goes on when its caller does not wait any more."""
        self._check_open()
        if self._running is None or self._running.done():
            return await asyncio.shield(self._run())
        if self._owed is None:
            self._owed = asyncio.ensure_future(self._after(self._running))
            self._owed.add_done_callback(_look_at)
        return await asyncio.shield(self._owed)

    async def _after(self, running: asyncio.Future[_T]) -> _T:
        await asyncio.wait([running])
        self._check_open()
        self._owed = None
        return await asyncio.shield(self._run())

    def _run(self) -> asyncio.Future[_T]:
        self._running = self._begin()
        self._running.add_done_callback(_look_at)
        return self._running

    def _check_open(self) -> None:
        if self.closed:
            raise Unavailable("the node is stopping", hint="archive again when it is back")


class ArchiveDesk:
    """Takes orders to archive all that is committed."""

    def __init__(self, archiver: Archiver) -> None:
        self._archiver = archiver
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scribe-archive-now")
        self._passes = Passes(self._begin)

    async def archive(self) -> ArchiveResult:
        """What the pass did."""
        return await self._passes.next()

    async def close(self) -> None:
        """Returns when no pass runs any more. Who stops the archiver first does not wait for long."""
        self._passes.closed = True
        await asyncio.get_running_loop().run_in_executor(None, partial(self._pool.shutdown, cancel_futures=True))

    def _begin(self) -> asyncio.Future[ArchiveResult]:
        work = partial(self._archiver.run_once, everything=True)
        return asyncio.get_running_loop().run_in_executor(self._pool, work)


def _look_at(done: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is in the archiver's status, and no surprise."""
    if not done.cancelled():
        done.exception()


async def archive_here(service: Service) -> dict[str, Any]:
    """Has this node archive all that is committed, and waits for it: a node that stands alone, or leads."""
    desk = service.archive_desk
    if desk is None:
        raise _no_archiver(service)
    if service.ledger.failure is not None:
        raise service.ledger.failure.again()  # who may not write here may not write there
    try:
        return archive_json(await desk.archive())
    except ConfigurationError as error:
        raise service.outage(error) from error


def _no_archiver(service: Service) -> Conflict:
    if service.cluster is None:
        return Conflict("this node has no archiver", hint="all entries are kept in its data folder; copy it for safety")
    return Conflict(
        f"node {service.config.node.id} leads, and has no archiver: its settings name no object store",
        hint="set [storage] object_store, the same on all members; until then each of them keeps all entries",
    )


def archive_json(result: ArchiveResult) -> dict[str, Any]:
    """What is answered when all is archived."""
    fields = result._asdict()
    return {"version": fields.pop("manifest_version"), **fields}

"""``Service``: what every route stands on, made once for a node. It owns the order between commits and caches."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from scribe_ledger.errors import ConfigurationError, ConsensusError, Overloaded, ScribeError, Unavailable, counted
from scribe_ledger.http.answers import Answer, Answers, is_large
from scribe_ledger.http.archiving import ArchiveDesk, StoreHealth
from scribe_ledger.http.checkpoints import Checkpoints
from scribe_ledger.http.clustering import LEADER
from scribe_ledger.http.cosigned import Cosigned
from scribe_ledger.http.feed import Feed
from scribe_ledger.http.readers import Readers
from scribe_ledger.http.room import Room
from scribe_ledger.ledger.commands import queue_bytes
from scribe_ledger.ledger.gathering import Gatherer
from scribe_ledger.objects.identity import outage
from scribe_ledger.objects.opening import options_of
from scribe_ledger.objects.paths import blob_path
from scribe_ledger.objects.slots import requests_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.archive.archiver import Archiver
    from scribe_ledger.config import Config
    from scribe_ledger.http.clustering import Cluster
    from scribe_ledger.http.metrics import Metrics
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.model import Entry
    from scribe_ledger.objects.blobs import Blob, SpooledBlob

_P = ParamSpec("_P")
_T = TypeVar("_T")

_STOPPING = Unavailable("the node is stopping", hint="ask another node, or this one when it is back")
MAX_HELD_BYTES = 256 << 20
"""Of bodies that many requests together keep whole in memory. Large values are streamed, and do not count."""
READERS = 4
"""Threads for reads that may wait for the disk."""
OBJECT_READERS = 8
"""Threads for reads that may wait for the object store: large values, and values that are in the archive alone."""
UPLOADERS = 4
"""Threads that put large values there, at most: no more than take half of its connections."""


class AccessLog(Protocol):
    """Where a line for each request goes. It must not block."""

    def note(
        self,
        method: str,
        path: bytes,
        status: int,
        size: int,
        seconds: float,
        request_id: bytes,
        client: tuple[str, int] | None,
    ) -> None: ...


class Service:
    """One open ledger, served. Made and used in the event loop's thread."""

    def __init__(
        self,
        ledger: ServedLedger,
        config: Config,
        metrics: Metrics,
        *,
        access: AccessLog | None = None,
        archiver: Archiver | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """The ``archiver`` is its owner's to start and to stop. Without a ``cluster`` the node stands alone."""
        self.ledger = ledger
        self.config = config
        self.metrics = metrics
        self.cluster = cluster
        self.access = access
        self.inline_max: int = config.storage.inline_max
        self.max_value_size: int = config.api.max_value_size
        self.answers = Answers(
            capacity_bytes=config.storage.max_cache_size - cold_cache_share(config),
            capacity_entries=config.api.cache_capacity,
        )
        self.cosigned = None if cluster is None else Cosigned(cluster.cosigned, self._check_has)
        self.checkpoints = Checkpoints(ledger, cosigned=self.cosigned)
        self.writes_refused: ScribeError | None = None
        """Why this node decides on no writes for now, such as a full disk; None while it does. A member that does not
        lead sends small ones on all the same: it must apply what the others write, whoever was asked."""
        self.disk = Readers("the disk", READERS)
        self.objects = Readers("the object store", OBJECT_READERS)
        self.uploads = Readers("the object store", uploaders(config))
        self.feed = Feed(ledger, self.disk, self.readers_of_values)
        self.watchers = 0
        """How many read the live log now."""
        self._held = 0
        self._closed = False
        self.draining = False
        """True from the moment the node was told to stop; long answers end."""
        self.archiver = archiver
        self.archive_desk = None if archiver is None else ArchiveDesk(archiver)
        self.store_health = StoreHealth("" if self.has_no_store else ledger.objects.url, None)
        self._loop = asyncio.get_running_loop()
        self._writer = Gatherer(ledger.write_all) if cluster is None else cluster
        self.room = Room(self._writer)
        self._growth: asyncio.Future[None] | None = None
        ledger.on_commit(self._commit)

    # --- writing -----------------------------------------------------------------------------------------------

    def submit(self, unit: Sequence[Command], done: Callable[[Outcome], object]) -> None:
        """Queues a unit without large values; ``done`` gets the outcome, in the loop."""
        self.check_takes_writes()
        self._writer.submit(unit, done)

    async def write(self, unit: Sequence[Command]) -> Receipts:
        """Commits a unit; its large values become blobs first, in a thread."""
        size = queue_bytes(unit)
        self.check_takes_writes(size)
        if self.ledger.needs_blob(unit):
            self.check_takes_large_values()
            self.room.take_large(size)
            unit = await self._store_within("the large values", partial(self.ledger.prepare, unit))
            self.check_takes_writes()
        return await self._writer.write(unit)

    async def keep(self, received: SpooledBlob) -> Blob:
        """Stores a large value that was received, within the deadline of writes; what is late is an orphan."""
        self.check_takes_large_values()
        path = self.ledger.objects.place(blob_path(received.blob.sha256))
        return await self._store_within(path, partial(_keep, self.ledger, received), if_unbegun=received.close)

    async def _store_within(
        self, what: str, work: Callable[[], _T], *, if_unbegun: Callable[[], object] | None = None
    ) -> _T:
        seconds = self.config.api.write_timeout_secs
        try:
            return await self.uploads.run_within(seconds, lambda: f"room for {what}", work, if_unbegun=if_unbegun)
        except ConfigurationError as error:
            raise self.outage(error) from error

    def outage(self, error: ConfigurationError) -> Unavailable:
        """That the object store is another than it was."""
        return outage(self.ledger.objects, self.ledger.manifest.store_id, error)

    def hold(self, size: int) -> None:
        """Counts bytes of bodies that are kept whole; ``release`` them. Past the bound ``Overloaded``."""
        if self._held and self._held + size > MAX_HELD_BYTES:
            raise Overloaded(f"{self._held} bytes of requests and answers are under way", hint="retry after a moment")
        self._held += size

    def release(self, size: int) -> None:
        self._held -= size

    @property
    def queued(self) -> tuple[int, int]:
        """Entries and bytes that wait to be written."""
        return self._writer.waiting

    # --- reading -----------------------------------------------------------------------------------------------

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs in a thread what may wait for the disk."""
        return await self.disk.run(function, *args, **kwargs)

    def readers_of(self, entry: Entry) -> Readers:
        """Threads that may read the value of an entry: what may hang with the object store is not in others' way."""
        return self.objects if is_large(entry) else self.readers_of_values(entry.index)

    def readers_of_values(self, first: int = 0) -> Readers:
        """The same for small values of any entries from that index on."""
        return self.objects if first < self.ledger.evicted else self.disk

    def has_at_hand(self, entry: Entry) -> bool:
        """Whether the entry can be given with its value, where it has a small one, without the object store."""
        return entry.deleted or is_large(entry) or self.readers_of(entry) is self.disk

    async def value_of(self, entry: Entry) -> bytes:
        """A value that is held whole, within the deadline of reads where it must be fetched."""
        readers = self.readers_of(entry)
        if readers is self.disk:
            return await readers.run(_value, entry)
        return await self.fetch_within(entry, partial(_value, entry))

    async def fetch_within(self, entry: Entry, work: Callable[[], _T]) -> _T:
        """Work that asks the object store for an entry's value, within the deadline of reads."""
        return await self.objects.run_within(self.config.api.read_timeout_secs, lambda: self._place_of(entry), work)

    def _place_of(self, entry: Entry) -> str:
        """Where in the object store an entry's value is."""
        objects = self.ledger.objects
        if is_large(entry):
            return objects.place(blob_path(entry.sha256))
        segment = self.ledger.manifest.find(entry.index)
        return objects.url if segment is None else objects.place(segment.path)

    def latest(self, key: bytes) -> Answer | None:
        """The answer to a plain GET of a key whose value is small; None where there is more to say."""
        answer = self.answers.hit(key) or self.answers.promote(key)
        if answer is not None:
            self.metrics.cache_hits += 1
            return answer
        self.metrics.cache_misses += 1
        seen = self.ledger.moment
        latest = self.ledger.latest(key)
        if latest is None:
            return None
        answer = Answer.of_latest(key, latest)
        self.remember(key, answer, seen)
        return answer

    def remember(self, key: bytes, answer: Answer, seen: object) -> None:
        """Keeps an answer about a key's latest entry, unless something was committed since that moment."""
        self.answers.fill(key, key, answer, lambda: self.ledger.moment is seen)

    async def _check_has(self, checkpoint: Checkpoint) -> None:
        """Returns when this ledger is as long as that, if it has the same root there."""
        await self.wait_for_size(checkpoint.size, seconds=self.config.api.read_timeout_secs)
        if await self.run(self.ledger.root, checkpoint.size) != checkpoint.root:
            raise ConsensusError(f"this ledger has another root at {counted(checkpoint.size)} than was cosigned")

    async def wait_for_size(self, size: int, *, seconds: float) -> None:
        """Until the ledger has so many entries; ``Unavailable`` if that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while (here := self.ledger.size) < size:
                    await self.wait_for_growth(here)
        except TimeoutError:
            raise Unavailable(
                f"the ledger has {counted(self.ledger.size)} here, and the request asks for what follows {size}",
                hint="retry, or ask another node",
            ) from None

    @property
    def ended(self) -> Unavailable | None:
        """Why nothing goes on here that lasts: the node stops, or is a member that serves nothing any more."""
        if self.draining:
            return _STOPPING.again()
        trouble = None if self.cluster is None else self.cluster.trouble
        return None if trouble is None else Unavailable(trouble.message, hint="ask another node")

    async def wait_for_growth(self, beyond: int) -> None:
        """Until the ledger may have more than so many entries; ``Unavailable`` once that is not to be had here."""
        ended = self.ended
        if ended is not None:
            raise ended
        if self._growth is None:
            self._growth = self._loop.create_future()
        if self.ledger.size <= beyond:  # asked only now: a commit after this sees that somebody waits
            await asyncio.shield(self._growth)

    # --- life --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Ends what waits for more; what was accepted is finished."""
        self.draining = True
        self.wake()

    async def close(self) -> None:
        """Returns when all that was accepted is answered. The ledger is its owner's to close."""
        self.drain()
        self._closed = True
        await self._writer.close()
        if self.archive_desk is not None:
            await self.archive_desk.close()
        if self.cosigned is not None:
            await self.cosigned.close()
        await self.disk.close()
        await self.objects.close()
        await self.uploads.close()

    @property
    def has_no_store(self) -> bool:
        """Whether the members of a cluster share none. The folder that would be one is never used then."""
        return self.cluster is not None and not (self.config.has_explicit_object_store or self.ledger.manifest.store_id)

    def check_takes_writes(self, size: int = 0) -> None:
        """Before a value is received and stored that nobody may refer to."""
        if self._closed:
            raise _STOPPING.again()
        refusal = self.trouble
        if refusal is not None:
            raise refusal.again()
        if self._writer.accepted_bytes + size >= self.room.low_at and (
            self.cluster is None or self.cluster.state == LEADER
        ):
            self.room.check(size)

    def check_takes_large_values(self, size: int = 0) -> None:
        """The same for a value that becomes a blob: it comes over this node's disk."""
        refusal = self.writes_refused or (None if self.cluster is None else self.cluster.takes_large_values)
        if refusal is not None:
            raise refusal.again()
        self.room.check_large(size)

    @property
    def trouble(self) -> ScribeError | None:
        """Why this node, which is open and not stopping, takes no writes for now."""
        cluster = self.cluster
        if cluster is None:
            return self.ledger.failure or self.writes_refused
        refused = self.writes_refused
        return cluster.trouble or self.ledger.failure or (refused if refused and cluster.state == LEADER else None)

    def _commit(self, keys: Sequence[bytes], publish: Callable[[], object]) -> None:
        """In the committing thread."""
        self.answers.commit(keys, publish)
        self.metrics.commit(len(keys), self.ledger.last_sync_seconds)
        if self._growth is not None:
            self._loop.call_soon_threadsafe(self.wake)

    def wake(self) -> None:
        """Whoever waits for more looks again, as after a commit."""
        growth, self._growth = self._growth, None
        if growth is not None and not growth.done():
            growth.set_result(None)


def cold_cache_share(config: Config) -> int:
    """Bytes of ``max_cache_size`` that row groups of the archive may take. The rest is for whole answers."""
    return config.storage.max_cache_size // 2


def uploaders(config: Config) -> int:
    """How many threads upload."""
    return max(1, min(UPLOADERS, requests_at_once(options_of(config).pool_size) // 2))


def _value(entry: Entry) -> bytes:
    return entry.value


def _keep(ledger: ServedLedger, received: SpooledBlob) -> Blob:
    with received:
        kept = ledger.keep_value(received)
    assert not isinstance(kept, bytes)
    return kept

"""``Service``: what every route stands on, made once for a node. It owns the order between commits and caches."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from scribe_ledger.errors import Overloaded, ScribeError, Unavailable
from scribe_ledger.http.answers import Answer, Answers
from scribe_ledger.http.checkpoints import Checkpoints
from scribe_ledger.http.feed import Feed
from scribe_ledger.ledger.gathering import Gatherer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from scribe_ledger.config import Config
    from scribe_ledger.http.metrics import Metrics
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.ledger.served import ServedLedger

_P = ParamSpec("_P")
_T = TypeVar("_T")

_STOPPING = Unavailable("the node is stopping", hint="ask another node, or this one when it is back")
MAX_HELD_BYTES = 256 << 20
"""Of bodies that many requests together keep whole in memory. Large values are streamed, and do not count."""
READERS = 4
"""Threads for reads that may wait for the disk."""
PAGES_AT_ONCE = 2
"""How many of them make listings, which is work for the interpreter: more would only keep others from it."""


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
        self, ledger: ServedLedger, config: Config, metrics: Metrics, *, access: AccessLog | None = None
    ) -> None:
        self.ledger = ledger
        self.config = config
        self.metrics = metrics
        self.access = access
        self.inline_max: int = config.storage.inline_max
        self.max_value_size: int = config.api.max_value_size
        self.answers = Answers(capacity_bytes=config.storage.max_cache_size, capacity_entries=config.api.cache_capacity)
        self.checkpoints = Checkpoints(ledger)
        self.writes_refused: ScribeError | None = None
        """Why this node takes no writes for now, such as a full disk; None while it does."""
        self.page_turn = asyncio.Semaphore(PAGES_AT_ONCE)
        self.feed = Feed(ledger, self.run)
        self.watchers = 0
        """How many read the live log now."""
        self._held = 0
        self._closed = False
        self.draining = False
        """True from the moment the node was told to stop; long answers end."""
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="scribe-read")
        self._gatherer = Gatherer(ledger.write_all)
        self._growth: asyncio.Future[None] | None = None
        ledger.on_commit(self._commit)

    # --- writing -----------------------------------------------------------------------------------------------

    def submit(self, unit: Sequence[Command], done: Callable[[Outcome], object]) -> None:
        """Queues a unit without large values; ``done`` gets the outcome, in the loop."""
        self._check_takes_writes()
        self._gatherer.submit(unit, done)

    async def write(self, unit: Sequence[Command]) -> Receipts:
        """Commits a unit; its large values become blobs first, in a thread."""
        self._check_takes_writes()
        if self.ledger.needs_blob(unit):
            unit = await self.run(self.ledger.prepare, unit)
            self._check_takes_writes()
        return await self._gatherer.write(unit)

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
        return self._gatherer.waiting

    # --- reading -----------------------------------------------------------------------------------------------

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs in a thread what may wait for the disk."""
        return await self.start(function, *args, **kwargs)

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
        self.answers.fill(key, key, answer, lambda: self.ledger.moment is seen)
        return answer

    def start(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
        """The same without waiting for it."""
        return self._loop.run_in_executor(self._pool, partial(function, *args, **kwargs))

    async def stream(self, pieces: Iterator[_T]) -> AsyncIterator[_T]:
        """What an iterator gives that waits for the disk, one piece ahead of the reader."""
        coming = self.start(next, pieces, None)
        try:
            while (piece := await coming) is not None:
                coming = self.start(next, pieces, None)
                yield piece
        finally:
            await asyncio.wait([coming])
            if isinstance(pieces, Generator):
                await self.run(pieces.close)

    async def wait_for_size(self, size: int, *, seconds: float) -> None:
        """Until the ledger has so many entries; ``Unavailable`` if that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while (here := self.ledger.size) < size:
                    await self.wait_for_growth(here)
        except TimeoutError:
            raise Unavailable(
                f"the ledger has {self.ledger.size} entries here, and the request asks for what follows {size} of them",
                hint="retry, or ask another node",
            ) from None

    async def wait_for_growth(self, beyond: int) -> None:
        """Until the ledger may have more than so many entries; ``Unavailable`` once the node begins to stop."""
        if self.draining:
            raise _STOPPING.again()
        if self._growth is None:
            self._growth = self._loop.create_future()
        if self.ledger.size <= beyond:  # asked only now: a commit after this sees that somebody waits
            await asyncio.shield(self._growth)

    # --- life --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Ends what waits for more; what was accepted is finished."""
        self.draining = True
        self._wake()

    async def close(self) -> None:
        """Returns when all that was accepted is answered. The ledger is its owner's to close."""
        self.drain()
        self._closed = True
        await self._gatherer.close()
        await self._loop.run_in_executor(None, self._pool.shutdown)

    def _check_takes_writes(self) -> None:
        if self._closed:
            raise _STOPPING.again()
        if self.writes_refused is not None:
            raise self.writes_refused.again()

    def _commit(self, keys: Sequence[bytes], publish: Callable[[], object]) -> None:
        """In the committing thread."""
        self.answers.commit(keys, publish)
        self.metrics.commit(len(keys), self.ledger.last_sync_seconds)
        if self._growth is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        growth, self._growth = self._growth, None
        if growth is not None and not growth.done():
            growth.set_result(None)

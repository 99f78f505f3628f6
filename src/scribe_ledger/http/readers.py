"""``Readers``: a few threads for what must not wait in the event loop.

A service has three: one for the disk, two for the object store. An object store that hangs holds all threads that ask
it for as long as its own timeouts last; nobody who only needs the disk waits behind them. Uploads are slow on a slow
link while everything else is fast, so nobody who reads waits behind those either.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from scribe_ledger.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_P = ParamSpec("_P")
_T = TypeVar("_T")

PAGES_AT_ONCE = 2
"""How many threads make listings, which is work for the interpreter: more would only keep others from it."""
MAX_WAITING = 4096
"""So much may be under way or wait for a thread; whoever comes then is told to come again."""


class Readers:
    """Made and used in the event loop's thread."""

    def __init__(self, what: str, threads: int) -> None:
        """``what`` they wait for, as a message names it."""
        self._what = what
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"scribe-{what.replace(' ', '-')}")
        self._waiting = 0
        self.page_turn = asyncio.Semaphore(PAGES_AT_ONCE)

    def start(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> asyncio.Future[_T]:
        """Runs it in a thread; the answer comes later."""
        return self._begin(partial(function, *args, **kwargs), None)

    def _begin(self, work: Callable[[], _T], if_unbegun: Callable[[], object] | None) -> asyncio.Future[_T]:
        """``if_unbegun`` is called where the work was given up before a thread took it."""
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} requests wait for {self._what}", hint="retry after a moment")
        job = self._pool.submit(work)
        if if_unbegun is not None:
            job.add_done_callback(lambda done: if_unbegun() if done.cancelled() else None)
        future = asyncio.wrap_future(job, loop=self._loop)
        self._waiting += 1
        future.add_done_callback(self._ended)
        return future

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs it in a thread."""
        return await self.start(function, *args, **kwargs)

    async def run_within(
        self,
        seconds: float,
        about: Callable[[], str],
        work: Callable[[], _T],
        *,
        if_unbegun: Callable[[], object] | None = None,
    ) -> _T:
        """The same, given up with ``Unavailable`` after so long, which says what it was ``about``.

        A thread that has begun goes on to its own end; where none has, none will, and ``if_unbegun`` is called.
        """
        begun = threading.Event()

        def begin() -> _T:
            begun.set()
            return work()

        future = self._begin(begin, if_unbegun)
        try:
            if not (await asyncio.wait([future], timeout=seconds))[0]:
                raise Unavailable(self._late(seconds, about(), begun=begun.is_set()), hint="retry after a moment")
            return future.result()
        finally:
            future.cancel()

    async def stream(self, pieces: Iterator[_T], *, first: _T | None = None) -> AsyncIterator[_T]:
        """What an iterator gives that waits, one piece ahead of the reader; before it ``first``, if there is one."""
        coming = self.start(next, pieces, None)
        try:
            if first is not None:
                yield first
                first = None  # else it would be held to the end
            while (piece := await coming) is not None:
                coming = self.start(next, pieces, None)
                yield piece
        finally:
            await asyncio.wait([coming])
            if isinstance(pieces, Generator):
                await self.run(pieces.close)

    async def close(self) -> None:
        """Returns when all that was begun has ended."""
        await self._loop.run_in_executor(None, self._pool.shutdown)

    def _late(self, seconds: float, about: str, *, begun: bool) -> str:
        if begun:
            return f"{self._what} did not answer within {seconds:g} seconds, asked for {about}"
        under_way = "1 request was" if self._threads == 1 else f"{self._threads} requests were"
        return f"{self._what} could not be asked within {seconds:g} seconds for {about}: {under_way} under way"

    def _ended(self, _: object) -> None:
        self._waiting -= 1

"""``AsyncLedger``: the embedded ledger for asyncio, the same methods, awaitable.

Writes gather in the loop and go to one thread together: thousands of tasks that put at once share a few syncs.
Everything else runs in a small pool of threads, except a value in the cache, which is returned at once. Listings are
asynchronous iterators that take a page of entries from a thread whenever the last one is used up.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NoReturn, ParamSpec, Self, TypeVar, Unpack

from scribe_ledger.errors import InvalidRequest, LedgerClosed
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.batch import Batch
from scribe_ledger.ledger.gathering import Gatherer
from scribe_ledger.ledger.ledger import Ledger

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from scribe_ledger.ledger.check import Report
    from scribe_ledger.ledger.commands import Command, DeleteOptions, Key, PutOptions, Value
    from scribe_ledger.ledger.policy import Policy
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
    from scribe_ledger.model import Entry, Receipt

_P = ParamSpec("_P")
_T = TypeVar("_T")

THREADS = 4
PAGE_ENTRIES = 256


class AsyncLedger:
    """Open one with ``await AsyncLedger.open(path)``; close it with ``await ledger.close()``, or use ``async with``."""

    def __init__(self, ledger: Ledger, pool: ThreadPoolExecutor) -> None:
        self._ledger = ledger
        self._pool = pool
        self._gatherer = Gatherer(ledger.write_all)

    @classmethod
    async def open(cls, path: str | os.PathLike[str], **options: Any) -> AsyncLedger:
        """Takes what ``Ledger.open`` takes."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="scribe")
        opening = pool.submit(_open_guarded, path, options)
        try:
            return cls(await asyncio.wrap_future(opening), pool)
        except BaseException:
            opening.add_done_callback(_close_abandoned)
            pool.shutdown(wait=False)
            raise

    # --- writing -----------------------------------------------------------------------------------------------

    async def put(self, key: Key, value: Value, **options: Unpack[PutOptions]) -> Receipt:
        return (await self._write([commands.put(key, value, **options)]))[0]

    async def put_stream(self, key: Key, reader: BinaryIO | Iterable[bytes], **options: Unpack[PutOptions]) -> Receipt:
        return await self._run(self._ledger.put_stream, key, reader, **options)

    async def put_many(self, pairs: Iterable[tuple[Key, Value]]) -> Sequence[Receipt]:
        return await self._write(commands.put_many(pairs))

    async def delete(self, key: Key, **options: Unpack[DeleteOptions]) -> Receipt:
        return (await self._write([commands.delete(key, **options)]))[0]

    def batch(self) -> AsyncBatch:
        return AsyncBatch(self)

    async def configure(self, **policies: str) -> Receipt:
        return await self._run(self._ledger.configure, **policies)

    async def flush(self) -> None:
        await self._run(self._ledger.flush)

    async def import_verbatim(self, rows: Iterable[Row], progress: Callable[[int], None] | None = None) -> int:
        """``rows`` are read and ``progress`` is called in another thread."""
        return await self._run(self._ledger.import_verbatim, rows, progress)

    # --- reading -----------------------------------------------------------------------------------------------

    async def get(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> bytes | None:
        if version is None and as_of is None and (value := self._ledger.cached(key)) is not None:
            return value
        return await self._run(self._ledger.get, key, version=version, as_of=as_of)

    async def get_many(self, keys: Iterable[Key]) -> list[bytes | None]:
        return await self._run(self._ledger.get_many, keys)

    async def entry(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> Entry | None:
        return await self._run(self._ledger.entry, key, version=version, as_of=as_of)

    async def entry_at(self, index: int) -> Entry:
        return await self._run(self._ledger.entry_at, index)

    async def open_value(self, key: Key, *, version: int | None = None, as_of: int | None = None) -> IO[bytes] | None:
        return await self._run(self._ledger.open_value, key, version=version, as_of=as_of)

    def history(self, key: Key, *, as_of: int | None = None) -> AsyncIterator[Entry]:
        return self._pages(self._ledger.history(key, as_of=as_of))

    def scan(self, prefix: Key = b"", **options: Any) -> AsyncIterator[Entry]:
        return self._pages(self._ledger.scan(prefix, **options))

    def log(self, start: int = 0, stop: int | None = None) -> AsyncIterator[Entry]:
        return self._pages(self._ledger.log(start, stop))

    # --- proving -----------------------------------------------------------------------------------------------

    async def checkpoint(self, at: int | None = None) -> Checkpoint:
        return await self._run(self._ledger.checkpoint, at)

    async def prove(self, key: Key, version: int | None = None, at: int | None = None) -> Proof:
        return await self._run(self._ledger.prove, key, version, at)

    async def prove_history(self, key: Key, version: int | None = None, at: int | None = None) -> HistoryProof:
        return await self._run(self._ledger.prove_history, key, version, at)

    async def prove_consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof:
        return await self._run(self._ledger.prove_consistency, old_size, new_size)

    # --- looking after -----------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self._ledger.path

    @property
    def closed(self) -> bool:
        return self._ledger.closed

    @property
    def public_key(self) -> str:
        return self._ledger.public_key

    @property
    def origin(self) -> str:
        return self._ledger.origin

    @property
    def ledger_id(self) -> str:
        return self._ledger.ledger_id

    @property
    def size(self) -> int:
        return self._ledger.size

    @property
    def policy(self) -> Policy:
        return self._ledger.policy

    async def verify(self, progress: Callable[[int, int], None] | None = None, *, archive: bool = True) -> Report:
        """``progress`` is called from another thread."""
        return await self._run(self._ledger.verify, progress, archive=archive)

    async def snapshot(self, path: str | os.PathLike[str]) -> Path:
        return await self._run(self._ledger.snapshot, path)

    async def stats(self) -> dict[str, Any]:
        return await self._run(self._ledger.stats)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await self._gatherer.close()
        await loop.run_in_executor(None, self._ledger.close)
        await loop.run_in_executor(None, self._pool.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- helpers -----------------------------------------------------------------------------------------------

    async def _run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._ledger.closed:  # and its threads may be gone: here, or in the parent of a forked child
            raise LedgerClosed("the ledger is closed")
        try:
            running = self._pool.submit(partial(function, *args, **kwargs))
        except RuntimeError as error:  # closed just now
            raise LedgerClosed("the ledger is closed") from error
        return await asyncio.wrap_future(running)

    async def _write(self, unit: Sequence[Command]) -> Sequence[Receipt]:
        if self._ledger.closed:
            raise LedgerClosed("the ledger is closed")
        if not unit:
            return []
        if self._ledger.needs_blob(unit):
            unit = await self._run(self._ledger.prepare, unit)
        return await self._gatherer.write(self._ledger.prepare(unit))

    async def _pages(self, entries: Iterator[Entry]) -> AsyncIterator[Entry]:
        while page := await self._run(_page, entries):
            for entry in page:
                yield entry


class AsyncBatch(Batch):
    """Collects commands; written as one atomic batch when the ``async with`` block ends well."""

    def __init__(self, ledger: AsyncLedger) -> None:
        super().__init__(ledger._ledger)  # two faces of one ledger
        self._asynchronous = ledger

    def __enter__(self) -> NoReturn:
        raise InvalidRequest(
            "the batch of an AsyncLedger would block the event loop here", hint="async with ledger.batch() as batch"
        )

    async def __aenter__(self) -> Self:
        self._check_not_ended()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended = True
        if kind is None:
            self.receipts = await self._asynchronous._write(self._commands)


def _open_guarded(path: str | os.PathLike[str], options: Mapping[str, Any]) -> Ledger:
    """Opened, and asked here where it may wait whether it may still write."""
    ledger = Ledger.open(path, **options)
    try:
        ledger.guard()
    except BaseException:
        ledger.close()
        raise
    return ledger


def _close_abandoned(opening: Future[Ledger]) -> None:
    """Nobody waits for this ledger any more, and an open one would keep its folder locked."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _page(entries: Iterator[Entry]) -> list[Entry]:
    return [entry for _, entry in zip(range(PAGE_ENTRIES), entries, strict=False)]

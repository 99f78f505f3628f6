"""``AsyncClient``: ``Client`` for asyncio, the same methods, awaitable.

A thin shell over the same operations. What are properties there are methods here, since they may ask a node. The value
of an ``Entry`` cannot be fetched by looking at it: ``await client.value(entry)`` does, unless it came along.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, Self, TypeVar, Unpack

from scribe_ledger.client import answers, requests
from scribe_ledger.client.arguments import natural, prefix_bytes, request_id_text
from scribe_ledger.client.batch import AsyncBatch
from scribe_ledger.client.listing import History, Log, Scan, entry_at, watched
from scribe_ledger.client.nodes import Attempts, Broken, Lost, Nodes, Patience
from scribe_ledger.client.operations import Operation, Operations
from scribe_ledger.client.settings import check_settings, make_trust
from scribe_ledger.client.streams import AsyncPool
from scribe_ledger.client.trust_file import SAVE_ATTEMPTS
from scribe_ledger.client.values import CheckedPieces
from scribe_ledger.client.watching import Watch
from scribe_ledger.errors import InvalidRequest, LedgerClosed, StorageError, Unavailable

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

    from scribe_ledger.client.arguments import DeleteOptions, Key, PutOptions, Value
    from scribe_ledger.client.batch import Collected
    from scribe_ledger.client.listing import Pages
    from scribe_ledger.client.messages import Answer, Request
    from scribe_ledger.client.streams import AsyncStream
    from scribe_ledger.client.trust import Trust
    from scribe_ledger.client.trust_file import TrustFile
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import ConsistencyProof, HistoryProof, Proof
    from scribe_ledger.model import Entry, Receipt

_T = TypeVar("_T")


class AsyncClient:
    """One ledger behind the URLs of one or more nodes, for one event loop. ``Client`` says what each method does."""

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        public_key: str | None = None,
        trust: str | os.PathLike[str] | None = None,
        cosigners: Sequence[str] = (),
        quorum: int | None = None,
        timeout: float = 15.0,
        deadline: float = 60.0,
        retries: int = 8,
        connect_timeout: float = 5.0,
        pool_size: int = 64,
        consistency: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_settings(
            consistency,
            timeout=timeout,
            deadline=deadline,
            retries=retries,
            connect_timeout=connect_timeout,
            pool_size=pool_size,
        )
        self._nodes = Nodes(urls)
        self._patience = Patience(timeout, deadline, retries)
        self._pool = AsyncPool(most_idle=pool_size, connect_timeout=connect_timeout, tls=tls)
        self._trust, self._file = make_trust(public_key, trust, cosigners, quorum)
        self._saving = asyncio.Lock()
        self._closed = False
        self._operations = Operations(
            self._trust, consistency=consistency, several_nodes=len(self._nodes) > 1, fetch=_refuse_to_block
        )

    # --- writing -----------------------------------------------------------------------------------------------

    async def put(
        self, key: Key, value: Value, *, request_id: str | bytes | None = None, **options: Unpack[PutOptions]
    ) -> Receipt:
        return await self._run(self._operations.put(key, value, request_id, options))

    async def put_stream(
        self,
        key: Key,
        reader: BinaryIO | Iterable[bytes] | AsyncIterable[bytes],
        *,
        request_id: str | bytes | None = None,
        **options: Unpack[PutOptions],
    ) -> Receipt:
        """A file or an ordinary iterable is read in a thread."""
        return await self._run(self._operations.put_stream(key, reader, request_id, options))

    async def put_many(
        self, pairs: Iterable[tuple[Key, Value]], *, request_id: str | bytes | None = None
    ) -> Sequence[Receipt]:
        return await self._run(self._operations.put_many(pairs, request_id))

    async def delete(
        self, key: Key, *, request_id: str | bytes | None = None, **options: Unpack[DeleteOptions]
    ) -> Receipt:
        return await self._run(self._operations.delete(key, request_id, options))

    def batch(self, *, request_id: str | bytes | None = None) -> AsyncBatch:
        """``async with client.batch() as batch``; ``batch.put`` and ``batch.delete`` only collect."""

        async def write(collected: Collected) -> Sequence[Receipt]:
            return await self._run(self._operations.write(collected, request_id))

        return AsyncBatch(write)

    # --- reading -----------------------------------------------------------------------------------------------

    async def get(
        self,
        key: Key,
        *,
        version: int | None = None,
        as_of: int | None = None,
        verify: bool | None = None,
        consistency: str | None = None,
    ) -> bytes | None:
        return await self._run(self._operations.get(key, version, as_of, verify, consistency))

    async def get_many(
        self, keys: Iterable[Key], *, verify: bool | None = None, consistency: str | None = None
    ) -> list[bytes | None]:
        return await self._run(self._operations.get_many(keys, verify, consistency))

    async def entry(
        self,
        key: Key,
        *,
        version: int | None = None,
        as_of: int | None = None,
        verify: bool | None = None,
        consistency: str | None = None,
    ) -> Entry | None:
        return await self._run(self._operations.entry(key, version, as_of, verify, consistency))

    async def entry_at(self, index: int, *, verify: bool | None = None) -> Entry:
        return await self._run(entry_at(self._operations, index, verify))

    async def value(self, entry: Entry) -> bytes:
        """The value of an entry that came without it."""
        return await self._run(self._operations.value(entry))

    async def open_value(
        self, key: Key, *, version: int | None = None, as_of: int | None = None, verify: bool | None = None
    ) -> AsyncIterator[bytes] | None:
        """The value in pieces, in constant memory. None if absent or deleted.

        It is checked as it is read: the last piece comes only when the whole was right.
        """
        found = await self.entry(key, version=version, as_of=as_of, verify=verify)
        return None if found is None or found.deleted else self._stream_value(found)

    def history(
        self, key: Key, *, as_of: int | None = None, values: bool = False, verify: bool | None = None
    ) -> AsyncIterator[Entry]:
        return self._pages(History(self._operations, key, as_of, values=values, checked=verify))

    def scan(
        self,
        prefix: Key = b"",
        *,
        start: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
        as_of: int | None = None,
        values: bool = False,
        verify: bool | None = None,
    ) -> AsyncIterator[Entry]:
        return self._pages(
            Scan(
                self._operations,
                prefix,
                start=start,
                limit=limit,
                reverse=reverse,
                as_of=as_of,
                values=values,
                checked=verify,
            )
        )

    def log(
        self, start: int = 0, stop: int | None = None, *, values: bool = False, verify: bool | None = None
    ) -> AsyncIterator[Entry]:
        return self._pages(Log(self._operations, start, stop, values=values, checked=verify))

    def watch(
        self, prefix: Key = b"", *, start: int | None = None, values: bool = False, verify: bool | None = None
    ) -> AsyncIterator[Entry]:
        """Entries as they are committed, from ``start`` or from the first look on, without end."""
        name, trust = prefix_bytes(prefix), self._operations.trust_for(verify)
        return self._watch(name, natural(start, "start"), trust, values=values and trust is None)

    # --- proving -----------------------------------------------------------------------------------------------

    async def checkpoint(self, at: int | None = None, *, verify: bool | None = None) -> Checkpoint:
        return await self._run(self._operations.checkpoint(at, verify))

    async def prove(
        self, key: Key, version: int | None = None, at: int | None = None, *, verify: bool | None = None
    ) -> Proof:
        return await self._run(self._operations.prove(key, version, at, verify))

    async def prove_history(
        self, key: Key, version: int | None = None, at: int | None = None, *, verify: bool | None = None
    ) -> HistoryProof:
        return await self._run(self._operations.prove_history(key, version, at, verify))

    async def prove_consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof:
        return await self._run(self._operations.prove_consistency(old_size, new_size))

    @property
    def trusted(self) -> Checkpoint | None:
        """The largest checkpoint that was verified; None before the first, or without a public key."""
        return None if self._trust is None else self._trust.head

    # --- looking after -----------------------------------------------------------------------------------------

    async def public_key(self) -> str:
        return await self._run(self._operations.public_key())

    async def origin(self) -> str:
        return (await self.public_key()).partition("+")[0]

    async def size(self) -> int:
        return await self._run(self._operations.size())

    async def stats(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.get(b"/v1/stats")))

    async def health(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.ask_node(b"/health"), 503))

    async def metrics(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.ask_node(b"/metrics")))

    async def cluster_status(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.ask_node(b"/cluster/status")))

    async def cluster_members(self) -> list[dict[str, Any]]:
        shape = await self._run(self._operations.json(requests.get(b"/cluster/members")))
        return answers.listed(shape, "members")

    async def cluster_leader(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.get(b"/cluster/leader")))

    async def cluster_join(self, node_id: int, address: str) -> dict[str, Any]:
        return await self._order(b"/cluster/join", {"node_id": node_id, "address": address})

    async def cluster_leave(self, node_id: int) -> dict[str, Any]:
        return await self._order(b"/cluster/leave", {"node_id": node_id})

    async def cluster_transfer(self, node_id: int) -> dict[str, Any]:
        return await self._order(b"/cluster/transfer", {"node_id": node_id})

    async def cluster_replace(self, node_id: int, raft_id: str | None = None) -> dict[str, Any]:
        return await self._order(b"/cluster/replace", {"node_id": node_id, "raft_id": raft_id})

    async def cluster_metrics(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.ask_node(b"/cluster/metrics")))

    async def cluster_snapshot(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.snapshot(request_id_text(None))))

    async def cluster_snapshots(self) -> list[dict[str, Any]]:
        shape = await self._run(self._operations.json(requests.ask_node(b"/cluster/snapshots")))
        return answers.listed(shape, "snapshots")

    async def manifest(self, since: int | None = None) -> dict[str, Any]:
        request = requests.get(b"/v1/manifest", since=natural(since, "since"))
        return await self._run(self._operations.json(request))

    async def archive(self) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.archive(request_id_text(None))))

    async def close(self) -> None:
        if self._closed:
            return
        try:
            if self._file is not None and self._trust is not None:
                async with self._saving:
                    await self._keep(self._file, self._trust)
        finally:
            self._closed = True
            await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {', '.join(node.url for node in self._nodes.all)}>"

    # --- helpers -----------------------------------------------------------------------------------------------

    async def _run(self, operation: Operation[_T]) -> _T:
        """Does what an operation asks for, until it has its result."""
        if self._closed:
            raise LedgerClosed("the client is closed")
        result = await self._drive(operation)
        if self._file is not None and self._trust is not None:
            await self._save(self._file, self._trust)
        return result

    async def _drive(self, operation: Operation[_T]) -> _T:
        try:
            request = next(operation)
            while True:
                request = operation.send(await self._exchange(request))
        except StopIteration as stop:
            result: _T = stop.value
            return result

    async def _exchange(self, request: Request) -> Answer:
        attempts = self._attempts(request)
        while True:
            try:
                answer = await self._pool.send(attempts.node, request, attempts.timeout)
            except Lost as loss:
                pause: float | None = attempts.lost(loss)
            else:
                pause = attempts.answered(answer)
                if pause is None:
                    return answer
            await asyncio.sleep(pause or 0.0)

    async def _open(self, request: Request) -> AsyncStream:
        """An answer to be read in pieces; its errors are raised."""
        attempts = self._attempts(request)
        while True:
            try:
                stream = await self._pool.open(attempts.node, request, attempts.timeout)
            except Lost as loss:
                await asyncio.sleep(attempts.lost(loss))
                continue
            if stream.status == 200:
                return stream
            answer = await stream.read_whole()
            pause = attempts.answered(answer)
            if pause is None:
                raise answers.error_of(answer)
            await asyncio.sleep(pause)

    def _attempts(self, request: Request) -> Attempts:
        if self._closed:
            raise LedgerClosed("the client is closed")
        return Attempts(self._nodes, request, self._patience, clock=time.monotonic, random=random.random)

    async def _pages(self, pages: Pages) -> AsyncIterator[Entry]:
        while not pages.done:
            for entry in await self._run(pages.page()):
                yield entry

    async def _watch(
        self, prefix: bytes, start: int | None, trust: Trust | None, *, values: bool
    ) -> AsyncIterator[Entry]:
        watch = Watch(prefix, await self.size() if start is None else start, values=values)
        while True:
            with await self._open(watch.request()) as stream:
                try:
                    async with aclosing(stream.pieces()) as pieces:
                        async for piece in pieces:
                            for shape in watch.entries(piece):
                                check = watched(self._operations, shape, watch.least, watch.prefix, trust)
                                entry = await self._run(check)
                                watch.seen(entry)
                                yield entry
                except Broken:
                    pass  # it goes on where it was, with another connection
            await asyncio.sleep(watch.ended())

    async def _stream_value(self, entry: Entry) -> AsyncIterator[bytes]:
        if not any(entry.chunk_root):
            yield await self.value(entry)
            return
        check = CheckedPieces(entry)
        with await self._open(requests.value(entry.key, index=entry.index)) as stream:
            async with aclosing(stream.pieces()) as pieces:
                async for piece in pieces:
                    if before := check.take(piece):
                        yield before
        yield check.finish()

    async def _order(self, path: bytes, content: dict[str, Any] | None) -> dict[str, Any]:
        return await self._run(self._operations.json(requests.post(path, content, request_id_text(None))))

    async def _save(self, file: TrustFile, trust: Trust) -> None:
        if self._saving.locked() or not file.due(trust.head, time.monotonic()):
            return
        async with self._saving:
            # the call itself went well; `close` tries again, and raises
            with contextlib.suppress(StorageError, Unavailable):
                await self._keep(file, trust)

    async def _keep(self, file: TrustFile, trust: Trust) -> None:
        for _ in range(SAVE_ATTEMPTS):
            there = await asyncio.to_thread(file.save, trust.head, time.monotonic())
            if there is None:
                return
            await self._drive(self._operations.join(trust, there))
            file.joined(there)
        raise file.busy()


def _refuse_to_block(_key: bytes, _index: int) -> NoReturn:
    raise InvalidRequest("the value did not come along", hint="await client.value(entry), or ask for values=True")

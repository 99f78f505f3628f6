"""Connections of the asynchronous client: one protocol for each, and a pool of them for each node. One event loop's.

They do what those of ``connection`` do. A reader that is slow stops the node from sending: no more than
``MOST_BUFFERED_BYTES`` wait here for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from scribe_ledger.client.connection import IDLE_SECONDS, reason_of
from scribe_ledger.client.http1 import LAST_CHUNK, MAX_BODY_BYTES, AnswerReader, BadAnswer, chunk
from scribe_ledger.client.messages import Answer, Request, Upload
from scribe_ledger.client.nodes import Broken, Lost, Node
from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Self

MOST_BUFFERED_BYTES = 4 << 20


class AsyncConnection(asyncio.Protocol):
    """One connection to one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._paused = False
        self.used = 0.0

    async def exchange(self, request: Request, seconds: float, *, whole: bool) -> AnswerReader:
        """Sends a request and reads its answer: the whole of it, or as far as the end of its head."""
        reader = self._reader = AnswerReader()
        sent = False
        try:
            if isinstance(request.body, Upload):
                sent = await self._send_upload(request, request.body, seconds)
            else:
                self._check()
                head = request.head(self._node.host_header, self._node.prefix)
                self._write(head + request.body if request.body else head)
                sent = True
            async with asyncio.timeout(seconds):
                while not (reader.complete if whole else reader.has_head):
                    await self._more()
                    if whole and reader.buffered > MAX_BODY_BYTES:
                        raise NetworkError(
                            f"{self._node.url} answers with more than {MAX_BODY_BYTES} bytes",
                            hint="read large values with open_value",
                        )
                    self._resume()
        except (OSError, BadAnswer) as error:  # a timeout is an OSError too
            self.close()
            raise Lost(reason_of(error), sent=sent) from error
        except BaseException:
            self.close()
            raise
        return reader

    async def pieces(self, reader: AnswerReader, silence: float) -> AsyncGenerator[bytes, None]:
        """What follows of an answer whose head was read; ``silence`` is how long nothing may come."""
        try:
            while True:
                if reader.buffered:
                    yield reader.take()
                    self._resume()
                elif reader.complete:
                    return
                else:
                    async with asyncio.timeout(silence):
                        await self._more()
        except (OSError, BadAnswer) as error:
            self.close()
            raise Broken(f"{self._node.url} broke off in the middle of an answer: {reason_of(error)}") from error

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and self._failure is None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- called by the loop ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None or reader.complete:
            self._fail(BadAnswer("the node sends what nobody asked for"))
            return
        try:
            reader.feed(data)
        except BadAnswer as error:
            self._fail(error)
        if reader.buffered > MOST_BUFFERED_BYTES and self._transport is not None and not self._paused:
            self._transport.pause_reading()
            self._paused = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the connection was closed before the answer was whole"))
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # --- helpers -----------------------------------------------------------------------------------------------

    async def _send_upload(self, request: Request, body: Upload, seconds: float) -> bool:
        """Whether the node has the whole request now. One that has answered already needs no more of it."""
        self._check()
        self._write(request.head(self._node.host_header, self._node.prefix))
        pieces = body.pieces_asynchronously() if body.asynchronous else _from_thread(body)
        async for piece in pieces:
            if not self.open or (self._reader is not None and self._reader.has_head):
                return False
            self._write(piece if body.length is not None else chunk(piece))
            if self._writable is not None:
                async with asyncio.timeout(seconds):
                    await self._writable
        if body.length is None and self.open:
            self._write(LAST_CHUNK)
        return self.open

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def _more(self) -> None:
        """Until something came. What came before a failure counts."""
        self._check()
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self.close()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class AsyncStream:
    """An answer that is read piece by piece, on a connection of its own until it is closed."""

    def __init__(
        self, pool: AsyncPool, node: Node, connection: AsyncConnection, reader: AnswerReader, silence: float
    ) -> None:
        self._pool = pool
        self._node = node
        self._connection = connection
        self._reader = reader
        self._silence = silence
        self.status = reader.status
        self.headers = reader.headers

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Once."""
        return self._connection.pieces(self._reader, self._silence)

    async def read_whole(self) -> Answer:
        """The answer as a whole: for errors, which are short."""
        with self:
            return Answer(self.status, self.headers, b"".join([piece async for piece in self.pieces()]))

    def close(self) -> None:
        self._pool.put_back(self._node, self._connection, self._reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncPool:
    """Connections that wait for the next request."""

    def __init__(self, *, most_idle: int, connect_timeout: float, tls: ssl.SSLContext | None) -> None:
        self._idle: dict[Node, deque[AsyncConnection]] = {}
        self._most_idle = most_idle
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._closed = False

    async def send(self, node: Node, request: Request, seconds: float) -> Answer:
        """The whole answer; ``Lost`` if there is none."""
        connection, reader = await self._exchange(node, request, seconds, whole=True)
        answer = Answer(reader.status, reader.headers, reader.take())
        self.put_back(node, connection, reader)
        return answer

    async def open(self, node: Node, request: Request, seconds: float) -> AsyncStream:
        """The head of the answer, and the rest as it is asked for."""
        connection, reader = await self._exchange(node, request, seconds, whole=False)
        return AsyncStream(self, node, connection, reader, seconds)

    def put_back(self, node: Node, connection: AsyncConnection, reader: AnswerReader) -> None:
        idle = self._idle.setdefault(node, deque())
        if self._closed or len(idle) >= self._most_idle or not reader.reusable or reader.buffered:
            connection.close()
            return
        connection.used = asyncio.get_running_loop().time()
        idle.append(connection)

    async def close(self) -> None:
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
        await asyncio.sleep(0)  # the loop closes the sockets on its next turn

    async def _exchange(
        self, node: Node, request: Request, seconds: float, *, whole: bool
    ) -> tuple[AsyncConnection, AnswerReader]:
        connection = None if isinstance(request.body, Upload) else self._take(node)
        sent = False
        if connection is not None:
            try:
                return connection, await connection.exchange(request, seconds, whole=whole)
            except Lost as loss:
                if not isinstance(loss.__cause__, ConnectionError):
                    raise
                sent = loss.sent
        try:
            connection = await self._connect(node, min(seconds, self._connect_timeout))
            return connection, await connection.exchange(request, seconds, whole=whole)
        except Lost as loss:
            loss.sent |= sent
            raise

    def _take(self, node: Node) -> AsyncConnection | None:
        idle = self._idle.get(node)
        now = asyncio.get_running_loop().time()
        while idle:
            connection = idle.pop()
            if connection.open and now - connection.used < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self, node: Node, seconds: float) -> AsyncConnection:
        tls: Any = (self._tls or ssl.create_default_context()) if node.tls else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: AsyncConnection(node), node.host, node.port, ssl=tls
                )
        except OSError as error:
            raise Lost(reason_of(error), sent=False) from error
        return connection


async def _from_thread(body: Upload) -> AsyncIterator[bytes]:
    """The pieces of a file, read in a thread, because a disk may be slow."""
    pieces = body.pieces()
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece

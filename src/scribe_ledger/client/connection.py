"""Connections of the synchronous client: sockets, and a pool of them for each node. One thread uses one at a time.

A pooled connection may have been closed by the node in the meantime. If it ends before a byte of the answer came, the
request is sent once more on a new one, which is safe for every request that can be repeated.

A connection belongs to the process that made it. After a fork both would read each other's answers, so the child drops
what it inherited, which leaves the parent's streams as they were, and makes connections of its own.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING

from scribe_ledger.client.http1 import LAST_CHUNK, MAX_BODY_BYTES, AnswerReader, BadAnswer, chunk
from scribe_ledger.client.messages import Answer, Upload
from scribe_ledger.client.nodes import Broken, Lost, Node
from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from scribe_ledger.client.messages import Request

RECEIVE_BYTES = 1 << 16
"""At most this is read in one go: an allocation of more would be given back to the system each time."""
JOINED_BYTES = 1 << 16
"""A body below this is sent together with its head."""
IDLE_SECONDS = 60
"""A connection that was idle for longer is not used again."""


class Connection:
    """One connection to one node."""

    def __init__(self, node: Node, timeout: float, tls: ssl.SSLContext | None) -> None:
        self._node = node
        self._process = os.getpid()
        try:
            self._socket: socket.socket = socket.create_connection((node.host, node.port), timeout)
        except OSError as error:
            raise Lost(reason_of(error), sent=False) from error
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if node.tls:
                context = tls or ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=node.host)
        except OSError as error:
            self._socket.close()
            raise Lost(reason_of(error), sent=False) from error
        self.used = time.monotonic()

    def exchange(self, request: Request, timeout: float, *, whole: bool) -> AnswerReader:
        """Sends a request and reads its answer: the whole of it, or as far as the end of its head."""
        reader = AnswerReader()
        sent = False
        try:
            self._socket.settimeout(timeout)
            sent = self._send(request)
            until = time.monotonic() + timeout  # for the answer: a large value takes as long as it takes to be sent
            while not (reader.complete if whole else reader.has_head):
                self._receive(reader)
                if whole and time.monotonic() > until:
                    raise TimeoutError("timed out")
                if whole and reader.buffered > MAX_BODY_BYTES:
                    raise NetworkError(
                        f"{self._node.url} answers with more than {MAX_BODY_BYTES} bytes",
                        hint="read large values with open_value",
                    )
        except (OSError, BadAnswer) as error:
            self.close()
            raise Lost(reason_of(error), sent=sent) from error
        except BaseException:
            self.close()
            raise
        return reader

    def pieces(self, reader: AnswerReader) -> Iterator[bytes]:
        """What follows of an answer whose head was read."""
        try:
            while True:
                if reader.buffered:
                    yield reader.take()
                if reader.complete:
                    return
                self._receive(reader)
        except (OSError, BadAnswer) as error:
            self.close()
            raise Broken(f"{self._node.url} broke off in the middle of an answer: {reason_of(error)}") from error

    @property
    def inherited(self) -> bool:
        """Whether it is another process's, which was forked."""
        return self._process != os.getpid()

    def interrupt(self) -> None:
        """Ends what another thread waits for here."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            self._socket.close()  # it was not connected any more

    def close(self) -> None:
        self._socket.close()

    def _send(self, request: Request) -> bool:
        """Whether the node has the whole request now."""
        head = request.head(self._node.host_header, self._node.prefix)
        body = request.body
        if body is None:
            self._socket.sendall(head)
            return True
        if not isinstance(body, Upload) and len(body) < JOINED_BYTES:
            self._socket.sendall(head + body)
            return True
        self._socket.sendall(head)
        for piece in framed(body):
            try:
                self._socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return False  # it may have answered before it closed, such as that the value is too large
        return True

    def _receive(self, reader: AnswerReader) -> None:
        if self.inherited:
            raise ConnectionError("the connection is of the process that was forked")
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the connection was closed before the answer was whole")
        reader.feed(data)


class Stream:
    """An answer that is read piece by piece, on a connection of its own until it is closed."""

    def __init__(self, pool: Pool, node: Node, connection: Connection, reader: AnswerReader) -> None:
        self._pool = pool
        self._node = node
        self._connection = connection
        self._reader = reader
        self._pieces = connection.pieces(reader)
        self.status = reader.status
        self.headers = reader.headers

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def read_whole(self) -> Answer:
        """The answer as a whole: for errors, which are short."""
        with self:
            return Answer(self.status, self.headers, b"".join(self._pieces))

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._pieces.close()  # type: ignore[attr-defined]  # a generator
        self._pool.put_back(self._node, self._connection, self._reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool:
    """Connections that wait for the next request. Safe to share between threads."""

    def __init__(self, *, most_idle: int, connect_timeout: float, tls: ssl.SSLContext | None) -> None:
        self._idle: dict[Node, deque[Connection]] = {}
        self._most_idle = most_idle
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._closed = False

    def send(self, node: Node, request: Request, timeout: float) -> Answer:
        """The whole answer; ``Lost`` if there is none."""
        connection, reader = self._exchange(node, request, timeout, whole=True)
        answer = Answer(reader.status, reader.headers, reader.take())
        self.put_back(node, connection, reader)
        return answer

    def open(self, node: Node, request: Request, timeout: float) -> Stream:
        """The head of the answer, and the rest as it is asked for."""
        return Stream(self, node, *self._exchange(node, request, timeout, whole=False))

    def put_back(self, node: Node, connection: Connection, reader: AnswerReader) -> None:
        idle = self._idle.setdefault(node, deque())
        if self._closed or len(idle) >= self._most_idle or not reader.reusable or reader.buffered:
            connection.close()
            return
        connection.used = time.monotonic()
        idle.append(connection)

    def close(self) -> None:
        self._closed = True
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()

    def _exchange(
        self, node: Node, request: Request, timeout: float, *, whole: bool
    ) -> tuple[Connection, AnswerReader]:
        connection = None if isinstance(request.body, Upload) else self._take(node)
        sent = False
        if connection is not None:
            try:
                return connection, connection.exchange(request, timeout, whole=whole)
            except Lost as loss:
                if not isinstance(loss.__cause__, ConnectionError):
                    raise
                sent = loss.sent
        try:
            connection = Connection(node, min(timeout, self._connect_timeout), self._tls)
            return connection, connection.exchange(request, timeout, whole=whole)
        except Lost as loss:
            loss.sent |= sent
            raise

    def _take(self, node: Node) -> Connection | None:
        idle = self._idle.get(node)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                return None
            if time.monotonic() - connection.used < IDLE_SECONDS and not connection.inherited:
                return connection
            connection.close()
        return None


def framed(body: bytes | Upload) -> Iterator[bytes]:
    """A body as it is sent: in chunks if nobody knows its length."""
    if not isinstance(body, Upload):
        yield body
    elif body.length is not None:
        yield from body.pieces()
    else:
        for piece in body.pieces():
            yield chunk(piece)
        yield LAST_CHUNK


def reason_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno).lower()  # asyncio's own text names the address in place of the reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__

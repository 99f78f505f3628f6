"""One connection by plain sockets: one request at a time, and bodies of any size in constant memory."""

from __future__ import annotations

import re
import socket
from binascii import a2b_base64
from typing import TYPE_CHECKING, Self

import orjson

from scribe_ledger.bench.workload import VALUE_BYTES
from scribe_ledger.errors import Corruption, NetworkError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.bench.http.servers import Server

PATIENCE_SECONDS = 120
_TOGETHER = 500
PIECE_BYTES = 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LINE_END, _HEAD_END = b"\r\n", b"\r\n\r\n"


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request as bytes. A body is announced where there is one, or where the method has one."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *headers]
    if body or method in {"PUT", "POST"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """A kept-alive connection to a server on this machine. An answer that is an error is raised as ``Unavailable``."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, sent: bytes) -> bytes:
        """Sends one request, and gives the body of its answer."""
        self.socket.sendall(sent)
        length, body = self._head()
        while len(body) < length:
            body += self._receive()
        return body

    def upload(self, path: str, length: int, pieces: Iterable[memoryview]) -> None:
        """Puts a value of that many bytes, piece by piece."""
        head = f"PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n"
        self.socket.sendall(head.encode())
        for piece in pieces:
            self.socket.sendall(piece)
        self._finish(*self._head())

    def download(self, path: str) -> int:
        """Gets a value, lets it go as it comes, and says how many bytes it had."""
        self.socket.sendall(request("GET", path))
        length, body = self._head()
        self._finish(length, body)
        return length

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _head(self) -> tuple[int, bytes]:
        """The length of the answer's body, and what has come of it."""
        received = self._receive()
        while _HEAD_END not in received:
            received += self._receive()
        head, _, body = received.partition(_HEAD_END)
        return _body_length(head), body

    def _finish(self, length: int, body: bytes) -> None:
        """Reads the rest of a body and lets it go."""
        left, into = length - len(body), memoryview(bytearray(PIECE_BYTES))
        while left:
            count = self.socket.recv_into(into)
            if not count:
                raise NetworkError("the server closed the connection within an answer")
            left -= count

    def _receive(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise NetworkError("the server closed the connection")
        return data


def read_all(server: Server, keys: Sequence[str], *, proof: bool) -> None:
    """Reads every key over one connection, many a call, and checks that each has its value.

    Then the server has in its caches what reads of them need, or proofs.
    """
    with Connection(server.port) as connection:
        for first in range(0, len(keys), _TOGETHER):
            asked = keys[first : first + _TOGETHER]
            body = orjson.dumps({"keys": asked, "proof": proof})
            found = orjson.loads(connection.exchange(request("POST", "/v1/get", body)))["entries"]
            if [len(a2b_base64(entry["value_base64"])) for entry in found] != [VALUE_BYTES] * len(asked):
                raise Corruption("the values of some keys are not those that were written")


def is_whole(received: bytes) -> bool:
    """Whether an answer has come to its end; what comes after that is nobody's."""
    end = received.find(_HEAD_END)
    if end < 0:
        return False
    left = _body_length(received[:end]) - (len(received) - end - len(_HEAD_END))
    if left < 0:
        raise NetworkError("the server sent more than one answer to one request")
    return left == 0


def _body_length(head: bytes) -> int:
    """Of an answer that is no error: a benchmark of refusals is fast."""
    if not 200 <= int(head[9:12]) < 300:
        raise Unavailable(f"the server answered {head.partition(_LINE_END)[0].decode('latin-1')!r}")
    found = _LENGTH.search(head)
    if found is None:
        raise NetworkError(f"an answer without a length: {head[:200]!r}")
    return int(found[1])

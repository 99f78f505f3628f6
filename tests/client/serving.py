"""What stands between a client and a node: it passes requests on over real sockets, and can be told to lie."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OF_ONE_CONNECTION = {"host", "connection", "content-length", "transfer-encoding", "keep-alive"}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


if TYPE_CHECKING:
    Answering: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Reply]
    Lie: TypeAlias = Callable[[str, Reply], Reply | None]


def as_json(shape: Any, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, orjson.dumps(shape))


def as_text(what: object) -> Reply:
    return Reply(200, {"content-type": "text/plain"}, str(what).encode())


def forwarding(host: str, port: int) -> Answering:
    """Answers with what a node answers."""

    def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        node = http.client.HTTPConnection(host, port, timeout=30)
        try:
            passed = {name: text for name, text in headers.items() if name not in _OF_ONE_CONNECTION}
            node.request(method, target, body, {**passed, "content-length": str(len(body))})
            found = node.getresponse()
            kept = {name.lower(): text for name, text in found.getheaders() if name.lower() not in _OF_ONE_CONNECTION}
            return Reply(found.status, kept, found.read())
        finally:
            node.close()

    return answer


class Server:
    """Where it is, what it was asked, and what it makes of the true answers."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.lie: Lie | None = None
        """Gets the request's target and the true answer; None instead of an answer drops the connection."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""
        self.connections = 0
        self._open: set[socket.socket] = set()

    def connected(self, connection: socket.socket) -> None:
        self.connections += 1
        self._open.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        self._open.discard(connection)

    def close_connections(self) -> None:
        """As a node does that restarts."""
        for connection in list(self._open):
            connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def reply(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply | None:
        self.asked.append((method, target, headers))
        reply: Reply | None = self.answer(method, target, headers, body)
        if self.lie is not None and reply is not None:
            reply = self.lie(target, reply)
        return reply


@contextmanager
def serving(answer: Answering) -> Iterator[Server]:
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            server.connected(self.connection)

        def finish(self) -> None:
            server.disconnected(self.connection)
            super().finish()

        def _answer(self) -> None:
            headers = {name.lower(): text for name, text in self.headers.items()}
            reply = server.reply(self.command, self.path, headers, self._body(headers))
            if reply is None:
                self.close_connection = True
                return
            head = f"HTTP/1.1 {reply.status} -\r\n" + "".join(
                f"{name}: {text}\r\n" for name, text in {"content-length": len(reply.body), **reply.headers}.items()
            )
            self.wfile.write(head.encode() + b"\r\n" + reply.body)

        def _body(self, headers: Mapping[str, str]) -> bytes:
            if headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(headers.get("content-length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients may go away
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()

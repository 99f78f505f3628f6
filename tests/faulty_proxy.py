"""An HTTP proxy before a real server that goes wrong on command, and counts what passes.

Tests of object stores put it between the store and ``tests.s3_server``: requests keep their host and so their
signature. It holds one real socket for each of its client's, so that what it counts is what the client does. Faults
apply to the requests that match, in the order in which they were ordered.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 30


class Fault(Enum):
    """What happens to a request."""

    ERROR_500 = "answered 500, not forwarded"
    SLOW_DOWN = "answered 503 SlowDown, not forwarded"
    TOO_MANY = "answered 429, not forwarded"
    EXPIRED = "answered 400 ExpiredToken, not forwarded"
    DENIED = "answered 403 AccessDenied, not forwarded"
    NOT_FOUND = "answered 404 NoSuchKey, not forwarded"
    NO_LISTING = "answered 200 with an error for a body, not forwarded: obstore reads it as a listing of nothing"
    TIMEOUT = "never answered, not forwarded"
    TIMEOUT_AFTER = "forwarded, then never answered"
    RESET = "connection closed, not forwarded"
    RESET_AFTER = "forwarded, then connection closed"
    TRUNCATE = "forwarded; the body breaks off in the middle"
    SHORT = "forwarded; half of the body, with a length that says so"
    FLIP = "forwarded; one byte in the middle of the body is another"
    NO_END = "forwarded; a listing says that it goes on"
    WAIT = "forwarded as soon as the test calls release"


_ANSWERS = {
    Fault.ERROR_500: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.TOO_MANY: (429, "TooManyRequests"),
    Fault.EXPIRED: (400, "ExpiredToken"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.NOT_FOUND: (404, "NoSuchKey"),
    Fault.NO_LISTING: (200, "InternalError"),
}


class Request(NamedTuple):
    """A request that came, forwarded or not."""

    method: str
    path: str
    """Without the query, its escapes undone: ``/bucket/prefix/object``."""
    query: str


class _Order:
    def __init__(self, fault: Fault, times: int | None, method: str, path: str, query: str) -> None:
        self.fault = fault
        self.left = times
        self._method, self._path, self._query = method, path, query

    def takes(self, request: Request) -> bool:
        return (
            self.left != 0
            and self._method in {"", request.method}
            and self._path in request.path
            and self._query in request.query
        )


class FaultyProxy:
    """Use it as a context manager; ``endpoint`` stands for the server's."""

    def __init__(self, upstream: str) -> None:
        found = urlsplit(upstream)
        self.upstream = (found.hostname or "", found.port or 80)
        self.requests: list[Request] = []
        """All that came, in order."""
        self.open_sockets = 0
        self.most_sockets = 0
        """The largest number of sockets that a client had open at once."""
        self.sockets = 0
        """How many were opened at all."""
        self._orders: list[_Order] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._closing = False
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="faulty-proxy")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    # --- what a test orders and asks ---

    def fail(self, fault: Fault, *, times: int | None = 1, method: str = "", path: str = "", query: str = "") -> None:
        """The next ``times`` (None: all) requests of this method whose path and query contain these go wrong."""
        with self._changed:
            self._orders.append(_Order(fault, times, method, path, query))

    def heal(self) -> None:
        """Forget all orders, and the counts."""
        with self._changed:
            self._orders.clear()
            self.requests.clear()
            self.most_sockets = self.open_sockets
        self.release()

    def release(self) -> None:
        """Let go on what waits."""
        self._released.set()
        self._released = threading.Event()

    def count(self, *, method: str = "", path: str = "", query: str = "") -> int:
        """How many such requests came."""
        with self._changed:
            return len([each for each in self.requests if _Order(Fault.WAIT, None, method, path, query).takes(each)])

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what requests and sockets bring about."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while not condition():
                if time.monotonic() > deadline:
                    raise AssertionError("the proxy waited in vain")
                self._changed.wait(0.5)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self.release()
        self._server.shutdown()
        self._server.close_all()
        self._server.server_close()  # waits for the threads of the connections
        self._thread.join(PATIENCE_SECONDS)

    # --- what the connections call ---

    def note(self, request: Request) -> Fault | None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            for order in self._orders:
                if order.takes(request):
                    order.left = None if order.left is None else order.left - 1
                    return order.fault
        return None

    @contextlib.contextmanager
    def counted_socket(self) -> Iterator[None]:
        with self._changed:
            self.sockets += 1
            self.open_sockets += 1
            self.most_sockets = max(self.most_sockets, self.open_sockets)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self.open_sockets -= 1
                self._changed.notify_all()

    def wait_for_release(self) -> None:
        if not self._closing:
            self._released.wait(PATIENCE_SECONDS)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        self._clients: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._clients.add(request)
        try:
            with self.proxy.counted_socket():
                super().finish_request(request, client_address)
        finally:
            self._clients.discard(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is not a failure of the proxy."""

    def close_all(self) -> None:
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """One socket of a client, in a thread of its own, with one socket to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(*self.server.proxy.upstream, timeout=PATIENCE_SECONDS)

    def finish(self) -> None:
        self._upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        """Tests say what they need."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        fault = self.server.proxy.note(Request(self.command, unquote(url.path), url.query))
        if fault in _ANSWERS:
            self._refuse(*_ANSWERS[fault])
        elif fault is Fault.TIMEOUT:
            self._wait_for_the_client_to_leave()
        elif fault is Fault.RESET:
            self.close_connection = True
        else:
            if fault is Fault.WAIT:
                self.server.proxy.wait_for_release()
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815  # names that http.server looks for

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            self._upstream.putheader(name, value)
        self._upstream.endheaders(body or None)
        answer = self._upstream.getresponse()
        content = answer.read()
        if fault is Fault.TIMEOUT_AFTER:
            self._wait_for_the_client_to_leave()
        elif fault is Fault.RESET_AFTER:
            self.close_connection = True
        else:
            self._answer(answer, content, fault)

    def _answer(self, answer: http.client.HTTPResponse, content: bytes, fault: Fault | None) -> None:
        middle = len(content) // 2
        if fault is Fault.FLIP and content:
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if fault is Fault.NO_END:
            more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>0</NextContinuationToken>"
            content = content.replace(b"<IsTruncated>false</IsTruncated>", more)
        sent = content[:middle] if fault in {Fault.TRUNCATE, Fault.SHORT} else content
        length = len(sent) if fault is Fault.SHORT else len(content)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header(
            "Content-Length", (answer.getheader("Content-Length") or "0") if self._is_head else str(length)
        )
        self.end_headers()
        self.wfile.write(sent)
        if fault is Fault.TRUNCATE:
            self.close_connection = True

    @property
    def _is_head(self) -> bool:
        return self.command == "HEAD"

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on command</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not self._is_head:
            self.wfile.write(body)

    def _wait_for_the_client_to_leave(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.recv(1)  # ends when the client gives up, or the proxy

"""The lane: plain requests for one key, answered straight onto the transport, without scope, task or queue.

It is uvicorn's own protocol with a short cut. A ``GET``, ``HEAD``, ``PUT`` or ``DELETE`` of a key with no query, only
the headers in ``_ORDINARY`` and a small body is answered here; anything else goes on to the parent class, and so to the
application. Both give the same bytes: what an answer says is decided in ``values``, ``answers`` and ``problems``.

- One request of a connection is answered at a time. While a write waits for its commit, it stands in the parent's place
  for the current cycle, so that the parent queues what was pipelined behind it.
- An answer is written only while the client takes what it is sent; otherwise the parent's flow control has its turn.
- Connections without a request are closed by ``sweep``, which costs a request nothing.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from scribe_ledger.errors import InvalidRequest, ScribeError
from scribe_ledger.http.paths import KEYS, RESERVED, key_of_path
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.request_ids import make_request_id, request_id_or_new
from scribe_ledger.http.values import decode_header, receipt_answer, request_id_of
from scribe_ledger.ledger import commands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scribe_ledger.http.answers import Answer
    from scribe_ledger.http.headers import Headers
    from scribe_ledger.http.service import Service
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome

LANE_BODY_BYTES = 64 << 10
"""Larger bodies go through the application."""
IDLE_SECONDS = 75
"""A connection without a request is closed after this."""
HEADER_SECONDS = 30
"""So long may a client take to send the head of a request."""

_REQUEST_ID, _IDEMPOTENCY_KEY, _IF_NONE_MATCH, _CONTENT_TYPE, _CONTENT_LENGTH, _CONNECTION, _IGNORED = range(7)
_ORDINARY = {
    b"x-request-id": _REQUEST_ID,
    b"idempotency-key": _IDEMPOTENCY_KEY,
    b"if-none-match": _IF_NONE_MATCH,
    b"content-type": _CONTENT_TYPE,
    b"content-length": _CONTENT_LENGTH,
    b"connection": _CONNECTION,
    b"host": _IGNORED,
    b"user-agent": _IGNORED,
    b"accept": _IGNORED,
    b"accept-encoding": _IGNORED,
    b"accept-language": _IGNORED,
}
_READS = frozenset({b"GET", b"HEAD"})
_WRITES = frozenset({b"PUT", b"DELETE"})


class _Shared:
    """What all connections of one server share."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.seconds = 0
        """Counted by ``sweep``: a clock that costs nothing to read."""
        self._default: object = None
        self._prefix = b""

    def prefix(self, default: list[tuple[bytes, bytes]]) -> bytes:
        """The headers that uvicorn puts first, which it renews every second."""
        if default is not self._default:
            self._default, self._prefix = default, b"".join([b"%b: %b\r\n" % header for header in default])
        return self._prefix


class Lane(HttpToolsProtocol):
    """One connection. ``make_lane`` gives the class its service."""

    shared: _Shared
    _write: _Write | None = None
    _since = 0
    _in_head = False

    # --- what the parser reports -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._in_head = True
        self._since = self.shared.seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and not self.flow.write_paused:
            method = self.parser.get_method()
            if method in _READS:
                if self._read(method):
                    return
            elif method in _WRITES and self._begin_write(method):
                return
        self._leave_to_application()

    def on_body(self, body: bytes) -> None:
        if self._write is not None:
            self._write.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        write = self._write
        if write is not None:
            self._write = None
            write.submit()
        elif self.cycle is not None:
            super().on_message_complete()

    def _leave_to_application(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    # --- answering ---------------------------------------------------------------------------------------------

    def _read(self, method: bytes) -> bool:
        """Answers a GET or HEAD, or leaves it: what is not there, is large or needs the log goes the long way."""
        started = perf_counter()
        key = self._plain_key()
        if key is None:
            return False
        request_id = b""
        for name, value in self.headers:
            meaning = _ORDINARY.get(name)
            if meaning == _REQUEST_ID:
                request_id = request_id_or_new(value)
            elif meaning != _IGNORED and (meaning != _CONNECTION or value.lower() != b"keep-alive"):
                return False
        if not self.parser.should_keep_alive() or self.parser.get_http_version() != "1.1":
            return False
        try:
            answer: Answer | None = self.shared.service.latest(key)
        except ScribeError:
            return False
        if answer is None:
            return False
        request_id = request_id or make_request_id()
        body = answer.value if method == b"GET" else b""
        self._send(200, answer.head, body, request_id)
        self._note(method, self.url, 200, len(body), perf_counter() - started, request_id)
        return True

    def _begin_write(self, method: bytes) -> bool:
        key = self._plain_key()
        if key is None or not self.parser.should_keep_alive() or self.parser.get_http_version() != "1.1":
            return False
        write = _Write(self, method, key)
        if not write.take_headers(self.headers):
            return False
        self._write = write
        self.cycle = write  # type: ignore[assignment]  # it stands in for uvicorn's own
        return True

    def _plain_key(self) -> bytes | None:
        url = self.url
        key = url[1:]
        if b"?" in key or b"#" in key or not url.isascii():
            return None
        if b"%" in key or b"/" in key:
            return key_of_path(url)
        return key if key and key not in RESERVED else None

    def _send(self, status: int, head: bytes, body: bytes, request_id: bytes) -> None:
        prefix = self.shared.prefix(self.server_state.default_headers)
        self.transport.write(
            b"".join((STATUS_LINE[status], prefix, head, b"x-request-id: ", request_id, b"\r\n\r\n", body))
        )
        self.server_state.total_requests += 1

    def _finish(self, keep_alive: bool) -> None:
        """After a write's answer: goes on with what was pipelined behind it."""
        if self.transport.is_closing():
            return
        if not keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()

    def _note(self, method: bytes, url: bytes, status: int, size: int, seconds: float, request_id: bytes) -> None:
        service = self.shared.service
        route = "/v1/kv/{key}" if url.startswith(KEYS) else "/{key}"
        service.metrics.request(method.decode(), route, status).observe(seconds)
        if service.access is not None:
            service.access.note(method.decode(), url, status, size, seconds, request_id, self.client)

    # --- care --------------------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets the same shape of error as everything else."""
        status, headers, body = error_answer(InvalidRequest("the request is not valid HTTP"), make_request_id())
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        prefix = self.shared.prefix(self.server_state.default_headers)
        self.transport.write(b"".join((STATUS_LINE[status], prefix, head, b"connection: close\r\n\r\n", body)))
        self.transport.close()

    @classmethod
    def sweep(cls, connections: Iterable[Any]) -> None:
        """Called once a second: closes connections that have had no request for long, or never finish one's head."""
        cls.shared.seconds += 1
        for connection in list(connections):
            if isinstance(connection, Lane):
                connection._close_if_idle(cls.shared.seconds)

    def _close_if_idle(self, now: int) -> None:
        resting = self.cycle is None or self.cycle.response_complete
        limit = HEADER_SECONDS if self._in_head else IDLE_SECONDS
        if resting and now - self._since > limit and not self.transport.is_closing():
            self.transport.close()


class _Event:
    """What the parent wakes when a connection is lost; nobody waits for it here."""

    def set(self) -> None:
        pass


class _Write:
    """A PUT or DELETE from its head to its answer. It offers what the parent looks for in its own cycles."""

    __slots__ = (
        "_content_type",
        "_idempotency_key",
        "_lane",
        "_method",
        "_request_id",
        "_started",
        "_url",
        "disconnected",
        "if_absent",
        "keep_alive",
        "key",
        "message_event",
        "parts",
        "response_complete",
    )

    def __init__(self, lane: Lane, method: bytes, key: bytes) -> None:
        self._started = perf_counter()
        self._lane = lane
        self._method = method
        self._url = lane.url
        self._request_id = b""
        self._idempotency_key: bytes | None = None
        self._content_type = b""
        self.if_absent = False
        self.key = key
        self.parts: list[bytes] = []
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _Event()

    def take_headers(self, headers: Headers) -> bool:
        """Whether they are all of the ordinary kind."""
        seen = set()
        for name, value in headers:
            meaning = _ORDINARY.get(name)
            if meaning is None or name in seen:
                return False
            seen.add(name)
            if meaning == _IGNORED:
                continue
            if not self._take(meaning, value):
                return False
        return True

    def _take(self, meaning: int, value: bytes) -> bool:
        if meaning == _REQUEST_ID:
            self._request_id = request_id_or_new(value)
        elif meaning == _IDEMPOTENCY_KEY:
            self._idempotency_key = value
        elif meaning == _CONTENT_TYPE:
            self._content_type = value
        elif meaning == _IF_NONE_MATCH:
            self.if_absent = True
            return self._method == b"PUT" and value == b"*"
        elif meaning == _CONTENT_LENGTH:
            return int(value) <= (LANE_BODY_BYTES if self._method == b"PUT" else 0)
        else:
            return value.lower() == b"keep-alive"
        return True

    def submit(self) -> None:
        """The body is complete: ask for the commit, which ``settle`` hears of."""
        self._request_id = self._request_id or make_request_id()
        try:
            self._lane.shared.service.submit([self._command()], self.settle)
        except ScribeError as error:
            self.settle(error)

    def _command(self) -> Command:
        request_id = None if self._idempotency_key is None else request_id_of(self._idempotency_key)
        if self._method == b"DELETE":
            return commands.delete(self.key, request_id=request_id)
        parts = self.parts
        return commands.put(
            self.key,
            parts[0] if len(parts) == 1 else b"".join(parts),
            content_type=decode_header(self._content_type, "Content-Type") if self._content_type else "",
            if_absent=self.if_absent,
            request_id=request_id,
        )

    def settle(self, outcome: Outcome | ScribeError) -> None:
        lane = self._lane
        if isinstance(outcome, ScribeError):
            metrics = lane.shared.service.metrics
            metrics.errors[outcome.kind] = metrics.errors.get(outcome.kind, 0) + 1
            status, headers, body = error_answer(outcome, self._request_id)
        else:
            receipt = outcome[0]
            status = 201 if receipt.created and self._method == b"PUT" else 200
            headers, body = receipt_answer(self.key, receipt)
        self.response_complete = True
        if not lane.transport.is_closing():
            head = b"".join([b"%b: %b\r\n" % header for header in headers])
            lane._send(status, head, body, self._request_id)
        lane._note(self._method, self._url, status, len(body), perf_counter() - self._started, self._request_id)
        lane._finish(self.keep_alive)


def make_lane(service: Service) -> type[Lane]:
    """The class to give to uvicorn as ``http=``."""
    return type("ServedLane", (Lane,), {"shared": _Shared(service)})

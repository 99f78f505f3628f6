"""The lane: plain requests for one key, answered straight onto the transport, without scope, task or queue.

It is uvicorn's own protocol with a short cut. A ``GET``, ``HEAD``, ``PUT`` or ``DELETE`` of a key with no query, only
the headers in ``ORDINARY`` and a small body is answered here; anything else goes on to the parent class, and so to the
application. Both give the same bytes: what an answer says is decided in ``values``, ``answers`` and ``problems``. Two
queries are known here too: ``proof=true`` with or without ``since`` and ``after``, and ``consistency=stale``.

- One request of a connection is answered at a time. While a write waits for its commit, or a read for the end of the
  loop's turn, it stands in the parent's place for the current cycle (``Cycle``), so that the parent queues what was
  pipelined behind it.
- An answer is written only while the client takes what it is sent; otherwise the parent's flow control has its turn.
- A read whose bytes are those of an earlier one that was answered from the cache needs no parsing: it means the same.
  Nor does one that differs in nothing but a plain path from what was parsed on its connection before.
- What a client is owed it gets, though it pipelines too much or sends no more: its last answer ends the connection.
- Connections without a request are closed by ``sweep``, which costs a request nothing.
"""

from __future__ import annotations

import re
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from scribe_ledger.errors import InvalidRequest, ScribeError, TooLarge
from scribe_ledger.http.headers import http_date, join
from scribe_ledger.http.lane_headers import CONNECTION, HOST, IGNORED, ORDINARY, REQUEST_ID
from scribe_ledger.http.lane_reads import LaneProof, LaneRead, Turn
from scribe_ledger.http.lane_writes import LaneWrite
from scribe_ledger.http.paths import KEYS, RESERVED, key_of_path
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.request_ids import make_request_id, request_id_or_new
from scribe_ledger.http.routes import ROUTER
from scribe_ledger.http.routing import KEY, UNROUTED
from scribe_ledger.model import MAX_KEY_BYTES, MAX_METADATA_BYTES

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from uvicorn._types import ASGI3Application

    from scribe_ledger.http.cycle import Cycle
    from scribe_ledger.http.metrics import RequestStats
    from scribe_ledger.http.service import Service

LANE_BODY_BYTES = 64 << 10
"""Larger bodies go through the application."""
IDLE_SECONDS = 75
"""A connection without a request is closed after this."""
MAX_HEAD_BYTES = 64 << 10
"""Of a request's head, and of what stands between the chunks of its body; exceeded by at most one read."""
HEADER_SECONDS = 30
"""So long may a client take to send the head of a request."""

BODY_SECONDS = 60
"""A body of which nothing comes for so long is given up."""
SLOW_SECONDS = 60
"""And so is a reader that takes nothing of its answer."""
MAX_PIPELINED = 256
"""Requests that wait on one connection for the answer before theirs. What is sent beyond them is not read."""
BREAK_OFF_SECONDS = 60
"""A reader that was given up on has so long to find out why."""
NO_METHOD = "-"
"""What the books call the method where nobody has read one."""
MAX_REPEATS = 65_536
MAX_REPEAT_BYTES = 512
"""How many requests are known by their bytes, and how long each may be: 32 MiB at most."""

_READS = frozenset({"GET", "HEAD"})
_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"PUT": "PUT", b"DELETE": "DELETE"}
_PROOF = rb"\?proof=true(?:&since=([0-9]{1,19}))?(?:&after=([0-9]{1,19}))?"
_PROVEN = re.compile(rb"(/[\x21-\x22\x24-\x3e\x40-\x7e]*)" + _PROOF).fullmatch
STALE = b"?consistency=stale"
_SEGMENT = rb"/([A-Za-z0-9._~:@!$&'()*+,;=-]+)"
_UNKNOWN_METHOD = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}) (/[^?#\s\x80-\xff]*)\S* HTTP/1\.[01]\r\n").match
"""The beginning of a request."""
_SIMPLE = re.compile(_SEGMENT).fullmatch
"""A path whose only segment is the key as it is."""
_LIKE = re.compile(rb"GET ((?:/v1/kv)?" + _SEGMENT + rb")(" + _PROOF + rb")?").fullmatch
"""What a request may begin with that is known by its end."""
_VERSION = b" HTTP/1.1\r\n"


class _PipelineFull(Exception):
    """Stops the parser, which says only that a callback failed."""


class Shared:
    """What all connections of one server share."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.latest = service.latest
        self.turn = Turn()
        self.hit = service.answers.hit
        self.repeats: dict[bytes, bytes] = {}
        """The key that a plain GET asks for, by all bytes of the request."""
        self.submit = service.submit
        self.body_bytes = min(LANE_BODY_BYTES, service.inline_max, service.max_value_size or LANE_BODY_BYTES)
        self.access = service.access
        self._stats: dict[tuple[str, bool, int], RequestStats] = {}
        self.repeated = self.stats("GET", b"/", 200)
        """Of what is known by its bytes, which is never under the prefix of keys."""
        self.seconds = 0
        """Counted by ``sweep``: a clock that costs nothing to read."""
        self._now = 0
        self._beginnings: dict[int, bytes] = {}
        """Of answers of this second, by status."""

    def stats(self, method: str, url: bytes, status: int) -> RequestStats:
        kind = (method, url.startswith(KEYS), status)
        stats = self._stats.get(kind)
        if stats is None:
            route = f"{KEYS.decode()}{KEY}" if kind[1] else f"/{KEY}"
            stats = self._stats[kind] = self.service.metrics.request(method, route, status)
        return stats

    def beginning(self, status: int) -> bytes:
        """An answer's first line and date."""
        now = int(time())
        if now != self._now:
            self._now = now
            self._beginnings.clear()
        beginning = self._beginnings.get(status)
        if beginning is None:
            beginning = self._beginnings[status] = b"%bdate: %b\r\n" % (STATUS_LINE[status], http_date(now))
        return beginning

    def remember(self, request: bytes, key: bytes) -> None:
        if len(self.repeats) >= MAX_REPEATS:
            self.repeats.clear()
        self.repeats[request] = key


class Lane(HttpToolsProtocol):
    """One connection. ``make_lane`` gives the class its service."""

    shared: Shared
    _write: LaneWrite | None = None
    _since = 0
    _in_message = False
    _in_head = False
    _ordinary = True
    _hosts = 0
    """Of the headers Host; the application says that there must be one."""
    _reads_no_more = False
    """Whatever comes is thrown away. Said within a message that nobody looks at, so that others need not ask."""
    _stalled_bytes = 0
    """Received in a message since its head or a piece of its body was last complete."""
    _unsent = _moved = 0
    """Bytes that wait for the reader, and since when they are as many."""
    _messages = 0
    """How many began in the data at hand."""
    _answered: bytes | None = None
    """The key, after a plain GET was answered from the cache."""
    _end = b""
    """What followed the path and query in a GET that was answered here. A request that ends so has its headers."""
    _end_headers: list[tuple[bytes, bytes]]
    """The headers in it."""
    _is_like = False
    """A GET without headers that mean something was answered here."""
    _special: list[tuple[int, bytes]]
    answering: RequestResponseCycle | None = None
    """What the application answers, or answered last. With requests behind it, ``cycle`` is the newest of those."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.shared.seconds

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.give_up()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; whether it still reads, only writing tells.

        What it asked for is answered, and the newest answer ends the connection. An answer without an end does so now,
        and so does a request without one.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (self._in_message and not self._reads_no_more):
            return False
        if self._is_answering_without_end():
            return False
        cycle.keep_alive = False
        return True

    def _is_answering_without_end(self) -> bool:
        cycle = self.answering
        if cycle is None or cycle.response_complete:
            return False
        return "endless" in cycle.scope["extensions"]["scribe"]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def give_up(self) -> None:
        """The request at hand gets no more of an answer: whoever makes it is told, and uvicorn misses nothing of it."""
        if self.answering is not None:
            self.answering.disconnected = True
            self.answering.message_event.set()

    # --- what the parser reports -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._in_message:
            if self._reads_no_more:
                return
            if self._stalled_bytes > MAX_HEAD_BYTES:
                self._refuse_head()
                return
            self._stalled_bytes += len(data)
        elif (
            self._repeat(key)
            if (key := self.shared.repeats.get(data)) is not None
            else self._end and data.endswith(self._end) and self._read_like(data)
        ):
            return
        whole = not self._in_message
        self._messages = 0
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserInvalidMethodError:
            self._refuse_method(data if whole and self._messages == 1 else b"")
            return
        except httptools.HttpParserError:
            if not self._reads_no_more:
                self.send_400_response("")
            return
        if self._is_like and whole and self._messages == 1 and not self._in_message and len(data) <= MAX_REPEAT_BYTES:
            self._learn(data)
        self._answered, self._is_like = None, False

    def _learn(self, data: bytes) -> None:
        """Knows a GET again that was answered here, and others that end like it."""
        if self._answered is not None:
            self.shared.remember(data, self._answered)
        start = 4 + len(self.url)
        if data.startswith(_VERSION, start) and data.startswith(self.url, 4) and data.startswith(b"GET "):
            self._end, self._end_headers = data[start:], self.headers

    def _parse(self, data: bytes) -> None:
        """Nothing here is upgraded to: such a request is an ordinary one, and what stands behind it the next."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._special = []
        self._hosts = 0
        self._ordinary = self._in_message = self._in_head = True
        self._stalled_bytes = 0
        self._messages += 1
        self._since = self.shared.seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it could only pass for a header that was checked already
        self.headers.append((name, value))
        meaning = ORDINARY.get(name) or ORDINARY.get(name.lower())
        if meaning != IGNORED:
            if meaning == HOST:
                self._hosts += 1
            elif meaning is None:
                self._ordinary = False
            else:
                self._special.append((meaning, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stalled_bytes = 0
        cycle = self.cycle
        if (
            self._ordinary
            and self._hosts == 1
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
        ):
            method = _METHODS.get(self.parser.get_method())
            if method is not None and self.parser.should_keep_alive():
                key = _plain_key(self.url)
                if method in _READS:
                    if self._read_with_query(method) if key is None else self._read(method, key):
                        self._is_like = method == "GET" and not self._special
                        return
                elif key is not None and self._begin_write(method, key):
                    return
        self._leave_to_application()

    def on_body(self, body: bytes) -> None:
        self._stalled_bytes = 0
        self._since = self.shared.seconds
        if self._write is not None:
            self._write.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        write = self._write
        if write is not None:
            self._write = None
            write.submit()
        elif self.cycle is not None:
            super().on_message_complete()

    def _leave_to_application(self) -> None:
        url, headers = self.url, self.headers
        if len(self.pipeline) >= MAX_PIPELINED:
            self._read_no_more()
        refusal = _refusal_of(url)
        super().on_message_begin()
        told: dict[object, object] = {"connection": self}
        if refusal is not None:
            told["refusal"] = refusal
        self.scope["extensions"] = {"scribe": told}
        self.url = url if refusal is None else b"/"
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        if refusal is not None:
            self.scope["raw_path"] = url  # for the books: as it was sent
        if any(name.lower() == b"transfer-encoding" and value.lower() != b"chunked" for name, value in headers):
            self._send_last(InvalidRequest("a body is sent as it is, or chunked", hint="leave out other codings"))

    def _read_no_more(self) -> NoReturn:
        """Ends the parser; the newest request that it took is the last to be answered.

        What still comes is read all the same: closed over unread bytes, the system would take answers back.
        """
        self._reads_no_more = True
        self.cycle.keep_alive = False
        self.flow.resume_reading()
        raise _PipelineFull

    # --- answering ---------------------------------------------------------------------------------------------

    def _repeat(self, key: bytes) -> bool:
        """Answers a GET that was recognised by its bytes, if that is still in the cache and nothing is before it."""
        started = perf_counter()
        shared, cycle = self.shared, self.cycle
        answer = shared.hit(key)
        if answer is None or self.flow.write_paused or not (cycle is None or cycle.response_complete):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._since = shared.seconds
        shared.service.metrics.cache_hits += 1
        request_id = make_request_id()
        self.send(200, answer.head, answer.value, request_id)
        seconds = perf_counter() - started
        shared.repeated.observe(seconds)
        if shared.access is not None:
            shared.access.note("GET", b"/" + key, 200, len(answer.value), seconds, request_id, self.client)
        return True

    def _read_like(self, data: bytes) -> bool:
        """Answers a GET that ends like one before, so that its headers are known, if nothing is before it."""
        stop, cycle = len(data) - len(self._end), self.cycle
        found = _LIKE(data, 0, stop)
        if found is None or self.flow.write_paused or not (cycle is None or cycle.response_complete):
            return False
        path, key, proven, since, after = found.groups()
        if key in RESERVED or len(data) > MAX_REPEAT_BYTES:
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self.url, self.headers, self._special = data[4:stop], self._end_headers, []
        self._since = self.shared.seconds
        if proven:
            return self._answer_proven(key, path, _number(since), _number(after))
        answered = self._read("GET", key)
        if self._answered is not None:
            self.shared.remember(data, self._answered)
            self._answered = None
        return answered

    def _read(self, method: str, key: bytes) -> bool:
        return self._answer_value(method, key, self.url)

    def _read_with_query(self, method: str) -> bool:
        url = self.url
        if url.endswith(STALE):
            path = url[: -len(STALE)]
            key = _plain_key(path)
            return key is not None and self._read_stale(method, key, path)
        return method == "GET" and self._read_proven()

    def _read_stale(self, method: str, key: bytes, path: bytes) -> bool:
        return self._answer_value(method, key, path)

    def _answer_value(self, method: str, key: bytes, path: bytes) -> bool:
        """Answers a GET or HEAD: at once from the cache, else with all that came in this turn of the loop."""
        started = perf_counter()
        request_id = self._only_request_id()
        if request_id is None:
            return False
        shared = self.shared
        answer = shared.hit(key)
        if answer is None:
            self._defer(LaneRead(self, method, key, path, request_id))
            return True
        shared.service.metrics.cache_hits += 1
        body = answer.value if method == "GET" else b""
        self.send(200, answer.head, body, request_id)
        self.note(method, path, 200, len(body), started, request_id)
        if method == "GET" and not self._special and len(path) == 1 + len(key):
            self._answered = key
        return True

    def _read_proven(self) -> bool:
        asked = _PROVEN(self.url)
        key = key_of_path(asked[1]) if asked is not None else None
        if asked is None or not key:
            return False
        return self._answer_proven(key, asked[1], _number(asked[2]), _number(asked[3]))

    def _answer_proven(self, key: bytes, path: bytes, since: int | None, after: int | None) -> bool:
        """The same for ``?proof=true``, which is never in the cache."""
        request_id = self._only_request_id()
        if request_id is None:
            return False
        self._defer(LaneProof(self, "GET", key, path, request_id, since, after))
        return True

    def _defer(self, read: LaneRead) -> None:
        """To the end of this turn of the loop."""
        self.stand_in(read)
        self.shared.turn.add(read)

    def stand_in(self, cycle: Cycle) -> None:
        self.cycle = cycle  # type: ignore[assignment]  # for uvicorn's own

    def _only_request_id(self) -> bytes | None:
        """The request's id, unless it has headers that mean something else to a read."""
        request_id = b""
        for meaning, value in self._special:
            if meaning == REQUEST_ID:
                request_id = request_id_or_new(value)
            elif not self.keeps_alive(meaning, value):
                return None
        return request_id or make_request_id()

    def _begin_write(self, method: str, key: bytes) -> bool:
        write = LaneWrite(self, method, key)
        if not all(write.take(meaning, value) for meaning, value in self._special):
            return False
        self._write = write
        self.stand_in(write)
        return True

    def keeps_alive(self, meaning: int, value: bytes) -> bool:
        return meaning == CONNECTION and value.lower() == b"keep-alive" and self.parser.get_http_version() == "1.1"

    def send(self, status: int, head: bytes, body: bytes, request_id: bytes) -> None:
        beginning = self.shared.beginning(status)
        self.transport.write(b"".join((beginning, head, b"x-request-id: ", request_id, b"\r\n\r\n", body)))

    def finish(self, keep_alive: bool) -> None:
        """After a write's answer: goes on with what was pipelined behind it."""
        if self.transport.is_closing():
            return
        if not keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()

    def note(self, method: str, url: bytes, status: int, size: int, started: float, request_id: bytes) -> None:
        shared = self.shared
        seconds = perf_counter() - started
        shared.stats(method, url, status).observe(seconds)
        if shared.access is not None:
            shared.access.note(method, url, status, size, seconds, request_id, self.client)

    # --- care --------------------------------------------------------------------------------------------------

    def _refuse_head(self) -> None:
        """Of a message without an end."""
        if self._in_head:
            self._send_last(_head_too_large())
        else:
            self.transport.abort()

    def _refuse_method(self, data: bytes) -> None:
        """Of a method that the parser does not know, or of what is not HTTP at all: it does not say which."""
        unknown = _UNKNOWN_METHOD(data)
        if unknown is None:
            self.send_400_response("")
            return
        try:
            ROUTER.find(unknown[1].decode(), unknown[2])
        except ScribeError as error:
            self._send_last(error)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP gets the same shape of error as everything else."""
        self._send_last(InvalidRequest("the request is not valid HTTP"))

    def _send_last(self, error: ScribeError) -> None:
        """An error that ends the connection, unless answers are still due: they go out, and the newest is the last."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.turn_away(error)
            return
        cycle.keep_alive = False
        self.flow.pause_reading()
        if isinstance(cycle, RequestResponseCycle) and cycle.more_body and not cycle.response_started:
            # Nobody is to wait for a body that cannot be read.
            cycle.scope["extensions"]["scribe"].setdefault("refusal", error)
            cycle.message_event.set()

    def turn_away(self, error: ScribeError) -> None:
        """Answers a client whose request nobody has read, and ends the connection."""
        started, request_id = perf_counter(), make_request_id()
        status, headers, body = error_answer(error, request_id)
        self.send(status, join(headers) + b"connection: close\r\n", body, request_id)
        self.transport.close()
        shared, seconds = self.shared, perf_counter() - started
        shared.service.metrics.errors[error.kind] += 1
        shared.service.metrics.request(NO_METHOD, UNROUTED, status).observe(seconds)
        if shared.access is not None:
            shared.access.note(NO_METHOD, b"-", status, len(body), seconds, request_id, self.client)

    def break_off(self, last: bytes) -> None:
        """Ends a chunked answer whose reader takes nothing: these bytes are the last it will find, if it ever looks."""
        self.give_up()
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
        self.transport.close()
        self.loop.call_later(BREAK_OFF_SECONDS, self.transport.abort)

    @classmethod
    def sweep(cls, connections: Iterable[Any]) -> None:
        """Called once a second: ends connections that rest too long, leave a request half sent, or take nothing."""
        cls.shared.seconds += 1
        for connection in list(connections):
            if isinstance(connection, Lane):
                connection._look(cls.shared.seconds)

    def _look(self, now: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        quiet = now - self._since
        if unsent and now - self._moved > SLOW_SECONDS:
            self.transport.abort()  # closing would wait for the reader
        elif self.transport.is_closing():
            return
        elif self._in_message and not self._reads_no_more:
            if quiet > (HEADER_SECONDS if self._in_head else BODY_SECONDS) and not self.flow.read_paused:
                self.transport.abort()
        elif quiet > IDLE_SECONDS and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


def _plain_key(url: bytes) -> bytes | None:
    """The key of a URL that is nothing but a key."""
    if _SIMPLE(url):
        key = url[1:]
        return None if key in RESERVED else key
    if b"?" in url or b"#" in url or not url.isascii():
        return None
    return key_of_path(url) or None


def _refusal_of(url: bytes) -> ScribeError | None:
    """Why the application is to refuse this target whatever it asks for: uvicorn would read another out of it."""
    if b"#" in url:  # RFC 9112, 3.2: a fragment is no part of it
        return InvalidRequest("the request target has a # in it", hint="send %23, if it belongs to a key")
    if len(url) >= MAX_HEAD_BYTES:  # which it takes apart no more
        return _head_too_large()
    return None


def _head_too_large() -> TooLarge:
    hint = f"a key has at most {MAX_KEY_BYTES} bytes, metadata {MAX_METADATA_BYTES}"
    return TooLarge(f"the head of the request is above {MAX_HEAD_BYTES} bytes", hint=hint)


def _number(digits: bytes | None) -> int | None:
    return int(digits) if digits else None


def make_lane(service: Service) -> type[Lane]:
    """The class to give to uvicorn as ``http=``."""
    base: type[Lane] = Lane
    if service.cluster is not None:
        from scribe_ledger.http.waiting import WaitingLane

        base = WaitingLane
    return type("ServedLane", (base,), {"shared": Shared(service)})

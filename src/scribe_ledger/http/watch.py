"""The live log as server-sent events. Each reader goes on at its own pace, so a slow one costs the others nothing.

A reader resumes by ``Last-Event-ID``. Its last event is always an error: that it took nothing for too long, or that the
node stops, was removed from its cluster, or has another ledger than it. After that the connection ends. A member that
knows no leader for a while keeps its readers.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from array import array
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from starlette.responses import Response

from scribe_ledger.errors import InvalidRequest, Overloaded, ScribeError, Unavailable
from scribe_ledger.http.headers import NOSNIFF
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.replies import NO_STORE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.types import Message, Receive, Scope, Send

    from scribe_ledger.http.feed import Event
    from scribe_ledger.http.lane import Lane
    from scribe_ledger.http.request import Request

MAX_WATCHERS = 1000
KEEP_ALIVE_SECONDS = 15.0
"""A comment is sent after so long without an event, so that what is between does not think the connection dead."""
PLACE_SECONDS = 1.0
"""While entries of other keys pass, a reader hears no more often than this how far it came."""
SLOW_SECONDS = 10.0
"""A reader that takes nothing for so long is dropped."""
LOOK_SECONDS = 0.5
"""How often a reader that is behind is looked at: whether it takes anything, and whether all ends here meanwhile."""
log = structlog.get_logger("scribe.http")


async def watch(request: Request) -> Response:
    await request.wait_until_readable()
    return EventStream(request, _start(request))


def _start(request: Request) -> int:
    seen = request.header(b"last-event-id")
    if seen:  # an empty one is none, as server-sent events have it
        if not seen.isdigit() or len(seen) > 19:
            raise InvalidRequest("the Last-Event-ID is not an index", hint="send the id of the last event, or none")
        return int(seen) + 1
    start: int | None = request.query["start"]
    return request.ledger.size if start is None else start


class EventStream(Response):
    """The answer, as long as it lasts."""

    def __init__(self, request: Request, start: int) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [(b"content-type", b"text/event-stream"), NO_STORE, NOSNIFF]
        self._request = request
        self._service = request.service
        self._prefix: bytes = request.query["prefix"]
        self._next = self._told = self._sent = start
        """The index to go on at, that which the reader would go on at if it came again, and that up to which all that
        it wants was sent."""
        self._told_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        if scope["method"] == "HEAD":
            await self._begin(send)
            await send({"type": "http.response.body", "body": b""})
            return
        if service.watchers >= MAX_WATCHERS:
            raise Overloaded(f"{MAX_WATCHERS} readers watch this node already", hint="ask another node")
        service.watchers += 1
        scope.get("extensions", {}).get("scribe", {})["endless"] = True
        try:
            await self._begin(send)
            await self._send_until_gone(scope, receive, send)
        finally:
            service.watchers -= 1

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send_until_gone(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnect(receive))
        sending = asyncio.ensure_future(self._send_all(scope, send))
        try:
            await asyncio.wait([gone, sending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            await asyncio.wait([gone, sending])
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, scope: Scope, send: Send) -> None:
        connection: Lane | None = scope.get("extensions", {}).get("scribe", {}).get("connection")
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    await self._send(connection, send, {"type": "http.response.body", "body": piece, "more_body": True})
                    self._sent = self._next
            await self._send(connection, send, {"type": "http.response.body", "body": b""})
        except Unavailable as error:
            self._drop(connection, error)

    async def _send(self, connection: Lane | None, send: Send, message: Message) -> None:
        """Waits for the reader while it takes anything at all and the node goes on; else raises ``Unavailable``."""
        if connection is not None and not connection.flow.write_paused:
            await send(message)  # it does not wait
            return
        sending = asyncio.ensure_future(send(message))
        try:
            unsent, since = _unsent(connection), monotonic()
            while not (await asyncio.wait([sending], timeout=min(LOOK_SECONDS, SLOW_SECONDS)))[0]:
                self._check_goes_on()
                if (left := _unsent(connection)) != unsent:
                    unsent, since = left, monotonic()
                elif monotonic() - since >= SLOW_SECONDS:
                    raise Overloaded("the reader took nothing for too long", hint="resume with Last-Event-ID")
            sending.result()
        finally:
            sending.cancel()

    def _drop(self, connection: Lane | None, error: Unavailable) -> None:
        """The connection takes nothing, so the last event goes behind all that waits in it already."""
        if connection is None:
            raise error  # another server than our own can only break the connection
        self._service.metrics.errors[error.kind] += 1
        log.info("a reader of the live log is dropped", reason=error.message, next_index=self._sent)
        connection.break_off(self._farewell(error))

    # --- what is sent ------------------------------------------------------------------------------------------

    async def _pieces(self) -> AsyncGenerator[bytes]:
        """Events as they come, and at last why there are no more."""
        service, values = self._service, self._request.query["values"]
        yield b": the log from %d on\n\n" % self._next
        try:
            while True:
                await service.feed.turn()
                self._check_goes_on()
                if self._next < service.ledger.size:
                    piece = self._take(await service.feed.read(self._next, values=values))
                    self._check_goes_on()
                else:
                    piece = await self._wait()
                if piece:
                    yield piece
        except ScribeError as error:
            yield self._farewell(error)

    def _take(self, events: Sequence[Event]) -> bytes:
        """What this reader wants of them; where that is nothing, now and then an id alone says how far this came."""
        wanted = [event for event in events if event.key.startswith(self._prefix)]
        self._next = events[-1].index + 1
        if wanted:
            self._told, self._told_at = wanted[-1].index + 1, monotonic()
            return b"".join([event.data for event in wanted])
        return self._place() if monotonic() - self._told_at > PLACE_SECONDS else b""

    async def _wait(self) -> bytes:
        """Until there is more, or until something must be said all the same."""
        owed = self._told < self._next
        try:
            async with asyncio.timeout(PLACE_SECONDS if owed else KEEP_ALIVE_SECONDS):
                await self._service.wait_for_growth(self._next)
        except TimeoutError:
            return self._place() if owed else b": still here\n\n"
        return b""

    def _check_goes_on(self) -> None:
        ended = self._service.ended
        if ended is not None:
            raise Unavailable(ended.message, hint="resume at another node with Last-Event-ID")

    def _place(self) -> bytes:
        self._told, self._told_at = self._next, monotonic()
        return b"id: %d\n\n" % (self._next - 1)

    def _farewell(self, error: ScribeError) -> bytes:
        _, _, body = error_answer(error, self._request.request_id)
        return b"event: error\ndata: %b\n\n" % body


def _unsent(connection: Lane | None) -> int:
    """What the reader has not taken yet. Most of it waits in the system, which takes more only when much has left."""
    if connection is None:
        return 0
    transport = connection.transport
    count = array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, count)
    except OSError:  # not every system says this of sockets, and none of one that is closed
        count[0] = 0
    return count[0] + transport.get_write_buffer_size()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""The live log as server-sent events. Each reader reads the log by itself, so a slow one costs nobody anything.

A reader resumes by ``Last-Event-ID``. Its last event is always an error: that it took nothing for too long, or that the
node stops. After that the connection ends.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

from scribe_ledger.errors import InvalidRequest, Overloaded, ScribeError
from scribe_ledger.http.headers import NOSNIFF
from scribe_ledger.http.pages import entry_json
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.replies import NO_STORE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from scribe_ledger.http.request import Request

MAX_WATCHERS = 1000
READ_ENTRIES = 256
"""Entries read for one piece of the stream."""
KEEP_ALIVE_SECONDS = 15.0
"""A comment is sent after so long without an event, so that what is between does not think the connection dead."""
SLOW_SECONDS = 10.0
"""A reader that takes nothing for so long is dropped."""


async def watch(request: Request) -> Response:
    await request.wait_until_readable()
    service = request.service
    if service.watchers >= MAX_WATCHERS:
        raise Overloaded(f"{MAX_WATCHERS} readers watch this node already", hint="ask another node")
    return EventStream(request, _start(request))


def _start(request: Request) -> int:
    seen = request.header(b"last-event-id")
    if seen is not None:
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
        self._next = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        service = self._request.service
        service.watchers += 1
        gone = asyncio.ensure_future(_disconnect(receive))
        sending = asyncio.ensure_future(self._send_all(scope, send))
        try:
            await asyncio.wait([gone, sending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.watchers -= 1
            gone.cancel()
            sending.cancel()
            await asyncio.wait([gone, sending])
        if not sending.cancelled():
            sending.result()

    async def _send_all(self, scope: Scope, send: Send) -> None:
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                try:
                    async with asyncio.timeout(SLOW_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError:
                    slow = Overloaded("the reader took nothing for too long", hint="resume with Last-Event-ID")
                    scope["extensions"]["scribe"]["connection"].break_off(self._farewell(slow))
                    return
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self) -> AsyncGenerator[bytes]:
        """Events as they come, and at last why there are no more."""
        request = self._request
        yield b": the log from %d on\n\n" % self._next
        try:
            while True:
                size = request.ledger.size
                if self._next < size:
                    stop = min(self._next + READ_ENTRIES, size)
                    yield await request.service.run(self._read, stop)
                    self._next = stop
                    continue
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        await request.service.wait_for_growth(max(size, self._next))
                except TimeoutError:
                    yield b": still here\n\n"
        except ScribeError as error:
            yield self._farewell(error)

    def _read(self, stop: int) -> bytes:
        """The events up to an index. If the last entries are of other keys, an id alone tells how far this came."""
        prefix, values = self._request.query["prefix"], self._request.query["values"]
        found, last = [], self._next - 1
        for entry in self._request.ledger.log(self._next, stop):
            if entry.key.startswith(prefix):
                found.append(b"id: %d\nevent: entry\ndata: %b\n\n" % (entry.index, entry_json(entry, values=values)))
                last = entry.index
        if last < stop - 1:
            found.append(b"id: %d\n\n" % (stop - 1))
        return b"".join(found)

    def _farewell(self, error: ScribeError) -> bytes:
        _, _, body = error_answer(error, self._request.request_id)
        return b"event: error\ndata: %b\n\n" % orjson.dumps(orjson.loads(body))


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

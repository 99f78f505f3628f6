"""Reads in the lane that must look into the store: those of one turn of the loop are looked up, then all are answered.

Looked up and answered one by one they take twice the processor time: the code of the store and that of the sockets
drive one another out of the processor's caches, and a client that sleeps is woken for each answer. What a read does not
find here, because it is not there, is large or needs the log, goes on to the application.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from scribe_ledger.errors import ScribeError
from scribe_ledger.http.application import CLIENT_GONE
from scribe_ledger.http.cycle import Cycle
from scribe_ledger.http.proven import proven_at_once, proven_head

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

    from scribe_ledger.http.lane import Lane


class Turn:
    """The reads of this turn of the loop; a connection has one at a time."""

    def __init__(self) -> None:
        self._reads: list[LaneRead] = []

    def add(self, read: LaneRead) -> None:
        if not self._reads:
            read.lane.loop.call_soon(self._end)
        self._reads.append(read)

    def _end(self) -> None:
        reads, self._reads = self._reads, []
        found = [read.look_up() for read in reads]
        for read, answer in zip(reads, found, strict=True):
            try:
                read.answer(answer)
            except Exception as error:  # noqa: BLE001  # the others must have their answers
                read.report("an answer could not be given", error)


class LaneRead(Cycle):
    """A GET or HEAD of a key's latest value."""

    def __init__(
        self,
        lane: Lane,
        method: str,
        key: bytes,
        path: bytes,
        request_id: bytes,
        since: int | None = None,
        after: int | None = None,
    ) -> None:
        super().__init__(lane, method, key, path, request_id)
        self._since = since
        self._after = after
        self._url = lane.url
        self._headers = lane.headers
        """Of the request; while it waits, the lane reads the next one's."""

    def settle(self, error: ScribeError | None) -> None:
        """It may be looked up now, or is refused."""
        if error is None or self.lane.transport.is_closing():
            self.lane.shared.turn.add(self)
        else:
            self.refuse(error)

    def look_up(self) -> tuple[bytes, bytes] | None:
        """Head and body; None where the application must look."""
        try:
            return self._find()
        except ScribeError:  # the application meets the same, and answers with it
            return None
        except Exception as error:  # noqa: BLE001  # the others must have their answers
            self.report("a read failed in a way that nobody foresaw", error)
            return None

    def report(self, message: str, error: Exception) -> None:
        self.lane.loop.call_exception_handler({"message": message, "exception": error})

    def _find(self) -> tuple[bytes, bytes] | None:
        answer = self.lane.shared.latest(self.key)
        return None if answer is None else (answer.head, answer.value)

    def answer(self, found: tuple[bytes, bytes] | None) -> None:
        lane = self.lane
        if lane.transport.is_closing():
            self.response_complete = True
            lane.note(self.method, self.path, CLIENT_GONE, 0, self.started, self.request_id)
        elif found is None:
            self._hand_over()
        else:
            self.reply(200, *found)

    def _hand_over(self) -> None:
        """To the application, as if the request had just come, but for the wait."""
        lane = self.lane
        cycle = RequestResponseCycle(
            scope=self._scope(),
            transport=lane.transport,
            flow=lane.flow,
            logger=lane.logger,
            access_logger=lane.access_logger,
            access_log=lane.access_log,
            default_headers=lane.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=lane.on_response_complete,
        )
        cycle.more_body = False
        self.response_complete = True
        last: object = lane.cycle
        if last is self:  # else another is queued behind this one
            lane.cycle = cycle
        lane._start_asgi_task(cycle, lane.app)

    def _scope(self) -> HTTPScope:
        lane = self.lane
        reading = lane.url, lane.headers, lane.scope, lane.expect_100_continue
        try:
            HttpToolsProtocol.on_message_begin(lane)
            scope = lane.scope
        finally:
            lane.url, lane.headers, lane.scope, lane.expect_100_continue = reading
        path, _, query = self._url.partition(b"?")
        scope["method"] = self.method
        scope["raw_path"] = path
        scope["path"] = path.decode("ascii")
        scope["query_string"] = query
        scope["headers"] = [(name.lower(), value) for name, value in self._headers]
        scope["extensions"] = {"scribe": {"connection": lane, "waited": True}}
        return scope


class LaneProof(LaneRead):
    """The same for ``?proof=true``."""

    def _find(self) -> tuple[bytes, bytes] | None:
        body = proven_at_once(self.lane.shared.service, self.key, self._since, self._after)
        return None if body is None else (proven_head(body), body)

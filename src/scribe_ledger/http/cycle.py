"""``Cycle``: a request that the lane answers later. It stands as the connection's cycle, where uvicorn has its own.

So the parent queues what is pipelined behind it, and tells it when the connection ends or is to be kept no longer.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.http.headers import join
from scribe_ledger.http.problems import error_answer

if TYPE_CHECKING:
    from scribe_ledger.errors import ScribeError
    from scribe_ledger.http.lane import Lane


class NobodysEvent:
    """What the parent wakes when a connection is lost; nobody waits for it here."""

    def set(self) -> None:
        pass


class Cycle:
    """From the request's head to its answer."""

    response_complete = False
    disconnected = False
    keep_alive = True
    more_body = False
    message_event = NobodysEvent()

    def __init__(self, lane: Lane, method: str, key: bytes, path: bytes, request_id: bytes) -> None:
        self.started = perf_counter()
        self.lane = lane
        self.method = method
        self.key = key
        self.path = path
        self.request_id = request_id

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Answers, a HEAD without the body, and goes on with what was pipelined behind it."""
        lane = self.lane
        if self.method == "HEAD":
            body = b""
        self.response_complete = True
        if not self.keep_alive:
            head += b"connection: close\r\n"
        if not lane.transport.is_closing():
            lane.send(status, head, body, self.request_id)
        lane.note(self.method, self.path, status, len(body), self.started, self.request_id)
        lane.finish(self.keep_alive)

    def refuse(self, error: ScribeError) -> None:
        self.lane.shared.service.metrics.errors[error.kind] += 1
        status, headers, body = error_answer(error, self.request_id)
        self.reply(status, join(headers), body)

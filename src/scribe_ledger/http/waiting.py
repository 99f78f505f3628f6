"""The lane of a cluster's member: a read waits until it is linearizable, without scope, task or queue.

While it waits it stands as the connection's cycle, as a write does, so that the parent queues what was pipelined behind
it. Then it is answered as on a node that stands alone; what the lane does not answer goes on to the application, which
is told that the waiting is done. Reads that are ``stale`` do not wait.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from scribe_ledger.errors import ScribeError
from scribe_ledger.http.application import CLIENT_GONE
from scribe_ledger.http.headers import join
from scribe_ledger.http.lane import Lane, NobodysEvent
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.proven import proven_at_once, proven_head
from scribe_ledger.http.request_ids import make_request_id

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

    from scribe_ledger.http.clustering import Cluster


_OF_A_REPEAT = [(b"Host", b"")]
"""Of a request that was known by its bytes, if the application must answer it after all. No other header matters."""


class StaleKey(bytes):
    """The key of a read that takes what this node has, among the keys of others."""

    __slots__ = ()


class WaitingLane(Lane):
    """One connection to a member. In trouble, it leaves all to the application, which says what that is."""

    @property
    def cluster(self) -> Cluster:
        cluster = self.shared.service.cluster
        assert cluster is not None
        return cluster

    def _repeat(self, key: bytes) -> bool:
        cluster, cycle = self.cluster, self.cycle
        if cluster.trouble is not None:
            return False
        if type(key) is StaleKey:
            return super()._repeat(key)
        if self.flow.write_paused or not (cycle is None or cycle.response_complete):
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._since = self.shared.seconds
        self.url, self.headers = b"/" + key, _OF_A_REPEAT
        _WaitingRead(self, "GET", key, self.url, make_request_id()).begin(cluster)
        return True

    def _read(self, method: str, key: bytes) -> bool:
        cached = self.shared.hit(key) is not None
        if not self._wait(_WaitingRead, method, key, self.url):
            return False
        if cached and method == "GET" and not self._special and len(self.url) == 1 + len(key):
            self._answered = key
        return True

    def _read_stale(self, method: str, key: bytes, path: bytes) -> bool:
        if self.cluster.trouble is not None or not self._answer_value(method, key, path):
            return False
        if self._answered is not None:
            self._answered = StaleKey(key)
        return True

    def _answer_proven(self, key: bytes, path: bytes, since: int | None, after: int | None) -> bool:
        return self._wait(_WaitingProven, "GET", key, path, since, after)

    def _wait(self, kind: type[_WaitingRead], method: str, key: bytes, path: bytes, *sizes: int | None) -> bool:
        cluster = self.cluster
        request_id = self._only_request_id() if self._special else make_request_id()
        if request_id is None or cluster.trouble is not None:
            return False
        kind(self, method, key, path, request_id, *sizes).begin(cluster)
        return True


class _WaitingRead:
    """A GET or HEAD from its head to its answer. It offers what the parent looks for in its own cycles."""

    response_complete = False
    disconnected = False
    keep_alive = True
    more_body = False
    message_event = NobodysEvent()

    def __init__(
        self,
        lane: WaitingLane,
        method: str,
        key: bytes,
        path: bytes,
        request_id: bytes,
        since: int | None = None,
        after: int | None = None,
    ) -> None:
        self._started = perf_counter()
        self._lane = lane
        self._method = method
        self._key = key
        self._path = path
        self._request_id = request_id
        self._since = since
        self._after = after
        self._url = lane.url
        self._headers = lane.headers
        """Of the request; while it waits, the lane reads the next one's."""

    def begin(self, cluster: Cluster) -> None:
        self._lane.cycle = self  # type: ignore[assignment]  # it stands in for uvicorn's own
        try:
            cluster.read(self._settle)
        except ScribeError as error:
            self._settle(error)

    def _settle(self, error: ScribeError | None) -> None:
        lane = self._lane
        if lane.transport.is_closing():
            self.response_complete = True
            lane._note(self._method, self._path, CLIENT_GONE, 0, self._started, self._request_id)
            return
        if error is None:
            status = 200
            try:
                found = self._answer()
            except ScribeError:
                found = None
            if found is None:
                self._hand_over()
                return
            head, body = found
        else:
            lane.shared.service.metrics.errors[error.kind] += 1
            status, headers, body = error_answer(error, self._request_id)
            head = join(headers)
        self._reply(status, head, body if self._method == "GET" else b"")

    def _answer(self) -> tuple[bytes, bytes] | None:
        """Head and body; None where the application must look."""
        answer = self._lane.shared.latest(self._key)
        return None if answer is None else (answer.head, answer.value)

    def _reply(self, status: int, head: bytes, body: bytes) -> None:
        lane = self._lane
        self.response_complete = True
        if not self.keep_alive:
            head += b"connection: close\r\n"
        lane._send(status, head, body, self._request_id)
        lane._note(self._method, self._path, status, len(body), self._started, self._request_id)
        lane._finish(self.keep_alive)

    def _hand_over(self) -> None:
        """To the application, as if the request had just come, but for the wait."""
        lane = self._lane
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
        lane = self._lane
        reading = lane.url, lane.headers, lane.scope, lane.expect_100_continue
        try:
            HttpToolsProtocol.on_message_begin(lane)
            scope = lane.scope
        finally:
            lane.url, lane.headers, lane.scope, lane.expect_100_continue = reading
        path, _, query = self._url.partition(b"?")
        scope["method"] = self._method
        scope["raw_path"] = path
        scope["path"] = path.decode("ascii")
        scope["query_string"] = query
        scope["headers"] = [(name.lower(), value) for name, value in self._headers]
        scope["extensions"] = {"scribe": {"connection": lane, "waited": True}}
        return scope


class _WaitingProven(_WaitingRead):
    """The same for ``?proof=true``."""

    def _answer(self) -> tuple[bytes, bytes] | None:
        body = proven_at_once(self._lane.shared.service, self._key, self._since, self._after)
        return None if body is None else (proven_head(body), body)

"""The application: every request that the lane does not answer. It owns routing, the error shape and the books."""

from __future__ import annotations

import asyncio
import re
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import structlog
from starlette.requests import ClientDisconnect

from scribe_ledger.config.addresses import split_address
from scribe_ledger.errors import Corruption, Forbidden, InvalidRequest, OutcomeUnknown, ScribeError, StorageError
from scribe_ledger.http.headers import http_date
from scribe_ledger.http.problems import error_answer
from scribe_ledger.http.replies import reply
from scribe_ledger.http.request import Request
from scribe_ledger.http.request_ids import request_id_or_new
from scribe_ledger.http.routes import ROUTER
from scribe_ledger.http.routing import UNROUTED

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from scribe_ledger.http.lane import Lane
    from scribe_ledger.http.routing import Route
    from scribe_ledger.http.service import Service

CLIENT_GONE = 499
"""What the books call the status of a request whose client left before there was an answer."""
_OF_THE_NODE = frozenset({"node", "cluster"})
"""Tags of routes that are about the node, not about the ledger."""
_FOR_THE_OPERATOR = frozenset({StorageError.kind, Corruption.kind})
_GIVEN_UP = OutcomeUnknown(
    "the node stopped before this was done",
    hint="ask again; a write with the same request id settles what became of it",
)
log = structlog.get_logger("scribe.http")


class Application:
    """An ASGI application over a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        config = service.config
        self._names = frozenset({config.listen_host, split_address(config.node.address)[0]})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(self._service, scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id.decode()):
            try:
                await self._answer(exchange)
            finally:
                exchange.note()

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            await self._route(exchange)
        except ClientDisconnect:
            log.debug("the client went away", path=exchange.path)
        except asyncio.CancelledError:  # the server stops, and has waited as long as it would
            log.warning("a request was given up: the node stops", path=exchange.path)
            if not exchange.status:
                await exchange.refuse(_GIVEN_UP.again())
        except Exception as error:
            if exchange.status:  # half an answer is out: only a broken connection tells the client
                exchange.count(error)
                log.exception("an answer was broken off", path=exchange.path)
                raise
            if not isinstance(error, ScribeError):
                log.exception("a request failed in a way that nobody foresaw", path=exchange.path)
                error = ScribeError("the node failed in a way that nobody foresaw", hint="its log says more")
            await exchange.refuse(error)

    async def _route(self, exchange: _Exchange) -> None:
        scope = exchange.scope
        exchange.check_refusal()
        _check_host(scope)
        _check_origin(scope, self._names)
        route, rest = ROUTER.find(scope["method"], scope["raw_path"])
        exchange.route = route.path
        request = Request(self._service, route, rest, scope, exchange.hear, exchange.request_id)
        self._check_serves(route)
        try:
            response = await route.handler(request)
            await response(scope, exchange.hear, exchange.send)
        finally:
            self._service.release(request.held)

    def _check_serves(self, route: Route) -> None:
        """A member that is in trouble speaks of itself, and of nothing else."""
        cluster = self._service.cluster
        trouble = None if cluster is None or route.tag in _OF_THE_NODE else cluster.trouble
        if trouble is not None:
            raise trouble.again()


class _Exchange:
    """One request on its way through: what went out so far, for headers that all answers have, and for the books."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service = service
        self.scope = scope
        self.receive = receive
        self.route = UNROUTED
        self.path: bytes = scope["raw_path"]
        self.status = 0
        self._send = send
        self._told: dict[str, Any] = scope.get("extensions", {}).get("scribe", {})
        self._connection: Lane | None = self._told.get("connection")
        self._bytes = 0
        self._started = perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.request_id = request_id_or_new(given)
        self._heard = False

    async def hear(self) -> Message:
        """What the client sends. The first time tells one that waits for leave that it may send."""
        self._heard = True
        message = await self.receive()
        if not self.status:
            self.check_refusal()
        return message

    def check_refusal(self) -> None:
        """Raises what the connection found wrong: with the head at once, with the body as it came."""
        refusal: ScribeError | None = self._told.get("refusal")
        if refusal is not None:
            raise refusal

    async def send(self, message: Message) -> None:
        """Raises ``ClientDisconnect`` once the connection is closing, before its server hears of that."""
        self._check_connected()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            date = (b"date", http_date(int(time())))  # uvicorn's own may be a second behind a Last-Modified
            message["headers"] = [date, *message["headers"], (b"x-request-id", self.request_id)]
        else:
            self._bytes += len(message.get("body", b""))
        try:
            await self._send(message)
        except RuntimeError:  # it waited for the client, who went away meanwhile
            self._check_connected()
            raise

    def _check_connected(self) -> None:
        if self._connection is not None and self._connection.transport.is_closing():
            self._connection.give_up()
            raise ClientDisconnect

    def count(self, error: Exception) -> None:
        self.service.metrics.errors[error.kind if isinstance(error, ScribeError) else ScribeError.kind] += 1

    async def refuse(self, error: ScribeError) -> None:
        self.count(error)
        if error.kind in _FOR_THE_OPERATOR:  # the client can only be told; whoever mends it reads the log
            log.error("what is stored is damaged or out of reach", kind=error.kind, error=str(error), path=self.path)
        status, headers, body = error_answer(error, self.request_id)
        if not self._heard and any(name == b"expect" for name, _ in self.scope["headers"]):
            headers = [*headers, (b"connection", b"close")]  # whether the body comes all the same, nobody can know
        response = reply(status, headers, body)
        try:
            await response(self.scope, self.receive, self.send)
        except ClientDisconnect:
            log.debug("the client went away", path=self.path)

    def note(self) -> None:
        seconds, status = perf_counter() - self._started, self.status or CLIENT_GONE
        self.service.metrics.request(self.scope["method"], self.route, status).observe(seconds)
        if self.service.access is not None:
            self.service.access.note(
                self.scope["method"],
                self.path,
                status,
                self._bytes,
                seconds,
                self.request_id,
                self.scope["client"],
            )


def _check_host(scope: Scope) -> None:
    """RFC 9112 3.2: every proxy on the way must be able to know which host is meant, and mean the same one."""
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    if hosts > 1 or (not hosts and scope["http_version"] == "1.1"):
        raise InvalidRequest(f"the request has {hosts} headers Host", hint="HTTP/1.1 wants one")


def _check_origin(scope: Scope, known: frozenset[str]) -> None:
    """A page of another site must not use its reader's browser to write here.

    Nor one that has given its own name the node's address: a page is believed only under a name that is the node's.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is None:
        return
    host = headers.get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    own = name in known or name == "localhost" or re.fullmatch(r"[\d.]+|\[[\da-fA-F:.]+\]", name)
    if not own or origin.partition(b"://")[2].decode("latin-1") != host:
        raise Forbidden("the request comes from a page of another site", hint="call the node from your own server")

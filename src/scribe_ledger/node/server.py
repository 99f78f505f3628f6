"""``NodeServer``: uvicorn's server with the node's own ending, its limit on connections, and its care each second.

On SIGTERM or SIGINT it stops accepting, ends what waits for more, gives open requests ``GRACE_SECONDS``, and then
breaks off what is left. The ledger is closed by the node afterwards, so nothing that was accepted is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import TYPE_CHECKING

import structlog
import uvicorn

from scribe_ledger.errors import Overloaded
from scribe_ledger.http.application import Application
from scribe_ledger.http.lane import make_lane
from scribe_ledger.node.listening import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from scribe_ledger.http.lane import Lane
    from scribe_ledger.http.service import Service
    from scribe_ledger.node.stopping import StopSignals

GRACE_SECONDS = 10
"""How long open requests may go on after the signal to stop. Then their connections are broken off."""
LAST_SECONDS = 5
"""How long a request without a connection may take to notice. Then it is cancelled."""
KEEP_ALIVE_SECONDS = 75
"""A connection may rest so long between two requests; balancers in front like to keep one for a minute."""
MAX_CONNECTIONS = 10_000
RESERVED_FILES = 640
"""File descriptors that connections leave to the engine (512), values and the rest."""
log = structlog.get_logger("scribe.node")


def connection_limit() -> int:
    """Raises the process's limit of open files as far as it may, and says how many connections fit under it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft - RESERVED_FILES
    return max(min(most, MAX_CONNECTIONS), RESERVED_FILES // 10)


class NodeServer(uvicorn.Server):
    """Serves one service until ``StopSignals`` asks it to stop, or ``should_exit`` is set."""

    def __init__(
        self,
        service: Service,
        signals: StopSignals,
        *,
        max_connections: int,
        on_started: Callable[[], None],
        on_stopping: Callable[[], None],
    ) -> None:
        self._lane = lane = _with_limit(make_lane(service), max_connections)
        super().__init__(
            uvicorn.Config(
                Application(service),
                http=lane,
                interface="asgi3",
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                workers=1,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS + LAST_SECONDS,
            )
        )
        self._service = service
        self._signals = signals
        self._on_started = on_started
        self._on_stopping = on_stopping
        service.metrics.connections = lambda: len(self.server_state.connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The node has its own handlers, since before the ledger was opened."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # uvicorn ticks ten times a second
            self._lane.sweep(self.server_state.connections)
        self.should_exit = self.should_exit or self._signals.asked
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        connections = self.server_state.connections
        log.info("stopping", signal=self._signals.received, connections=len(connections))
        self._service.drain()
        self._on_stopping()
        grace = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._break_off)
        await super().shutdown(sockets)
        grace.cancel()

    def _break_off(self) -> None:
        connections = list(self.server_state.connections)
        log.warning("connections are broken off", connections=len(connections), grace_seconds=GRACE_SECONDS)
        for connection in connections:
            connection.transport.abort()


def _with_limit(lane: type[Lane], most: int) -> type[Lane]:
    """The lane, answering 503 at once where ``most`` connections are open already."""

    class Limited(lane):  # type: ignore[valid-type,misc]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                error = Overloaded(f"{most} connections are open", hint="retry after a moment, or ask another node")
                self.turn_away(error)

    return Limited

"""The server's care for connections, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock

import pytest
import uvicorn
from uvicorn.server import ServerState

from scribe_ledger.http.lane import HEADER_SECONDS, IDLE_SECONDS, Lane, make_lane
from scribe_ledger.http.metrics import Metrics
from scribe_ledger.node import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.http.service import Service

pytestmark = pytest.mark.http


class Wire(asyncio.Transport):
    """A transport without a network."""

    closed = False
    sent = b""

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.sent += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0


class Connections:
    """Connections of one lane, made as a server makes them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lane = make_lane(cast("Service", MagicMock(inline_max=1 << 18, max_value_size=0)))
        self._loop = loop
        self._config = uvicorn.Config(_nothing, http=self.lane, log_config=None, lifespan="off", ws="none")
        self._state = ServerState()

    def open(self) -> tuple[Lane, Wire]:
        connection, wire = self.lane(self._config, self._state, {}, self._loop), Wire()
        connection.connection_made(wire)
        return connection, wire

    def pass_seconds(self, count: int) -> None:
        for _ in range(count):
            self.lane.sweep(self._state.connections)


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    return


@pytest.fixture
def connections() -> Iterator[Connections]:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        yield Connections(loop)


def test_a_connection_that_rests_is_closed_in_its_own_time(connections: Connections) -> None:
    connections.pass_seconds(10 * IDLE_SECONDS)
    _, wire = connections.open()
    connections.pass_seconds(IDLE_SECONDS)
    assert not wire.closed, "what counts is how long it has rested, not how old the node is"
    connections.pass_seconds(1)
    assert wire.closed


def test_a_head_that_is_not_finished_is_closed_sooner(connections: Connections) -> None:
    connection, wire = connections.open()
    connections.pass_seconds(5)
    connection.data_received(b"GET / HTTP/1.1\r\nHo")
    for _ in range(HEADER_SECONDS):
        connections.pass_seconds(1)
        connection.data_received(b"s")
        assert not wire.closed
    connections.pass_seconds(1)
    assert wire.closed


def test_connections_leave_files_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"soft": (256, 1024)}

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        limits["soft"] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["soft"])
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert server.connection_limit() == 1024 - server.RESERVED_FILES
    assert limits["soft"] == (1024, 1024)
    limits["soft"] = (1024, 1 << 20)
    assert server.connection_limit() == server.MAX_CONNECTIONS
    assert limits["soft"] == (server.MAX_CONNECTIONS + server.RESERVED_FILES, 1 << 20)
    limits["soft"] = (1 << 20, 1 << 20)
    assert server.connection_limit() == server.MAX_CONNECTIONS
    assert limits["soft"] == (1 << 20, 1 << 20)
    infinite = resource.RLIM_INFINITY
    limits["soft"] = (infinite, infinite)
    assert server.connection_limit() == server.MAX_CONNECTIONS


def test_one_connection_too_many_is_turned_away_and_in_the_books(connections: Connections) -> None:
    metrics = connections.lane.shared.service.metrics = Metrics((1.0,))
    connections.lane = server._with_limit(connections.lane, 1)
    (_, first), (_, second) = connections.open(), connections.open()
    assert not first.closed and second.closed
    assert second.sent.startswith(b"HTTP/1.1 503 ") and b"1 connections are open" in second.sent
    assert {kind: stats.count for kind, stats in metrics.requests.items()} == {("-", "(none)", 503): 1}
    assert metrics.errors == {"overloaded": 1}

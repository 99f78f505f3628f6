"""An open-loop load: requests fall due at a given rate whether or not the server has answered the last ones.

Waiting is counted from the moment when a request was due, so that a server that stands still is not spared the requests
that it kept from being sent. Each connection has one request at a time; what is due while all of them wait is sent as
soon as one is free.
"""

from __future__ import annotations

import gc
import select
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.bench.http.wire import Connection, is_whole
from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

PATIENCE_SECONDS = 10


class Paced(NamedTuple):
    """What a load showed, in seconds for each request."""

    waits: list[float]
    """From due to answered."""
    late: list[float]
    """From due to sent: what of it is the generator's, or the fault of connections that were all busy."""
    per_second: float
    """The rate that was reached."""


def pace(port: int | Sequence[int], connections: int, per_second: float, requests: Sequence[bytes]) -> Paced:
    """Sends the requests at that rate, evenly, and returns when all are answered. Several ports share connections."""
    ports = [port] if isinstance(port, int) else port
    opened = [Connection(ports[number % len(ports)]) for number in range(connections)]
    try:
        gc.collect()
        gc.disable()  # a collection of the generator's own would look like a slow answer
        return _Pacer([connection.socket for connection in opened], per_second, requests).run()
    finally:
        gc.enable()
        for connection in opened:
            connection.close()


class _Pacer:
    """One load. It sleeps while nothing is due and nothing comes: the server shares the machine with it."""

    def __init__(self, sockets: Sequence[socket], per_second: float, requests: Sequence[bytes]) -> None:
        self._interval = 1 / per_second
        self._requests = requests
        self._sent = 0
        self._free = deque(sockets)
        self._busy: dict[int, tuple[socket, float, bytes]] = {}
        """By descriptor: when the request was due, and what has come of its answer."""
        self._arrivals = select.epoll()
        for each in sockets:
            each.settimeout(None)  # else Python asks the kernel twice, before each call and with it
            self._arrivals.register(each, select.EPOLLIN)
        self._waits: list[float] = []
        self._late: list[float] = []

    def run(self) -> Paced:
        count = len(self._requests)
        with self._arrivals:
            self._started = started = perf_counter()
            while len(self._waits) < count:
                self._send_due()
                arrived = self._arrivals.poll(0)
                for descriptor, _ in arrived:
                    self._receive(descriptor)
                if not arrived:
                    self._sleep()
            return Paced(self._waits, self._late, count / (perf_counter() - started))

    def _due(self) -> float:
        return self._started + self._sent * self._interval

    def _send_due(self) -> None:
        while self._free and self._sent < len(self._requests) and (due := self._due()) <= (now := perf_counter()):
            connection = self._free.popleft()
            connection.sendall(self._requests[self._sent])
            self._busy[connection.fileno()] = connection, due, b""
            self._late.append(now - due)
            self._sent += 1

    def _sleep(self) -> None:
        """Until something comes, or the next request is due. epoll itself sleeps whole milliseconds."""
        more = self._free and self._sent < len(self._requests)
        seconds = max(self._due() - perf_counter(), 0) if more else PATIENCE_SECONDS
        if not select.select([self._arrivals], [], [], seconds)[0] and not more:
            raise NetworkError(f"no answer within {PATIENCE_SECONDS} s")

    def _receive(self, descriptor: int) -> None:
        if descriptor not in self._busy:
            raise NetworkError("the server closed a connection that was at rest")
        connection, due, received = self._busy[descriptor]
        data = connection.recv(65536)
        if not data:
            raise NetworkError("the server closed a connection within an answer")
        received += data
        if is_whole(received):
            self._waits.append(perf_counter() - due)
            del self._busy[descriptor]
            self._free.append(connection)
        else:
            self._busy[descriptor] = connection, due, received

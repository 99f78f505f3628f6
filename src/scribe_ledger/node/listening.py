"""Taking the port, before the data folder is opened: a port in use must not leave a half-started node behind."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, NamedTuple, Self

from scribe_ledger.config.addresses import join_address
from scribe_ledger.errors import ConfigurationError, NetworkError, ScribeError

if TYPE_CHECKING:
    from types import TracebackType

MINIO_CONSOLE_PORT = 9001
BACKLOG = 2048
"""Connections that the system keeps for us between two turns of the event loop."""


class Listener(NamedTuple):
    """Bound sockets, one for each address of the host; they take connections once they are served."""

    host: str
    port: int
    sockets: list[socket.socket]

    def copies(self) -> list[socket.socket]:
        """The same sockets for who closes what it is given. A port that is served again was never free in between."""
        return [each.dup() for each in self.sockets]

    @property
    def url(self) -> str:
        return f"http://{join_address(self.host, self.port)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Idempotent. Whoever calls from now on is refused."""
        for each in self.sockets:
            each.close()


def listen(host: str, port: int, *, setting: str = "--port or [network] client_port") -> Listener:
    """Binds every address of ``host``. Port 0 takes a free one, the same for all. ``setting`` names it in errors."""
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            sockets.append(_bound(family, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        raise _explained(error, host, port, setting) from error
    return Listener(host, port, sockets)


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(address[0]), *address[1:])) for family, _, _, _, address in found))


def _bound(family: int, address: tuple[str, int]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _explained(error: OSError, host: str, port: int, setting: str) -> ScribeError:
    place = join_address(host, port)
    if isinstance(error, socket.gaierror):
        return ConfigurationError(
            f"cannot listen on {place}: {error.strerror}", hint="network.listen_addr names the host"
        )
    if error.errno == errno.EADDRINUSE:
        hint = f"another node, perhaps; choose another port with {setting}"
        if port == MINIO_CONSOLE_PORT:
            hint = f"MinIO's console likes {port} too; {hint}"
        return NetworkError(f"cannot listen on {place}: the port is in use", hint=hint)
    hint = {
        errno.EACCES: f"ports below 1024 belong to the system; choose another with {setting}",
        errno.EADDRNOTAVAIL: "network.listen_addr is no address of this machine",
    }.get(error.errno or 0, "")
    return NetworkError(f"cannot listen on {place}: {error.strerror or error}", hint=hint)

"""``WaitingRoom``: what a node answers on its HTTP port before it has a ledger to serve, while it finds its cluster.

The port is open from the first moment, because silence would be worse: ``/health/live`` says 200, so that an
orchestrator does not restart a node that only waits for the others, and everything else, ``/health`` first, says 503
and why, so that it is sent no work. Each answer ends its connection; nothing of a request is kept but its first line.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from scribe_ledger.errors import Unavailable
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

MAX_LINE_BYTES = 8192
PATIENCE_SECONDS = 5.0
"""For a caller who does not say what it wants."""
FORMING = "forming"
LIVE = b"/health/live"


class WaitingRoom:
    """Serves sockets that are another's: they stay open, and bound, when it closes."""

    def __init__(self, node_id: int) -> None:
        self._node_id = node_id
        self.waiting_for = ""
        """What this node waits for, as its log says it too."""
        self._servers: list[asyncio.Server] = []

    async def open(self, sockets: Iterable[socket.socket]) -> None:
        for each in sockets:
            server = await asyncio.start_server(self._serve, sock=each.dup(), limit=MAX_LINE_BYTES)
            self._servers.append(server)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                writer.write(self._answer(line))
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a caller without a request, or none that is worth an answer
        finally:
            writer.close()

    def say(self, waiting_for: str) -> None:
        self.waiting_for = waiting_for

    def _answer(self, line: bytes) -> bytes:
        said = {"node_id": self._node_id, "version": __version__, "state": FORMING}
        if line.split(b" ")[1:2] == [LIVE]:
            return _http(b"200 OK", {"status": "ok", **said})
        reason = f": {self.waiting_for}" if self.waiting_for else ""
        error = Unavailable(
            f"this node is finding its cluster{reason}", hint="retry after a moment, or ask another node"
        )
        told = {"kind": error.kind, "message": error.message, "hint": error.hint}
        return _http(b"503 Service Unavailable", {"error": told, "status": "unavailable", **said})


def _http(status: bytes, body: dict[str, object]) -> bytes:
    content = orjson.dumps(body)
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\nconnection: close"
        b"\r\n\r\n%b" % (status, len(content), content)
    )

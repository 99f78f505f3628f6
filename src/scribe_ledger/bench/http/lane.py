"""The empty lane: uvicorn with a protocol that reads a request and answers a constant. What a node cannot outrun."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Transport

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def main() -> None:
    """Serves on a free port, and says where, as a node does."""
    import uvicorn
    import uvloop
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class EmptyLane(HttpToolsProtocol):
        transport: Transport

        def on_message_begin(self) -> None:
            self.url = b""
            self.headers = []

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers.append((name.lower(), value))

        def on_headers_complete(self) -> None:
            """There is nothing to hand over."""

        def on_body(self, body: bytes) -> None:
            """Nor to keep."""

        def on_message_complete(self) -> None:
            self.transport.write(ANSWER)

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn stops on it, and then raises it again

    async def nothing(*_: Any) -> None:
        raise AssertionError("the protocol answers everything itself")

    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        config = uvicorn.Config(nothing, http=EmptyLane, log_config=None, lifespan="off", ws="none", access_log=False)
        server = uvicorn.Server(config)

        async def serve() -> None:
            sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
            sys.stdout.flush()
            await server.serve([listener])

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())


if __name__ == "__main__":
    main()

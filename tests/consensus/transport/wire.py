"""Ends of connections that keep to no rule: raw sockets that speak as much of the protocol as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.consensus.transport.meeting import CLUSTER

from scribe_ledger.consensus.transport import Me, Purpose
from scribe_ledger.consensus.transport.frames import FrameReader, encode_frame, encode_frames
from scribe_ledger.consensus.transport.handshake import PROOF, REFUSED, Hello, Proofs, decode_refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from scribe_ledger.consensus.transport import Refused


class Wire:
    """A socket that sends any bytes, and takes frames apart."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._frames = FrameReader()
        self._waiting: list[bytes] = []
        self.writer = writer

    def send(self, *bodies: bytes) -> None:
        self.writer.write(encode_frames(bodies))

    async def frame(self) -> bytes:
        """The next one; empty at the end of the connection."""
        while not self._waiting:
            try:
                data = await self._reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return b""
            self._waiting += map(bytes, self._frames.feed(data))
        return self._waiting.pop(0)

    async def refusal(self) -> Refused:
        body = await self.frame()
        assert body and body[0] == REFUSED, body
        return decode_refusal(body)

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            while await self.frame():
                pass

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def hello(raft_id: int = 9, *, cluster: str = CLUSTER, expect: int = 0, **changed: object) -> Hello:
    said = Hello(Me(raft_id, cluster, raft_id), expect, Purpose.PEER, bytes(range(32)), True)
    return said._replace(**changed)  # type: ignore[arg-type]


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    opened = Wire(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield opened
    finally:
        await opened.close()


async def prove(end: Wire, secret: str, said: Hello) -> bytes:
    """The handshake as a dialler, up to the last frame of the other end."""
    end.send(said.encode())
    proofs = Proofs(secret, said.encode(), await end.frame())
    end.writer.write(encode_frame(PROOF, proofs.of_dialler()))
    return await end.frame()


@asynccontextmanager
async def answering(serve: Callable[[Wire], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of somebody who answers each connection in their own way."""
    ends: list[Wire] = []
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(Wire(reader, writer))
        if task := asyncio.current_task():
            serving.add(task)
        try:
            await serve(ends[-1])
        finally:
            await ends[-1].close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in ends:
            await each.close()
        await asyncio.gather(*serving, return_exceptions=True)


class Relay:
    """Between two nodes: passes bytes on, keeps what went by, and can be made to hold everything back."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self.forth = bytearray()
        self.back = bytearray()
        self.change: Callable[[bytes], bytes] = bytes
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def to(self, target: int) -> AsyncIterator[Relay]:
        self.target = target
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*(each.wait_closed() for each in self._writers), return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, other_writer}
        for source, sink, kept in ((reader, other_writer, self.forth), (other_reader, writer, self.back)):
            self._tasks.add(asyncio.create_task(self._pass(source, sink, kept)))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray) -> None:
        try:
            while data := await source.read(1 << 16):
                await self.flowing.wait()
                if len(kept) < 1 << 20:
                    kept += data
                sink.write(self.change(data))
                await sink.drain()
        except ConnectionError:
            pass
        sink.close()

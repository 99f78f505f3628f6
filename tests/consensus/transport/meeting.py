"""Nodes for tests of the transport: a handler that records, and waiting for what is observed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import uvloop

from scribe_ledger.consensus.transport import Auth, Caller, Limits, Me, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

CLUSTER = "00112233445566778899aabbccddeeff"
SECRET = Auth(secret="correct horse battery staple")
QUICK = Limits(handshake=1.0, redial_first=0.01, redial_longest=0.05, ping=0.1, silent_pings=3)


class Recorder:
    """Admits everybody, echoes requests, and streams as many pieces as it is asked for."""

    def __init__(self) -> None:
        self.refusal = ""
        self.unwanted = 0
        self.callers: list[Caller] = []
        self.frames: list[tuple[int, bytes]] = []
        self.frame_bytes = 0
        self.keep = True
        self.events: list[tuple[str, int]] = []
        self.answer: Callable[[bytes], Coroutine[Any, Any, bytes]] | None = None
        self.pieces: Callable[[bytes], AsyncIterator[bytes]] | None = None

    def admits(self, caller: Caller) -> str:
        self.callers.append(caller)
        return "removed" if caller.raft_id == self.unwanted else self.refusal

    def on_frame(self, sender: int, frame: memoryview) -> None:
        if frame[0] == 99:
            raise ValueError("malformed")
        self.frame_bytes += len(frame)
        if self.keep:
            self.frames.append((sender, bytes(frame)))

    async def on_request(self, caller: Caller, request: bytes) -> bytes:
        return await self.answer(request) if self.answer else b"echo " + request

    async def on_stream(self, caller: Caller, request: bytes) -> AsyncIterator[bytes]:
        assert self.pieces is not None
        async for piece in self.pieces(request):
            yield piece

    def on_lost(self, raft_id: int) -> None:
        self.events.append(("lost", raft_id))

    def on_connected(self, raft_id: int) -> None:
        self.events.append(("connected", raft_id))


class Node:
    """One transport with its recorder. ``me`` may be changed."""

    def __init__(self, me: Me, auth: Auth, limits: Limits) -> None:
        self.me = me
        self.seen = Recorder()
        self.transport = Transport(lambda: self.me, auth, self.seen, limits=limits, random=Random(1))
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def listen(self, port: int = 0) -> Node:
        self.port = await self.transport.listen("127.0.0.1", port)
        return self


@asynccontextmanager
async def node(
    raft_id: int, auth: Auth = SECRET, *, cluster: str = CLUSTER, limits: Limits = QUICK, port: int = 0
) -> AsyncIterator[Node]:
    made = Node(Me(raft_id, cluster, raft_id), auth, limits)
    try:
        yield await made.listen(port)
    finally:
        await made.transport.close()


@asynccontextmanager
async def meeting(*raft_ids: int, auth: Auth = SECRET, limits: Limits = QUICK) -> AsyncIterator[list[Node]]:
    """Nodes that are all connected with each other."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(each, auth, limits=limits)) for each in raft_ids]
        for each in nodes:
            each.transport.set_peers({other.me.raft_id: other.address for other in nodes})
        for each in nodes:
            for other in nodes:
                if other is not each:
                    await until(lambda one=each, two=other: one.transport.connected(two.me.raft_id))
        yield nodes


async def until(condition: Callable[..., bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is observed has no event
            await asyncio.sleep(0.002)


def run(work: Coroutine[Any, Any, None], *, on_uvloop: bool = False) -> None:
    """Fails also where a task is left over, or where the event loop was told of a fault."""
    faults: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        await work
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if on_uvloop else None) as runner:
        runner.run(watched())
    assert faults == []

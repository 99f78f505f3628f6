"""Closing a transport: it ends whatever the other end does, or what is under way with it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import QUICK, meeting, node, run

from scribe_ledger.consensus.transport.connection import Connection
from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.consensus.transport.meeting import Node

pytestmark = pytest.mark.consensus

BOTH_LOOPS = pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])


async def close(one: Node) -> list[str]:
    """What it left behind, in far less than the seconds after which it gives up."""
    with capture_logs() as logs:
        async with asyncio.timeout(QUICK.ending / 2):
            await one.transport.close()
    return [each["event"] for each in logs if "do not end" in each["event"] or "does not end" in each["event"]]


async def exhaust(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def endless(request: bytes) -> AsyncIterator[bytes]:
    while True:
        yield bytes(500_000)


@BOTH_LOOPS
def test_a_dialling_that_is_cancelled_as_it_connects_leaves_nothing_behind(
    on_uvloop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is there, and who waits for it is cancelled in the same turn of the loop."""

    async def work() -> None:
        async with node(1) as one, node(2) as two:
            made = Connection.connection_made

            def connection_made(self: Connection, transport: asyncio.BaseTransport) -> None:
                made(self, transport)
                if self._accepted == one.transport._opened:
                    asking.cancel()

            monkeypatch.setattr(Connection, "connection_made", connection_made)
            asking = asyncio.ensure_future(one.transport.request(two.address, b"x", timeout=5))
            await asyncio.wait([asking])
            assert asking.cancelled()
            assert await close(one) == []

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
@pytest.mark.parametrize("end", ["sender", "reader"])
def test_a_stream_that_stands_still_holds_nobody_up(end: str, on_uvloop: bool) -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two, node(3) as three:
            two.seen.pieces = endless
            async with (
                aclosing(one.transport.stream(two.address, b"")) as pieces,
                aclosing(three.transport.stream(two.address, b"")) as others,
            ):
                await anext(pieces)
                await anext(others)
                await asyncio.sleep(0.2)  # until all buffers between them are full
                assert await close(two if end == "sender" else one) == []
                if end == "sender":
                    for each in (pieces, others):
                        with pytest.raises(NetworkError):
                            await exhaust(each)
                else:
                    assert len(await anext(others)) == 500_000, "the other receiver goes on"

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_a_receiver_that_comes_back_in_the_middle_gets_its_stream(on_uvloop: bool) -> None:
    async def work() -> None:
        async with node(2) as two:
            two.seen.pieces = endless
            for _ in range(5):
                async with node(1) as one:
                    pieces = one.transport.stream(two.address, b"")
                    assert len(await anext(pieces)) == 500_000
                    assert await close(one) == []
                    await pieces.aclose()
            assert await close(two) == []

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_peers_that_come_and_go_leave_nothing_to_wait_for(on_uvloop: bool) -> None:
    async def work() -> None:
        async with meeting(1, 2, 3) as nodes:
            one, two, three = nodes
            for turn in range(60):
                one.transport.set_peers({} if turn % 2 else {2: two.address, 3: three.address})
                for _ in range(turn % 7):
                    await asyncio.sleep(0)
                await asyncio.sleep(0.0002 * (turn % 5))
            for each in nodes:
                assert await close(each) == []
                assert await close(each) == [], "closing again is nothing"

    run(work(), on_uvloop=on_uvloop)


def test_work_that_does_not_end_is_left_and_said() -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def stubborn(request: bytes) -> bytes:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return b""

        async with node(1) as one, node(2, limits=QUICK._replace(ending=0.2)) as two:
            two.seen.answer = stubborn
            asking = asyncio.ensure_future(one.transport.request(two.address, b"x", timeout=5))
            await asyncio.sleep(0.1)
            assert await close(two) == ["work for other members does not end"]
            release.set()
            await asyncio.wait([asking])
            assert asking.exception() is not None

    run(work())

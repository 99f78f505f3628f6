"""Requests and streams: answers, errors that travel, deadlines, flow control, and ends that are no ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from structlog.testing import capture_logs
from tests.consensus.transport.meeting import CLUSTER, QUICK, SECRET, node, run, until
from tests.consensus.transport.wire import answering

from scribe_ledger import errors
from scribe_ledger.consensus.transport import Me
from scribe_ledger.consensus.transport.exchange import ANSWER, CHUNK
from scribe_ledger.consensus.transport.failures import decode_failure, encode_failure
from scribe_ledger.consensus.transport.frames import encode_frame
from scribe_ledger.consensus.transport.handshake import WELCOME, Challenge, Proofs
from scribe_ledger.errors import (
    Conflict,
    NetworkError,
    OutcomeUnknown,
    Overloaded,
    ScribeError,
    TooLarge,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.consensus.transport.wire import Wire

pytestmark = pytest.mark.consensus

BOTH_LOOPS = pytest.mark.parametrize("on_uvloop", [False, True], ids=["asyncio", "uvloop"])


async def welcome(end: Wire) -> bytes:
    """The handshake as node 2, and the request that follows."""
    said = await end.frame()
    challenge = Challenge(Me(2, CLUSTER, 2), 1, bytes(32), True).encode()
    end.send(challenge)
    await end.frame()
    end.writer.write(encode_frame(WELCOME, Proofs(SECRET.secret, said, challenge).of_answerer()))
    return await end.frame()


# --- requests --------------------------------------------------------------------------------------------------


def own_errors() -> list[type[ScribeError]]:
    return [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ScribeError)]


@pytest.mark.parametrize("kind", own_errors())
def test_every_error_travels_as_what_it_is(kind: type[ScribeError]) -> None:
    there = decode_failure(encode_failure(kind("what", hint="do this")))
    assert type(there) is kind and (there.message, there.hint) == ("what", "do this")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"kind": 3}'])
def test_an_error_that_cannot_be_read_leaves_the_outcome_open(body: bytes) -> None:
    assert type(decode_failure(body)) is OutcomeUnknown


def test_an_error_of_a_newer_version_leaves_the_outcome_open() -> None:
    error = decode_failure(orjson.dumps({"kind": "novel", "message": "what", "hint": "do this"}))
    assert type(error) is OutcomeUnknown and "what" in error.message and "novel" in error.message
    assert error.hint == "do this"


@BOTH_LOOPS
def test_an_error_of_the_other_node_is_raised_here(on_uvloop: bool) -> None:
    async def work() -> None:
        async def answer(request: bytes) -> bytes:
            raise {b"conflict": Conflict, b"network": NetworkError}[request](request.decode(), hint="do this")

        async with node(1) as one, node(2) as two:
            two.seen.answer = answer
            with pytest.raises(Conflict, match="conflict") as caught:
                await one.transport.request(two.address, b"conflict", timeout=5)
            assert caught.value.hint == "do this"
            with pytest.raises(NetworkError, match="network"):
                await one.transport.request(two.address, b"network", timeout=5)

    run(work(), on_uvloop=on_uvloop)


def test_a_fault_of_the_other_node_is_logged_there_and_says_little_here() -> None:
    async def answer(request: bytes) -> bytes:
        raise KeyError("password")

    async def work() -> None:
        async with node(1) as one, node(2) as two:
            two.seen.answer = answer
            with pytest.raises(ScribeError, match="KeyError") as caught:
                await one.transport.request(two.address, b"x", timeout=5)
            assert caught.value.kind == "internal" and "password" not in str(caught.value)

    with capture_logs() as logs:
        run(work())
    assert [(each["log_level"], each["event"]) for each in logs] == [("error", "a request of another member failed")]


def test_who_cannot_be_reached_was_certainly_not_asked() -> None:
    async def work() -> None:
        async with node(1) as one:
            async with node(2) as two:
                pass
            with pytest.raises(NetworkError, match="cannot be reached"):
                await one.transport.request(two.address, b"x", timeout=5)
            with pytest.raises(NetworkError):
                await one.transport.request("no-such-host.invalid:1", b"x", timeout=5)
            for wrong in ("127.0.0.1", "http://127.0.0.1:1", ""):
                with pytest.raises(errors.ConfigurationError):
                    await one.transport.request(wrong, b"x", timeout=5)

    run(work())


def test_no_answer_in_time_leaves_the_outcome_open_and_ends_the_work_there() -> None:
    async def work() -> None:
        ended = asyncio.Event()

        async def answer(request: bytes) -> bytes:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return b""

        async with node(1) as one, node(2) as two:
            two.seen.answer = answer
            with pytest.raises(OutcomeUnknown):
                await one.transport.request(two.address, b"x", timeout=0.1)
            await asyncio.wait_for(ended.wait(), 5)

    run(work())


def test_a_connection_that_ends_before_the_answer_leaves_the_outcome_open() -> None:
    async def serve(end: Wire) -> None:
        assert (await welcome(end))[1:] == b"x"

    async def work() -> None:
        async with node(1) as one, answering(serve) as port:
            with pytest.raises(OutcomeUnknown):
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5)

    run(work())


def test_no_handshake_in_time_is_certainly_not_asked() -> None:
    async def work() -> None:
        async with node(1, limits=QUICK._replace(handshake=30)) as one, answering(lambda end: end.ended()) as port:
            with pytest.raises(NetworkError, match="in time"):
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=0.1)
        async with node(1, limits=QUICK._replace(handshake=0.1)) as one, answering(lambda end: end.ended()) as port:
            with pytest.raises(NetworkError, match="handshake"):
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=30)

    run(work())


def test_messages_of_any_allowed_size_pass_and_larger_ones_are_refused_at_home() -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            request = bytes(8 << 20)
            assert (await one.transport.request(two.address, request, timeout=20))[0] == b"echo " + request
            with pytest.raises(TooLarge):
                await one.transport.request(two.address, bytes(17 << 20), timeout=5)
            two.seen.answer = lambda _: asyncio.sleep(0, bytes(17 << 20))
            with pytest.raises(TooLarge):
                await one.transport.request(two.address, b"x", timeout=5)

    run(work())


def test_requests_beyond_the_bound_are_told_so() -> None:
    async def work() -> None:
        go = asyncio.Event()

        async def answer(request: bytes) -> bytes:
            await go.wait()
            return request

        async with node(1) as one, node(2, limits=QUICK._replace(requests=2)) as two:
            two.seen.answer = answer
            held = [asyncio.create_task(one.transport.request(two.address, b"x", timeout=20)) for _ in range(2)]
            await until(lambda: len(two.seen.callers) == 2)
            with pytest.raises(Overloaded):
                await one.transport.request(two.address, b"x", timeout=5)
            go.set()
            assert [answer for answer, _ in await asyncio.gather(*held)] == [b"x", b"x"]
            assert (await one.transport.request(two.address, b"y", timeout=5))[0] == b"y"

    run(work())


def test_an_answer_of_another_kind_is_not_taken_for_one() -> None:
    async def serve(end: Wire) -> None:
        await welcome(end)
        end.writer.write(encode_frame(CHUNK, b"x"))
        await end.ended()

    async def work() -> None:
        async with node(1) as one, answering(serve) as port:
            with pytest.raises(OutcomeUnknown):
                await one.transport.request(f"127.0.0.1:{port}", b"x", timeout=5)

    run(work())


# --- streams ---------------------------------------------------------------------------------------------------


def counted(made: list[int], pieces: int, size: int) -> Any:
    async def stream(request: bytes) -> AsyncIterator[bytes]:
        try:
            for each in range(pieces):
                made.append(each)
                yield each.to_bytes(4, "big") + bytes(size)
        finally:
            made.append(-1)

    return stream


async def exhaust(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


@BOTH_LOOPS
def test_a_stream_arrives_whole_and_in_order(on_uvloop: bool) -> None:
    async def work() -> None:
        async with node(1) as one, node(2) as two:
            two.seen.pieces = counted([], 300, 50_000)
            got = [piece async for piece in one.transport.stream(two.address, b"all", expect=2)]
            assert [int.from_bytes(piece[:4], "big") for piece in got] == list(range(300))
            assert {len(piece) for piece in got} == {50_004}
            two.seen.pieces = counted([], 0, 0)
            assert [piece async for piece in one.transport.stream(two.address, b"none")] == []

    run(work(), on_uvloop=on_uvloop)


@BOTH_LOOPS
def test_a_stream_waits_for_its_reader_and_ends_with_it(on_uvloop: bool) -> None:
    async def work() -> None:
        made: list[int] = []
        async with node(1) as one, node(2) as two:
            two.seen.pieces = counted(made, 2000, 100_000)
            async with aclosing(one.transport.stream(two.address, b"")) as pieces:
                assert len(await anext(pieces)) == 100_004
                before = -1
                while before != len(made):
                    before = len(made)
                    await asyncio.sleep(0.1)
                assert before < 400, "what nobody takes is not made: sockets and buffers hold some MB"
            await until(lambda: made[-1] == -1)
            assert len(made) <= before + 1

    run(work(), on_uvloop=on_uvloop)


def test_an_error_within_a_stream_is_raised_after_what_came_before_it() -> None:
    async def work() -> None:
        async def stream(request: bytes) -> AsyncIterator[bytes]:
            yield b"one"
            raise Conflict("no prefix")

        async with node(1) as one, node(2) as two:
            two.seen.pieces = stream
            pieces = one.transport.stream(two.address, b"")
            assert await anext(pieces) == b"one"
            with pytest.raises(Conflict, match="no prefix"):
                await anext(pieces)

    run(work())


@pytest.mark.parametrize("tail", [b"", encode_frame(CHUNK, b"two")[:-1], encode_frame(ANSWER, b"two")])
def test_a_stream_that_breaks_off_is_not_taken_for_its_end(tail: bytes) -> None:
    async def serve(end: Wire) -> None:
        await welcome(end)
        end.writer.write(encode_frame(CHUNK, b"one") + tail)
        await end.writer.drain()
        end.writer.write_eof()
        await end.ended()

    async def work() -> None:
        async with node(1) as one, answering(serve) as port:
            pieces = one.transport.stream(f"127.0.0.1:{port}", b"")
            assert await anext(pieces) == b"one"
            with pytest.raises(Unavailable):
                await anext(pieces)

    run(work())


def test_a_reader_that_takes_nothing_loses_its_stream() -> None:
    async def work() -> None:
        made: list[int] = []
        async with node(1) as one, node(2, limits=QUICK._replace(stalled_stream=0.1)) as two:
            two.seen.pieces = counted(made, 2000, 100_000)
            async with aclosing(one.transport.stream(two.address, b"")) as pieces:
                await anext(pieces)
                await until(lambda: made[-1] == -1)
                with pytest.raises(NetworkError):
                    await exhaust(pieces)

    run(work())


def test_a_sender_that_gives_nothing_loses_its_reader() -> None:
    async def work() -> None:
        ended = asyncio.Event()

        async def stream(request: bytes) -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await asyncio.sleep(60)
            finally:
                ended.set()

        async with node(1, limits=QUICK._replace(silent_stream=0.1)) as one, node(2) as two:
            two.seen.pieces = stream
            pieces = one.transport.stream(two.address, b"")
            assert await anext(pieces) == b"one"
            with pytest.raises(NetworkError, match="sends nothing more"):
                await anext(pieces)
            async with asyncio.timeout(5):
                await ended.wait()

    run(work())


def test_a_piece_that_comes_slowly_is_waited_for() -> None:
    piece = encode_frame(CHUNK, b"one")
    limits = QUICK._replace(silent_stream=1.0)
    pause = 1.2 * limits.silent_stream / len(piece)

    async def serve(end: Wire) -> None:
        await welcome(end)
        for byte in piece:  # far from silent, and as a whole slower than silence may last
            end.writer.write(bytes([byte]))
            await asyncio.sleep(pause)
        await end.ended()

    async def work() -> None:
        async with node(1, limits=limits) as one, answering(serve) as port:
            pieces = one.transport.stream(f"127.0.0.1:{port}", b"")
            assert await anext(pieces) == b"one"
            with pytest.raises(NetworkError, match="sends nothing more"):
                await anext(pieces)

    run(work())


def test_streams_are_bounded_and_end_when_the_node_stops() -> None:
    async def work() -> None:
        made: list[int] = []
        async with node(1) as one:
            async with node(2, limits=QUICK._replace(streams=1)) as two:
                two.seen.pieces = counted(made, 2000, 100_000)
                first = one.transport.stream(two.address, b"")
                await anext(first)
                with pytest.raises(Overloaded):
                    await anext(one.transport.stream(two.address, b""))
                assert (await one.transport.request(two.address, b"x", timeout=5))[0] == b"echo x"
            assert made[-1] == -1
            with pytest.raises(NetworkError):
                await exhaust(first)

    run(work())

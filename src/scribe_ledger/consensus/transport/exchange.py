"""Requests and streams, both ends: one question a connection, then one answer or a stream of pieces.

A stream ends with a frame that says so: a connection that merely ends is an error for who reads it. Both ends wait for
the other by TCP's own flow control. Whoever closes the connection ends the work for it at the other end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.transport import handshake
from scribe_ledger.consensus.transport.contract import Purpose, Reason, Refused
from scribe_ledger.consensus.transport.failures import decode_failure, encode_failure
from scribe_ledger.consensus.transport.frames import MAX_FRAME_BYTES, encode_frame
from scribe_ledger.errors import NetworkError, Overloaded, ScribeError, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scribe_ledger.consensus.transport.connection import Connection
    from scribe_ledger.consensus.transport.contract import Caller, Handler, Limits
    from scribe_ledger.consensus.transport.tasks import Tasks

REQUEST, ANSWER, CHUNK, END, FAILURE = 0xE0, 0xE1, 0xE2, 0xE3, 0xE4
log = structlog.get_logger("scribe.raft")


# --- the one who asks ------------------------------------------------------------------------------------------


def ask(connection: Connection, request: bytes) -> None:
    connection.write(_frame(REQUEST, request))


async def read_answer(connection: Connection) -> bytes | ScribeError:
    """What the other end gives, or the error that it had. What is raised is the connection's."""
    frame = await _read(connection)
    if frame[0] == FAILURE:
        return decode_failure(frame[1:])
    return bytes(_of_kind(frame, ANSWER))


async def read_pieces(connection: Connection, silence: float) -> AsyncGenerator[bytes, None]:
    """A piece may come slowly; where not a byte comes for so many seconds, there is nobody any more."""
    while (frame := await _read_within(connection, silence))[0] != END:
        if frame[0] == FAILURE:
            raise decode_failure(frame[1:])
        yield bytes(_of_kind(frame, CHUNK))


async def _read_within(connection: Connection, silence: float) -> memoryview:
    clock = asyncio.get_running_loop().time
    since, reading = clock(), asyncio.ensure_future(_read(connection))
    try:
        while not reading.done():
            quiet = clock() - max(since, connection.heard_at)
            if quiet >= silence:
                raise NetworkError(f"{connection.host} sends nothing more")
            await asyncio.wait({reading}, timeout=silence - quiet)
        return reading.result()
    finally:
        reading.cancel()


async def _read(connection: Connection) -> memoryview:
    frame = await connection.read()
    if frame[0] == handshake.REFUSED:
        raise handshake.decode_refusal(frame, proven=True)
    return frame


def _of_kind(frame: memoryview, kind: int) -> memoryview:
    if frame[0] != kind:
        raise Refused("a frame that has no place here", reason=Reason.GARBAGE)
    return frame[1:]


# --- the one who answers ---------------------------------------------------------------------------------------


class Answering:
    """Takes connections that are for requests and streams, so many at once."""

    def __init__(self, handler: Handler, limits: Limits, tasks: Tasks) -> None:
        self._handler = handler
        self._limits = limits
        self._tasks = tasks
        self._busy = {Purpose.REQUEST: 0, Purpose.STREAM: 0}

    def serve(self, connection: Connection, caller: Caller) -> None:
        task = self._tasks.start(self._serve(connection, caller))
        connection.closed.add_done_callback(lambda _: task.cancel())

    async def _serve(self, connection: Connection, caller: Caller) -> None:
        purpose = caller.purpose
        self._busy[purpose] += 1
        try:
            await self._answer(connection, caller)
        except ScribeError as error:
            connection.write(encode_frame(FAILURE, encode_failure(error)))
        except Exception as error:
            log.exception("a request of another member failed", address=caller.address)
            failure = ScribeError(f"the other node failed: {type(error).__name__}", hint="see its log")
            connection.write(encode_frame(FAILURE, encode_failure(failure)))
        finally:
            self._busy[purpose] -= 1
            connection.close()

    async def _answer(self, connection: Connection, caller: Caller) -> None:
        limit = self._limits.requests if caller.purpose is Purpose.REQUEST else self._limits.streams
        request = await self._request(connection)
        if self._busy[caller.purpose] > limit:
            raise Overloaded("too many requests of members at once")
        if caller.purpose is Purpose.REQUEST:
            connection.write(_frame(ANSWER, await self._handler.on_request(caller, request)))
        else:
            await self._stream(connection, self._handler.on_stream(caller, request))

    async def _request(self, connection: Connection) -> bytes:
        try:
            async with asyncio.timeout(self._limits.handshake):
                return bytes(_of_kind(await _read(connection), REQUEST))
        except TimeoutError as error:
            raise NetworkError("no request came") from error
        except Refused as error:
            connection.refuse(error)
            raise

    async def _stream(self, connection: Connection, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                connection.write(_frame(CHUNK, piece))
                await self._drain(connection)
            connection.write(encode_frame(END))
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    async def _drain(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self._limits.stalled_stream):
                await connection.drain()
        except TimeoutError as error:
            connection.fail(error)
            raise NetworkError("the reader of a stream takes nothing") from error


def _frame(kind: int, body: bytes) -> bytes:
    if len(body) >= MAX_FRAME_BYTES:
        raise TooLarge(f"a message of {len(body)} bytes between members; the limit is {MAX_FRAME_BYTES}")
    return encode_frame(kind, body)

"""``Connection``: one socket that carries frames, whatever it is for.

Frames go to an inbox that a coroutine reads (``read``), or, after ``deliver_to``, straight to a function: the hot path,
on which nothing is scheduled for a frame. An inbox that nobody empties stops the reading of the socket. ``error`` says
how it ended, and ``closed`` is set when the socket is gone.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from scribe_ledger.config.addresses import is_loopback
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.consensus.transport.frames import (
    MAX_FRAME_BYTES,
    MAX_GREETING_BYTES,
    FrameReader,
    encode_frame,
)
from scribe_ledger.consensus.transport.handshake import REFUSED, encode_refusal
from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

INBOX_BYTES = 1 << 20
"""Beyond, the socket is not read until somebody takes something out."""
WRITE_BYTES = 1 << 20
"""Beyond, ``drain`` waits."""
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}


class Connection(asyncio.Protocol):
    """Both ends use it. ``accepted`` is called once the socket is there."""

    def __init__(self, accepted: Callable[[Connection], object] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.error: BaseException | None = None
        self.reads = 0
        """How often something arrived: whether it changed tells the living from the dead."""
        self.heard_at = loop.time()
        self.host = ""
        self._clock = loop.time
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None
        self._trusted = False
        self._frames = FrameReader(MAX_GREETING_BYTES)
        self._early: bytearray | None = None
        self._deliver: Callable[[memoryview], object] = self._keep
        self._inbox: deque[memoryview] = deque()
        self._inbox_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._written = 0
        self._seen = (0, 0, 0)
        self._silent_beats = 0

    # --- what the event loop calls -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(high=WRITE_BYTES)
        peer = transport.get_extra_info("peername")
        self.host = str(peer[0]) if peer else ""
        _set_options(transport.get_extra_info("socket"))
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        self.heard_at = self._clock()
        if self._early is not None:
            self._early += data
            self.transport.pause_reading()
            return
        try:
            for frame in self._frames.feed(data):
                if self.error is not None:
                    return
                self._deliver(frame)
        except Refused as error:
            (self.refuse if self._trusted else self.fail)(error)

    def eof_received(self) -> None:
        if self._frames.inside:
            self.fail(Refused("the connection ended within a frame", reason=Reason.HALF))

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = self.error or exc
        if not self.closed.done():
            self.closed.set_result(None)
        for waiter in (self._reader, self._writable):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- what its owner calls ----------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "there is no socket yet"
        return self._transport

    @property
    def closing(self) -> bool:
        return self.closed.done() or self.error is not None or self.transport.is_closing()

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host.partition("%")[0])

    @property
    def encrypted(self) -> bool:
        return self.transport.get_extra_info("sslcontext") is not None

    @property
    def queued_bytes(self) -> int:
        return 0 if self.closing else self.transport.get_write_buffer_size()

    def hold(self) -> None:
        """What is there already belongs to the TLS layer, for which ``start_tls`` keeps it."""
        self._early = bytearray()  # uvloop reads once, though it is told to pause here
        self.transport.pause_reading()

    async def start_tls(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        """Before the first frame. ``Refused`` where the certificate of the other end, or what it sent, is not good."""
        loop = asyncio.get_running_loop()
        try:
            starting = asyncio.ensure_future(loop.start_tls(self.transport, self, context, server_side=server_side))
            # Behind what ``start_tls`` schedules when it begins, and before anything more is read.
            loop.call_soon(loop.call_soon, self._hand_over_early)
            transport = await starting
        except BaseException as error:
            self.abandon()  # the loop told the TLS layer alone
            if isinstance(error, OSError):
                raise tls_refusal(error) from error
            raise
        if transport is None:
            self.connection_lost(None)
            raise self._ended()
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BYTES)

    def _hand_over_early(self) -> None:
        early, self._early = self._early, None
        protocol = self.transport.get_protocol()
        if early and protocol is not self and not self.closing:
            tls = cast("asyncio.BufferedProtocol", protocol)  # uvloop's is one in all but name
            memoryview(tls.get_buffer(len(early)))[: len(early)] = early
            tls.buffer_updated(len(early))

    def trust(self) -> None:
        """The other end has proven itself: it may send frames of full size."""
        self._trusted = True
        self._frames.limit = MAX_FRAME_BYTES

    def deliver_to(self, deliver: Callable[[memoryview], object]) -> None:
        """From now on every frame goes there, those first that wait already."""
        self._deliver = deliver
        try:
            while self._inbox and not self.closing:
                deliver(self._inbox.popleft())
        except Refused as error:
            self.refuse(error)
        if not self.closing:
            self.transport.resume_reading()

    async def read(self) -> memoryview:
        """The next frame. Raises the error that ended the connection, or ``NetworkError`` where it just ended."""
        while not self._inbox:
            if self.closed.done() or self.error is not None:
                raise self.error if isinstance(self.error, Refused) else self._ended()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        frame = self._inbox.popleft()
        self._inbox_bytes -= len(frame)
        if self._inbox_bytes < INBOX_BYTES and not self.closing:
            self.transport.resume_reading()
        return frame

    def write(self, frames: bytes) -> None:
        """Whole frames. Nothing happens where the connection is gone: its reader learns of that."""
        if not self.closing:
            self._written += len(frames)
            self.transport.write(frames)

    async def drain(self) -> None:
        """Until the other end has taken most of what was written. ``NetworkError`` where it never will."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self.closing:
            raise self._ended()

    def beat(self) -> int:
        """How many beats in a row, this one included, nothing was heard, nor taken of what had been waiting."""
        queued = self.queued_bytes
        reads, taken, waited = self._seen
        self._seen = (self.reads, self._written - queued, queued)
        # What the kernel takes while nothing waits says nothing about the other end.
        alive = self.reads != reads or (waited > 0 and self._seen[1] > taken)
        self._silent_beats = 0 if alive else self._silent_beats + 1
        return self._silent_beats

    def refuse(self, error: Refused) -> None:
        """Says why, and closes."""
        if not self.closing:
            self.transport.write(encode_frame(REFUSED, encode_refusal(error)))
        self._end(error)
        self.close()

    def fail(self, error: BaseException) -> None:
        """Closes at once, without a word."""
        self._end(error)
        self.transport.abort()

    def close(self) -> None:
        """Sends what is written, and closes."""
        if not self.closed.done() and not self.transport.is_closing():
            self.transport.close()  # after a second time the TLS of asyncio can no longer be aborted

    def abandon(self) -> None:
        """It is over, whether or not the event loop says so."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def _end(self, error: BaseException) -> None:
        self.error = self.error or error
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _keep(self, frame: memoryview) -> None:
        self._inbox.append(frame)
        self._inbox_bytes += len(frame)
        if self._inbox_bytes >= INBOX_BYTES:
            self.transport.pause_reading()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _ended(self) -> NetworkError:
        error = NetworkError(f"the connection with {self.host} has ended")
        error.__cause__ = self.error
        return error


def tls_refusal(error: object) -> Refused:
    return Refused(
        f"TLS with the other node failed: {str(error) or 'it hung up'}",
        hint="check cluster.tls_cert, tls_key and tls_ca on both",
        reason=Reason.TLS,
    )


def _set_options(sock: Any) -> None:
    """Small frames leave at once, and a machine that vanished is noticed below us too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

"""``Peer``: the connection to one member, dialled again whenever it ends. What is sent to a peer goes out here only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.consensus.transport import handshake
from scribe_ledger.consensus.transport.contract import Purpose, Reason, Refusal, Refused
from scribe_ledger.consensus.transport.frames import encode_frame, encode_frames
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from scribe_ledger.consensus.transport.connection import Connection
    from scribe_ledger.consensus.transport.contract import Caller, Handler, Limits
    from scribe_ledger.consensus.transport.dialling import Dialler
    from scribe_ledger.consensus.transport.refusals import Refusals

OWNERS_KINDS = range(0xE0)
"""First bytes of frames that are the owner's."""
PING, PONG = 0xE8, 0xE9


class Peer:
    """``run`` is its life; its owner cancels it."""

    def __init__(
        self,
        raft_id: int,
        address: str,
        dialler: Dialler,
        handler: Handler,
        limits: Limits,
        refusals: Refusals,
        random: Random,
    ) -> None:
        self.raft_id = raft_id
        self.address = address
        self.connection: Connection | None = None
        self.run_number = 0
        """Of the process at the other end of the connection."""
        self.refusal: Refusal | None = None
        self.task: asyncio.Task[None] | None = None
        self._dialler = dialler
        self._handler = handler
        self._limits = limits
        self._refusals = refusals
        self._random = random
        self._hurry = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self.connection is not None and not self.connection.closing

    @property
    def queued_bytes(self) -> int:
        return self.connection.queued_bytes if self.connection is not None else 0

    def send(self, frames: Sequence[bytes]) -> bool:
        connection = self.connection
        if connection is None or connection.closing or connection.queued_bytes >= self._limits.queued_bytes:
            return False
        connection.write(encode_frames(frames))
        return True

    def hurry(self) -> None:
        """It is there, as something else has shown: a pause before the next dialling ends."""
        self._hurry.set()

    def beat(self) -> None:
        """Asks for a sign of life, and gives the connection up after too many that brought none."""
        if self.connection is None:
            return
        if self.connection.beat() > self._limits.silent_pings:
            self.connection.fail(Refused("the peer is silent", reason=Reason.SILENT))
        else:
            self.connection.write(encode_frame(PING))

    async def run(self) -> None:
        pause = self._limits.redial_first
        while True:
            self._hurry.clear()
            if await self._once() > self._limits.redial_longest:
                pause = self._limits.redial_first
            await self._rest(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, self._limits.redial_longest)

    async def _once(self) -> float:
        """One connection, from dialling to its end: how many seconds it stood."""
        try:
            connection, other = await self._dialler.dial(self.address, expect=self.raft_id, purpose=Purpose.PEER)
        except ScribeError as error:
            self._note(error)
            return 0.0
        since = connection.heard_at
        self.refusal, self.connection, self.run_number = None, connection, other.run
        connection.deliver_to(self._on_frame)
        self._handler.on_connected(self.raft_id)
        try:
            await asyncio.shield(connection.closed)
            self._note(connection.error)
        finally:
            self.connection = None
            connection.close()
        self._handler.on_lost(self.raft_id)
        return asyncio.get_running_loop().time() - since

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _note(self, error: BaseException | None) -> None:
        reason = error.reason if isinstance(error, Refused) else "unreachable"
        if isinstance(error, Refused) and error.reason != Reason.SILENT:
            self.refusal = Refusal(error.reason, error.message, error.proven)
        if error is not None:
            self._refusals.tell("a peer is not connected", reason, self.address, error)

    def _on_frame(self, frame: memoryview) -> None:
        if frame[0] == handshake.REFUSED:
            raise handshake.decode_refusal(frame, proven=True)
        if frame[0] != PONG:
            raise Refused("a frame that has no place here", reason=Reason.GARBAGE)


class Incoming:
    """The other direction: a connection that a peer has dialled, on which its frames come."""

    def __init__(self, connection: Connection, caller: Caller, handler: Handler, limits: Limits) -> None:
        self.connection = connection
        self.caller = caller
        self._handler = handler
        self._limits = limits

    def begin(self) -> None:
        self.connection.deliver_to(self._on_frame)

    def beat(self) -> None:
        if self.connection.beat() > self._limits.silent_pings:
            self.connection.fail(Refused("the peer is silent", reason=Reason.SILENT))

    def _on_frame(self, frame: memoryview) -> None:
        if frame[0] in OWNERS_KINDS:
            try:
                self._handler.on_frame(self.caller.raft_id, frame)
            except ValueError as error:
                raise Refused(f"a frame that cannot be read: {error}", reason=Reason.MALFORMED) from error
        elif frame[0] == PING:
            self.connection.write(encode_frame(PONG))
        elif frame[0] == handshake.REFUSED:
            raise handshake.decode_refusal(frame, proven=True)
        else:
            raise Refused("a frame that has no place here", reason=Reason.GARBAGE)

"""``Transport``: everything a node says to, and hears from, the other nodes of its cluster.

It owns sockets and nothing else. Frames to peers are sent or dropped, never kept for a connection that is not there:
Raft says things again. A peer's frames arrive in order within one connection. Nothing here blocks the event loop.
What a handler raises against its contract goes to the event loop's exception handler.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.transport.contract import Limits, Purpose, Reason, Refusal, Refused
from scribe_ledger.consensus.transport.dialling import Dialler
from scribe_ledger.consensus.transport.exchange import Answering, ask, read_answer, read_pieces
from scribe_ledger.consensus.transport.handshake import two_run
from scribe_ledger.consensus.transport.listening import Listener
from scribe_ledger.consensus.transport.peers import Incoming, Peer
from scribe_ledger.consensus.transport.refusals import Refusals
from scribe_ledger.consensus.transport.tasks import Tasks
from scribe_ledger.errors import NetworkError, OutcomeUnknown, ScribeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from scribe_ledger.consensus.transport.auth import Auth
    from scribe_ledger.consensus.transport.connection import Connection
    from scribe_ledger.consensus.transport.contract import Caller, Handler, Me

log = structlog.get_logger("scribe.raft")


class Transport:
    """Made and used within one running event loop."""

    def __init__(
        self,
        me: Callable[[], Me],
        auth: Auth,
        handler: Handler,
        *,
        limits: Limits | None = None,
        insecure: bool = False,
        random: Random | None = None,
    ) -> None:
        run = secrets.randbits(64) | 1
        self._me = me = _running(me, run)
        self._auth = auth
        self._handler = handler
        self._limits = limits or Limits()
        self._random = random or Random()
        self._clock = asyncio.get_running_loop().time
        self._refusals = Refusals(self._clock)
        self._tasks = Tasks()
        self._connections: set[Connection] = set()
        self._peers: dict[int, Peer] = {}
        self._incoming: dict[int, Incoming] = {}
        self._heard_at: dict[int, float] = {}
        self._closed = False
        self._pulse: asyncio.Task[None] | None = None
        self._answering = Answering(handler, self._limits, self._tasks)
        self._dialler = Dialler(me, auth, self._limits, insecure=insecure, opened=self._opened)
        self._listener = Listener(
            me,
            auth,
            self._limits,
            self._refusals,
            self._tasks,
            insecure=insecure,
            opened=self._opened,
            admits=handler.admits,
            check=self._check_alone,
            serve=self._serve,
        )

    # --- life --------------------------------------------------------------------------------------------------

    async def listen(self, host: str, port: int) -> int:
        """The port that it listens on; 0 picks a free one."""
        self._beat()
        return await self._listener.open(host, port)

    async def close(self) -> None:
        """Ends every connection and all work for others. No method of the handler is called after it. Idempotent.

        What does not end in time is left, and said: a node that never stops would be worse.
        """
        self._closed = True
        self._peers.clear()
        self._listener.close()
        if left := await self._tasks.cancel(self._limits.ending):
            log.error("work for other members does not end", tasks=left)
        for connection in list(self._connections):
            connection.fail(ConnectionAbortedError("this node is stopping"))
        try:
            async with asyncio.timeout(self._limits.ending):
                while self._connections:
                    await asyncio.wait([connection.closed for connection in self._connections])
                    await asyncio.sleep(0)
                await self._listener.wait_closed()
        except TimeoutError:
            log.exception("connections with other members do not end", connections=len(self._connections))

    # --- peers -------------------------------------------------------------------------------------------------

    def set_peers(self, addresses: Mapping[int, str]) -> None:
        """Who is dialled, and where. Others are dropped at once, and who came in is asked for again by ``admits``."""
        self._beat()
        for raft_id, peer in list(self._peers.items()):
            if addresses.get(raft_id) != peer.address:
                self._drop(peer)
        mine = self._me().raft_id
        for raft_id, address in addresses.items():
            if raft_id != mine and raft_id not in self._peers:
                self._dial(raft_id, address)
        for incoming in list(self._incoming.values()):
            if refusal := self._handler.admits(incoming.caller):
                incoming.connection.refuse(Refused(refusal, reason=Reason.UNADMITTED, proven=True))

    def send(self, raft_id: int, frames: Sequence[bytes]) -> bool:
        """False: dropped, because there is no connection or too much waits for it. First bytes are below 0xE0."""
        peer = self._peers.get(raft_id)
        return peer is not None and peer.send(frames)

    def connected(self, raft_id: int) -> bool:
        """Whether what is sent to this peer has a way."""
        peer = self._peers.get(raft_id)
        return peer is not None and peer.connected

    def refusal(self, raft_id: int) -> Refusal | None:
        """What this peer said when it was dialled last and would not speak with us."""
        peer = self._peers.get(raft_id)
        return peer.refusal if peer is not None else None

    def last_heard(self, raft_id: int) -> float:
        """Seconds since this peer gave a sign of life; infinite if it never did."""
        self._note_heard()
        return self._clock() - self._heard_at.get(raft_id, float("-inf"))

    def queued_bytes(self, raft_id: int) -> int:
        """That wait to be sent to this peer."""
        peer = self._peers.get(raft_id)
        return peer.queued_bytes if peer is not None else 0

    @property
    def refused(self) -> Mapping[str, int]:
        """How many connections were refused here, by reason."""
        return self._refusals.counts

    # --- questions ---------------------------------------------------------------------------------------------

    async def request(
        self,
        address: str,
        request: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - of the whole exchange, whose steps have shorter ones
        expect: int = 0,
    ) -> tuple[bytes, Caller]:
        """The answer, and who gave it. Errors of the other end are raised as what they were there.

        ``NetworkError``: it never got the request, and if it is ``Refused``, somebody is there; ``OutcomeUnknown``: it
        may have.
        """
        connected = asked = False
        try:
            async with asyncio.timeout(timeout):
                connection = await self._dialler.connect(address)
                connected = True
                other = await self._dialler.meet(connection, address, expect=expect, purpose=Purpose.REQUEST)
                try:
                    ask(connection, request)
                    asked = True
                    answer = await read_answer(connection)
                finally:
                    connection.close()
        except (TimeoutError, NetworkError) as error:
            if asked:
                raise OutcomeUnknown(f"{address} was asked and gave no answer") from error
            if isinstance(error, NetworkError):
                raise
            said = f"{address} could not be asked in time"
            raise (Refused(said, reason=Reason.TIMEOUT) if connected else NetworkError(said)) from error
        if isinstance(answer, ScribeError):
            raise answer
        return answer, other

    async def stream(self, address: str, request: bytes, *, expect: int = 0) -> AsyncGenerator[bytes, None]:
        """The pieces of an answer. The other end goes on only as far as they are taken; close it to stop early."""
        connection, _ = await self._dialler.dial(address, expect=expect, purpose=Purpose.STREAM)
        try:
            ask(connection, request)
            async with aclosing(read_pieces(connection, self._limits.silent_stream)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            connection.close()

    # --- within ------------------------------------------------------------------------------------------------

    def _opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._closed:
            connection.fail(ConnectionAbortedError("this node is stopping"))
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))

    def _serve(self, connection: Connection, caller: Caller) -> None:
        connection.closed.add_done_callback(lambda _: self._count(connection))
        if caller.purpose is not Purpose.PEER:
            self._answering.serve(connection, caller)
            return
        incoming = Incoming(connection, caller, self._handler, self._limits)
        if older := self._incoming.get(caller.raft_id):
            older.connection.fail(ConnectionAbortedError("the peer has come again"))
        self._incoming[caller.raft_id] = incoming
        connection.closed.add_done_callback(lambda _: self._gone(incoming))
        incoming.begin()
        if peer := self._peers.get(caller.raft_id):
            peer.hurry()

    def _check_alone(self, caller: Caller) -> None:
        """Raises while another process is heard under that Raft id."""
        if self._runs_twice(caller):
            raise two_run(caller)

    def _runs_twice(self, caller: Caller) -> bool:
        """Whoever answers where the member is dialled is the member; else who came first and lives."""
        peer, incoming = self._peers.get(caller.raft_id), self._incoming.get(caller.raft_id)
        if peer is not None and peer.run_number and self._is_alive(peer.connection):
            known = peer.run_number
        elif incoming is not None and self._is_alive(incoming.connection):
            known = incoming.caller.run
        else:
            return False
        return bool(known and caller.run) and known != caller.run

    def _is_alive(self, connection: Connection | None) -> bool:
        if connection is None or connection.closing:
            return False
        return self._clock() - connection.heard_at < self._limits.alive_pings * self._limits.ping

    def _count(self, connection: Connection) -> None:
        if isinstance(connection.error, Refused):
            self._refusals.note(connection.error, connection.host)

    def _gone(self, incoming: Incoming) -> None:
        connection, raft_id = incoming.connection, incoming.caller.raft_id
        if self._incoming.get(raft_id) is incoming:
            self._heard(raft_id, connection)
            del self._incoming[raft_id]

    def _dial(self, raft_id: int, address: str) -> None:
        peer = Peer(raft_id, address, self._dialler, self._handler, self._limits, self._refusals, self._random)
        self._peers[raft_id] = peer
        peer.task = self._tasks.start(peer.run())

    def _drop(self, peer: Peer) -> None:
        self._note_heard()
        del self._peers[peer.raft_id]
        if peer.connection is not None:
            peer.connection.close()
        if peer.task is not None:
            peer.task.cancel()

    def _note_heard(self) -> None:
        for raft_id, incoming in self._incoming.items():
            self._heard(raft_id, incoming.connection)
        for raft_id, peer in self._peers.items():
            if peer.connection is not None:
                self._heard(raft_id, peer.connection)

    def _heard(self, raft_id: int, connection: Connection) -> None:
        self._heard_at[raft_id] = max(connection.heard_at, self._heard_at.get(raft_id, 0.0))

    def _beat(self) -> None:
        if self._pulse is None:
            self._pulse = self._tasks.start(self._run_pulse())

    async def _run_pulse(self) -> None:
        while True:
            await asyncio.sleep(self._limits.ping)
            self._note_heard()
            self._heard_at = {key: self._heard_at[key] for key in self._heard_at.keys() & self._known()}
            for peer in self._peers.values():
                peer.beat()
            for incoming in list(self._incoming.values()):
                if self._runs_twice(incoming.caller):
                    incoming.connection.refuse(two_run(incoming.caller))
                incoming.beat()

    def _known(self) -> set[int]:
        return {*self._peers, *self._incoming}


def _running(me: Callable[[], Me], run: int) -> Callable[[], Me]:
    return lambda: me()._replace(run=run)

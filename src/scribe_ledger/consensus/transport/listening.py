"""``Listener``: the Raft port. Strangers are bounded, given a deadline, and let in or refused with a reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.config.addresses import is_loopback
from scribe_ledger.consensus.transport.connection import Connection
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.consensus.transport.greeting import answer, check_shielded
from scribe_ledger.consensus.transport.refusals import Gate
from scribe_ledger.errors import ConfigurationError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.transport.auth import Auth
    from scribe_ledger.consensus.transport.contract import Caller, Limits, Me
    from scribe_ledger.consensus.transport.refusals import Refusals
    from scribe_ledger.consensus.transport.tasks import Tasks


class Listener:
    """Gives ``serve`` every connection whose other end has proven itself, with who that is."""

    def __init__(
        self,
        me: Callable[[], Me],
        auth: Auth,
        limits: Limits,
        refusals: Refusals,
        tasks: Tasks,
        *,
        insecure: bool,
        opened: Callable[[Connection], object],
        admits: Callable[[Caller], str],
        check: Callable[[Caller], object],
        serve: Callable[[Connection, Caller], object],
    ) -> None:
        self._me = me
        self._auth = auth
        self._limits = limits
        self._refusals = refusals
        self._tasks = tasks
        self._insecure = insecure
        self._opened = opened
        self._admits = admits
        self._check = check
        self._serve = serve
        self._tls = auth.server_context()
        self._gate = Gate(limits)
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        if not (self._auth.proves or self._insecure or is_loopback(host)):
            raise ConfigurationError(
                f"members prove nothing to each other, so the Raft port cannot be opened on {host}",
                hint="set cluster.secret, or the three cluster.tls_* files, on all members",
            )
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Connection(self._accept), host, port)
        except OSError as error:
            raise NetworkError(f"the Raft port {host}:{port} cannot be opened: {error}") from error
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Nobody comes in any more. Those inside stay until their connections are closed."""
        if self._server is not None:
            self._server.close()

    async def wait_closed(self) -> None:
        """Comes back when they are."""
        if self._server is not None:
            await self._server.wait_closed()

    def _accept(self, connection: Connection) -> None:
        self._opened(connection)
        try:
            self._gate.enter(connection.host)
        except Refused as error:
            self._turn_away(connection, error, speaks=self._tls is None)
            return
        if self._tls is not None:
            connection.hold()
        self._tasks.start(self._welcome(connection))

    async def _welcome(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self._limits.handshake):
                caller = await self._shake_hands(connection)
        except Refused as error:
            self._turn_away(connection, error, speaks=error.reason not in (Reason.GARBAGE, Reason.TLS))
        except TimeoutError:
            self._turn_away(connection, Refused("no handshake in time", reason=Reason.TIMEOUT), speaks=False)
        except NetworkError:
            half = Refused("the connection ended within the handshake", reason=Reason.HALF)
            self._turn_away(connection, half, speaks=False)
        else:
            self._serve(connection, caller)
        finally:
            self._gate.leave(connection.host)

    async def _shake_hands(self, connection: Connection) -> Caller:
        check_shielded(connection, self._auth, insecure=self._insecure)
        if self._tls is not None:
            await connection.start_tls(self._tls, server_side=True)
        return await answer(connection, self._me(), self._auth, self._admits, self._check)

    def _turn_away(self, connection: Connection, error: Refused, *, speaks: bool) -> None:
        if error.reason != Reason.OURSELVES:
            self._refusals.note(error, connection.host)
        if error.proven:
            connection.close()  # the last frame of the handshake has said it
        elif speaks:
            connection.refuse(error)
        else:
            connection.fail(error)

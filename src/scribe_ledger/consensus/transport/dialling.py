"""``Dialler``: from an address to a connection whose other end has proven itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.config.addresses import split_address
from scribe_ledger.config.problems import UnsuitableError
from scribe_ledger.consensus.transport.connection import Connection, tls_refusal
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.consensus.transport.greeting import check_shielded, greet
from scribe_ledger.errors import ConfigurationError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.transport.auth import Auth
    from scribe_ledger.consensus.transport.contract import Caller, Limits, Me, Purpose

_PERHAPS_TLS = "perhaps it wants TLS, and this node has none: cluster.tls_cert, tls_key, tls_ca"


class Dialler:
    """Names are resolved anew each time: an address may have moved."""

    def __init__(
        self,
        me: Callable[[], Me],
        auth: Auth,
        limits: Limits,
        *,
        insecure: bool,
        opened: Callable[[Connection], object],
    ) -> None:
        self._me = me
        self._auth = auth
        self._limits = limits
        self._insecure = insecure
        self._opened = opened
        self._tls = auth.client_context()

    async def dial(self, address: str, *, expect: int, purpose: Purpose) -> tuple[Connection, Caller]:
        """``Refused`` with a reason: somebody is there. Another ``NetworkError``: nobody is."""
        connection = await self.connect(address)
        return connection, await self.meet(connection, address, expect=expect, purpose=purpose)

    async def meet(self, connection: Connection, address: str, *, expect: int, purpose: Purpose) -> Caller:
        """Who is at the other end of what ``connect`` gave; else ``Refused``, and it is closed."""
        try:
            async with asyncio.timeout(self._limits.handshake):
                return await self._greet(connection, expect, purpose)
        except TimeoutError as error:
            connection.fail(error)
            raise Refused(f"{address} does not finish the handshake", reason=Reason.TIMEOUT) from error
        except Refused as error:
            connection.refuse(error)  # so that the other end can tell too
            raise
        except NetworkError as error:
            connection.fail(error)
            hint = "" if self._tls is not None or connection.reads else _PERHAPS_TLS
            raise Refused(f"{address} ends the connection in the handshake", hint=hint, reason=Reason.HALF) from error
        except BaseException as error:
            connection.fail(error)
            raise

    async def connect(self, address: str) -> Connection:
        """A socket on which nothing is said yet. ``NetworkError`` where nobody answers."""
        host, port = _parts(address)
        loop = asyncio.get_running_loop()
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self._opened))
            return made[-1]

        try:
            async with asyncio.timeout(self._limits.connect):
                _, connection = await loop.create_connection(make, host, port)
        except BaseException as error:
            for each in made:
                each.abandon()  # uvloop tells nobody of a socket that it closes because it is not waited for any more
            if isinstance(error, (OSError, TimeoutError)):
                raise NetworkError(f"{address} cannot be reached: {error or 'no answer'}") from error
            raise
        return connection

    async def _greet(self, connection: Connection, expect: int, purpose: Purpose) -> Caller:
        check_shielded(connection, self._auth, insecure=self._insecure)
        if self._tls is not None:
            await connection.start_tls(self._tls, server_side=False)
        try:
            return await greet(connection, self._me(), self._auth, expect=expect, purpose=purpose)
        except Refused:
            raise
        except NetworkError as error:
            if self._tls is not None and connection.reads == 0:
                # In TLS 1.3 the other end judges our certificate when we are done, and asyncio sends no alert.
                raise tls_refusal("it ended the connection, and may not accept this node's certificate") from error
            raise


def _parts(address: str) -> tuple[str, int]:
    try:
        host, port = split_address(address)
    except UnsuitableError as error:
        raise ConfigurationError(f"the address {address!r} {error}") from error
    if port is None:
        raise ConfigurationError(f"the address {address!r} has no port")
    return host, port

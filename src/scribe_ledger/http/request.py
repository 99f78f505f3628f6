"""One request as handlers see it, and what every handler reads from it in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from starlette.requests import ClientDisconnect

from scribe_ledger.errors import TooLarge
from scribe_ledger.http.json_bodies import FEW_PARTS, check_parts, may_have_more, read_object
from scribe_ledger.http.parameters import Query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope

    from scribe_ledger.http.routing import Route
    from scribe_ledger.http.service import Service

JSON_ENVELOPE_BYTES = 64 << 10
"""What a JSON body may have beside the bytes that it carries."""


class Request:
    """A request that found its route. Its body is read once, whole or in pieces."""

    def __init__(
        self, service: Service, route: Route, rest: bytes, scope: Scope, receive: Receive, request_id: bytes
    ) -> None:
        self.service = service
        self.ledger = service.ledger
        self.method: str = scope["method"]
        self.request_id = request_id
        self.key = unquote_to_bytes(rest)
        self.query = Query(scope["query_string"], route.parameters)
        self.scope = scope
        self.held = 0
        self._waited: bool = scope.get("extensions", {}).get("scribe", {}).get("waited", False)
        self._receive = receive
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

    def header(self, name: bytes) -> bytes | None:
        """A header's value; several of one name are one list, as HTTP has it."""
        values = [value for known, value in self._headers if known == name]
        return b", ".join(values) if values else None

    def headers_under(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        return [(name[len(prefix) :], value) for name, value in self._headers if name.startswith(prefix)]

    @property
    def content_length(self) -> int | None:
        length = self.header(b"content-length")
        return int(length) if length is not None and length.isdigit() else None

    @property
    def awaits_leave(self) -> bool:
        """Whether the client sends its body only when it is told that it may."""
        return (self.header(b"expect") or b"").lower() == b"100-continue"

    async def pieces(self, most: int, *, setting: str = "") -> AsyncGenerator[bytes]:
        """The body as it arrives. More than ``most`` bytes raise ``TooLarge``, before any is read if that is known.

        ``setting`` is what an operator may raise, if there is one.
        """
        if (self.content_length or 0) > most:
            raise _too_large(most, setting)
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece = message.get("body", b"")
            size += len(piece)
            if size > most:
                raise _too_large(most, setting)
            more = message.get("more_body", False)
            if piece:
                yield piece

    async def body(self, most: int, *, setting: str = "") -> bytes:
        pieces = []
        async for piece in self.pieces(most, setting=setting):
            self.hold(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    def hold(self, size: int) -> None:
        """Counts bytes that are kept until the answer is out."""
        self.service.hold(size)
        self.held += size

    async def json(self, most: int, *, parts: int = FEW_PARTS, setting: str = "") -> dict[str, Any]:
        """The body as a JSON object of at most so many bytes and parts."""
        data = await self.body(most, setting=setting)
        if may_have_more(data, parts):
            await self.service.run(check_parts, data, parts)
        return read_object(data)

    async def wait_until_readable(self, *, settled: bool = False) -> None:
        """Does what ``consistency`` and ``after`` ask for. On a node that stands alone every read is linearizable.

        ``settled`` means that no write could change the answer, so that it is linearizable already.
        """
        cluster = self.service.cluster
        if cluster is not None and not (settled or self._waited or self.is_stale or self._names_the_past()):
            await cluster.linearize()
        after = self.query["after"]
        if after is not None and after >= self.ledger.size:
            await self.wait_for_size(after + 1)

    async def wait_for_size(self, size: int) -> None:
        await self.service.wait_for_size(size, seconds=self.service.config.api.read_timeout_secs)

    @property
    def is_stale(self) -> bool:
        """Whether the caller takes what this node has, however old."""
        stale: bool = self.query["consistency"] == "stale"
        return stale

    def _names_the_past(self) -> bool:
        """Whether it asks about a size, or for an index, that this node has: what was before it does not change."""
        query, size = self.query, self.ledger.size
        at_size = any(name in query and query[name] <= size for name in ("as_of", "at", "to"))
        return at_size or ("index" in query and query["index"] < size)


def _too_large(most: int, setting: str) -> TooLarge:
    hint = f"send less, or raise {setting}" if setting else "send less"
    return TooLarge(f"the body has more than {most} bytes", hint=hint)

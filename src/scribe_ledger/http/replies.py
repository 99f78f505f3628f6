"""Answers as Starlette sends them, with exactly the headers that were decided here and in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response, StreamingResponse

from scribe_ledger.http.headers import JSON_TYPE, NOSNIFF, Headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE_BYTES = 256 << 10
NO_STORE = (b"cache-control", b"no-store")
TEXT_TYPE = (b"content-type", b"text/plain; charset=utf-8")


def reply(status: int, headers: Headers, body: bytes = b"") -> Response:
    """``headers`` are all there are, the length included."""
    response = Response(body, status_code=status)
    response.raw_headers = list(headers)
    return response


def reply_bytes(body: bytes, content_type: bytes, *, status: int = 200, headers: Headers | None = None) -> Response:
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", content_type), *(headers or [NO_STORE]), NOSNIFF, length]
    if len(body) <= PIECE_BYTES:
        return reply(status, headers, body)
    return reply_stream(status, headers, _pieces(body))  # as fast as the reader takes it, so that it counts until then


def reply_json(content: Any, *, status: int = 200, headers: Headers | None = None) -> Response:
    """JSON that nobody should keep, unless ``headers`` say otherwise."""
    return reply_bytes(orjson.dumps(content), JSON_TYPE[1], status=status, headers=headers)


def reply_text(text: str, *, headers: Headers | None = None) -> Response:
    return reply_bytes(text.encode(), TEXT_TYPE[1], headers=headers)


def reply_stream(status: int, headers: Headers, pieces: AsyncIterator[bytes]) -> Response:
    """Sends pieces as they come. One that raises breaks the connection, so that nobody takes a part for the whole."""
    response = StreamingResponse(pieces, status_code=status)
    response.raw_headers = list(headers)
    return response


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(view), PIECE_BYTES):
        yield bytes(view[start : start + PIECE_BYTES])

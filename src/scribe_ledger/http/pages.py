"""Pages of entries, streamed: nothing here holds more than one piece of a page, however long it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import orjson

from scribe_ledger.errors import Unavailable
from scribe_ledger.http.answers import is_large, with_value
from scribe_ledger.http.headers import JSON_TYPE, NOSNIFF
from scribe_ledger.http.replies import NO_STORE, reply, reply_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from starlette.responses import Response

    from scribe_ledger.http.readers import Readers
    from scribe_ledger.http.request import Request
    from scribe_ledger.model import Entry

PIECE_ENTRIES = 16
PIECE_BYTES = 64 << 10
"""A piece ends with the entry that takes it beyond one of these: values may be large, and many readers slow."""
MAX_PASSED = 100
"""A page ends, though not full, when it has met so many places where there was nothing: no request reads all keys."""
NDJSON = b"application/x-ndjson"


class Passed(NamedTuple):
    """A place up to which there was nothing for long. A cursor may lead on from it."""

    key: bytes


_Item = TypeVar("_Item", bound="Entry | Passed")


def entry_json(entry: Entry, *, values: bool) -> bytes:
    shape = orjson.dumps(entry.to_json())
    if not values or entry.deleted:
        return shape
    return with_value(shape, None if is_large(entry) else entry.value)


async def reply_page(
    request: Request,
    entries: Iterator[_Item],
    cursor_after: Callable[[_Item | None, bool], str | None],
    *,
    first_index: int = 0,
) -> Response:
    """As many entries as the request's limit, none of them before ``first_index``, and the cursor that leads on.

    ``cursor_after`` gets the last item of the page, if there is one, and whether more follow. What is wrong with the
    first entries is a proper error, also that they did not come in time; after that only a broken connection can tell.
    """
    lines = NDJSON in (request.header(b"accept") or b"").lower()
    render = _lines if lines else _document
    service, values = request.service, request.query["values"]
    readers = service.readers_of_values(first_index) if values else service.disk
    pieces = render(entries, request.query["limit"], cursor_after, values=values)
    first = await _next(readers, pieces) if readers is service.disk else await _fetch_first(request, pieces)
    headers = [(b"content-type", NDJSON) if lines else JSON_TYPE, NO_STORE, NOSNIFF]
    if request.method == "HEAD":
        await readers.run(pieces.close)
        return reply(200, headers)
    return reply_stream(200, headers, _stream(readers, first, pieces))


async def _fetch_first(request: Request, pieces: Generator[bytes]) -> bytes | None:
    """With the object store, within the deadline of reads, from when the page waits for its turn."""
    seconds = request.service.config.api.read_timeout_secs
    try:
        async with asyncio.timeout(seconds):
            return await _next(request.service.objects, pieces)
    except TimeoutError as late:
        place = request.ledger.objects.url
        raise Unavailable(
            f"the object store did not answer within {seconds:g} seconds, asked for values in {place}",
            hint="retry after a moment",
        ) from late


async def _stream(readers: Readers, piece: bytes | None, pieces: Generator[bytes]) -> AsyncIterator[bytes]:
    while piece is not None:
        yield piece
        piece = await _next(readers, pieces)


async def _next(readers: Readers, pieces: Generator[bytes]) -> bytes | None:
    """In turn with all other pages that wait for the same."""
    async with readers.page_turn:
        return await readers.run(next, pieces, None)


def _document(
    entries: Iterator[_Item],
    limit: int,
    cursor_after: Callable[[_Item | None, bool], str | None],
    *,
    values: bool,
) -> Generator[bytes]:
    opening, between = b'{"entries":[', b""
    last: _Item | None = None
    more = False
    for shapes, last, more in _pieces(entries, limit, values=values):  # noqa: B007  # the last of them is used below
        yield opening + (between + b",".join(shapes) if shapes else b"")
        opening, between = b"", b"," if shapes else between
    yield opening + b'],"cursor":%b}' % orjson.dumps(cursor_after(last, more))


def _lines(
    entries: Iterator[_Item],
    limit: int,
    cursor_after: Callable[[_Item | None, bool], str | None],
    *,
    values: bool,
) -> Generator[bytes]:
    last: _Item | None = None
    more = False
    for shapes, last, more in _pieces(entries, limit, values=values):  # noqa: B007
        yield b"".join([shape + b"\n" for shape in shapes])
    yield orjson.dumps({"cursor": cursor_after(last, more)}) + b"\n"


def _pieces(entries: Iterator[_Item], limit: int, *, values: bool) -> Iterator[tuple[list[bytes], _Item, bool]]:
    """Rendered entries in lists, with the last item of each and whether more follow it."""
    following = next(entries, None)
    passed = 0
    while following is not None and limit and passed < MAX_PASSED:
        shapes: list[bytes] = []
        size = 0
        while following is not None and limit and len(shapes) < PIECE_ENTRIES and size < PIECE_BYTES:
            last, following = following, next(entries, None)
            if isinstance(last, Passed):
                passed += 1
                break
            shapes.append(entry_json(last, values=values))
            size += len(shapes[-1])
            limit -= 1
        yield shapes, last, following is not None

"""Listings: keys in order, one key's versions, the log. Pages of one listing are one moment of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import InvalidRequest, counted
from scribe_ledger.http.cursors import make_cursor, read_cursor
from scribe_ledger.http.pages import Passed, reply_page
from scribe_ledger.http.values import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.model import Entry

PASSED_KEYS = 1000
"""After so many keys in a row that are deleted, or later than the listing, other requests have their turn."""


async def list_keys(request: Request) -> Response:
    """The latest live entries in key order."""
    await request.wait_until_readable()
    query, ledger = request.query, request.ledger
    prefix, reverse, start = query["prefix"], query["reverse"], query["start"]
    question = ("keys", prefix, reverse, start, query["as_of"])
    size, after = ledger.size if query["as_of"] is None else query["as_of"], None
    if query["cursor"] is not None:
        size, text = read_cursor(query["cursor"], question, (int, str))
        after = _bytes_of(text)
        await _wait_for_cursor(request, size)
    keys = ledger.walk(prefix, start=start if after is None else after, reverse=reverse, as_of=size)

    def cursor_after(last: Entry | Passed | None, more: bool) -> str | None:
        return make_cursor(question, [size, last.key.hex()]) if last is not None and more else None

    return await reply_page(request, _entries(keys, after), cursor_after)


async def list_versions(request: Request) -> Response:
    """All versions of a key, newest first."""
    await request.wait_until_readable()
    query, ledger, key = request.query, request.ledger, request.key
    question = ("versions", key, query["as_of"])
    below = ledger.size if query["as_of"] is None else query["as_of"]
    if query["cursor"] is not None:
        (below,) = read_cursor(query["cursor"], question, (int,))
        await _wait_for_cursor(request, below)
    elif await request.service.run(ledger.entry, key, as_of=below) is None:
        raise missing(key, None, as_of=query["as_of"])

    def cursor_after(last: Entry | None, more: bool) -> str | None:
        return make_cursor(question, [last.index]) if last is not None and more else None

    return await reply_page(request, ledger.history(key, as_of=below), cursor_after)


async def list_log(request: Request) -> Response:
    """Entries in log order. Its cursor is the next index as text; it is always there, since a log goes on."""
    query, ledger = request.query, request.ledger
    start = query["start"]
    if query["cursor"] is not None:
        if "start" in query:
            raise InvalidRequest("start and cursor are the same thing here", hint="give one of them")
        start = _index_of(query["cursor"])
    await request.wait_until_readable(settled=start + query["limit"] <= ledger.size)

    def cursor_after(last: Entry | None, more: bool) -> str:
        return str(start if last is None else last.index + 1)

    entries = ledger.log(start, min(start + query["limit"], ledger.size))
    return await reply_page(request, entries, cursor_after, first_index=start)


def _entries(keys: Iterator[tuple[bytes, Entry | None]], after: bytes | None) -> Iterator[Entry | Passed]:
    """The entries of keys but ``after``, and now and then where it stands between two that lie far apart."""
    passed = 0
    for key, entry in keys:
        if entry is not None:
            if key != after:
                yield entry
                passed = 0
        else:
            passed += 1
            if passed % PASSED_KEYS == 0:
                yield Passed(key)


def _index_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < 1 << 64):
        raise InvalidRequest("the cursor is none that this node gave", hint="the log's cursor is an index")
    return int(text)


def _bytes_of(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidRequest("the cursor is none that this node gave") from error


async def _wait_for_cursor(request: Request, size: int) -> None:
    """Until this node has what the page before was of. Another one gave it, perhaps, and this one lags."""
    if request.service.cluster is not None and request.is_stale and size > request.ledger.size:
        await request.wait_for_size(size)
    if size > request.ledger.size:
        raise InvalidRequest(f"the cursor is of a ledger with {counted(size)}, this one has {request.ledger.size}")

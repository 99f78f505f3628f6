"""One key: GET, HEAD, PUT, DELETE. What both the lane and the application answer is made here."""

from __future__ import annotations

import re
from binascii import hexlify
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from scribe_ledger.errors import InvalidRequest, NotFound
from scribe_ledger.http.answers import Answer, head_of, is_large
from scribe_ledger.http.conditions import check_is_whole, check_read, range_of, write_condition
from scribe_ledger.http.digests import check_digest, claimed_digests
from scribe_ledger.http.headers import META_PREFIX, Headers, entry_headers, split
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.replies import reply, reply_stream
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.judging import check_condition
from scribe_ledger.model import CHUNK_BYTES, Entry, Receipt, key_to_json, show_key

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.http.service import Service
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.objects.blobs import Blob, SpooledBlob, Spooler

_RECEIPT = b'{%b,"index":%d,"version":%d,"timestamp":%d,"sha256":"%b","leaf_hash":"%b","created":%b}'
_RECEIPT_HEAD = (
    b"content-type: application/json\r\n"
    b'etag: "%d"\r\n'
    b"x-scribe-index: %d\r\n"
    b"x-scribe-version: %d\r\n"
    b"x-scribe-timestamp: %d\r\n"
    b"cache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-length: %d\r\n"
)
_PLAIN_KEY = re.compile(rb"[ !#-\[\]-~]+").fullmatch
"""Keys that stand in JSON as they are."""


# --- what both ways share --------------------------------------------------------------------------------------


def receipt_answer(key: bytes, receipt: Receipt) -> tuple[bytes, bytes]:
    """Head and body of a write's answer."""
    body = receipt_json(key, receipt)
    index, version, timestamp, _, _, _ = receipt
    return _RECEIPT_HEAD % (index, index, version, timestamp, len(body)), body


def receipt_json(key: bytes, receipt: Receipt) -> bytes:
    index, version, timestamp, sha256, leaf_hash, created = receipt
    return _RECEIPT % (
        b'"key":"%b"' % key if _PLAIN_KEY(key) else orjson.dumps(key_to_json(key))[1:-1],
        index,
        version,
        timestamp,
        hexlify(sha256),
        hexlify(leaf_hash),
        b"true" if created else b"false",
    )


def missing(
    key: bytes, entry: Entry | None, *, version: int | None = None, as_of: int | None = None, index: int | None = None
) -> Problem:
    """The 404 of a key that has no value: it never had one where it was asked for, or ``entry`` is its delete."""
    if entry is None and index is not None:
        return Problem(NotFound(f"entry {index} is not of key {show_key(key)}", hint="its history has its entries"))
    if entry is None:
        which = "" if version is None else f" version {version} of"
        when = "" if as_of is None else f" at size {as_of}"
        return Problem(NotFound(f"there is no{which} key {show_key(key)}{when}"))
    error = NotFound(f"the key {show_key(key)} was deleted by entry {entry.index}", hint="its history has what it was")
    return Problem(error, headers=entry_headers(entry))


def request_id_of(header: bytes) -> bytes:
    """An ``Idempotency-Key``."""
    if not header.strip():
        raise InvalidRequest("the Idempotency-Key is empty", hint="send a fresh random text with each write")
    return header.strip()


def decode_header(value: bytes, header: str) -> str:
    """The text of a header that becomes part of an entry."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the header {header} is not UTF-8") from error


# --- reading ---------------------------------------------------------------------------------------------------


async def get_value(request: Request) -> Response:
    await request.wait_until_readable()
    query, service = request.query, request.service
    seen = request.ledger.moment
    is_latest = query["version"] is query["index"] is query["as_of"] is None
    answer = service.latest(request.key) if is_latest else None
    entry = await service.run(find_entry, request) if answer is None else answer.entry
    if entry is None or entry.deleted:
        raise missing_as_asked(request, entry)
    part = _judge(request, entry)
    if not isinstance(part, _Part):
        return part
    if is_large(entry):
        return await _stream(request, entry, part)
    if answer is None:
        answer = Answer.of_entry(entry, await service.value_of(entry))
        if is_latest:
            service.remember(request.key, answer, seen)
    return reply(part.status, part.headers, answer.value[part.start : part.stop])


def missing_as_asked(request: Request, entry: Entry | None) -> Problem:
    query = request.query
    return missing(request.key, entry, version=query["version"], as_of=query["as_of"], index=query["index"])


def find_entry(request: Request) -> Entry | None:
    """The entry that the parameters name. It may wait for the disk."""
    ledger, query = request.ledger, request.query
    if query["index"] is not None:
        if query["version"] is not None or query["as_of"] is not None:
            raise InvalidRequest("index stands alone", hint="leave out version and as_of")
        key = commands.key_bytes(request.key)
        if query["index"] >= ledger.size:
            return None
        entry = ledger.entry_at(query["index"])
        return entry if entry.key == key else None
    return ledger.entry(request.key, version=query["version"], as_of=query["as_of"])


class _Part(NamedTuple):
    """Which bytes of a value are the answer."""

    status: int
    headers: Headers
    start: int
    stop: int


def _judge(request: Request, entry: Entry) -> _Part | Response:
    """A whole answer where it needs no value: 304, or the head alone. A range that cannot be had is raised."""
    headers = split(head_of(entry))
    if check_read(request, entry):
        return _not_modified(headers)
    part = range_of(request, entry, entry.size)
    if part is None:
        judged = _Part(200, [*headers, (b"content-length", b"%d" % entry.size)], 0, entry.size)
    else:
        judged = _Part(206, _partial(headers, *part, entry.size), *part)
    return reply(judged.status, judged.headers) if request.method == "HEAD" else judged


def _not_modified(headers: Headers) -> Response:
    kept = {b"etag", b"last-modified", b"cache-control"}
    return reply(304, [header for header in headers if header[0] in kept or header[0].startswith(b"x-scribe-")])


def _partial(headers: Headers, start: int, stop: int, size: int) -> Headers:
    return [
        *headers,
        (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)),
        (b"content-length", b"%d" % (stop - start)),
    ]


async def _stream(request: Request, entry: Entry, part: _Part) -> Response:
    service = request.service
    first, rest = await service.fetch_within(entry, partial(_begin, request, entry, part.start, part.stop))
    return reply_stream(part.status, part.headers, service.readers_of(entry).stream(rest, first=first))


def _begin(request: Request, entry: Entry, start: int, stop: int) -> tuple[bytes, Iterator[bytes]]:
    """The first piece of a large value, and the rest: what cannot be read at all is a proper error."""
    pieces = request.ledger.open_chunks(entry, start, stop)
    return next(pieces, b""), pieces


# --- writing ---------------------------------------------------------------------------------------------------


async def put_value(request: Request) -> Response:
    """What is wrong with the request is said before its body is read."""
    command = commands.put(request.key, b"", **_put_options(request))
    check_is_whole(request)
    claims = claimed_digests(request)
    request.service.check_takes_writes()
    if (request.content_length or 0) > request.service.inline_max:
        request.service.check_takes_large_values(request.content_length or 0)
    if request.awaits_leave:
        await _check_condition(request, command)
    value = await _receive(request, claims)
    receipt = (await request.service.write([commands.with_value(command, value)]))[0]
    status = 201 if receipt.created else 200
    head, body = receipt_answer(request.key, receipt)
    return reply(status, split(head), body)


async def delete_value(request: Request) -> Response:
    options = write_condition(request, may_create=False) | _request_id(request) | _metadata(request)
    receipt = (await request.service.write([commands.delete(request.key, **options)]))[0]
    head, body = receipt_answer(request.key, receipt)
    return reply(200, split(head), body)


def _put_options(request: Request) -> dict[str, Any]:
    options = write_condition(request, may_create=True) | _request_id(request) | _metadata(request)
    content_type = request.header(b"content-type") or b""
    return options | {"content_type": decode_header(content_type, "Content-Type"), "dedupe": request.query["dedupe"]}


def _request_id(request: Request) -> dict[str, Any]:
    given = request.header(b"idempotency-key")
    return {} if given is None else {"request_id": request_id_of(given)}


def _metadata(request: Request) -> dict[str, Any]:
    given = request.headers_under(META_PREFIX)
    names = [name for name, _ in given]
    if len(set(names)) < len(names):
        raise InvalidRequest("a header X-Scribe-Meta-* is given twice", hint="metadata names are unique")
    return {
        "metadata": {name.decode("latin-1"): decode_header(value, "X-Scribe-Meta-*") for name, value in given} or None
    }


async def _check_condition(request: Request, command: Command) -> None:
    """Spares the client a body that its condition refuses. A retry is another matter: its first attempt decides."""
    if command.condition is None or command.request:
        return
    if request.service.cluster is not None:
        await request.service.cluster.linearize()
    latest = await request.service.run(request.ledger.entry, request.key)
    check_condition(command, latest)


async def _receive(request: Request, claims: dict[str, bytes]) -> bytes | Blob:
    """The body: in memory while it is small, else through a file, hashed in a thread while more arrives.

    Two buffers of one chunk take turns, since fresh memory for each chunk would cost more than hashing it.
    """
    service, ledger = request.service, request.ledger
    with ledger.begin_value() as spooler:
        filling = bytearray(min(request.content_length or CHUNK_BYTES, CHUNK_BYTES))
        spare, size = bytearray(), 0
        counted = 0
        written: asyncio.Future[None] | None = None
        most = service.max_value_size or 1 << 63
        async with aclosing(request.pieces(most, setting="[api] max_value_size")) as pieces:
            try:
                async for piece in pieces:
                    rest = memoryview(piece)
                    while rest:
                        taken = min(len(rest), len(filling) - size)
                        filling[size : size + taken] = rest[:taken]
                        size, rest = size + taken, rest[taken:]
                        if size == CHUNK_BYTES:
                            if written is not None:
                                await written
                            counted = _take_room(service, counted, spooler.size + size)
                            written = service.disk.start(spooler.write, filling)
                            filling, spare, size = spare or bytearray(CHUNK_BYTES), filling, 0
            finally:
                if written is not None:
                    await written
        last = memoryview(filling)[:size]
        if spooler.size + size <= service.inline_max:
            return ledger.keep_value(_finish(spooler, last, claims))
        _take_room(service, counted, spooler.size + size)
        received = await service.disk.run(_finish, spooler, last, claims)
    return received if isinstance(received, bytes) else await service.keep(received)


def _take_room(service: Service, counted: int, received: int) -> int:
    """Counts what goes to the disk, once it is known to be a large value; how much of it is counted."""
    if received <= service.inline_max:
        return counted
    service.room.take_large(received - counted)
    return received


def _finish(spooler: Spooler, rest: memoryview, claims: dict[str, bytes]) -> bytes | SpooledBlob:
    spooler.write(rest)
    received = spooler.finish()
    if isinstance(received, bytes):
        if claims:
            check_digest(claims, sha256(received).digest())
        return received
    try:
        check_digest(claims, received.blob.sha256)
    except InvalidRequest:
        received.close()
        raise
    return received

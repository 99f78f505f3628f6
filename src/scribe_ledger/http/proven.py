"""A value with its proof in one trip: ``GET …?proof=true``.

For the latest version of a key with a small value this is a few point reads, done in the event loop like a plain read;
all else, and whatever needs a new checkpoint, is done in a thread, in one go unless the value has to be fetched. In a
cluster the checkpoint is one that a quorum has cosigned, where that can be had (``checkpoints``).
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import orjson

from scribe_ledger.errors import InvalidRequest, counted
from scribe_ledger.http.answers import is_large, leaf_json
from scribe_ledger.http.headers import split
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.replies import reply
from scribe_ledger.http.values import find_entry, get_value, missing, missing_as_asked
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.merkle.prooftext import proof_text

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.http.service import Service
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.prooftext import Proof
    from scribe_ledger.model import Entry

Covering: TypeAlias = Callable[[int], "Checkpoint"]
"""Gives the shared checkpoint, of at least that size."""
_Made = TypeVar("_Made")
_HEAD = (
    b"content-type: application/json\r\n"
    b"cache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"content-length: %d\r\n"
)


async def get_value_or_proof(request: Request) -> Response:
    """``GET`` of a key: its value, or with ``proof=true`` a document that holds it with all that proves it."""
    query = request.query
    if not query["proof"]:
        if query["since"] is not None:
            raise InvalidRequest("since goes with proof=true", hint="to wait for an entry, use after")
        return await get_value(request)
    await request.wait_until_readable()
    body = None
    if query["version"] is query["index"] is query["as_of"] is None:
        body = proven_at_once(request.service, request.key, query["since"], query["after"])
    if body is None:
        body = await request.service.checkpoints.under(
            lambda covering: with_value(request.service, partial(_found, request), partial(_prove, request, covering))
        )
    return reply(200, split(proven_head(body)), body)


def proven_at_once(service: Service, key: bytes, since: int | None, after: int | None = None) -> bytes | None:
    """The document for a key's latest version, unless more than point reads is needed for it."""
    latest = service.ledger.latest(key)
    if latest is None:
        return None
    leaf, value = latest
    index = index_of(leaf)
    checkpoint = service.checkpoints.at_hand(_least_size(index, since, after))
    if checkpoint is None:
        return None
    ledger = service.ledger
    proof = proof_text(index, leaf, ledger.audit_path(index, checkpoint.size), checkpoint)
    return _render(leaf_json(leaf), value, proof, _consistency(service, since, checkpoint))


def proven_head(body: bytes) -> bytes:
    return _HEAD % len(body)


async def with_value(service: Service, find: Callable[[], Entry], use: Callable[[Entry, bytes | None], _Made]) -> _Made:
    """Uses an entry with its value, None for a delete or a large one: in one go where that is on this machine."""
    entry, made = await service.run(_use_at_hand, service, find, use)
    if made is None:
        value = await service.value_of(entry)
        made = await service.run(use, entry, value)
    return made


def _use_at_hand(
    service: Service, find: Callable[[], Entry], use: Callable[[Entry, bytes | None], _Made]
) -> tuple[Entry, _Made | None]:
    entry = find()
    if entry.deleted or is_large(entry):
        return entry, use(entry, None)
    if not service.has_at_hand(entry):
        return entry, None
    return entry, use(entry, entry.value)


def _found(request: Request) -> Entry:
    entry = find_entry(request)
    if entry is None:
        raise missing_as_asked(request, None)
    return entry


def _prove(request: Request, covering: Covering, entry: Entry, value: bytes | None) -> bytes:
    """The same for any version of a key, in a thread."""
    query, key = request.query, request.key
    checkpoint = covered(request, covering, _least_size(entry.index, query["since"], query["after"]))
    proof = str(proof_under(request, entry.version, checkpoint))
    consistency = _consistency(request.service, query["since"], checkpoint)
    document = _render(orjson.dumps(entry.to_json()), value, proof, consistency)
    if entry.deleted:
        problem = missing(key, entry)
        raise Problem(problem.cause, headers=problem.headers, beside=orjson.loads(document))
    return document


def proof_under(request: Request, version: int | None, checkpoint: Checkpoint) -> Proof:
    """With the cosignatures of that checkpoint, whose root is this ledger's."""
    return replace(request.ledger.prove(request.key, version=version, at=checkpoint.size), checkpoint=checkpoint)


def covering(request: Request, size: int) -> Checkpoint:
    """The shared checkpoint, of at least that size; this member's own, where no cosigned one is at hand."""
    return covered(request, request.service.checkpoints.covering, size)


def covered(request: Request, covering: Covering, size: int) -> Checkpoint:
    """The same by any way, for a size that the ledger must have."""
    if size > request.ledger.size:
        raise InvalidRequest(
            f"the ledger has {counted(request.ledger.size)}, and the request names {size}",
            hint="ask for what it has, or wait for an entry with after",
        )
    return covering(size)


def _least_size(index: int, since: int | None, after: int | None) -> int:
    """A checkpoint must cover the entry, and all that the client says it knows of already."""
    return max(index + 1, since or 0, 0 if after is None else after + 1)


def _render(entry: bytes, value: bytes | None, proof: str, consistency: bytes) -> bytes:
    quoted = b"null" if value is None else b'"%b"' % b2a_base64(value, newline=False)
    return b'{"entry":%b,"value_base64":%b,"proof":%b%b}' % (entry, quoted, orjson.dumps(proof), consistency)


def _consistency(service: Service, since: int | None, checkpoint: Checkpoint) -> bytes:
    """The member of that name: only with ``since``."""
    if since is None:
        return b""
    proof = service.checkpoints.consistency(since, checkpoint.size) if since else None
    return b',"consistency":%b' % orjson.dumps(proof)


def index_of(leaf: bytes) -> int:
    index: int = HEADER.unpack_from(leaf)[4]
    return index

"""Proofs as the texts that anybody can check, and ``/verify``, where the node checks one itself.

Without ``at`` a proof comes under the checkpoint that the node shares among its answers (``checkpoints``). All of this
may wait for the disk, so each request is one piece of work in a thread; a history proof is sent while it is made.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from scribe_ledger import verify
from scribe_ledger.errors import Corruption, InvalidRequest, VerificationError
from scribe_ledger.http.headers import NOSNIFF
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.proven import covering, with_value
from scribe_ledger.http.replies import NO_STORE, TEXT_TYPE, reply, reply_json, reply_stream, reply_text
from scribe_ledger.http.values import missing
from scribe_ledger.model import key_to_json, show_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.model import Entry

PIECE_VERSIONS = 64
"""A history proof is made and sent in pieces of so many versions."""


# --- checked by the node ---------------------------------------------------------------------------------------


async def verify_key(request: Request) -> Response:
    """Proves an entry and checks the proof as a client would, by the public key alone."""
    await request.wait_until_readable()
    try:
        verdict = await with_value(request.service, partial(_entry_of, request), partial(_verify, request))
    except (VerificationError, Corruption) as error:
        failure = Corruption(f"{show_key(request.key)} does not verify: {error.message}", hint="run `scribe fsck`")
        raise Problem(failure, beside=_unverified(request)) from error
    return reply_json(verdict)


def _unverified(request: Request) -> dict[str, Any]:
    return {**key_to_json(request.key), "verified": False, "proof": None, "checkpoint": None}


def _entry_of(request: Request) -> Entry:
    entry = request.ledger.entry(request.key, version=request.query["version"])
    if entry is None or entry.deleted:
        problem = missing(request.key, entry, which=_which(request))
        raise Problem(problem.cause, headers=problem.headers, beside=_unverified(request))
    return entry


def _verify(request: Request, entry: Entry, value: bytes | None) -> dict[str, Any]:
    """Without the value of a large one: that is checked chunk by chunk whenever it is read."""
    ledger, key = request.ledger, request.key
    size = covering(request, entry.index + 1).size
    proof = ledger.prove(key, version=entry.version, at=size)
    verify.inclusion(proof, value, public_key=ledger.public_key, key=key, version=entry.version)
    return _unverified(request) | {
        "verified": True,
        "proof": proof.to_json(),
        "checkpoint": proof.checkpoint.text,
        "error": None,
    }


# --- texts -----------------------------------------------------------------------------------------------------


async def get_proof(request: Request) -> Response:
    await request.wait_until_readable()
    return reply_text(await request.service.run(_proof, request))


def _proof(request: Request) -> str:
    return str(request.ledger.prove(request.key, version=request.query["version"], at=_size(request)))


async def get_history_proof(request: Request) -> Response:
    """Of any number of versions, in constant memory: it is sent as it is made."""
    await request.wait_until_readable()
    pieces = await request.service.run(_history, request)
    headers = [TEXT_TYPE, NO_STORE, NOSNIFF]
    if request.method == "HEAD":
        return reply(200, headers)
    return reply_stream(200, headers, request.service.disk.stream(pieces))


def _history(request: Request) -> Iterator[bytes]:
    texts = request.ledger.stream_history_proof(request.key, version=request.query["version"], at=_size(request))
    return _joined(texts)


def _joined(texts: Iterator[str]) -> Iterator[bytes]:
    while piece := "".join(islice(texts, PIECE_VERSIONS)):
        yield piece.encode()


async def get_consistency_proof(request: Request) -> Response:
    """From one size to another, or to that of the newest checkpoint."""
    await request.wait_until_readable()
    if request.query["from"] is None:
        raise InvalidRequest(
            "the parameter from is missing",
            hint="a size that you know; the proof of a key `consistency` is at /v1/kv/consistency?proof=true",
        )
    return reply_text(await request.service.run(_consistency, request))


def _consistency(request: Request) -> str:
    old, new = request.query["from"], request.query["to"]
    if new is None:
        new = covering(request, max(old, _after(request))).size
    if old > new:
        raise InvalidRequest(f"from is {old} and to is {new}", hint="a log begins with what it was, not the reverse")
    return str(request.ledger.prove_consistency(old, new))


def _size(request: Request) -> int:
    """The size to prove under. What is proven unless told otherwise is the latest entry, so that must be covered."""
    at: int | None = request.query["at"]
    if at is not None:
        return at
    entry = request.ledger.entry(request.key, version=request.query["version"])
    if entry is None:
        raise missing(request.key, None, which=_which(request))
    return covering(request, max(entry.index + 1, _after(request))).size


def _after(request: Request) -> int:
    after: int | None = request.query["after"]
    return 0 if after is None else after + 1


def _which(request: Request) -> str:
    version = request.query["version"]
    return "" if version is None else f" version {version} of"

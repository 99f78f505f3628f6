"""Proofs as the texts that anybody can check, and ``/verify``, where the node checks one itself.

Without ``at`` a proof comes under the checkpoint that the node shares among its answers (``checkpoints``). All of this
may wait for the disk, so each request is one piece of work in a thread, begun again where a quorum had to cosign a
checkpoint first; a history proof is sent while it is made.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from scribe_ledger import verify
from scribe_ledger.errors import Corruption, InvalidRequest, VerificationError, counted
from scribe_ledger.http.headers import NOSNIFF
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.proven import covered, proof_under, with_value
from scribe_ledger.http.replies import NO_STORE, TEXT_TYPE, reply, reply_json, reply_stream, reply_text
from scribe_ledger.http.values import missing
from scribe_ledger.model import key_to_json, show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.responses import Response

    from scribe_ledger.http.proven import Covering
    from scribe_ledger.http.request import Request
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.model import Entry

_T = TypeVar("_T")
PIECE_VERSIONS = 64
"""A history proof is made and sent in pieces of so many versions."""


# --- checked by the node ---------------------------------------------------------------------------------------


async def verify_key(request: Request) -> Response:
    """Proves an entry and checks the proof as a client would, by the public key alone."""
    await request.wait_until_readable()
    try:
        verdict = await request.service.checkpoints.under(
            lambda covering: with_value(
                request.service, partial(_entry_of, request), partial(_verify, request, covering)
            )
        )
    except (VerificationError, Corruption) as error:
        failure = Corruption(f"{show_key(request.key)} does not verify: {error.message}", hint="run `scribe fsck`")
        raise Problem(failure, beside=_unverified(request)) from error
    return reply_json(verdict)


def _unverified(request: Request) -> dict[str, Any]:
    return {**key_to_json(request.key), "verified": False, "proof": None, "checkpoint": None}


def _entry_of(request: Request) -> Entry:
    entry = request.ledger.entry(request.key, version=request.query["version"])
    if entry is None or entry.deleted:
        problem = missing(request.key, entry, version=request.query["version"])
        raise Problem(problem.cause, headers=problem.headers, beside=_unverified(request))
    return entry


def _verify(request: Request, covering: Covering, entry: Entry, value: bytes | None) -> dict[str, Any]:
    """Without the value of a large one: that is checked chunk by chunk whenever it is read."""
    ledger, key = request.ledger, request.key
    proof = proof_under(request, entry.version, covered(request, covering, entry.index + 1))
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
    return reply_text(await _run(request, _proof))


async def _run(request: Request, work: Callable[[Request, Covering], _T]) -> _T:
    service = request.service
    return await service.checkpoints.under(lambda covering: service.run(work, request, covering))


def _proof(request: Request, covering: Covering) -> str:
    return str(proof_under(request, request.query["version"], _head(request, covering)))


async def get_history_proof(request: Request) -> Response:
    """Of any number of versions, in constant memory: it is sent as it is made."""
    await request.wait_until_readable()
    pieces = await _run(request, _history)
    headers = [TEXT_TYPE, NO_STORE, NOSNIFF]
    if request.method == "HEAD":
        return reply(200, headers)
    return reply_stream(200, headers, request.service.disk.stream(pieces))


def _history(request: Request, covering: Covering) -> Iterator[bytes]:
    head = _head(request, covering)
    texts = request.ledger.stream_history_proof(request.key, request.query["version"], head)
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
    return reply_text(await _run(request, _consistency))


def _consistency(request: Request, covering: Covering) -> str:
    old, new = request.query["from"], request.query["to"]
    if new is None:
        new = covered(request, covering, max(old, _after(request))).size
    if new > request.ledger.size:
        raise InvalidRequest(f"to is {new}, and the ledger has {counted(request.ledger.size)}")
    if old > new:
        raise InvalidRequest(f"from is {old} and to is {new}", hint="a log begins with what it was, not the reverse")
    return str(request.ledger.prove_consistency(old, new))


def _head(request: Request, covering: Covering) -> Checkpoint:
    """What to prove under. What is proven unless told otherwise is the latest entry, so that must be covered."""
    at: int | None = request.query["at"]
    if at is not None:
        return request.service.checkpoints.of(at)
    entry = request.ledger.entry(request.key, version=request.query["version"])
    if entry is None:
        raise missing(request.key, None, version=request.query["version"])
    return covered(request, covering, max(entry.index + 1, _after(request)))


def _after(request: Request) -> int:
    after: int | None = request.query["after"]
    return 0 if after is None else after + 1

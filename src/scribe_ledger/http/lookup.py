"""``POST /v1/get``: many keys in one trip, all as of one moment, with proofs under one checkpoint if asked for."""

from __future__ import annotations

from binascii import b2a_base64
from typing import TYPE_CHECKING, Any

import orjson

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.http.answers import Answer, entry_with_value, is_large
from scribe_ledger.http.headers import JSON_TYPE
from scribe_ledger.http.operations import read_key
from scribe_ledger.http.proven import covering, entry_json, index_of
from scribe_ledger.http.replies import reply_bytes
from scribe_ledger.ledger.commands import key_bytes, natural
from scribe_ledger.model import MAX_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from scribe_ledger.http.request import Request

MAX_ANSWER_BYTES = 64 << 20
"""Of values in one answer."""
_NULL = b"null"


async def get_many(request: Request) -> Response:
    await request.wait_until_readable()
    limits = request.service.config.api
    document = await request.json(limits.max_batch_size * (MAX_KEY_BYTES * 4 // 3 + 64))
    keys, proof, since = _read(document, limits.max_batch_size)
    if proof:
        body = await request.service.run(_prove, request, keys, since)
        return reply_bytes(body, JSON_TYPE[1])
    moment, size = request.ledger.moment, request.ledger.size
    parts = _cached(request, keys)
    if parts is None or request.ledger.moment is not moment:  # something was committed in between
        size = request.ledger.size
        parts = await request.service.run(_parts, request, keys, size)
    return reply_bytes(b'{"entries":[%b],"size":%d}' % (b",".join(parts), size), JSON_TYPE[1])


def _read(document: dict[str, Any], most: int) -> tuple[list[bytes], bool, int | None]:
    if unknown := document.keys() - {"keys", "proof", "since"}:
        raise InvalidRequest(f"there is no field {min(unknown)!r} here", hint="known: keys, proof, since")
    keys, proof, since = document.get("keys"), document.get("proof", False), document.get("since")
    if not isinstance(keys, list):
        raise InvalidRequest("keys is not an array", hint="see /docs for its shape")
    if len(keys) > most:
        raise TooLarge(f"{len(keys)} keys are asked for", hint=f"at most {most}: [api] max_batch_size; ask twice")
    if not isinstance(proof, bool):
        raise InvalidRequest("proof is not true or false")
    if since is not None and not proof:
        raise InvalidRequest("since goes with proof")
    return [*map(_key, keys)], proof, natural(since, "since")


def _key(given: Any) -> bytes:
    if isinstance(given, str):
        return key_bytes(given)
    if isinstance(given, dict) and given.keys() <= {"key", "key_base64"}:
        return read_key(given)
    raise InvalidRequest("a key is neither text nor an object", hint='write "key", or {"key_base64": "…"}')


def _cached(request: Request, keys: Sequence[bytes]) -> list[bytes] | None:
    """All parts out of the cache, or None."""
    hit = request.service.answers.hit
    answers = [*map(hit, keys)]
    if not all(answers):
        return None
    request.service.metrics.cache_hits += len(answers)
    return [answer.json for answer in answers if answer is not None]


def _parts(request: Request, keys: Sequence[bytes], size: int) -> list[bytes]:
    """Each key's entry with its value as of a size, or null; in a thread."""
    ledger, service = request.ledger, request.service
    parts, total = [], 0
    seen = ledger.moment
    for key in keys:
        entry = ledger.entry(key, as_of=size)
        if entry is None or entry.deleted:
            parts.append(_NULL)
        elif is_large(entry):
            parts.append(orjson.dumps(entry_with_value(entry, None)))
        else:
            total += entry.size
            _check_total(total)
            answer = Answer.of_entry(entry, entry.value)
            service.answers.fill(key, key, answer, lambda: ledger.moment is seen and ledger.size == size)
            parts.append(answer.json)
    return parts


def _prove(request: Request, keys: Sequence[bytes], since: int | None) -> bytes:
    ledger, after = request.ledger, request.query["after"]
    checkpoint = covering(request, max(ledger.size, since or 0, 0 if after is None else after + 1))
    parts, total = [], 0
    for key in keys:
        latest = ledger.latest(key)
        if latest is not None and index_of(latest.leaf) < checkpoint.size:
            leaf, value = latest
            shape = b'%b,"value_base64":"%b"}' % (entry_json(key, leaf)[:-1], b2a_base64(value, newline=False))
            total += len(value)
        elif (entry := ledger.entry(key, as_of=checkpoint.size)) is not None:
            value = b"" if entry.deleted or is_large(entry) else entry.value
            shape = orjson.dumps(entry_with_value(entry, None if is_large(entry) else value))
            (leaf,) = ledger.leaves(entry.index, entry.index + 1)
            total += len(value)
        else:
            parts.append(_NULL)
            continue
        _check_total(total)
        path = b"".join(ledger.audit_path(index_of(leaf), checkpoint.size))
        parts.append(
            b'%b,"leaf_base64":"%b","hashes_base64":"%b"}'
            % (shape[:-1], b2a_base64(leaf, newline=False), b2a_base64(path, newline=False))
        )
    consistency = request.service.checkpoints.consistency(since, checkpoint.size) if since else None
    return b'{"entries":[%b],"size":%d,"checkpoint":%b,"consistency":%b}' % (
        b",".join(parts),
        checkpoint.size,
        orjson.dumps(checkpoint.text),
        orjson.dumps(consistency),
    )


def _check_total(total: int) -> None:
    if total > MAX_ANSWER_BYTES:
        raise TooLarge(f"the values have more than {MAX_ANSWER_BYTES} bytes together", hint="ask for fewer keys")

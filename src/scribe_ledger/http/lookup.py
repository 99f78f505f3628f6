"""``POST /v1/get``: many keys in one trip, all as of one moment, with proofs under one checkpoint if asked for."""

from __future__ import annotations

from binascii import b2a_base64
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.http.answers import Answer, leaf_json, with_value
from scribe_ledger.http.headers import JSON_TYPE
from scribe_ledger.http.operations import JSON_SETTING, most_json_bytes, most_json_parts, read_key
from scribe_ledger.http.pages import entry_json
from scribe_ledger.http.proven import covering, index_of
from scribe_ledger.http.replies import reply_bytes
from scribe_ledger.ledger.commands import key_bytes, natural
from scribe_ledger.model import MAX_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.http.service import Service

MAX_ANSWER_BYTES = 64 << 20
"""Of entries with their values in one answer."""
AT_ONCE_KEYS = 256
"""So few are answered from the cache without a thread."""
_NULL = b"null"


async def get_many(request: Request) -> Response:
    await request.wait_until_readable()
    limits = request.service.config.api
    document = await request.json(most_json_bytes(limits), parts=most_json_parts(limits), setting=JSON_SETTING)
    keys, proof, since = _read(document, limits.max_batch_size)
    body = None if proof else _cached(request, keys)
    if body is None:
        work = partial(_prove, request, keys, since) if proof else partial(_found, request, keys)
        body = await request.service.run(work, fetch=False)
        if body is None:
            body = await _fetch(request, len(keys), partial(work, fetch=True))
    request.hold(len(body))
    return reply_bytes(body, JSON_TYPE[1])


async def _fetch(request: Request, count: int, work: Callable[[], bytes | None]) -> bytes:
    """With the object store, within the deadline of reads."""
    service = request.service
    about = partial("values of {} keys in {}".format, count, request.ledger.objects.url)
    body = await service.objects.run_within(service.config.api.read_timeout_secs, about, work)
    assert body is not None
    return body


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
    return _key_column(keys), proof, natural(since, "since")


def _key_column(keys: list[Any]) -> list[bytes]:
    """All at once, if all are texts of a good length."""
    if {*map(type, keys)} == {str}:
        names = [*map(str.encode, keys)]
        lengths = [*map(len, names)]
        if min(lengths) > 0 and max(lengths) <= MAX_KEY_BYTES:
            return names
    return [_key(place, key) for place, key in enumerate(keys)]


def _key(place: int, given: Any) -> bytes:
    try:
        if isinstance(given, str):
            return key_bytes(given)
        if isinstance(given, dict) and given.keys() <= {"key", "key_base64"}:
            return read_key(given)
        raise InvalidRequest("it is neither text nor an object", hint='write "key", or {"key_base64": "…"}')
    except InvalidRequest as error:
        raise type(error)(f"keys[{place}]: {error.message}", hint=error.hint) from error


# --- values ----------------------------------------------------------------------------------------------------


def _cached(request: Request, keys: Sequence[bytes]) -> bytes | None:
    """The answer out of the cache, if all of it is there."""
    if len(keys) > AT_ONCE_KEYS:
        return None
    ledger, service = request.ledger, request.service
    seen, size = ledger.moment, ledger.size
    answers = [*map(service.answers.hit, keys)]
    parts = [answer.json for answer in answers if answer is not None]
    if len(parts) < len(keys) or ledger.moment is not seen:  # not there, or something was committed meanwhile
        return None
    service.metrics.cache_hits += len(parts)
    return _document(parts, sum(map(len, parts)), size)


def _found(request: Request, keys: Sequence[bytes], *, fetch: bool) -> bytes | None:
    """The answer as of the present size, in a thread; None if a value must be fetched and that is not wanted."""
    ledger, answers = request.ledger, request.service.answers
    seen, size = ledger.moment, ledger.size

    def part(key: bytes) -> bytes | None:
        answer = answers.hit(key)
        if answer is not None and ledger.moment is seen:
            return answer.json
        return _part(request.service, key, size, seen, fetch=fetch)

    parts = _parts(keys, part, sort=fetch)
    return None if parts is None else _document(parts, sum(map(len, parts)), size)


def _parts(keys: Sequence[bytes], part: Callable[[bytes], bytes | None], *, sort: bool) -> list[bytes] | None:
    """A part for each key. ``sort`` makes them in the order of segments, where neighbours are fetched together."""
    parts, total = [b""] * len(keys), 0
    for place in sorted(range(len(keys)), key=keys.__getitem__) if sort else range(len(keys)):
        made = part(keys[place])
        if made is None:
            return None
        parts[place] = made
        total += len(made)
        _check_total(total)
    return parts


def _part(service: Service, key: bytes, size: int, seen: object, *, fetch: bool) -> bytes | None:
    """A key's entry with its value as of a size, or null."""
    ledger = service.ledger
    latest = ledger.latest(key)
    if latest is not None and index_of(latest.leaf) < size:
        answer = Answer.of_latest(key, latest)
        service.answers.fill(key, key, answer, lambda: ledger.moment is seen)
        return answer.json
    entry = ledger.entry(key, as_of=size)
    if entry is None or entry.deleted:
        return _NULL
    return entry_json(entry, values=True) if fetch or service.has_at_hand(entry) else None


def _document(parts: list[bytes], total: int, size: int) -> bytes:
    _check_total(total)
    return b'{"entries":[%b],"size":%d}' % (b",".join(parts), size)


# --- proofs ----------------------------------------------------------------------------------------------------


def _prove(request: Request, keys: Sequence[bytes], since: int | None, *, fetch: bool) -> bytes | None:
    """In a thread; None if a value must be fetched and that is not wanted."""
    ledger, after = request.ledger, request.query["after"]
    checkpoint = covering(request, max(ledger.size, since or 0, 0 if after is None else after + 1))
    part = partial(_proven_part, request.service, checkpoint.size, fetch)
    parts = _parts(keys, part, sort=fetch)
    if parts is None:
        return None
    consistency = request.service.checkpoints.consistency(since, checkpoint.size) if since else None
    return b'{"entries":[%b],"size":%d,"checkpoint":%b,"consistency":%b}' % (
        b",".join(parts),
        checkpoint.size,
        orjson.dumps(checkpoint.text),
        orjson.dumps(consistency),
    )


def _proven_part(service: Service, size: int, fetch: bool, key: bytes) -> bytes | None:
    """A key's entry as of a size, a delete too, with its value, leaf and audit path; or null."""
    ledger = service.ledger
    latest = ledger.latest(key)
    if latest is not None and (index := index_of(latest.leaf)) < size:
        leaf, value = latest
        shape = with_value(leaf_json(leaf), value)
    else:
        entry = ledger.entry(key, as_of=size)
        if entry is None:
            return _NULL
        if not fetch and not service.has_at_hand(entry):
            return None
        index = entry.index
        (leaf,) = ledger.leaves(index, index + 1)
        shape = entry_json(entry, values=True)
    path = b"".join(ledger.audit_path(index, size))
    return b'%b,"leaf_base64":"%b","hashes_base64":"%b"}' % (
        shape[:-1],
        b2a_base64(leaf, newline=False),
        b2a_base64(path, newline=False),
    )


def _check_total(total: int) -> None:
    if total > MAX_ANSWER_BYTES:
        raise TooLarge(f"the answer has more than {MAX_ANSWER_BYTES} bytes", hint="ask for fewer keys")

"""Building requests: the one place of the client that knows routes, parameters and headers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import orjson

from scribe_ledger.client.arguments import key_bytes, natural, value_bytes
from scribe_ledger.client.messages import Request
from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.leaf import encode_tail
from scribe_ledger.model import key_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scribe_ledger.client.messages import Upload

_JSON = b"content-type: application/json\r\n"
ARCHIVE_SECONDS = 3600.0
"""A node may be given so long to archive all that is pending."""
ORDER_SECONDS = 30.0
"""A node takes so long at most to find the leader, and to wait for what an order changes."""
SNAPSHOT_SECONDS = 3600.0
"""And so long to make a snapshot."""
WATCH_SILENCE_SECONDS = 45.0
"""A node sends at least a comment every 15 seconds."""
PAGE_ENTRIES = 1000
PAGE_VALUES = 100
"""Entries of a page whose values come along."""


def get(path: bytes, **parameters: Any) -> Request:
    """A question. Parameters that are None are left out."""
    return Request(b"GET", _target(path, parameters))


def ask_node(path: bytes) -> Request:
    """A question about the node that answers, which no other node could answer as well."""
    return Request(b"GET", path, retried=False)


def value(key: bytes, **parameters: Any) -> Request:
    return Request(b"GET", _target(b"/v1/kv/" + quote_from_bytes(key, safe="/").encode(), parameters))


def under(path: bytes, key: bytes, **parameters: Any) -> Request:
    """A question about a key."""
    return Request(b"GET", _target(path + quote_from_bytes(key, safe="/").encode(), parameters))


def values(keys: Sequence[bytes], *, proof: bool, since: int | None, **parameters: Any) -> Request:
    """Many keys in one trip. It is a POST that changes nothing."""
    body: dict[str, Any] = {"keys": [_listed_key(key) for key in keys]}
    if proof:
        body |= {"proof": True, "since": since}
    return Request(b"POST", _target(b"/v1/get", parameters), _JSON, orjson.dumps(body))


def post(path: bytes, content: Mapping[str, Any] | None, request_id: str) -> Request:
    """An order that is not a write of entries, such as to let a node join."""
    body = b"" if content is None else orjson.dumps(content)
    return Request(b"POST", path, _id(request_id) + (_JSON if body else b""), body, request_id, timeout=ORDER_SECONDS)


def archive(request_id: str) -> Request:
    """The node tries as long as there is sense in it, so its word is final."""
    return Request(
        b"POST",
        b"/v1/archive",
        _id(request_id),
        b"",
        request_id,
        retried=False,
        timeout=ARCHIVE_SECONDS,
        deadline=ARCHIVE_SECONDS,
    )


def snapshot(request_id: str) -> Request:
    """It takes as long as the ledger is large."""
    return Request(
        b"POST",
        b"/cluster/snapshot",
        _id(request_id),
        b"",
        request_id,
        retried=False,
        timeout=SNAPSHOT_SECONDS,
        deadline=SNAPSHOT_SECONDS,
    )


def watch(prefix: bytes, start: int, *, values: bool) -> Request:
    target = _target(b"/v1/watch", {"prefix": prefix or None, "start": start, "values": True if values else None})
    return Request(b"GET", target, b"accept: text/event-stream\r\n", timeout=WATCH_SILENCE_SECONDS)


# --- writing ---------------------------------------------------------------------------------------------------


def put(key: bytes, body: bytes | Upload, tail: Mapping[str, Any], request_id: str) -> Request:
    """``tail`` are the put's options."""
    headers = _id(request_id) + _conditions(tail)
    if tail["content_type"]:
        headers += b"content-type: %b\r\n" % tail["content_type"].encode()
    for name, text in (tail["metadata"] or {}).items():
        headers += b"x-scribe-meta-%b: %b\r\n" % (name.lower().encode(), text.encode())
    parameters = {"if_version": tail["if_version"], "dedupe": None if tail["dedupe"] else False}
    target = _target(b"/v1/kv/" + quote_from_bytes(key, safe="/").encode(), parameters)
    return Request(b"PUT", target, headers, body, request_id)


def fits_headers(tail: Mapping[str, Any]) -> bool:
    """Whether HTTP carries this metadata as it is: it takes spaces away at the ends of a header."""
    return all(text == text.strip() for text in (tail["metadata"] or {}).values())


def delete(key: bytes, tail: Mapping[str, Any], request_id: str) -> Request:
    headers = _id(request_id) + _conditions(tail)
    for name, text in (tail["metadata"] or {}).items():
        headers += b"x-scribe-meta-%b: %b\r\n" % (name.lower().encode(), text.encode())
    target = _target(b"/v1/kv/" + quote_from_bytes(key, safe="/").encode(), {"if_version": tail["if_version"]})
    return Request(b"DELETE", target, headers, None, request_id)


def batch(operations: Iterable[Mapping[str, Any]], request_id: str) -> Request:
    body = orjson.dumps({"operations": list(operations)})
    return Request(b"POST", b"/v1/batch", _id(request_id) + _JSON, body, request_id)


def put_operation(key: bytes, data: bytes, tail: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A put as it stands in a batch."""
    shape: dict[str, Any] = {"op": "put", **key_to_json(key), "value_base64": base64.b64encode(data).decode()}
    if tail:
        shape |= _stated(tail)
        if tail["content_type"]:
            shape["content_type"] = tail["content_type"]
        if tail["if_absent"]:
            shape["if_absent"] = True
        if not tail["dedupe"]:
            shape["dedupe"] = False
    return shape


def delete_operation(key: bytes, tail: Mapping[str, Any]) -> dict[str, Any]:
    return {"op": "delete", **key_to_json(key), **_stated(tail)}


# --- options ---------------------------------------------------------------------------------------------------


def put_tail(
    key: bytes,
    *,
    content_type: str = "",
    metadata: Mapping[str, str] | None = None,
    if_absent: bool = False,
    if_index: int | None = None,
    if_version: int | None = None,
    dedupe: bool = True,
) -> dict[str, Any]:
    """The options of a put, checked as the ledger checks them."""
    for name, flag in (("if_absent", if_absent), ("dedupe", dedupe)):
        if flag is not True and flag is not False:
            raise InvalidRequest(f"{name} is {type(flag).__name__}", hint="it is True or False")
    return {
        **delete_tail(key, metadata=metadata, if_index=if_index, if_version=if_version, content_type=content_type),
        "content_type": content_type,
        "if_absent": if_absent,
        "dedupe": dedupe,
    }


def delete_tail(
    key: bytes,
    *,
    metadata: Mapping[str, str] | None = None,
    if_index: int | None = None,
    if_version: int | None = None,
    content_type: str = "",
) -> dict[str, Any]:
    """The options of a delete; ``tail`` is the end of the leaf that they make."""
    if metadata is not None and not hasattr(metadata, "items"):
        raise InvalidRequest(f"the metadata is {type(metadata).__name__}", hint='for example metadata={"team": "red"}')
    return {
        "tail": encode_tail(key, content_type, metadata),
        "metadata": metadata,
        "if_index": natural(if_index, "if_index"),
        "if_version": natural(if_version, "if_version"),
    }


def checked_pairs(pairs: Iterable[tuple[object, object]]) -> list[tuple[bytes, bytes]]:
    """What ``put_many`` takes, as bytes."""
    hint = 'such as [("a", b"1"), ("b", b"2")], or the items() of a dictionary'
    if hasattr(pairs, "keys") or not hasattr(pairs, "__iter__"):
        raise InvalidRequest(f"put_many takes pairs of key and value, not {type(pairs).__name__}", hint=hint)
    rows = list(pairs)
    if any(type(row) not in (tuple, list) or len(row) != 2 for row in rows):
        raise InvalidRequest("put_many takes pairs of key and value", hint=hint)
    return [(key_bytes(key), value_bytes(data)) for key, data in rows]


def _conditions(tail: Mapping[str, Any]) -> bytes:
    headers = b""
    if tail.get("if_absent"):
        headers += b"if-none-match: *\r\n"
    if tail["if_index"] is not None:
        headers += b'if-match: "%d"\r\n' % tail["if_index"]
    return headers


def _stated(tail: Mapping[str, Any]) -> dict[str, Any]:
    shape = {name: tail[name] for name in ("if_index", "if_version") if tail[name] is not None}
    if tail["metadata"]:
        shape["metadata"] = dict(tail["metadata"])
    return shape


def _id(request_id: str) -> bytes:
    return b"idempotency-key: %b\r\n" % request_id.encode()


def _listed_key(key: bytes) -> str | dict[str, str]:
    shape = key_to_json(key)
    return shape.get("key", shape)


def _target(path: bytes, parameters: Mapping[str, Any]) -> bytes:
    query = b"&".join(
        [b"%b=%b" % (name.encode(), _parameter(given)) for name, given in parameters.items() if given is not None]
    )
    return b"%b?%b" % (path, query) if query else path


def _parameter(given: object) -> bytes:
    if isinstance(given, bool):
        return b"true" if given else b"false"
    if isinstance(given, int):
        return b"%d" % given
    data = given.encode() if isinstance(given, str) else given
    assert isinstance(data, bytes)
    return quote_from_bytes(data, safe="").encode()

"""Reading answers: errors back into their classes, JSON into receipts and entries. Nothing here is believed or checked
against a proof; that is ``trust``'s.

An answer that is not in the shape of a node raises ``SerializationError``.
"""

from __future__ import annotations

import binascii
import struct
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from scribe_ledger import errors
from scribe_ledger.errors import InvalidRequest, ScribeError, SerializationError, Unavailable, VerificationError
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import Leaf
from scribe_ledger.model import Entry, Kind, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.client.messages import Answer

_T = TypeVar("_T")

_BY_KIND: dict[str, type[ScribeError]] = {
    found.kind: found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, ScribeError)
}
_BY_STATUS: dict[int, type[ScribeError]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    413: errors.TooLarge,
    429: errors.RateLimited,
}
"""For answers that no node gave, such as a proxy's."""


def json_of(answer: Answer, *accepted: int) -> dict[str, Any]:
    """The JSON object of an answer that went well, or whose status is ``accepted``; otherwise its error is raised."""
    if not 200 <= answer.status < 300 and answer.status not in accepted:
        raise error_of(answer)
    return object_of(answer.body)


def bytes_of(answer: Answer) -> bytes:
    """The body of an answer that went well."""
    if answer.status != 200:
        raise error_of(answer)
    return answer.body


def text_of(answer: Answer) -> str:
    try:
        return bytes_of(answer).decode()
    except UnicodeDecodeError as error:
        raise SerializationError("the node's answer is not UTF-8 text") from error


def object_of(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SerializationError(f"the node's answer is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise SerializationError("the node's answer is not a JSON object")
    return found


def error_of(answer: Answer) -> ScribeError:
    """The error of an answer, in its own class."""
    try:
        shape = orjson.loads(answer.body)["error"]
        kind, message, hint = shape["kind"], str(shape["message"]), str(shape.get("hint", ""))
        request_id, operation = shape.get("request_id"), shape.get("operation")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return _foreign_error(answer)
    if operation is not None and not message.startswith("operations["):
        message = f"operation {operation}: {message}"
    error = _BY_KIND.get(kind, ScribeError)(message, hint=hint)
    if request_id:
        error.add_note(f"request id at the node: {request_id}")
    return error


def _foreign_error(answer: Answer) -> ScribeError:
    found = _BY_STATUS.get(answer.status)
    if found is None:
        found = Unavailable if answer.status >= 500 else SerializationError
    return found(
        f"an answer with status {answer.status} that is not a node's: {answer.body[:80]!r}",
        hint="is this the URL of a Scribe Ledger node?",
    )


# --- shapes ----------------------------------------------------------------------------------------------------


def receipt_of(shape: dict[str, Any]) -> Receipt:
    return _reading("receipt", shape, _receipt)


def _receipt(shape: dict[str, Any]) -> Receipt:
    index, version, timestamp, created = (shape[name] for name in ("index", "version", "timestamp", "created"))
    if not all(type(number) is int and 0 <= number < 1 << 64 for number in (index, version, timestamp)):
        raise ValueError("a number is none that a ledger has")
    if type(created) is not bool:
        raise TypeError("created is neither true nor false")
    return Receipt(index, version, timestamp, _digest(shape["sha256"]), _digest(shape["leaf_hash"]), created)


def key_of(shape: dict[str, Any]) -> bytes:
    return shape["key"].encode() if "key" in shape else binascii.a2b_base64(shape["key_base64"])


def leaf_of(shape: Any) -> tuple[Leaf, bytes]:
    """The leaf that an entry's JSON describes, and its hash, which must be the one that the entry claims."""
    leaf, leaf_hash, claimed = _reading("entry", shape, _leaf)
    if leaf_hash != claimed:
        raise VerificationError(f"entry {leaf.index} is not what its leaf hash says")
    return leaf, leaf_hash


def _leaf(shape: dict[str, Any]) -> tuple[Leaf, bytes, bytes]:
    chunk_root = shape.get("chunk_root")
    leaf = Leaf(
        Kind[shape["kind"].upper()],
        shape["index"],
        shape["timestamp"],
        shape["version"],
        shape["previous"],
        shape["size"],
        _digest(shape["sha256"]),
        ZERO_HASH if chunk_root is None else _digest(chunk_root),
        key_of(shape),
        shape["content_type"],
        dict(shape["metadata"]),
    )
    return leaf, leaf.hash(), _digest(shape["leaf_hash"])


def value_of(shape: dict[str, Any]) -> bytes | None:
    """The value beside an entry; None where the node left it out."""
    encoded = shape.get("value_base64")
    if encoded is None:
        return None
    try:
        return binascii.a2b_base64(encoded)
    except (binascii.Error, ValueError, TypeError) as error:
        raise SerializationError("the value in the node's answer is not base64") from error


def check_value(entry: Entry | Leaf, value: bytes) -> bytes:
    """The value, if it is the entry's."""
    if len(value) != entry.size or sha256(value).digest() != entry.sha256:
        raise VerificationError(f"the value that came is not that of entry {entry.index}")
    return value


def listed(shape: dict[str, Any], name: str) -> list[Any]:
    found = shape.get(name)
    if not isinstance(found, list):
        raise SerializationError(f"the node's answer has no list {name!r}")
    return found


def cursor_of(shape: dict[str, Any]) -> str | None:
    """Where the next page of a listing begins; None at its end."""
    return None if shape.get("cursor") is None else text_field(shape, "cursor")


def text_field(shape: dict[str, Any], name: str) -> str:
    found = shape.get(name)
    if not isinstance(found, str):
        raise SerializationError(f"the node's answer has no text {name!r}")
    return found


def number_field(shape: dict[str, Any], name: str) -> int:
    found = shape.get(name)
    if type(found) is not int:
        raise SerializationError(f"the node's answer has no number {name!r}")
    return found


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        raise ValueError("a digest has 32 bytes")
    return digest


def _reading(what: str, shape: dict[str, Any], read: Callable[[dict[str, Any]], _T]) -> _T:
    try:
        return read(shape)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidRequest, struct.error) as error:
        raise SerializationError(f"the {what} in the node's answer is malformed: {error!r}") from error

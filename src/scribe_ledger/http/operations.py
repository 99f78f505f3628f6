"""The operations of a batch as commands: strict about every field, and quick where all are plain puts."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import InvalidRequest, ScribeError, TooLarge
from scribe_ledger.http.json_bodies import FEW_PARTS
from scribe_ledger.http.request import JSON_ENVELOPE_BYTES
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.commands import Puts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.config.sections import ApiSettings
    from scribe_ledger.ledger.commands import Columns, Command

OPERATION_BYTES = 128
"""What an operation may have in JSON beside its key and value, on the average."""
OPERATION_PARTS = 12
"""How many fields and metadata, on the average: all fields that go together are eleven."""
JSON_SETTING = "[api] max_batch_bytes"
"""What ``most_json_bytes`` grows with."""
_KEY_FIELDS = {"op", "key", "key_base64"}
_SHARED_FIELDS = {"metadata", "if_index", "if_version", "request_id"}
_FIELDS = {
    "put": _KEY_FIELDS | _SHARED_FIELDS | {"value", "value_base64", "content_type", "if_absent", "dedupe"},
    "delete": _KEY_FIELDS | _SHARED_FIELDS,
}


def most_json_bytes(limits: ApiSettings) -> int:
    """How large a body may be that names as many keys and brings as many bytes as a batch may have."""
    return limits.max_batch_bytes * 4 // 3 + limits.max_batch_size * OPERATION_BYTES + JSON_ENVELOPE_BYTES


def most_json_parts(limits: ApiSettings) -> int:
    """How many parts such a body may have."""
    return limits.max_batch_size * OPERATION_PARTS + FEW_PARTS


def read_operations(operations: list[Any], request_id: str | None, limits: ApiSettings) -> Sequence[Command]:
    """``request_id`` is the batch's; operation *i* has it as ``<id>/<i>``, unless it has one of its own."""
    unit: Sequence[Command] | None = _plain_puts(operations, request_id)
    if unit is None:
        unit = [_read_one(place, operation, request_id) for place, operation in enumerate(operations)]
    _check_sizes(commands.columns_of(unit), limits)
    return unit


def _check_sizes(columns: Columns, limits: ApiSettings) -> None:
    size = sum(map(len, columns.keys)) + sum(columns.sizes)
    if size > limits.max_batch_bytes:
        raise TooLarge(
            f"the batch has {size} bytes",
            hint=f"at most {limits.max_batch_bytes}: [api] max_batch_bytes; send several",
        )
    largest = max(columns.sizes)
    if limits.max_value_size and largest > limits.max_value_size:
        place = columns.sizes.index(largest)
        error = TooLarge(
            f"operations[{place}]: the value has {largest} bytes",
            hint=f"at most {limits.max_value_size}: [api] max_value_size",
        )
        error.operation = place
        raise error


def _plain_puts(operations: list[Any], request_id: str | None) -> Puts | None:
    """All at once, if each is a put of text key and base64 value; None if any is not, or is wrong."""
    decode = binascii.a2b_base64
    try:
        pairs = [
            (operation["key"], decode(operation["value_base64"], strict_mode=True))
            for operation in operations
            if operation["op"] == "put" and len(operation) == 3
        ]
        unit = commands.put_many(pairs) if len(pairs) == len(operations) else []
    except (ScribeError, KeyError, TypeError, ValueError, AttributeError):
        return None  # the slow way says what is wrong, and with which
    if not isinstance(unit, Puts) or not all(type(key) is str for key, _ in pairs):
        return None
    if request_id is None:
        return unit
    return Puts(unit.columns._replace(requests=commands.request_digests(request_id, len(unit))))


def _read_one(place: int, operation: Any, request_id: str | None) -> Command:
    try:
        if not isinstance(operation, dict):
            raise InvalidRequest("it is not an object", hint='for example {"op": "put", "key": "a", "value": "1"}')
        own = None if request_id is None else f"{request_id}/{place}"
        return _command(operation, own)
    except ScribeError as error:
        named = type(error)(f"operations[{place}]: {error.message}", hint=error.hint)
        named.operation = place
        raise named from error


def _command(operation: dict[str, Any], request_id: str | None) -> Command:
    op = operation.get("op")
    known = _FIELDS.get(op) if isinstance(op, str) else None
    if known is None:
        raise InvalidRequest("op is neither put nor delete", hint="name one of them")
    if unknown := operation.keys() - known:
        raise InvalidRequest(f"a {op} has no field {min(unknown)!r}", hint=f"known: {', '.join(sorted(known))}")
    key = read_key(operation)
    options = {name: operation[name] for name in operation.keys() - _KEY_FIELDS - {"value", "value_base64"}}
    _check_options(options)
    if request_id is not None:
        options.setdefault("request_id", request_id)
    if op == "delete":
        return commands.delete(key, **options)
    return commands.put(key, _one_of(operation, "value"), **options)


def _check_options(options: dict[str, Any]) -> None:
    """JSON's own kinds; the rest is the commands' to check."""
    metadata = options.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InvalidRequest("metadata is not an object of texts")
    for name, kind in (("request_id", str), ("content_type", str), ("if_absent", bool), ("dedupe", bool)):
        if name in options and not isinstance(options[name], kind):
            raise InvalidRequest(f"{name} is not {'text' if kind is str else 'true or false'}")
    for name in ("if_index", "if_version"):
        number = options.get(name)
        if isinstance(number, float) and number.is_integer():  # 3.0 is a whole number in JSON
            options[name] = int(number)


def read_key(fields: dict[str, Any]) -> bytes:
    """``key`` as text, or ``key_base64``."""
    return commands.key_bytes(_one_of(fields, "key"))


def _one_of(fields: dict[str, Any], name: str) -> bytes:
    coded = f"{name}_base64"
    if (name in fields) == (coded in fields):
        has = f"both {name} and {coded}" if name in fields else f"neither {name} nor {coded}"
        raise InvalidRequest(f"it has {has}", hint="give one")
    given = fields.get(name, fields.get(coded))
    if not isinstance(given, str):
        raise InvalidRequest(f"{name if name in fields else coded} is not text")
    try:
        return given.encode() if name in fields else binascii.a2b_base64(given, strict_mode=True)
    except ValueError as error:
        raise InvalidRequest(f"{coded} is not base64: {error}") from error

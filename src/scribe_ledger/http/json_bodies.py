"""JSON that a client sent: an object of a bounded number of parts, or an error that says where it is wrong.

The parser does not let go of the interpreter before it is done, and what it makes of a part may be thirty times as
large as the part itself. So the parts are counted first, in steps that each take milliseconds.
"""

from __future__ import annotations

from typing import Any

import orjson

from scribe_ledger.errors import InvalidRequest, TooLarge

FEW_PARTS = 4096
"""More than any body needs that names neither keys nor operations, and than the metadata of one operation."""
_SHAPE = "see /docs for its shape"


def may_have_more(body: bytes, parts: int) -> bool:
    """A first look, which takes what stands within texts for parts, too."""
    return _separators(body) > parts


def check_parts(body: bytes, parts: int) -> None:
    """Counts the parts outside of texts: values, members, and arrays and objects once more. Not for the event loop."""
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = without_escapes.count(b'"')
    if quotes > 4 * (parts + 1) or _separators(b"".join(without_escapes.split(b'"')[::2])) > parts:
        raise TooLarge(
            f"the JSON has more than {parts} parts",
            hint="send several requests, each with less; [api] max_batch_size is what allows more",
        )


def read_object(body: bytes) -> dict[str, Any]:
    """The object that a body is."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {_fault(body, error)}", hint=_SHAPE) from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"the body is a JSON {_name_of(found)}, not an object", hint=_SHAPE)
    return found


def _separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _fault(body: bytes, error: orjson.JSONDecodeError) -> str:
    """What is wrong, and where; the parser does not say where bytes are no UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as undecodable:
        before = body[: undecodable.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"it is not UTF-8 at line {line}, column {column}"
    return f"{error.msg} at line {error.lineno}, column {error.colno}"


def _name_of(value: object) -> str:
    return {list: "array", str: "text", int: "number", float: "number", bool: "boolean"}.get(type(value), "null")

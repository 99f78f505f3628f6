"""What callers may give: keys, values, numbers and options, checked before anything is sent.

A wrong argument is refused here with the words of the embedded ledger, so that no round trip is spent on it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.model import MAX_KEY_BYTES, MAX_NUMBER, MAX_REQUEST_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

Key: TypeAlias = str | bytes | bytearray | memoryview
Value: TypeAlias = str | bytes | bytearray | memoryview
"""Text stands for its UTF-8."""


class PutOptions(TypedDict, total=False):
    """What may stand beside key and value of a put. ``Ledger.put`` says what each means."""

    content_type: str
    metadata: Mapping[str, str] | None
    if_absent: bool
    if_index: int | None
    if_version: int | None
    dedupe: bool


class DeleteOptions(TypedDict, total=False):
    """What may stand beside the key of a delete."""

    metadata: Mapping[str, str] | None
    if_index: int | None
    if_version: int | None


def key_bytes(key: object, what: str = "key") -> bytes:
    name = _bytes(key, what)
    if not name:
        raise InvalidRequest(f"the {what} is empty", hint=f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if len(name) > MAX_KEY_BYTES:
        raise TooLarge(f"the {what} has {len(name)} bytes", hint=f"a key has at most {MAX_KEY_BYTES} bytes")
    return name


def prefix_bytes(prefix: object) -> bytes:
    """Like a key, but it may be empty."""
    return b"" if prefix in ("", b"") else key_bytes(prefix, "prefix")


def value_bytes(value: object) -> bytes:
    return value if type(value) is bytes else _bytes(value, "value")


def natural(number: int | None, name: str, *, least: int = 0) -> int | None:
    """An optional whole number of at least ``least``."""
    return None if number is None else required(number, name, least=least)


def required(number: int, name: str, *, least: int = 0) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest(f"{name} is {type(number).__name__}, not a whole number")
    if not least <= number <= MAX_NUMBER:
        shown = number if number.bit_length() <= 128 else f"a number of {number.bit_length()} bits"
        raise InvalidRequest(f"{name} is {shown}", hint=f"it is a whole number from {least} to {MAX_NUMBER}")
    return number


def request_id_text(given: str | bytes | None) -> str:
    """The id that makes a write safe to repeat: the caller's, or a fresh one."""
    if given is None:
        return secrets.token_hex(16)
    text = given.decode("latin-1") if isinstance(given, bytes) else given
    if not isinstance(text, str):
        raise InvalidRequest(f"the request id is {type(given).__name__}", hint="request ids are str or bytes")
    if not 1 <= len(text) <= MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(
            f"the request id has {len(text)} bytes", hint=f"a request id has 1 to {MAX_REQUEST_ID_BYTES} bytes"
        )
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise InvalidRequest(
            "the request id cannot stand in a header", hint="use printable ASCII, without spaces at either end"
        )
    return text


def _bytes(given: object, what: str) -> bytes:
    if isinstance(given, str):
        try:
            return given.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"the {what} is not valid Unicode", hint=f"give the {what} as bytes") from error
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    is_file = what == "value" and hasattr(given, "read")
    hint = "put_stream stores what a file holds" if is_file else f"{what}s are str or bytes"
    raise InvalidRequest(f"the {what} is {type(given).__name__}", hint=hint)

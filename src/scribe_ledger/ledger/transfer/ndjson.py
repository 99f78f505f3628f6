"""Entries as NDJSON: one JSON object a line, in ASCII, that any tool can read.

A value that is text of at most ``TEXT_BYTES`` is ``value``, any other ``value_base64``; so is a key that is not UTF-8.
The value stands last, so that a line of any length is written and read in constant memory: of a line that is longer
than ``LINE_BYTES`` only what comes before the value is held.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any, Self

from scribe_ledger.ledger.transfer.rows import make_row, malformed
from scribe_ledger.merkle.hashing import ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.model import Entry

TEXT_BYTES = 64 << 10
LINE_BYTES = 8 << 20
_PIECE_BYTES = 3 << 18
"""Of a value in base64: a multiple of three, so that pieces join without padding."""
_VALUE_AT = re.compile(rb'"value_base64"[ \t]*:[ \t]*"')
_LINE_END = re.compile(rb'"[ \t]*}[ \t]*\r?\n?')
_ENCODING_HINT = "save the file as UTF-8"
_DIGESTS = ("sha256", "chunk_root", "leaf_hash")


class NdjsonWriter:
    """Writes entries to a binary stream, which stays the caller's."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, entry: Entry, value: IO[bytes] | None = None) -> None:
        """``value`` gives the value of an entry that is too large to be held."""
        fields = fields_of(entry)
        if value is None and not entry.deleted:
            fields |= value_to_json(entry.value)
        line = json.dumps(fields, separators=(",", ":")).encode()
        if value is None:
            self._file.write(line + b"\n")
            return
        self._file.write(line[:-1] + b',"value_base64":"')
        while piece := value.read(_PIECE_BYTES):
            self._file.write(b2a_base64(piece, newline=False))
        self._file.write(b'"}\n')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held back."""


def fields_of(entry: Entry) -> dict[str, Any]:
    """An entry as JSON, without its value; ``chunk_root`` only where the value is a blob."""
    fields = entry.to_json()
    if entry.chunk_root != ZERO_HASH:
        fields["chunk_root"] = entry.chunk_root.hex()
    return fields


def value_to_json(value: bytes) -> dict[str, str]:
    """``{"value": …}`` where the value is a text of moderate size, else ``{"value_base64": …}``."""
    if len(value) <= TEXT_BYTES:
        try:
            return {"value": value.decode()}
        except UnicodeDecodeError:
            pass
    return {"value_base64": b2a_base64(value, newline=False).decode()}


def read_ndjson(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file, one at a time. Empty lines are passed over."""
    number = 0
    while line := file.readline(LINE_BYTES):
        number += 1
        place = f"line {number}"
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            yield from _long_line(place, line, file)
        elif line.strip():
            yield make_row(place, _fields(place, line))


def _fields(place: str, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(place, "it is not UTF-8", hint=_ENCODING_HINT) from error
    if "\0" in text:  # no JSON has one; UTF-16 of plain letters is full of them
        raise malformed(place, "it is not UTF-8", hint=_ENCODING_HINT)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise malformed(place, f"it is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise malformed(place, "it is not a JSON object")
    for name in ("key", "value"):
        _to_bytes(place, fields, name)
    for name in _DIGESTS:
        if fields.get(name) is not None:
            fields[name] = _from_hex(place, fields, name)
    return fields


def _to_bytes(place: str, fields: dict[str, Any], name: str) -> None:
    """Replaces ``name`` or ``name_base64`` by the bytes that they mean."""
    text, encoded = fields.get(name), fields.pop(f"{name}_base64", None)
    if text is not None and encoded is not None:
        raise malformed(place, f"it has both {name} and {name}_base64")
    given = text if encoded is None else encoded
    if given is None:
        return
    if not isinstance(given, str):
        raise malformed(place, f"the {name} is not text", hint=f"bytes stand in {name}_base64")
    try:
        fields[name] = given.encode() if encoded is None else a2b_base64(given, strict_mode=True)
    except UnicodeEncodeError as error:
        raise malformed(place, f"the {name} is not valid Unicode") from error
    except ValueError as error:
        raise malformed(place, f"{name}_base64 is not base64: {error}") from error


def _from_hex(place: str, fields: dict[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(fields[name])
    except (TypeError, ValueError) as error:
        raise malformed(place, f"the field {name} is not a digest in hex") from error


# --- lines of any length ---------------------------------------------------------------------------------------


def _long_line(place: str, begin: bytes, file: BinaryIO) -> Iterator[Row]:
    # The last match is the field itself: its value holds no quotes, and in another string a quote is escaped.
    *_, found = [None, *_VALUE_AT.finditer(begin)]
    if found is None:
        raise malformed(
            place,
            f"it is longer than {LINE_BYTES} bytes, and no value_base64 is at its end",
            hint="in long lines the value is value_base64 and stands last",
        )
    fields = _fields(place, begin[: found.start()].rstrip(b" \t,") + b"}")
    if "value" in fields:
        raise malformed(place, "it has both value and value_base64")
    pieces = _pieces(place, begin[found.end() :], file)
    yield make_row(place, {**fields, "value": pieces})
    for _ in pieces:  # what the caller did not want
        pass


def _pieces(place: str, begin: bytes, file: BinaryIO) -> Iterator[bytes]:
    """Decodes base64 up to the closing quote, and makes sure that the line ends there."""
    rest, padded = begin, False
    while True:
        data, quote, tail = rest.partition(b'"')
        whole = len(data) if quote else len(data) - len(data) % 4
        if whole:
            if padded:
                raise malformed(place, "value_base64 goes on after its padding")
            padded = data[:whole].endswith(b"=")
            try:
                yield a2b_base64(data[:whole], strict_mode=True)
            except ValueError as error:
                raise malformed(place, f"value_base64 is not base64: {error}") from error
        if quote:
            break
        more = file.readline(LINE_BYTES)
        if not more:
            raise malformed(place, "the file ends inside the value")
        rest = data[whole:] + more
    if not tail.endswith(b"\n"):
        tail += file.readline(LINE_BYTES)
    if not _LINE_END.fullmatch(quote + tail):
        raise malformed(place, "something follows the value", hint="in long lines the value stands last")

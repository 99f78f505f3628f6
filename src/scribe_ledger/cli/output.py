"""What leaves the command: lines for people, JSON for programs, and never a control character that nobody asked for.

Keys and texts go through ``shown``, JSON is ASCII. Values alone leave as they are, in ``get`` and ``export``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from scribe_ledger import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.cli.session import Session
    from scribe_ledger.model import Entry


def shown(text: str | bytes) -> str:
    """A key or text on one line, safe for a terminal: what is not printable appears as a backslash and its code."""
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


counted = partial(errors.counted, mark=",")
"""A number with its noun, for people: ``1 entry``, ``12,000 entries``."""


def say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def print_json(document: object) -> None:
    """One document, on one line."""
    sys.stdout.write(json.dumps(document) + "\n")


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Names and what they hold, in two columns."""
    pairs = list(fields)
    width = max([len(name) for name, _ in pairs], default=0)
    say(*[f"{name:<{width}}  {value}".rstrip() for name, value in pairs])


def print_error(
    session: Session,
    kind: str,
    message: str,
    hint: str = "",
    *,
    details: Sequence[Any] = (),
    warnings: Sequence[str] = (),
) -> None:
    """The one shape of an error. ``details`` are problems that have a JSON form of their own."""
    if session.json:
        error: dict[str, object] = {"kind": kind, "message": message, "hint": hint}
        if details:
            error["problems"] = [problem.to_json() for problem in details]
        if warnings:
            error["warnings"] = list(warnings)
        sys.stderr.write(json.dumps({"error": error}) + "\n")
        return
    lines = [shown(line) if not line.isprintable() else line for line in message.split("\n")]
    sys.stderr.write("scribe: " + "\n".join(lines) + "\n")
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
    for warning in warnings:
        warn(warning)


def warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


# --- entries ---------------------------------------------------------------------------------------------------

ENTRY_HEADING = f"{'index':>10}  {'version':>7}  {'kind':<6}  {'size':>12}  {'time (UTC)':<23}  "


def entry_line(entry: Entry) -> str:
    """The columns of ``ENTRY_HEADING``; what varies in width comes after them."""
    kind, size = entry.kind.name.lower(), "" if entry.deleted else f"{entry.size:,}"
    return f"{entry.index:>10}  {entry.version:>7}  {kind:<6}  {size:>12}  {time_of(entry.timestamp):<23}  "


def time_of(timestamp: int) -> str:
    """A timestamp as people read it, in UTC; as it is, where no calendar goes."""
    import datetime

    try:
        moment = datetime.datetime.fromtimestamp(timestamp / 1000, tz=datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp % 1000:03}"

"""From events to lines: text for people, JSON for programs. What a client chose can neither break a line nor a string.

An event is a dictionary; a request is a tuple (``Access``), since there are so many of them. Both forms are ASCII: what
is not printable appears as an escape. A traceback follows its line in text, indented, so that no text in it can pass
for a line of its own; in JSON it is a field.
"""

from __future__ import annotations

import json
import re
import time
import traceback
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_K = TypeVar("_K")

Event: TypeAlias = dict[str, Any]

MAX_PATH_BYTES = 512
"""A longer path is cut in access lines, and ends in three dots."""
_PLAIN = re.compile(r"[!#-\[\]-~]*")
"""Printable ASCII without space, quote and backslash: it stands for itself in both forms."""
_NOT_PLAIN = re.compile(r"[^!#-\[\]-~]")
_PLAIN_LINES = bytes(sorted({0x0A, *range(0x21, 0x7F)} - set(b'"\\')))
_LEADING = ("timestamp", "level", "logger", "event", "exception")


class Access(NamedTuple):
    """One request that was answered."""

    time: float
    method: str
    path: bytes
    status: int
    size: int
    seconds: float
    request_id: bytes
    client: tuple[str, int] | None


def render_json(lines: Sequence[Event | Access]) -> bytes:
    return _render(lines, _accesses_json, _event_json)


def render_text(lines: Sequence[Event | Access]) -> bytes:
    return _render(lines, _accesses_text, _event_text)


def _render(
    lines: Sequence[Event | Access],
    render_accesses: Callable[[list[Access]], str],
    render_event: Callable[[Event], str],
) -> bytes:
    parts: list[str] = []
    for are_accesses, run in groupby(lines, lambda line: type(line) is not dict):
        if are_accesses:
            parts.append(render_accesses(list(cast("Iterator[Access]", run))))
        else:
            parts += map(render_event, cast("Iterator[Event]", run))
    return "".join(parts).encode()


# --- requests --------------------------------------------------------------------------------------------------


def _accesses_json(lines: list[Access]) -> str:
    return "".join(
        [
            f'{{"timestamp": "{stamp}", "level": "info", "logger": "scribe.access", "event": "request", '
            f'"method": "{method}", "path": "{path}", "status": {status}, "bytes": {size}, '
            f'"duration_us": {duration}, "request_id": "{request_id}", "client": "{client}"}}\n'
            for stamp, method, path, status, size, duration, request_id, client in _columns(lines, "\\\\")
        ]
    )


def _accesses_text(lines: list[Access]) -> str:
    return "".join(
        [
            f"{stamp} info  scribe.access: {method} {path} {status} bytes={size} duration_us={duration} "
            f"request_id={request_id} client={client}\n"
            for stamp, method, path, status, size, duration, request_id, client in _columns(lines, "\\")
        ]
    )


def _columns(lines: list[Access], backslash: str) -> Iterable[tuple[str, str, str, int, int, int, str, str]]:
    """The lines with every field as it is written. Made column by column: each for itself would take twice as long."""
    times, methods, paths, statuses, sizes, seconds, request_ids, clients = zip(*lines, strict=True)
    return zip(
        [_STAMPS[int(moment * 1000)] for moment in times],
        methods,
        _texts(paths, backslash),
        statuses,
        sizes,
        [int(second * 1_000_000) for second in seconds],
        _texts(request_ids, backslash),
        [_ADDRESSES[client] for client in clients],
        strict=True,
    )


def _texts(raws: Sequence[bytes], backslash: str) -> list[str]:
    """Each as text on one line, cut where it is too long; ``backslash`` is how the form writes one."""
    joined = b"\n".join(raws)
    texts = joined.decode("latin-1").split("\n")
    plain = not joined.translate(None, _PLAIN_LINES) and len(texts) == len(raws)
    if plain and max(map(len, texts)) <= MAX_PATH_BYTES:
        return texts
    return [_cut(raw).replace("\\", backslash) for raw in raws]


def _cut(raw: bytes) -> str:
    return _safe(raw) if len(raw) <= MAX_PATH_BYTES else _safe(raw[:MAX_PATH_BYTES]) + "..."


def _safe(raw: bytes) -> str:
    return _NOT_PLAIN.sub(lambda found: f"\\x{ord(found[0]):02x}", raw.decode("latin-1"))


class _Cache(dict[_K, str]):
    """Texts that are wanted again and again. It begins anew when it is full."""

    def __init__(self, make: Callable[[_K], str]) -> None:
        self._make = make

    def __missing__(self, key: _K) -> str:
        if len(self) >= 4096:
            self.clear()
        self[key] = text = self._make(key)
        return text


def _address(client: tuple[str, int] | None) -> str:
    if client is None:
        return "-"
    host, port = client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _stamp_of_millisecond(milliseconds: int) -> str:
    second, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:03}Z"


_ADDRESSES = _Cache(_address)
_STAMPS = _Cache(_stamp_of_millisecond)


# --- events ----------------------------------------------------------------------------------------------------


def _event_json(event: Event) -> str:
    shape = {**event, "timestamp": _stamp(event["timestamp"])}
    if "exception" in event:
        shape["exception"] = _traceback(event["exception"])
    return json.dumps(shape, default=_plain_value) + "\n"


def _event_text(event: Event) -> str:
    message = str(event["event"])
    if not (message.isascii() and message.isprintable()):
        message = json.dumps(message)[1:-1]
    fields = [f" {name}={_field(value)}" for name, value in event.items() if name not in _LEADING]
    line = f"{_stamp(event['timestamp'])} {event['level']:<5} {event['logger']}: {message}{''.join(fields)}\n"
    if "exception" in event:
        line += "".join(f"    {part}\n" for part in _traceback(event["exception"]).splitlines())
    return line


def _field(value: object) -> str:
    if isinstance(value, str) and value and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, default=_plain_value)


def _plain_value(value: object) -> str:
    return _safe(value) if isinstance(value, bytes) else str(value)


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(line if line.isprintable() else json.dumps(line)[1:-1] for line in text.split("\n"))


def _stamp(moment: float) -> str:
    return _STAMPS[int(moment * 1000)]

"""Server-sent events out of the bytes of a stream. No I/O."""

from __future__ import annotations

from typing import NamedTuple

from scribe_ledger.errors import SerializationError

MAX_EVENT_BYTES = 16 << 20


class Event(NamedTuple):
    """One event; a comment, which only keeps the connection alive, is none. ``data`` is empty where only an id came."""

    name: str
    data: bytes
    identity: bytes


class EventReader:
    """Takes bytes, and gives the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._identity = b""

    def feed(self, data: bytes) -> list[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise SerializationError(f"the node sends an event of more than {MAX_EVENT_BYTES} bytes")
        events = []
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event = None
            if self._data or self._identity:
                event = Event(self._name or "message", b"\n".join(self._data), self._identity)
            self._name, self._data, self._identity = "", [], b""
            return event
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"data":
            self._data.append(value)
        elif field == b"id":
            self._identity = value
        return None  # a comment, or a field that means nothing here

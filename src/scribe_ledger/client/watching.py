"""A live watch that outlives its connections: where to go on, and when. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.client import answers, requests
from scribe_ledger.client.events import EventReader
from scribe_ledger.client.messages import Answer
from scribe_ledger.client.nodes import longest_pause
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.client.messages import Request
    from scribe_ledger.model import Entry


class Watch:
    """Entries from ``start`` on. Each comes once, in order, over however many connections."""

    def __init__(self, prefix: bytes, start: int, *, values: bool) -> None:
        self.prefix = prefix
        self._values = values
        self.least = start
        """The first index that was not given yet."""
        self._reader = EventReader()
        self._breaks = 0

    def request(self) -> Request:
        """Asks for what was not given yet, on a new connection."""
        self._reader = EventReader()
        return requests.watch(self.prefix, self.least, values=self._values)

    def entries(self, piece: bytes) -> Iterator[dict[str, Any]]:
        """The entries that are complete, as JSON. An error that a repetition would meet again is raised."""
        for event in self._reader.feed(piece):
            if event.name == "error":
                error = answers.error_of(Answer(503, {}, event.data))
                if not isinstance(error, Unavailable):
                    raise error
            elif event.name == "entry":
                yield answers.object_of(event.data)
            elif event.identity.isdigit() and self.prefix:  # entries of other keys were passed over
                self.least = max(self.least, int(event.identity) + 1)

    def seen(self, entry: Entry) -> None:
        self.least = entry.index + 1
        self._breaks = 0

    def ended(self) -> float:
        """The connection is at its end, in good order or not: the seconds to wait before the next."""
        self._breaks += 1
        return longest_pause(self._breaks)

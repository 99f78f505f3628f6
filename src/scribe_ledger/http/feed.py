"""``Feed``: the live log as events, read and rendered once for all who watch it.

A thousand readers at the end of the log want the same events at the same moment. The newest are kept as they travel,
so that the first to ask reads them, in a thread, and the others take them from here. Whoever is further behind reads by
itself, one after another: however many watch, they leave most threads to other reads, and other requests a turn of the
loop between theirs. All methods are for the loop's own thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.http.pages import PIECE_BYTES, entry_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scribe_ledger.http.readers import Readers
    from scribe_ledger.ledger.served import ServedLedger

READ_ENTRIES = 64
"""Entries read in one go; fewer where they have more than ``PIECE_BYTES`` together."""
KEPT_ENTRIES = 1024
KEPT_BYTES = 2 << 20
"""How many of the newest events are kept, with values and without: the last entries, if there is one for both."""
READERS_A_TURN = 16
"""So many go on in one turn of the loop."""


class Event(NamedTuple):
    """One entry, as it is sent."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    key: bytes
    data: bytes


class Feed:
    """The live log of one ledger."""

    def __init__(self, ledger: ServedLedger, disk: Readers, readers_of_values: Callable[[int], Readers]) -> None:
        """``readers_of_values`` says which threads may read values from an index on; ``disk`` are for all else."""
        self._ledger = ledger
        self._disk = disk
        self._readers_of_values = readers_of_values
        self._ends = {values: _End() for values in (False, True)}
        self._behind = {values: asyncio.Lock() for values in (False, True)}
        self._turn = asyncio.Semaphore(READERS_A_TURN)

    async def turn(self) -> None:
        """Waits for this reader's turn. Each goes on once before any goes on twice."""
        async with self._turn:
            await asyncio.sleep(0)

    async def read(self, start: int, *, values: bool) -> Sequence[Event]:
        """Events from ``start`` on, which the ledger has: at least one, and no more than make a piece."""
        end = self._ends[values]
        kept = end.events_from(start)
        if kept:
            return kept
        async with self._behind[values] if start < end.stop else end.reading:
            kept = end.events_from(start)  # somebody else may have read them meanwhile
            if not kept:
                readers = self._readers_of_values(start) if values else self._disk
                kept = await readers.run(self._read, start, values)
                end.keep(kept)
        return kept

    def _read(self, start: int, values: bool) -> list[Event]:
        """In a thread."""
        stop = min(start + READ_ENTRIES, self._ledger.size)
        return _piece(
            Event(
                entry.index,
                entry.key,
                b"id: %d\nevent: entry\ndata: %b\n\n" % (entry.index, entry_json(entry, values=values)),
            )
            for entry in self._ledger.log(start, stop)
        )


class _End:
    """The newest events, without gaps."""

    def __init__(self) -> None:
        self.stop = 0
        """The index after the last that is kept."""
        self.reading = asyncio.Lock()
        """Held by who reads what comes next."""
        self._events: deque[Event] = deque()
        self._bytes = 0

    def events_from(self, start: int) -> list[Event]:
        """A piece of what is kept; nothing if ``start`` is not."""
        place = start - self.stop + len(self._events)
        return _piece(islice(self._events, place, None)) if place >= 0 else []

    def keep(self, events: Sequence[Event]) -> None:
        """Those that follow. A gap means that nobody has watched for a while: what was before it is of no use."""
        first = events[0].index
        if first < self.stop:
            return
        if first > self.stop:
            self._events.clear()
            self._bytes = 0
        self._events += events
        self._bytes += sum(len(event.data) for event in events)
        self.stop = first + len(events)
        while len(self._events) > KEPT_ENTRIES or (self._bytes > KEPT_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().data)


def _piece(events: Iterable[Event]) -> list[Event]:
    """Up to the event that makes a piece full."""
    piece: list[Event] = []
    size = 0
    for event in events:
        piece.append(event)
        size += len(event.data)
        if size >= PIECE_BYTES:
            break
    return piece

"""``Room``: how much may be accepted before the disk has been looked at again.

Free space is asked for at most a few times a second, and a fast writer fills a disk in less. So what is accepted is
counted: nothing is that would take the disk below the reserve if all of it were written. Whoever watches the disk sets
the bound; without one there is none. To ask costs a comparison of integers. It knows nothing of disks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from scribe_ledger.config.sections import MAKE_ROOM
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN_TIMES = 3
"""How often a byte that was accepted may lie on the disk until logs are cut: a member's log, the engine's, a table."""
NO_BOUND = 1 << 62


class Writer(Protocol):
    """What counts the bytes of small values, as they are queued."""

    @property
    def accepted_bytes(self) -> int:
        """In all, since it began."""
        ...

    @property
    def settled_bytes(self) -> int:
        """Of those, what is written or refused by now."""
        ...


class Mark(NamedTuple):
    """What certainly was on the disk when it was looked at."""

    settled_bytes: int
    large_bytes: int


class Room:
    """For the event loop's thread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._large_bytes = 0
        self._bound = NO_BOUND
        self.low_at = NO_BOUND
        """From so many accepted bytes on, it is time to look at the disk."""
        self.on_low: Callable[[], object] = lambda: None
        self.missed_bytes = 0
        """Of disk: what the largest unit would have taken that did not fit. For whoever looks, to be set back."""

    def mark(self) -> Mark:
        """To be taken before the disk is looked at."""
        return Mark(self._writer.settled_bytes, self._large_bytes)

    def set(self, spare_bytes: int, mark: Mark) -> None:
        """So much was free above the reserve, with what was there at the mark."""
        spare = max(0, spare_bytes - (self._large_bytes - mark.large_bytes))
        self._bound = mark.settled_bytes + spare // WRITTEN_TIMES
        self.low_at = mark.settled_bytes + spare // (2 * WRITTEN_TIMES)

    def fits(self, size: int) -> bool:
        """Whether a unit of that size may be accepted."""
        accepted = self._writer.accepted_bytes + size
        if accepted >= self.low_at:
            self.on_low()
        if accepted <= self._bound:
            return True
        self.missed_bytes = max(self.missed_bytes, size * WRITTEN_TIMES)
        return False

    def check(self, size: int) -> None:
        if not self.fits(size):
            raise _no_room()

    def check_large(self, size: int) -> None:
        """The same for bytes of a large value: they are written once."""
        self.check(size // WRITTEN_TIMES)

    def take_large(self, size: int) -> None:
        """Counts bytes of a large value that are about to be written."""
        self.check_large(size)
        self._large_bytes += size
        share = -(-size // WRITTEN_TIMES)
        self._bound -= share
        self.low_at -= share


def _no_room() -> Unavailable:
    return Unavailable(
        "the node's disk has too little room for this beside what was accepted already",
        hint=f"retry after a moment; if it stays, {MAKE_ROOM}",
    )

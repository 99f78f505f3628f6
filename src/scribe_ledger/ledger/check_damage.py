"""What the self-check does where the engine cannot read a block of its files: name it once, and read on behind it.

A block holds many records, and everything that looks for one of them fails with the same words, which name file and
offset. So the words are the block's name here. Which records it held is not known; where the next ones begin is found
by looking, in as many steps as the distance has digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import counted
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.store import DamagedBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scribe_ledger.ledger.store import TableReader


class DamagedBlocks:
    """How many look-ups failed on each block."""

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}

    def add(self, error: DamagedBlock) -> bool:
        """Counts one; whether the block was not known yet."""
        self._failed[error.message] = self._failed.get(error.message, 0) + 1
        return self._failed[error.message] == 1

    def told(self, what: str) -> str:
        """A problem's text, with how much more could not be checked if it is one of a damaged block."""
        more = next((count - 1 for message, count in self._failed.items() if what.endswith(message)), 0)
        return f"{what}; so {counted(more, 'other look-up', 'other look-ups')} failed" if more else what


def groups_around_damage(
    leaves: TableReader, size: int, damaged: Callable[[DamagedBlock], object]
) -> Iterator[tuple[bytes, bytes]]:
    """The groups of entries that can be read, in order; ``damaged`` is told before each gap."""
    start = b""
    while True:
        try:
            for group, record in leaves.scan(start or None):
                yield group, record
                start = group + b"\0"
        except DamagedBlock as error:
            damaged(error)
            behind = _first_behind(leaves, int.from_bytes(start[: U64.size], "big"), size)
            if behind is None:
                return
            start = behind
        else:
            return


def _first_behind(leaves: TableReader, unread: int, size: int) -> bytes | None:
    """The first group that can be read behind an index at which nothing can; None if there is none below ``size``."""
    step, good = 1, unread + 1
    while not _can_seek(leaves, good):
        if good >= size:
            return None
        unread, step = good, 2 * step
        good = min(good + step, size)
    while good - unread > 1:
        middle = (unread + good) // 2
        if _can_seek(leaves, middle):
            good = middle
        else:
            unread = middle
    found = leaves.seek(U64.pack(good))
    return None if found is None else found[0]


def _can_seek(leaves: TableReader, index: int) -> bool:
    try:
        leaves.seek(U64.pack(index))
    except DamagedBlock:
        return False
    return True

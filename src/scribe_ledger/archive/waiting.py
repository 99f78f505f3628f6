"""``Waiting``: how long the oldest pending entry has waited, whatever the clock says.

A timestamp of the log never goes back, so one moment of a clock that was ahead marks every entry after it, and by the
clock none of them would ever be old. So the time that this process saw the same entry wait counts as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import Pending


class _Seen(NamedTuple):
    archived_size: int
    """Where the oldest pending entry is."""
    seconds: float
    """When it was first seen there, by the timer."""


class Waiting:
    """Safe for several threads: at worst one forgets what another saw, and it waits anew."""

    def __init__(self, clock: Callable[[], int], timer: Callable[[], float]) -> None:
        self._clock = clock
        self._timer = timer
        self._seen: _Seen | None = None

    def age(self, pending: Pending, archived_size: int) -> int:
        """Milliseconds; 0 if nothing is pending."""
        if not pending.entries:
            return 0
        seen, seconds = self._seen, self._timer()
        if seen is None or seen.archived_size != archived_size:
            seen = self._seen = _Seen(archived_size, seconds)
        return max(self._clock() - pending.since, int((seconds - seen.seconds) * 1000))

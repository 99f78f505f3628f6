"""``Fitness``: whether this node could archive if it led, as it tells the other members.

It could if it takes writes, its settings name the store, the last look found that well, and archiving has not failed
here while it led. Who takes none, such as on a disk that is nearly full, gains the cluster nothing by leading.
Such a failure counts for half an hour, unless a pass went well before: a bucket that can be read and not written looks
well to everybody who does not lead, and leadership would go round for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe_ledger.http.service import Service

FAILURE_COUNTS_SECONDS = 1800.0


class Fitness:
    def __init__(self) -> None:
        self._failed_at = float("-inf")
        self._passes = 0
        """That went well before this node led, or before one failed."""

    def look(self, service: Service, now: float, *, leads: bool) -> bool:
        """Now and then, in the event loop. It reads memory alone."""
        archiver = service.archiver
        if archiver is None or service.trouble is not None or service.writes_refused is not None:
            return False
        passes, fails = archiver.runs["ok"], archiver.failing or archiver.gave_up
        if leads and fails:
            self._failed_at = now
        if fails or not leads:
            self._passes = passes
        elif passes > self._passes:
            self._failed_at = float("-inf")
        return service.store_health.ok is True and now - self._failed_at >= FAILURE_COUNTS_SECONDS

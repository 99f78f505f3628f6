"""``Pace``: how the archiver gives way to those who write and read.

Sealing takes a core, and the interpreter's lock with it. Between two pieces of work, of some milliseconds each, it
looks whether anybody was served since. If so it sleeps longer than it worked. While entries come, it sleeps only as
long as it worked once some segments wait; and with more not at all, since then the archive would only fall further
behind. A ledger that nobody uses is archived at full speed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger

REST = 2.0
"""So much longer than the work took."""
RESTS = ((2, REST), (4, 1.0))
"""The same while entries come and fewer segments than this are pending."""
LONGEST_REST_SECONDS = 0.1


class Stopping(Unavailable):
    """The archiver was told to stop, and has left the rest for the next time."""


class Seen(NamedTuple):
    """What others have had of the ledger; what was seen before differs if they had more since."""

    entries: int
    answers: float


class Pace(threading.local):
    """One for each pass. Each thread that works at it rests by what it has itself done since it rested last."""

    def __init__(
        self,
        ledger: ServedLedger,
        segment_size: int,
        stopped: threading.Event,
        *,
        answers: Callable[[], float] = lambda: 0.0,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``answers`` gives another number once anybody was answered; asked often."""
        self._ledger = ledger
        self._segment_size = segment_size
        self._stopped = stopped
        self._answers = answers
        self._timer = timer
        self._seen = self.seen()
        self._begun = timer()

    def __call__(self) -> None:
        rest = 0.0
        before, self._seen = self._seen, self.seen()
        if self._seen != before:
            factor = self._factor() if self._seen.entries != before.entries else REST
            rest = min(factor * (self._timer() - self._begun), LONGEST_REST_SECONDS)
        if self._stopped.wait(rest) if rest else self._stopped.is_set():
            raise Stopping("the archiver is stopping", hint="what is not archived yet will be when it runs again")
        self._begun = self._timer()

    def seen(self) -> Seen:
        return Seen(self._ledger.size, self._answers())

    def _factor(self) -> float:
        behind = self._ledger.pending.bytes // self._segment_size
        return next((factor for segments, factor in RESTS if behind < segments), 0.0)

"""``Pace``: how the archiver gives way to those who write.

Sealing takes a core, and the interpreter's lock with it. Between two pieces of work, of some milliseconds each, it
looks whether anything was committed since. If so it sleeps longer than it worked; with a backlog of some segments as
long as it worked; and with more not at all, since then the archive would only fall further behind. An idle ledger is
archived at full speed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger

RESTS = ((2, 2.0), (4, 1.0))
"""While fewer segments than this are pending, rest this much longer than the work took."""
LONGEST_REST_SECONDS = 0.1


class Stopping(Unavailable):
    """The archiver was told to stop, and has left the rest for the next time."""


class Pace(threading.local):
    """One for each pass. Each thread that works at it rests by what it has itself done since it rested last."""

    def __init__(
        self,
        ledger: ServedLedger,
        segment_size: int,
        stopped: threading.Event,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ledger = ledger
        self._segment_size = segment_size
        self._stopped = stopped
        self._timer = timer
        self._moment = ledger.moment
        self._begun = timer()

    def __call__(self) -> None:
        rest = 0.0
        if (moment := self._ledger.moment) is not self._moment:
            self._moment = moment
            rest = min(self._factor() * (self._timer() - self._begun), LONGEST_REST_SECONDS)
        if self._stopped.wait(rest) if rest else self._stopped.is_set():
            raise Stopping("the archiver is stopping", hint="what is not archived yet will be when it runs again")
        self._begun = self._timer()

    def _factor(self) -> float:
        behind = self._ledger.pending.bytes // self._segment_size
        return next((factor for segments, factor in RESTS if behind < segments), 0.0)

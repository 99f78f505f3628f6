"""The thread in which passes follow one another: when it looks, and how long it waits after a failure."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.errors import ConfigurationError, Corruption, Forbidden, LedgerClosed, ScribeError

if TYPE_CHECKING:
    from scribe_ledger.archive.archiver import Archiver

LOOK_SECONDS = 1.0
"""How often the thread looks whether something is due to be sealed. A look reads memory, and one entry."""
FIRST_PAUSE_SECONDS = 1.0
"""After a failure; twice as long after each further one, up to the check interval."""
NEEDS_OPERATOR = (Corruption, Forbidden, ConfigurationError)
"""Errors that trying again cannot help, and might make worse."""

_log = logging.getLogger(__name__)


class Background:
    def __init__(self, archiver: Archiver, stopped: threading.Event, *, check_interval_secs: float) -> None:
        self._archiver = archiver
        self._stopped = stopped
        self._interval = check_interval_secs
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        if not self.running:
            self._thread = threading.Thread(target=self._run, name="scribe-archive", daemon=True)
            self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        failures = 0
        pause = 0.0  # the first pass finishes what the process before may have left
        while not self._wait(pause, may_be_early=failures == 0):
            try:
                self._archiver.run_once()
            except (Stopping, LedgerClosed):
                return
            except NEEDS_OPERATOR as error:
                _log.error("archiving has stopped: %s", error)
                return
            except ScribeError as error:
                failures += 1
                pause = min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), self._interval)
                _log.warning("archiving failed, %d in a row, next try in %g s: %s", failures, pause, error)
            else:
                if failures:
                    _log.info("archiving works again")
                failures, pause = 0, self._interval

    def _wait(self, seconds: float, *, may_be_early: bool) -> bool:
        """Until it is time for a pass, or something is due before; True if there will be none."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopped.wait(min(left, LOOK_SECONDS)):
                return True
            if may_be_early and self._archiver.is_due():
                break
        return self._stopped.is_set()

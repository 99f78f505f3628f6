"""The thread in which passes follow one another: when it looks, how long it waits after a failure, and what it logs.

It ends by itself only with a log line, and with the reason in the archiver's status; then ``gave_up`` is true until a
pass by hand has gone well, which begins it anew.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from scribe_ledger.archive.leading import Deposed
from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.errors import ConfigurationError, Corruption, Forbidden, LedgerClosed, ScribeError

if TYPE_CHECKING:
    from scribe_ledger.archive.archiver import Archiver
    from scribe_ledger.archive.status import ArchiveResult

LOOK_SECONDS = 1.0
"""How often the thread looks whether something is due to be sealed. A look reads memory, and one entry."""
FIRST_PAUSE_SECONDS = 1.0
"""After a failure; twice as long after each further one, up to the check interval."""
MAX_DOUBLINGS = 30
NEEDS_OPERATOR = (Corruption, Forbidden, ConfigurationError)
"""Errors that trying again cannot help, and might make worse."""

_log = logging.getLogger("scribe.archive")


class Background:
    def __init__(self, archiver: Archiver, stopped: threading.Event, *, check_interval_secs: float) -> None:
        self._archiver = archiver
        self._stopped = stopped
        self._interval = check_interval_secs
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def gave_up(self) -> bool:
        """Whether it was started, and ended without having been told to."""
        thread = self._thread
        return thread is not None and not thread.is_alive()

    def start(self) -> None:
        with self._changing:
            if not self.running:
                self._begin()

    def resume(self) -> None:
        """Begins anew if it gave up: what it could not help was put right."""
        with self._changing:
            if self.gave_up and not self._stopped.is_set():
                _log.info("archiving in the background goes on")
                self._begin()

    def join(self) -> None:
        with self._changing:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="scribe-archive", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        try:
            self._follow()
        except (Stopping, LedgerClosed):
            return
        except NEEDS_OPERATOR as error:
            _log.error("archiving has stopped: %s", error)
        except BaseException as error:  # noqa: BLE001  # a panic of a native library is no Exception
            _log.error("archiving has stopped: it broke down: %r", error, exc_info=error)

    def _follow(self) -> None:
        """Passes, until one ends with what trying again cannot help."""
        failures = 0
        pause = 0.0  # the first pass finishes what the process before may have left
        while not self._wait(pause, may_be_early=failures == 0):
            try:
                result = self._archiver.run_once()
            except (Stopping, LedgerClosed, *NEEDS_OPERATOR):
                raise
            except Deposed as error:
                _log.info("the pass ended: %s", error)
                failures, pause = 0, self._interval
            except Exception as error:  # noqa: BLE001  # a bug must not end archiving in silence
                failures += 1
                pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, MAX_DOUBLINGS), self._interval)
                _say_failed(error, failures, pause)
            else:
                if failures:
                    _log.info("archiving works again")
                _say_done(result)
                failures, pause = 0, self._interval

    def _wait(self, seconds: float, *, may_be_early: bool) -> bool:
        """Until it is time for a pass, or something is due before; True if there will be none."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopped.wait(min(left, LOOK_SECONDS)):
                return True
            if may_be_early and self._looks_due():
                break
        return self._stopped.is_set()

    def _looks_due(self) -> bool:
        try:
            return self._archiver.is_due()
        except BaseException:  # noqa: BLE001  # the pass begins with the same look, and says what is wrong
            return True


def _say_failed(error: Exception, failures: int, pause: float) -> None:
    if isinstance(error, ScribeError):
        _log.warning("archiving failed, %d in a row, next try in %g s: %s", failures, pause, error)
    else:
        _log.error("archiving broke down, %d in a row, next try in %g s: %r", failures, pause, error, exc_info=error)


def _say_done(result: ArchiveResult) -> None:
    """One line for a pass that did anything."""
    if result.sealed or result.evicted or result.compacted or result.removed:
        _log.info(
            "archived %d entries: %d segments sealed, %d merged, %d values evicted, %d objects removed",
            result.archived_size,
            result.sealed,
            result.compacted,
            result.evicted,
            result.removed,
        )

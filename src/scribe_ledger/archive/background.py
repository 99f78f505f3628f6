"""The thread in which passes follow one another: when it looks, how long it waits after a failure, and what it logs.

Archiving ends with a log line, and with the reason in the archiver's status; then ``gave_up`` is true until a pass has
gone well. What somebody may put right in the store is looked at again after the longest pause, or when ``wake`` says
that the store can be used again: such a pass asks the store first, and is refused as before while nothing has changed.
The thread itself ends where writes are refused for good, and by a panic; a pass by hand that goes well begins it anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from scribe_ledger.archive.leading import Deposed
from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.errors import ConfigurationError, Corruption, Forbidden, LedgerClosed, ScribeError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.archive.archiver import Archiver
    from scribe_ledger.archive.status import ArchiveResult

LOOK_SECONDS = 1.0
"""How often the thread looks whether something is due to be sealed. A look reads memory, and one entry."""
FIRST_PAUSE_SECONDS = 1.0
"""After a failure; twice as long after each further one, up to the check interval."""
MAX_DOUBLINGS = 30
URGENT_SECONDS = 15.0
"""No pause after a failure is longer while writes are refused for want of room: only archiving can bring them back."""
NEEDS_OPERATOR = (Corruption, ConfigurationError)
"""Errors that trying again cannot help before somebody has put something right."""

_log = logging.getLogger("scribe.archive")


class Background:
    def __init__(self, archiver: Archiver, stopped: threading.Event, *, check_interval_secs: float) -> None:
        self._archiver = archiver
        self._stopped = stopped
        self._interval = check_interval_secs
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = False
        """Whether a pass met what needs an operator, and none has gone well since. The thread looks again."""
        self._failures = 0
        """In a row, for the length of the pauses."""
        self._woken = False
        self.errors: Counter[str] = Counter()
        """What passes in the background failed with, by kind. Only the thread adds to it."""

    @property
    def running(self) -> bool:
        return self._lives and not self._ended

    @property
    def gave_up(self) -> bool:
        """Whether it was started, and archiving ended without having been told to."""
        return self._thread is not None and not self.running

    @property
    def _lives(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        with self._changing:
            if not self._lives:
                self._begin()

    def wake(self) -> None:
        """Ends a pause after a failure within a second: what the pass failed by may be over."""
        if self._failures or self._archiver.failing:
            self._woken = True

    def resume(self) -> None:
        """Goes on if it gave up: a pass has gone well, so what it could not help was put right."""
        with self._changing:
            if not self.gave_up or self._stopped.is_set():
                return
            _log.info("archiving in the background goes on")
            self._ended = False
            if not self._lives:
                self._begin()
            elif threading.current_thread() is not self._thread:
                self._woken = True

    def join(self) -> None:
        with self._changing:
            thread, self._thread, self._ended = self._thread, None, False
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name="scribe-archive", daemon=True)
        self._ended, self._woken, self._failures = False, False, 0
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        try:
            self._follow()
        except (Stopping, LedgerClosed):
            return
        except Forbidden as error:
            self._count(error)
            _log.error("archiving has stopped: %s", error)
        except BaseException as error:  # noqa: BLE001  # a panic of a native library is no Exception
            self._count(error)
            _log.error("archiving has stopped: it broke down: %r", error, exc_info=error)

    def _follow(self) -> None:
        """Passes, until one ends with what nobody can put right while this ledger is open."""
        pause = 0.0  # the first pass finishes what the process before may have left
        while not self._wait(pause):
            try:
                result = self._archiver.run_once()
            except (Stopping, LedgerClosed, Forbidden):
                raise
            except Deposed as error:
                _log.info("the pass ended: %s", error)
                self._failures, pause = 0, self._interval
            except Exception as error:  # noqa: BLE001  # a bug must not end archiving in silence
                pause = self._pause_after(error)
            else:
                if self._failures:
                    _log.info("archiving works again")
                _say_done(result)
                self._failures, pause = 0, self._interval

    def _pause_after(self, error: Exception) -> float:
        """Remembers the failure, and tells it; how long to wait."""
        self._count(error)
        self._failures += 1
        pause: float = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, MAX_DOUBLINGS), self._interval)
        if isinstance(error, NEEDS_OPERATOR):
            pause = self._interval
            _log.log(
                logging.WARNING if self._ended else logging.ERROR,
                "archiving has stopped, and looks again in %g s: %s",
                pause,
                error,
            )
            self._ended = True
        else:
            _say_failed(error, self._failures, pause)
        return pause

    def _count(self, error: BaseException) -> None:
        self.errors[error.kind if isinstance(error, ScribeError) else ScribeError.kind] += 1

    def _wait(self, seconds: float) -> bool:
        """Until it is time for a pass, or there is a reason for one before; True if there will be none."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            if self._stopped.wait(min(seconds - waited, LOOK_SECONDS)):
                return True
            if self._woken or self._has_reason(waited):
                break
        if self._woken:
            self._woken, self._failures = False, min(self._failures, 1)  # what failed before says no more
        return self._stopped.is_set()

    def _has_reason(self, waited: float) -> bool:
        if not self._failures:
            return self._looks_due() or self._asks(self._archiver.may_give_room)
        return not self._ended and waited >= URGENT_SECONDS and self._asks(self._archiver.lacks_room)

    def _asks(self, question: Callable[[], bool]) -> bool:
        try:
            return question()
        except StorageError:  # whoever watches the disk says so
            return False

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

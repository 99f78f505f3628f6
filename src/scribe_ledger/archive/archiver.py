"""``Archiver``: moves the log into the object store and keeps it tidy there, a pass at a time.

A pass seals what is due, publishes, evicts, compacts and retires, in this order, each step as
``docs/design/0011-cold-tier.md`` says. It begins by evicting what is too much already, and evicts after each segment. A
pass that finds nothing due asks nothing of the store and writes nothing. One may be ended at any line, and two
archivers may work on one ledger: what a pass leaves behind is finished or taken by the next. Of a cluster's members
only the leader's does all of this, and ends its pass at the next step when it leads no more; the others only evict.

In the background passes follow one another when something is due. An error of the store, or of the disk, is remembered
and the pass tried again later: no write ever fails by it. The next pass asks the store at least whether it may write
there, so that none goes well which asked nothing. An error that says that the store is another ledger's, or that bytes
are not what was written, ends archiving until somebody has put that right: the ledger goes on, unless a newer epoch has
taken its place, in which case it takes no more writes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from scribe_ledger.archive.background import Background
from scribe_ledger.archive.compaction import compact
from scribe_ledger.archive.evicting import Evictor
from scribe_ledger.archive.leading import Alone, Deposed, NotLeading, not_leading
from scribe_ledger.archive.pacing import Pace, Stopping
from scribe_ledger.archive.publishing import Publisher
from scribe_ledger.archive.retiring import Retirer
from scribe_ledger.archive.room import lacks_room
from scribe_ledger.archive.sealing import Sealing, wanted
from scribe_ledger.archive.settings import ArchiveSettings
from scribe_ledger.archive.status import ArchiveResult, ArchiveStatus
from scribe_ledger.archive.waiting import Waiting
from scribe_ledger.archive.work import STEPS, Work
from scribe_ledger.errors import ConfigurationError, Corruption, ScribeError
from scribe_ledger.ledger.folder import system_clock
from scribe_ledger.ledger.signing import read_only
from scribe_ledger.objects.epochs import Superseded
from scribe_ledger.objects.identity import check_is, read_identity
from scribe_ledger.segments.memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scribe_ledger.archive.leading import Leading
    from scribe_ledger.ledger.served import ServedLedger

__all__ = ["STEPS", "ArchiveResult", "ArchiveSettings", "ArchiveStatus", "Archiver"]


class Archiver:
    """One ledger's. ``run_once`` may be called from any thread, whether or not the background runs."""

    def __init__(
        self,
        ledger: ServedLedger,
        settings: ArchiveSettings,
        *,
        clock: Callable[[], int] = system_clock,
        timer: Callable[[], float] = time.monotonic,
        at_step: Callable[[str], None] = lambda _: None,
        leading: Leading | None = None,
        answers: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """``answers`` gives another number once anybody was answered: reads, which the ledger does not count."""
        self._ledger = ledger
        self._leading = leading or Alone()
        self._term = 0
        """In which publisher and retirer began: what they remember of the store holds while nobody else writes."""
        self._settings = settings
        self._clock = clock
        self._at_step = at_step
        self._answers = answers
        self._waiting = Waiting(clock, timer)
        self._publisher = Publisher()
        self._retirer = Retirer()
        self._passing = threading.Lock()
        self._stopped = threading.Event()
        self._last_success = 0
        self._failure: ScribeError | None = None
        self._failures_in_a_row = 0
        self.runs = Counter(ok=0, failed=0)
        """Passes by how they ended, and below how many entries they archived: both for metrics."""
        self.sealed_entries = 0
        self._background = Background(self, self._stopped, check_interval_secs=settings.check_interval_secs)

    # --- one pass ----------------------------------------------------------------------------------------------

    def run_once(self, *, everything: bool = False) -> ArchiveResult:
        """One pass in the caller's thread, after one that is under way. ``everything`` seals all that is pending."""
        with self._passing:
            before = self._ledger.manifest.archived_size
            result = None
            try:
                result = self._run(everything=everything)
            except (Stopping, Deposed, NotLeading):
                raise
            except ScribeError as error:
                self._note(error)
                raise
            except BaseException as error:  # a panic of a native library is no Exception
                self._note(ScribeError(f"the archiver broke down: {error!r}"))
                raise
            finally:
                self.sealed_entries += self._ledger.manifest.archived_size - before
                if result is None or result.sealed or result.evicted or result.compacted:
                    give_back()
            self._failure, self._failures_in_a_row, self._last_success = None, 0, self._clock()
            self.runs["ok"] += 1
            if self._ledger.failure is None:
                self._background.resume()
            return result

    def _run(self, *, everything: bool) -> ArchiveResult:
        if self._ledger.identity.read_only:
            raise read_only()  # the store is another's to look after
        term = self._leading.term
        work = self._work(term)
        if not term:
            return self._follow(work, everything=everything)
        if term != self._term:
            self._publisher, self._retirer, self._term = Publisher(), Retirer(), term
        due = wanted(self._ledger, self._settings, self._waiting, everything=everything)
        self._ask_again(work)
        evictor = Evictor(work)
        evicted = evictor.evict()  # first, since it makes room to seal in
        self._publisher.publish(work)  # what another process may have left
        sealed = 0
        if due:
            with Sealing(work, due) as sealing:
                while (added := sealing.next()) is not None:
                    sealed += added
                    self._publisher.publish(work)
                    evicted += evictor.evict()
        compacted = compact(work)
        self._publisher.copy_manifest(work)  # before anything goes that an old copy names
        removed = self._retirer.retire(work)
        evictor.report()
        return self._result(sealed, evicted, compacted, removed)

    def _follow(self, work: Work, *, everything: bool) -> ArchiveResult:
        """A pass of a member that does not lead."""
        if everything:
            raise not_leading()
        if self._failure is not None:
            check_is(self._ledger.objects, self._ledger.manifest.store_id)
        evictor = Evictor(work)
        evicted = evictor.evict()
        evictor.report()
        return self._result(0, evicted, 0, 0)

    def _ask_again(self, work: Work) -> None:
        """After a failure, of the store itself: a pass that asks it nothing says nothing of it."""
        if self._failure is None:
            return
        if self._ledger.manifest.store_id:
            work.guard()
        else:  # not claimed as long as there is nothing to put there
            read_identity(self._ledger.objects)

    def _result(self, sealed: int, evicted: int, compacted: int, removed: int) -> ArchiveResult:
        manifest = self._ledger.manifest
        return ArchiveResult(manifest.version, manifest.archived_size, sealed, evicted, compacted, removed)

    def _work(self, term: int) -> Work:
        pace = Pace(self._ledger, self._settings.segment_size, self._stopped, answers=self._answers)

        def check_leads() -> None:
            if self._leading.term != term:
                raise Deposed(
                    "this node does not lead the cluster for good any more", hint="whoever leads goes on from here"
                )

        def reached(step: str) -> None:
            self._at_step(step)
            check_leads()

        def pause() -> None:
            check_leads()
            pace()

        guard = _Guard(self._ledger, self._leading, reached)
        return Work(self._ledger, self._settings, self._clock, guard, reached, pause, pace.seen)

    def _note(self, error: ScribeError) -> None:
        self._failure = error
        self._failures_in_a_row += 1
        self.runs["failed"] += 1
        if isinstance(error, Superseded):
            self._ledger.refuse_writes(error)

    # --- in the background -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Lets passes follow in a thread, if the settings ask for it."""
        self._stopped.clear()
        if self._settings.auto:
            self._background.start()

    def stop(self) -> None:
        """Ends the pass that is under way, between two pieces of its work, and the thread."""
        self._stopped.set()
        self._background.join()

    def wake(self) -> None:
        """The store can be used again: a pass that failed is tried again within a second. From any thread."""
        self._background.wake()

    def lacks_room(self) -> bool:
        """Whether less than the reserve is free, so that writes are refused. Cheap."""
        return lacks_room(self._ledger, self._settings)

    def may_give_room(self) -> bool:
        """Whether it lacks, and a pass would give some back: of values that were evicted. Cheap."""
        return self._ledger.reclaimable and self.lacks_room()

    def is_due(self) -> bool:
        """Whether enough is pending, or old enough, to be sealed now. Cheap, and asks nothing of the store."""
        return self._leading.term > 0 and wanted(self._ledger, self._settings, self._waiting) is not None

    @property
    def failing(self) -> bool:
        """Whether the last pass has failed."""
        return self._failure is not None

    @property
    def running(self) -> bool:
        """Whether passes follow one another in the background."""
        return self._background.running

    @property
    def gave_up(self) -> bool:
        """Whether archiving in the background has ended without having been told to."""
        return self._background.gave_up

    @property
    def failures_in_a_row(self) -> int:
        """Passes that failed since the last that went well."""
        return self._failures_in_a_row

    @property
    def errors(self) -> Mapping[str, int]:
        """What passes in the background failed with, by kind."""
        return self._background.errors

    @property
    def lag_seconds(self) -> float:
        """How long the oldest entry that is not archived has waited."""
        return self._waiting.age(self._ledger.pending, self._ledger.manifest.archived_size) / 1000

    @property
    def settings(self) -> ArchiveSettings:
        return self._settings

    @property
    def status(self) -> ArchiveStatus:
        ledger = self._ledger
        pending, manifest, failure = ledger.pending, ledger.manifest, self._failure
        return ArchiveStatus(
            enabled=self._settings.auto,
            running=self.running,
            gave_up=self.gave_up,
            pending_entries=pending.entries,
            pending_bytes=pending.bytes,
            lag_seconds=self._waiting.age(pending, manifest.archived_size) / 1000,
            archived_size=manifest.archived_size,
            manifest_version=manifest.version,
            last_success=self._last_success,
            last_error=str(failure or self._superseded() or ""),
            failures_in_a_row=self._failures_in_a_row,
            object_store=ledger.objects.url,
            store_ok=failure is None,
            segments=len(manifest.segments),
            archived_bytes=manifest.archived_bytes,
            evicted=ledger.evicted,
        )

    def _superseded(self) -> ScribeError | None:
        """Why no pass was begun, where that was known before the first."""
        reason = self._ledger.failure
        return reason if isinstance(reason, Superseded) and not self._background.running else None


class _Guard:
    """Makes sure, once a pass and before its first write, that the store is this ledger's to write to."""

    def __init__(self, ledger: ServedLedger, leading: Leading, reached: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._leading = leading
        self._reached = reached
        self._passed = False

    def __call__(self) -> None:
        if self._passed:
            return
        self._leading.catch_up()  # who lags would take the newest checkpoint for another ledger's
        ledger = self._ledger
        try:
            if not ledger.manifest.store_id:
                ledger.adopt_store()
            ledger.check_store()
        except (ConfigurationError, Corruption):
            ledger.forget_store()  # nor may large values go there
            raise
        self._passed = True
        self._reached("guard")

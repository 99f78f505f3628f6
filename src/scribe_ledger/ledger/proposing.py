"""``Proposer``: stands where a ``Sequencer`` stands, in the ledger of a cluster's member. It orders nothing itself.

A write becomes a proposal, through the function that the node gave to ``connect``; the thread that asked waits until
this member has applied it. The cluster bounds what waits and sets deadlines, so every proposal is answered; no thread
waits longer than the node said, all the same. ``evict`` stays on this machine, since no answer depends on it. Who
applies is ``ReplicatedMachine``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NoReturn, TypeAlias, cast

from scribe_ledger.errors import Forbidden, LedgerClosed, OutcomeUnknown, ScribeError, Unavailable
from scribe_ledger.ledger.wire import encode_change, encode_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.ledger import machine
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.manifest import Change, Manifest
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.ledger.replicated import Outcome, ReplicatedMachine
    from scribe_ledger.ledger.sequencer import Replayed

Submit: TypeAlias = "Callable[[bytes, object, Callable[[Outcome], object], bool], object]"
"""Takes a unit as bytes and as the object it was made of, whom to tell the outcome, and whether it must be alone in
its entry of the log. Any thread may call it, but not the one that applies. It may raise at once what it refuses."""


_RETRY = "a retry with the same request id settles it"


class _Answer:
    """A thread that waits for one outcome. Only the first counts."""

    __slots__ = ("_arrived", "_outcome")

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._outcome: Outcome | None = None

    def give(self, outcome: Outcome) -> None:
        if self._outcome is None:
            self._outcome = outcome
            self._arrived.set()

    def wait(self, seconds: float | None) -> Outcome:
        if not self._arrived.wait(seconds):
            self.give(OutcomeUnknown(f"this node did not answer within {seconds:g} seconds", hint=_RETRY))
        assert self._outcome is not None
        return self._outcome


class Proposer:
    """Turns blocking writes into proposals."""

    def __init__(self, replicated: ReplicatedMachine) -> None:
        self._replicated = replicated
        self._submit: Submit | None = None
        self._seconds: float | None = None
        self._lock = threading.Lock()
        self._waiting: set[_Answer] = set()
        self._refusal: ScribeError | None = None
        self._closed = False

    def connect(self, submit: Submit, *, seconds: float | None = None) -> None:
        """From now on writes go there. Before that they are ``Unavailable``.

        ``seconds`` is the longest that a thread waits, should the cluster's own deadlines fail it.
        """
        self._submit, self._seconds = submit, seconds

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, unit: Sequence[Command]) -> Receipts:
        """Blocks until the cluster has agreed on the unit and it is applied here, or raises why it was refused."""
        return cast("Receipts", self._settle(self._propose(encode_unit(unit), unit, alone=False)))

    def write_all(self, units: Sequence[Sequence[Command]]) -> list[machine.Outcome]:
        """The same for several independent units; errors are returned, each unit's own."""
        waiting: list[_Answer | ScribeError] = []
        for unit in units:
            try:
                waiting.append(self._propose(encode_unit(unit), unit, alone=False))
            except ScribeError as error:
                waiting.append(error)
        outcomes = [answer if isinstance(answer, ScribeError) else self._wait(answer) for answer in waiting]
        return cast("list[machine.Outcome]", outcomes)

    def change_manifest(self, change: Change) -> Manifest:
        """Blocks until the change is applied here, or raises ``Conflict``."""
        return cast("Manifest", self._settle(self._propose(encode_change(change), change, alone=True)))

    def replay(self, batch: Replayed, *, first: int) -> NoReturn:
        """Refused: a cluster cannot agree on entries that were accepted elsewhere."""
        raise Forbidden(
            f"{len(batch.commands)} entries from elsewhere cannot become entries {first} and on: this ledger is a"
            " cluster's",
            hint="import into a ledger of its own, and let that found the cluster",
        )

    def evict(self, stop: int) -> None:
        """Drops the values of archived entries below ``stop`` from this machine only."""
        self._check_writable()
        self._replicated.evict(stop)

    def _propose(self, unit: bytes, local: object, *, alone: bool) -> _Answer:
        submit = self._check_connected()
        answer = _Answer()
        with self._lock:
            self._check_writable()
            self._waiting.add(answer)
        try:
            submit(unit, local, answer.give, alone)
        except BaseException:
            self._waiting.discard(answer)
            raise
        return answer

    def _settle(self, answer: _Answer) -> Receipts | Manifest:
        outcome = self._wait(answer)
        if isinstance(outcome, ScribeError):
            raise outcome
        return outcome

    def _wait(self, answer: _Answer) -> Outcome:
        try:
            return answer.wait(self._seconds)
        finally:
            with self._lock:
                self._waiting.discard(answer)

    # --- the rest ----------------------------------------------------------------------------------------------

    @property
    def batches(self) -> int:
        return self._replicated.batches

    @property
    def syncs(self) -> int:
        return self._replicated.syncs

    @property
    def last_sync_seconds(self) -> float:
        return self._replicated.last_sync_seconds

    @property
    def queued(self) -> tuple[int, int]:
        """Nothing waits here: what waits for the cluster is counted there."""
        return 0, 0

    @property
    def failure(self) -> ScribeError | None:
        """Why writes are refused, or None while they are not."""
        return self._replicated.failure or self._refusal

    @property
    def frozen(self) -> ScribeError | None:
        """Why nobody knows what the disk holds, or None."""
        return self._replicated.failure

    def refuse(self, error: ScribeError) -> None:
        """From now on every write that is asked of this member gets this error; what others ask is still applied."""
        self._refusal = self._refusal or error

    def flush(self) -> None:
        """Makes everything that was applied durable in the ledger's own store."""
        self._replicated.flush()

    def flush_before_signing(self) -> None:
        """The same, but fails only if something that readers see is not durable."""
        self._replicated.flush_before_signing()

    def close(self) -> None:
        """Refuses what comes, leaves those who wait without an outcome, and syncs. Nothing may be applied any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            waiting = list(self._waiting)
        for answer in waiting:
            answer.give(OutcomeUnknown("the ledger was closed", hint=_RETRY))
        if self._replicated.failure is None:
            self.flush()

    def leave_to_parent(self) -> None:
        """In a forked child: closed, and free of a lock that another thread may have held."""
        self._closed = True
        self._lock = threading.Lock()

    def _check_connected(self) -> Submit:
        if self._submit is None:
            self._check_writable()
            raise Unavailable("this node has not found its cluster yet", hint="retry after a moment")
        return self._submit

    def _check_writable(self) -> None:
        if self._closed:
            raise LedgerClosed("the ledger is closed")
        self._replicated.check_healthy()
        if self._refusal is not None:
            raise self._refusal.again()

"""``ReplicatedMachine``: the ledger's state machine as a cluster drives it, entry by entry of the agreed log.

It keeps the protocol of ``consensus.statemachine`` without knowing it. One thread applies; reads, ``flush``, ``evict``
and the giving and taking of entries may run beside it in others.

- What an entry does follows from the entry and the state, and from nothing of this machine: no clock, no file, no
  value that was evicted. Bytes that are no unit are that unit's refusal. A unit that asks for rules, or has a version,
  that this program does not know ends the node: whoever skipped it would differ from the others.
- An entry is one atomic write, unsynced: after a crash the store is a prefix, and the agreed log is applied again from
  ``position`` on. What changes nothing, such as a refusal, moves no position, and changes nothing the second time.
- After a failed write or sync nobody knows what the disk holds: nothing is applied any more, reads go on.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeAlias, cast

from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    InvalidRequest,
    OutcomeUnknown,
    ScribeError,
    SerializationError,
    StorageError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger import wire
from scribe_ledger.ledger.giving import describe, give
from scribe_ledger.ledger.machine import Machine
from scribe_ledger.ledger.manifest import Manifest
from scribe_ledger.ledger.proving import prove
from scribe_ledger.ledger.receipts import Receipts
from scribe_ledger.ledger.taking import take
from scribe_ledger.ledger.tiles import TileSource
from scribe_ledger.model import Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import State
    from scribe_ledger.ledger.manifest import Change
    from scribe_ledger.ledger.policy import Policy
    from scribe_ledger.ledger.proving import Outline
    from scribe_ledger.ledger.store import Store

Units: TypeAlias = "Sequence[Sequence[Command]]"
Outcome: TypeAlias = Receipts | Manifest | ScribeError
"""Of a unit: receipts of its commands, the manifest after its change, or why it was refused."""


class ReplicatedMachine:
    """Over the machine of an open ledger, or over a store alone."""

    def __init__(
        self,
        store: Store,
        machine: Machine | None = None,
        *,
        publish: Callable[[Units], object] | None = None,
        publish_all: Callable[[], object] | None = None,
    ) -> None:
        """``publish`` lets readers see what was applied, instead of ``Machine.commit``, which it must call.

        ``publish_all`` does so where nobody knows which keys have changed.
        """
        self._store = store
        self.machine = machine or Machine(store, TileSource(store).fetch)
        self._publish = publish or (lambda _: self.machine.commit())
        self._publish_all = publish_all or self.machine.commit
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._receiving = False
        self._durable: State | None = None  # what a process that died has written may not be synced
        self.failure: StorageError | None = None
        """Why nothing is applied any more, or None."""
        self.batches = self.syncs = 0
        self.last_sync_seconds = 0.0

    @classmethod
    def create(cls, store: Store, policy: Policy) -> ReplicatedMachine:
        """Of a new ledger, over a store that has nothing."""
        machines.create(store, policy)
        return cls(store)

    # --- state -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        return self.machine.applied.position

    @property
    def membership(self) -> bytes:
        return self.machine.membership

    @property
    def extent(self) -> Extent:
        state = self.machine.committed
        return Extent(state.size, self.machine.nodes.root(state.size), state.manifest.version, state.manifest.digest)

    def root_at(self, size: int) -> bytes:
        return self.machine.nodes.root(size)

    def manifest_digest(self, version: int) -> bytes:
        """What the manifest's digest was at a version that it has had."""
        return self.machine.manifest_table.digest_at(self.machine.committed.manifest, version)

    check = staticmethod(wire.check_unit)
    """Raises for a unit that would end this machine, or that it cannot read."""

    # --- applying ----------------------------------------------------------------------------------------------

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[Outcome]:
        """One entry of the agreed log, in one atomic write; the outcome of each unit."""
        with self._lock:
            self._check_may_apply(position)
            try:
                if len(units) == 1 and wire.is_change(units[0]):
                    change = wire.decode(units[0]) if local is None else local[0]
                    return [self._apply_change(cast("Change", change), position, timestamp)]
                return self._apply_units(units, local, position, timestamp)
            except wire.NewerUnit as error:
                raise ConfigurationError(error.message, hint="use a newer scribe-ledger") from error
            except SerializationError as error:  # of a change; a batch keeps those of its units apart
                return [error]
            except BaseException as error:
                self._note_failure(error)
                raise

    def _apply_units(
        self, units: Sequence[bytes], local: Sequence[object] | None, position: int, timestamp: int
    ) -> list[Outcome]:
        refused: dict[int, ScribeError] = {}
        if local is None or any(map(wire.is_change, units)):
            singles = wire.decode_singles(units) if len(units) > 1 else None
            prepared = singles or _decode_all(units, refused)
        else:
            prepared = cast("Units", local)
        outcomes = cast("list[Outcome]", self.machine.apply(prepared, position=position, timestamp=timestamp))
        self._publish_applied(prepared)
        for place, error in refused.items():  # in rising order
            outcomes.insert(place, error)
        return outcomes

    def _apply_change(self, change: Change, position: int, timestamp: int) -> Outcome:
        try:
            self.machine.change_manifest(change, position=position, timestamp=timestamp)
        except Conflict as error:
            return error
        self._publish_applied(())
        return self.machine.committed.manifest

    def set_membership(self, position: int, record: bytes) -> None:
        """Writes the record of the members, and the position with it."""
        with self._lock:
            self._check_may_apply(position)
            try:
                self.machine.set_membership(record, position=position)
                self._publish_applied(())
            except BaseException as error:
                self._note_failure(error)
                raise

    def evict(self, stop: int) -> None:
        """Drops the values of archived entries below ``stop`` from this machine; the other members do not know."""
        with self._lock:
            self.check_healthy()
            self.machine.evict(stop)

    def _publish_applied(self, units: Units) -> None:
        if self.machine.applied is not self.machine.committed:
            self.batches += 1
            self._publish(units)

    def _check_may_apply(self, position: int) -> None:
        machine = self.machine
        if machine.taking:
            raise StorageError("entries of another member were taken in part", hint="take all of them again")
        if machine.torn or machine.applied is not machine.committed:
            self._note_failure(OutcomeUnknown("the thread that was applying was interrupted"))
        self.check_healthy()
        if position <= machine.applied.position:
            raise ValueError(f"position {position} was applied before: the ledger is at {machine.applied.position}")

    # --- snapshots ---------------------------------------------------------------------------------------------

    def describe(self) -> bytes:
        """What this machine has, for ``export`` on another."""
        return describe(self.machine)

    def export(self, have: bytes, stop: int, position: int, membership: bytes) -> Iterator[bytes]:
        """What a machine that has ``have`` lacks of the first ``stop`` entries.

        All is as of the moment of the call, so ``stop`` and ``position`` must be those of now. ``Conflict`` comes with
        the first piece, ``Unavailable`` after it if the machine was beyond ``position``.
        """
        if self._receiving or self.machine.taking:  # which takes long, and whoever asks here must not wait
            raise Unavailable("this member is being given entries itself", hint="ask another, or later")
        with self._lock:
            self.check_healthy()
            return give(self._store, self.machine, have, stop, position, membership)

    @property
    def taken_in_part(self) -> bool:
        """Whether something was taken whose rest is lacking: nothing can be applied until that is taken, too."""
        return self.machine.taking

    def prove(self, pieces: Iterable[bytes]) -> Outline | None:
        """What ``take`` would lead to, or ``VerificationError``. None: that was taken. Nothing is applied meanwhile."""
        return prove(self._store, self.machine, pieces)

    def take(self, pieces: Iterable[bytes]) -> None:
        """Takes what ``export`` gave, and ``prove`` has gone through, all of it. Nothing may be applied meanwhile."""
        with self._lock:
            self.check_healthy()
            self._receiving = True
            try:
                take(self._store, self.machine, pieces)
            except VerificationError as error:
                self._note_failure(error)  # entries that nobody has agreed on must not be built on
                raise
            except ScribeError as error:
                if self.machine.torn:
                    self._freeze(error)
                raise
            finally:
                self._receiving = False
            if self.machine.applied is not self.machine.committed:
                self._publish_all()

    # --- durability --------------------------------------------------------------------------------------------

    def flush(self) -> int:
        """Makes durable what is applied; the position that a crash cannot take back any more."""
        with self._sync_lock:
            self.check_healthy()
            state = self.machine.committed
            if state is not self._durable:
                self._sync()
                self._durable = state
            return state.position

    def flush_before_signing(self) -> None:
        """The same, but fails only if something that readers see is not durable."""
        if self.machine.committed is not self._durable:
            self.flush()

    def _sync(self) -> None:
        started = time.perf_counter()
        try:
            self._store.sync()
        except Exception as error:
            reason, hint = (error.message, error.hint) if isinstance(error, ScribeError) else (repr(error), "")
            self._freeze(StorageError(f"the sync failed: {reason}", hint=hint))
            raise
        self.syncs += 1
        self.last_sync_seconds = time.perf_counter() - started

    def check_healthy(self) -> None:
        """Raises why nothing can be applied, if that is so."""
        if self.failure is not None:
            raise self.failure.again()

    def _note_failure(self, error: BaseException) -> None:
        """Freezes the machine if the store may hold what its state does not."""
        machine = self.machine
        if machine.torn or machine.applied is not machine.committed:
            self._freeze(error)

    def _freeze(self, error: BaseException) -> None:
        if self.failure is None:
            reason = error.message if isinstance(error, ScribeError) else repr(error)
            failure = StorageError(
                f"nothing is applied since one write failed: {reason}",
                hint="reads go on; free the cause, then start the node again",
            )
            failure.__cause__ = error
            self.failure = failure


def _decode_all(units: Sequence[bytes], refused: dict[int, ScribeError]) -> Units:
    """The units that can be read; ``refused`` gets the others, by place."""
    found: list[Sequence[Command]] = []
    for place, unit in enumerate(units):
        try:
            decoded = wire.decode(unit)
            if wire.is_change(unit):
                refused[place] = InvalidRequest("a change of the manifest must be alone in its entry of the log")
            else:
                found.append(cast("Sequence[Command]", decoded))
        except wire.NewerUnit:
            raise
        except SerializationError as error:
            refused[place] = error
    return found

"""Bugs on purpose: a simulator that finds nothing must first be asked whether it could. Each is one part that is wrong.

They stand in the place of the right part; nothing else of the run is changed, and no check knows of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulator.log import WatchedLog
from tests.simulator.machine import WatchedMachine
from tests.simulator.snapshots import Snapshots

from scribe_ledger.consensus.replica import Replica
from scribe_ledger.consensus.taking import Taking, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.consensus.exchange import ArrivedSnapshot, Turn
    from scribe_ledger.consensus.frames import Forward
    from scribe_ledger.consensus.log.store import LogWrite
    from scribe_ledger.errors import ScribeError
    from scribe_ledger.ledger.replicated import Outcome


@dataclass(frozen=True)
class Plant:
    """The parts of a member. As they stand here, every part is the right one."""

    log: Callable[..., WatchedLog] = WatchedLog
    machine: Callable[..., WatchedMachine] = WatchedMachine
    replica: Callable[..., Replica] = Replica
    snapshots: Callable[..., Snapshots] = Snapshots
    persists_early: bool = False
    """A write counts as durable before it is synced."""


class VoteNotPersisted(WatchedLog):
    def write(self, write: LogWrite) -> None:
        if write.hard_state is not None:
            term, _, commit = write.hard_state
            write = write._replace(hard_state=(term, 0, commit))
        super().write(write)


class SnapshotForgotten(WatchedLog):
    """The log is not told where it goes on after a snapshot."""

    def write(self, write: LogWrite) -> None:
        super().write(write._replace(reset=None))


class AcknowledgesBeforeSync(Replica):
    def ready(self) -> Turn | None:
        turn = super().ready()
        if turn is None:
            return None
        peers = [*turn.messages, *(peer for peer in turn.after if peer not in turn.messages)]
        at_once = {peer: [*turn.messages.get(peer, ()), *turn.after.get(peer, ())] for peer in peers}
        return turn._replace(messages=at_once, after={})


class ReadsWithoutQuorum(Replica):
    def read(self, done: Callable[[ScribeError | None], object], *, ticks: int) -> None:
        if self.is_leader:
            done(None)
        else:
            super().read(done, ticks=ticks)


class _TakesAll(Taking):
    def consider(self, origin: int, forward: Forward) -> tuple[Verdict, int]:
        return Verdict.TAKE, forward.sequence


class TakesBundlesAgain(Replica):
    """As often as they come."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._taker.taking = _TakesAll()


class SendsAgainTooEarly(Replica):
    """A bundle counts as dead once there is a later term, and not when an entry of a later term is applied."""

    def tick(self) -> None:
        self._proposals.entered(self.term)
        super().tick()


class AppliesTwice(WatchedMachine):
    """The first bundles after a restart."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._again = 3 if self.position > 1 else 0

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[Outcome]:
        machine, before = self.machine, self.position
        outcomes = super().apply(position, timestamp, units, local)
        if self._again and self.position == position:
            self._again -= 1
            once = machine.applied
            machine.applied = machine.committed = once._replace(position=before)
            super().apply(position, timestamp, units, local)
            if self.position != position:  # it changed nothing
                machine.applied = machine.committed = once
        return outcomes


class CarriesVote(Snapshots):
    """Whoever installs a snapshot has the term and the vote of its giver on its disk, too."""

    def _finish(self, arrived: ArrivedSnapshot) -> None:
        giver = self._member.simulation.members[arrived.sender]
        log = self._member.log
        assert isinstance(log, CarriedVote)
        log.carried = giver.log.promised
        super()._finish(arrived)


class CarriedVote(WatchedLog):
    carried: tuple[int, int] | None = None

    def write(self, write: LogWrite) -> None:
        if write.reset is not None and self.carried is not None:
            write = write._replace(hard_state=(*self.carried, write.reset[0]))
            self.carried = None
        super().write(write)


NONE = Plant()
PLANTS = {
    "": NONE,
    "vote not persisted": Plant(log=VoteNotPersisted),
    "acknowledged before sync": Plant(replica=AcknowledgesBeforeSync),
    "persistence reported early": Plant(persists_early=True),
    "read without quorum": Plant(replica=ReadsWithoutQuorum),
    "snapshot forgets its index": Plant(log=SnapshotForgotten),
    "applied twice": Plant(machine=AppliesTwice),
    "snapshot carries the vote": Plant(snapshots=CarriesVote, log=CarriedVote),
    "bundle taken again in its term": Plant(replica=TakesBundlesAgain),
    "bundle sent again too early": Plant(replica=SendsAgainTooEarly),
}

"""``Member``: one simulated member: the production replica, turns and state machine over a disk that can crash.

What a node wires around them is wired here as ``node.running_member`` does: ticks, the cutting of the log, snapshots
that are pulled and installed, signing. Each runs in events of its own, so a crash can come between any two of them; a
crash within an event comes at one of the steps that ``step`` counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulator.disk import SimulatedWriter
from tests.simulator.world import Violation

from scribe_ledger.consensus.compaction import Compaction, CompactionSettings, LogState
from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.consensus.turns import Turns
from scribe_ledger.errors import OutcomeUnknown
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulator.machine import WatchedMachine
    from tests.simulator.simulation import Simulation
    from tests.simulator.snapshots import Snapshots

    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.replica import Replica

TICK_SECONDS = 0.05
TICKS_AT_ONCE = 3
"""After a pause, as ``consensus.ticking``."""


class Crash(BaseException):
    """The process dies here."""


class Loop:
    """What ``Turns`` wants of an event loop."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def call_soon(self, event: Callable[[], object]) -> None:
        self._member.later(0.00001, event)


class Member:
    def __init__(self, simulation: Simulation, raft_id: int, founded: Membership | None = None) -> None:
        self.raft_id = raft_id
        self.simulation = simulation
        self.world, self.checks = simulation.world, simulation.checks
        self._crash_in = 0
        self.log = simulation.plant.log(raft_id, self.checks, self.step)
        self.store = MemoryStore()
        machines.create(self.store, Policy())
        if founded is not None:
            self._found(founded)
        self.incoming: list[bytes] | None = None
        """A snapshot that was fetched wholly: durable, and installed whatever happens."""
        self.head = (0, b"")
        """Size and root of the newest checkpoint that it signed."""
        self.session = self.incarnation = 0
        self.running = self.retired = self.barred = False
        self.paused_until = 0.0
        self.tick_seconds = TICK_SECONDS * simulation.world.random.uniform(0.8, 1.25)
        self.clock_offset = simulation.world.random.uniform(-5.0, 5.0)
        self.position_seen = self.commit_seen = 0
        self._calls: dict[int, Callable[[object], object]] = {}
        self._called = 0
        self.replica: Replica
        self.machine: WatchedMachine
        self.turns: Turns
        self.snapshots: Snapshots

    def _found(self, founded: Membership) -> None:
        machine = machines.Machine(self.store, lambda *_: b"")
        machine.set_membership(founded.encode(), position=founded.index)
        self.store.sync()
        self.log.write(LogWrite(hard_state=(1, 0, 1), reset=(1, 1)))
        self.log.sync()

    # --- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """From what the disk has. It may crash on the way."""
        self.incarnation += 1
        self.running = True
        self.barred = False
        self.paused_until = 0.0
        self._run(self.incarnation, self._start)

    def _start(self) -> None:
        world, simulation = self.world, self.simulation
        self.session += 1
        world.tell(f"{self.raft_id} starts, session {self.session}")
        contents = self.log.load()
        self.machine = machine = simulation.plant.machine(
            self.store, self.raft_id, self.checks, self.step, self._is_overloaded
        )
        self._check_head()
        if self.incoming is not None:
            machine.prove(iter(self.incoming))
            machine.take(iter(self.incoming))
            self.step()
            machine.flush()
            self.step()
            self.incoming = None
        self.commit_seen = self.position_seen = 0
        self.replica = simulation.plant.replica(
            self.raft_id,
            self.session,
            contents,
            machine,
            simulation.settings,
            clock=self.clock,
            seed=simulation.seed * 1000 + self.session,
        )
        loop: Any = Loop(self)
        self.snapshots = simulation.plant.snapshots(self)
        self.turns = Turns(
            self.replica,
            self.log,
            loop,
            send=self._send,
            send_snapshot=self.snapshots.send,
            on_failure=self._failed,
            after_turn=self._after_turn,
            make_writer=self._new_writer,
        )
        self._compaction = Compaction(CompactionSettings(entries=12, keep=4, max_bytes=0))
        self.turns.wake()
        self.later(self.tick_seconds * world.random.random(), self._beat)
        self.later(simulation.weather.cut_every * world.random.random(), self._cut)
        self.later(simulation.weather.sign_every * world.random.random(), self._sign)
        if self.replica.membership.voters == (self.raft_id,):
            self.replica.campaign()

    def _new_writer(self, log: Any, loop: object, **told: Any) -> SimulatedWriter:
        return SimulatedWriter(
            log, later=self.later, seconds=self._sync_seconds, early=self.simulation.plant.persists_early, **told
        )

    def _sync_seconds(self) -> float:
        weather, random = self.simulation.weather, self.world.random
        return random.uniform(0, weather.slow_seconds) if self.world.chance(weather.slow_disk) else 0.0002

    def _is_overloaded(self) -> bool:
        return self.world.chance(self.simulation.weather.overloaded)

    def _check_head(self) -> None:
        """Nothing that was signed rolls back."""
        size, root = self.head
        if size and (self.machine.extent.size < size or self.machine.root_at(size) != root):
            raise Violation(f"member {self.raft_id} signed {size} entries, and does not have them after a restart")

    def crash(self) -> None:
        """Each disk keeps what was synced, and of the rest any prefix."""
        random = self.world.random
        log_kept, store_kept = random.randint(0, self.log.unsynced), random.randint(0, self.store.unsynced)
        self.world.tell(
            f"{self.raft_id} crashes; {log_kept} of {self.log.unsynced} unsynced writes of the log stay,"
            f" {store_kept} of {self.store.unsynced} of the ledger"
        )
        self.running = False
        self._crash_in = 0
        self.log.crash(log_kept)
        self.store.crash(store_kept)
        calls, self._calls = self._calls, {}
        for done in calls.values():
            done(OutcomeUnknown("the connection broke"))

    def crash_soon(self, steps: int) -> None:
        """Within a turn: after so many steps."""
        self._crash_in = steps

    def step(self) -> None:
        if self._crash_in:
            self._crash_in -= 1
            if not self._crash_in:
                raise Crash

    def pause(self, seconds: float) -> None:
        self.world.tell(f"{self.raft_id} is stopped for {seconds:.3f} s")
        self.paused_until = self.world.now + seconds

    def bar(self) -> None:
        """As if its ledger had turned out to be another."""
        self.world.tell(f"{self.raft_id} is barred")
        self.later(0, self._bar)

    def _bar(self) -> None:
        self._note_leader()
        self.barred = True
        self.replica.bar("its ledger is another")
        self.turns.wake()

    def clock(self) -> int:
        """Milliseconds; another pace and another time than the other members'."""
        return int((1000 + self.world.now * (TICK_SECONDS / self.tick_seconds) + self.clock_offset) * 1000)

    # --- events ------------------------------------------------------------------------------------------------

    def later(self, seconds: float, event: Callable[[], object]) -> None:
        """Unless it crashes before; after the pause, if it is stopped then."""
        incarnation = self.incarnation
        self.world.after(seconds, lambda: self._run(incarnation, event))

    def _run(self, incarnation: int, event: Callable[[], object]) -> None:
        if not self.running or incarnation != self.incarnation:
            return
        if self.paused_until > self.world.now:
            self.world.after(self.paused_until - self.world.now, lambda: self._run(incarnation, event))
            return
        try:
            event()
        except Crash:
            self.crash()
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"member {self.raft_id} failed: {error!r}") from error
        else:
            self._look()

    def _look(self) -> None:
        replica = self.replica
        if replica.poisoned:
            raise Violation(f"member {self.raft_id} stopped: {replica.poisoned}")
        if replica.is_leader:
            self.checks.lead(self.raft_id, replica.term, self.log)

    def _after_turn(self) -> None:
        replica = self.replica
        self.commit_seen = self.checks.committed(self.raft_id, replica, self.log, self.commit_seen)
        self._note_leader()
        position = self.machine.position
        if not self.position_seen <= position or position > max(replica.applied_index, position):
            raise Violation(f"member {self.raft_id} went from position {self.position_seen} back to {position}")
        self.position_seen = position
        self.snapshots.look()

    def _note_leader(self) -> None:
        replica = self.replica
        if replica.is_leader and self.simulation.note_leader(self.raft_id, replica.term):
            if self.barred:
                raise Violation(f"member {self.raft_id} leads in term {replica.term}, and is barred")
            self.checks.elected(self.raft_id, replica.term, self.log)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, Violation):
            raise error
        raise Violation(f"member {self.raft_id} failed: {error!r}") from error

    # --- the network -------------------------------------------------------------------------------------------

    def _send(self, peer: int, frames: Sequence[bytes]) -> bool:
        for frame in frames:
            self.checks.sends(self.raft_id, frame, self.log)
        taken = self.simulation.network.send(self.raft_id, peer, frames)
        self.step()
        return taken

    def receive(self, sender: int, frame: bytes) -> None:
        if sender in self.replica.membership.removed:
            return  # the transport refuses who was removed
        if not self.snapshots.receive(sender, frame):
            self.replica.receive(sender, frame)
        self.turns.wake()

    def lost(self, peer: int) -> None:
        self.replica.report_unreachable(peer)
        self.snapshots.lost(peer)
        self.turns.wake()

    # --- what a node does now and then -------------------------------------------------------------------------

    def _beat(self) -> None:
        self.replica.tick()
        self.snapshots.offer()
        self.turns.wake()
        self.later(self.tick_seconds, self._beat)

    def _sign(self) -> None:
        self.machine.flush()
        extent = self.machine.extent
        if extent.size < self.head[0]:
            raise Violation(f"member {self.raft_id} signed {self.head[0]} entries, and has {extent.size} now")
        self.head = extent.size, extent.root
        self.later(self.simulation.weather.sign_every, self._sign)

    def _cut(self) -> None:
        self.later(self.simulation.weather.cut_every, self._cut)
        if not self.replica.installing and self._compaction.due(self._log_state(), self.world.now):
            durable = self.machine.flush()
            self.later(0.001, lambda: self._cut_log(durable))

    def _cut_log(self, durable: int) -> None:
        upto = self._compaction.cut(self._log_state(), durable, self.world.now)
        forgotten = self.replica.compact(upto) if upto else None
        if forgotten is not None:
            self.world.tell(f"{self.raft_id} cuts its log at {forgotten[0]}")
            self.later(0.001, lambda: self.log.cut(*forgotten))

    def _log_state(self) -> LogState:
        replica = self.replica
        last, entries = replica.last_index, replica.log_entries
        return LogState(last - entries, replica.applied_index, self.machine.position, last, replica.log_bytes)

    # --- clients -----------------------------------------------------------------------------------------------

    def waits(self, done: Callable[[object], object]) -> Callable[[object], None]:
        """Who calls here is told once: an answer, or that the connection broke."""
        self._called += 1
        number = self._called
        self._calls[number] = done

        def answer(told: object) -> None:
            waiting = self._calls.pop(number, None)
            if waiting is None:
                raise Violation(f"member {self.raft_id} answers a call twice: {told!r}")
            waiting(told)

        return answer

    @property
    def is_ready(self) -> bool:
        """To serve: not one that still waits to be taken in."""
        return bool(self.replica.membership.ids)

    @property
    def calls_waiting(self) -> int:
        return len(self._calls)

"""``Client``: asks members for writes and reads, one after the other, and writes down what it was told.

It goes on at another member when one does not answer, with the same request id where it has one. A reply may be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.linearizability import Operation
from tests.simulator.world import Violation

from scribe_ledger.errors import (
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    ScribeError,
    Unavailable,
)
from scribe_ledger.ledger import commands, wire
from scribe_ledger.ledger.manifest import Adopt, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulator.member import Member
    from tests.simulator.simulation import Simulation

    from scribe_ledger.ledger.commands import Command

KEYS = [b"a", b"b", b"c", b"d", b"e", b"f"]
TRIES_MAX = 6


class Write(NamedTuple):
    """A unit, as it is sent and as it is written down."""

    unit: Sequence[Command]
    encoded: bytes
    operations: Sequence[Operation]
    """One for each command; times and answers are still to come."""
    alone: bool = False


class Client:
    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._name = name
        self._count = 0
        self._versions: dict[bytes, int] = {}
        """That it saw last."""

    def go_on(self) -> None:
        """Thinks, then asks for something."""
        if self._simulation.weather.clients and not self._simulation.closing:
            self._world.after(self._world.random.expovariate(1 / self._simulation.weather.think_seconds), self._act)

    def _act(self) -> None:
        if self._simulation.closing:
            return
        choice = self._world.random.random()
        if choice < 0.35:
            self._read(self._world.random.choice(KEYS))
        elif choice < 0.42:
            self._read_stale(self._world.random.choice(KEYS))
            self.go_on()
        else:
            self._try(self._new_write(), 1)

    # --- writes ------------------------------------------------------------------------------------------------

    def _new_write(self) -> Write:
        random = self._world.random
        self._count += 1
        if random.random() < 0.02:
            return Write((), wire.encode_change(Adopt(self._name)), (), alone=True)
        request = f"{self._name}-{self._count}" if random.random() < 0.7 else ""
        keys = random.sample(KEYS, random.choice((1, 1, 1, 1, 2, 3)))
        pairs = [self._command(key, request) for key in keys]
        unit = [command for command, _ in pairs]
        return Write(unit, wire.encode_unit(unit), [operation for _, operation in pairs])

    def _command(self, key: bytes, request: str) -> tuple[Command, Operation]:
        random = self._world.random
        choice = random.random()
        version = self._versions.get(key, 0) if choice < 0.2 else None
        operation = Operation("put", key, 0, None, if_version=version, request=request, client=self._name)
        if 0.15 < choice < 0.3:
            command = commands.delete(key, if_version=version, request_id=request or None)
            return command, operation._replace(kind="delete")
        absent = 0.3 < choice < 0.35
        dedupe = random.random() < 0.5
        value = f"{self._name}-{self._count}-{key.decode()}".encode() + b"." * random.choice((0, 0, 30, 400))
        command = commands.put(
            key, value, if_version=version, if_absent=absent, request_id=request or None, dedupe=dedupe
        )
        return command, operation._replace(value=value, if_absent=absent, dedupe=dedupe)

    def _try(self, write: Write, number: int) -> None:
        world, simulation = self._world, self._simulation
        member = self._member()
        called = world.now
        if member is None:
            self._again(write, number, may_repeat=True)
            return
        ticks = world.random.choice((4, 20, 20, 60))

        def answered(told: object) -> None:
            if not isinstance(told, OutcomeUnknown) and world.chance(simulation.weather.loss / 2):
                told = OutcomeUnknown("the reply was lost")
            world.after(world.random.uniform(0.0001, 0.001), lambda: self._answered(write, number, called, told))

        world.digest.update(write.encoded)
        done = member.waits(answered)
        local = write.unit if not write.alone else wire.decode(write.encoded)

        def arrives() -> None:
            try:
                member.replica.submit(write.encoded, local, done, ticks=ticks, alone=write.alone)
            except Unavailable as error:
                done(error)
            member.turns.wake()

        member.later(world.random.uniform(0.0001, 0.001), arrives)

    def _member(self) -> Member | None:
        there = [member for member in self._simulation.members.values() if member.running and member.is_ready]
        return self._world.random.choice(there) if there else None

    def _answered(self, write: Write, number: int, called: float, told: object) -> None:
        now = self._world.now
        self._world.tell(f"{self._name}: {_short(told)}")
        if isinstance(told, OutcomeUnknown):
            self._note(write, called, None, "unknown")
            self._again(write, number, may_repeat=bool(write.operations and write.operations[0].request))
        elif isinstance(told, Unavailable):
            self._again(write, number, may_repeat=True)
        elif isinstance(told, PreconditionFailed | NotFound):
            if len(write.operations) == 1:  # of a batch nobody is told which keys held
                self._note(write, called, now, "refused")
            self.go_on()
        elif isinstance(told, ScribeError) and not (write.alone and told.kind == "conflict"):
            raise Violation(f"{self._name} was told something that makes no sense: {told!r}")
        else:
            if not isinstance(told, ScribeError | Manifest):
                self._worked(write, called, told)
            self.go_on()

    def _worked(self, write: Write, called: float, told: object) -> None:
        self._simulation.counts["acknowledged"] += 1
        for operation, receipt in zip(write.operations, told, strict=True):  # type: ignore[call-overload]
            self._versions[operation.key] = receipt.version
            self._simulation.acknowledged.append((receipt.index, operation, receipt.version))
            self._simulation.history.append(
                operation._replace(called=called, returned=self._world.now, version=receipt.version)
            )

    def _note(self, write: Write, called: float, returned: float | None, outcome: str) -> None:
        self._simulation.counts[outcome] += 1
        self._simulation.history += [
            operation._replace(called=called, returned=returned, outcome=outcome)  # type: ignore[arg-type]
            for operation in write.operations
        ]

    def _again(self, write: Write, number: int, *, may_repeat: bool) -> None:
        if may_repeat and number < TRIES_MAX and not self._simulation.closing:
            self._world.after(self._world.random.uniform(0.01, 0.2), lambda: self._try(write, number + 1))
        else:
            self.go_on()

    # --- reads -------------------------------------------------------------------------------------------------

    def _read(self, key: bytes) -> None:
        world = self._world
        member = self._member()
        if member is None:
            self.go_on()
            return
        called = world.now
        life = member.incarnation

        def let_go(told: object) -> None:
            seen = member.machine.look(key) if told is None and member.incarnation == life else None
            world.after(0.0005, lambda: self._read_answered(key, called, seen))

        done = member.waits(let_go)
        ticks = world.random.choice((4, 20, 60))

        def arrives() -> None:
            try:
                member.replica.read(done, ticks=ticks)
            except Unavailable as error:
                done(error)
            member.turns.wake()

        member.later(world.random.uniform(0.0001, 0.001), arrives)

    def _read_answered(self, key: bytes, called: float, seen: tuple[int, bytes | None] | None) -> None:
        self._world.tell(f"{self._name} reads {key!r}: {seen}")
        if seen is not None:
            version, value = seen
            self._versions[key] = version
            self._simulation.counts["reads"] += 1
            self._simulation.history.append(
                Operation("get", key, called, self._world.now, value=value, version=version, client=self._name)
            )
        self.go_on()

    def _read_stale(self, key: bytes) -> None:
        """It may be old, but must have been true once."""
        member = self._member()
        if member is None:
            return
        version, value = member.machine.look(key)
        if version and self._simulation.checks.versions.get((key, version), b"?") != value:
            raise Violation(f"a stale read of {key!r} at {member.raft_id} gave {value!r} at version {version}")


def _short(told: object) -> str:
    return told.kind if isinstance(told, ScribeError) else "done"

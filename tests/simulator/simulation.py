"""``Simulation``: one seeded run: a storm, then a calm in which everything must come together again.

Three members are founded; what happens to them follows from the seed and the weather. In the calm everything works:
all calls that wait are answered, all members end with the same ledger, and every member takes a write.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.linearizability import Operation, check
from tests.simulator import weather as weathers
from tests.simulator.checks import Checks
from tests.simulator.churn import Churn, info
from tests.simulator.clients import Client
from tests.simulator.member import Member
from tests.simulator.network import Network
from tests.simulator.planted import NONE
from tests.simulator.world import Violation, World

from scribe_ledger.consensus.exchange import ReplicaSettings
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import OutcomeUnknown, ScribeError
from scribe_ledger.ledger import commands, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.planted import Plant
    from tests.simulator.weather import Weather

CALM_SECONDS = 40.0
SETTINGS = ReplicaSettings(max_entry_bytes=600, resend_ticks=8, max_waiting_units=200)


class Simulation:
    def __init__(
        self,
        seed: int,
        weather: Weather,
        plant: Plant = NONE,
        *,
        show: Callable[[str], object] | None = None,
        watches_disks: bool = True,
    ) -> None:
        self.world = World(seed, show=show)
        self.seed, self.plant = seed, plant
        self.weather = weather = weather.varied(self.world.random)
        shortest, longest = weather.election_ticks
        self.settings = SETTINGS._replace(election_ticks_min=shortest, election_ticks_max=longest)
        self.checks = Checks(watches_disks=watches_disks)
        self.network = Network(self.world, weather, self)
        self.members: dict[int, Member] = {}
        self.history: list[Operation] = []
        self.acknowledged: list[tuple[int, Operation, int]] = []
        """Index, what was asked, version."""
        self.counts: Counter[str] = Counter()
        self.closing = False
        self._churn = Churn(self)
        self._led: set[tuple[int, int]] = set()
        voters = (1, 2, 3)
        founded = Membership(1, 1, voters=voters, members={each: info(each) for each in voters})
        self.checks.members_record = 1, founded.encode()
        for raft_id in voters:
            self.members[raft_id] = Member(self, raft_id, founded)

    def run(self) -> None:
        """Raises ``Violation``."""
        world, weather = self.world, self.weather
        for member in [*self.members.values()]:
            member.start()
        for number in range(weather.clients):
            Client(self, f"client {number}").go_on()
        for every, event in (
            (weather.crash_every, self._crash),
            (weather.partition_every, self._partition),
            (weather.pause_every, self._pause),
            (weather.jump_every, self._jump),
            (weather.churn_every, self._churn.act),
            (weather.transfer_every, self._churn.transfer),
            (weather.bar_every, self._bar),
        ):
            self._now_and_then(every, event)
        world.run_until(weather.storm_seconds)
        self._calm()
        self._finish()

    def _now_and_then(self, every: float, event: Callable[[], object]) -> None:
        def happen() -> None:
            if not self.closing:
                event()
                self.world.after(self.world.random.expovariate(1 / every), happen)

        if every:
            self.world.after(self.world.random.expovariate(1 / every), happen)

    # --- members -----------------------------------------------------------------------------------------------

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.running and member.paused_until <= self.world.now]

    def new_member(self) -> Member:
        raft_id = max(self.members) + 1
        member = self.members[raft_id] = Member(self, raft_id)
        member.start()
        return member

    def deliver(self, to: int, sender: int, frame: bytes) -> None:
        member = self.members.get(to)
        if member is not None and member.running:
            member.later(0, lambda: member.receive(sender, frame))

    def note_leader(self, member: int, term: int) -> bool:
        """Whether it is new that it leads in this term."""
        if (member, term) in self._led:
            return False
        self._led.add((member, term))
        self.counts["leaders"] += 1
        self.world.tell(f"{member} leads in term {term}")
        return True

    # --- the storm ---------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        world, random = self.world, self.world.random
        up = self.up()
        leaders = [member for member in up if member.replica.is_leader]
        if not up:
            return
        victim = random.choice(leaders if leaders and world.chance(self.weather.crash_leader) else up)
        self.counts["crashes"] += 1
        if world.chance(self.weather.crash_within):
            victim.crash_soon(random.randint(1, 12))
        else:
            victim.crash()
        world.after(random.uniform(0.01, 2 * self.weather.down_seconds), lambda: self._restart(victim))

    def _restart(self, member: Member) -> None:
        if not member.running and not self.closing:
            member.start()
            if not member.running:
                self.world.after(0.1, lambda: self._restart(member))

    def _partition(self) -> None:
        self.network.partition(sorted(self.members), self.world.random.uniform(0, 2 * self.weather.partition_seconds))

    def _pause(self) -> None:
        up = self.up()
        leaders = [member for member in up if member.replica.is_leader]
        if up:
            stopped = self.world.random.choice(leaders if leaders and self.world.chance(0.5) else up)
            stopped.pause(self.world.random.uniform(0.1, 2.0))

    def _bar(self) -> None:
        """One at a time: a majority is to be left that may lead."""
        up = self.up()
        if up and not any(member.barred and member.running for member in self.members.values()):
            self.counts["barred"] += 1
            leaders = [member for member in up if member.replica.is_leader]
            self.world.random.choice(leaders if leaders and self.world.chance(0.5) else up).bar()

    def _jump(self) -> None:
        member = self.world.random.choice([*self.members.values()])
        member.clock_offset += self.world.random.choice((-30.0, -1.0, 1.0, 30.0, 3600.0))

    # --- the calm ----------------------------------------------------------------------------------------------

    def _calm(self) -> None:
        world = self.world
        world.tell("calm")
        self.closing = True
        calm = weathers.CALM._replace(cut_every=self.weather.cut_every, sign_every=self.weather.sign_every)
        self.weather = calm
        self.network.heal(calm)
        for member in self.members.values():
            member.crash_soon(0)
            if member.barred and member.running:
                member.crash()  # its operator replaces it: here, its next life is a good one
        # A member's ticks come only when its pause ends, so until then the others may well look for another leader.
        world.run_until(max(world.now, *(member.paused_until for member in self.members.values())))
        until = world.now + CALM_SECONDS
        while world.now < until:
            for member in self.members.values():
                if not member.running and not member.retired:
                    member.start()
            world.run_until(world.now + 0.5)
            self._retire_the_removed()
            if self._is_settled():
                break
        else:
            raise Violation(f"liveness: not together again after {CALM_SECONDS:.0f} s of calm: {self._shown()}")
        self._write_everywhere()

    def _retire_the_removed(self) -> None:
        """Who was removed is stopped by its operator; so is who never was taken in."""
        current = Membership.decode(self.checks.members_record[1])
        for member in self.members.values():
            if member.raft_id not in current.ids and member.running:
                led = member.replica.is_leader
                if not led:
                    member.retired = True
                    member.crash()

    def _is_settled(self) -> bool:
        up = [member for member in self.members.values() if member.running]
        waiting = sum(member.calls_waiting for member in up)
        places = {(member.replica.applied_index, member.machine.digest()) for member in up}
        leaders = {member.replica.leader for member in up}
        return not waiting and len(places) == 1 and len(leaders) == 1 and 0 not in leaders and bool(self._voters_up())

    def _voters_up(self) -> list[Member]:
        current = Membership.decode(self.checks.members_record[1])
        return [self.members[each] for each in sorted(current.ids) if self.members[each].running]

    def _write_everywhere(self) -> None:
        """Every member takes a write and a read. A snapshot that comes in late may hide a write: then once more."""
        for number in range(5):
            told = self._ask_everywhere(number)
            if not any(isinstance(each, OutcomeUnknown) for each in told):
                break
        self._retire_the_removed()  # a change may have been under way until now
        if any(isinstance(each, ScribeError) for each in told) or not self._is_settled():
            raise Violation(f"liveness: in the calm, calls ended as {told}: {self._shown()}")

    def _ask_everywhere(self, number: int) -> list[object]:
        told: list[object] = []
        asked = self._voters_up()
        for member in asked:
            unit = [commands.put(b"last", b"by %d, %d" % (member.raft_id, number))]
            member.replica.submit(wire.encode_unit(unit), unit, member.waits(told.append), ticks=200)
            member.replica.read(member.waits(told.append), ticks=200)
            member.turns.wake()
        self.world.run_until(self.world.now + 20, check=lambda: len(told) == 2 * len(asked))
        self.world.run_until(self.world.now + 1.0)
        if len(told) != 2 * len(asked):
            raise Violation(
                f"liveness: {len(told)} of {2 * len(asked)} calls are answered in the calm: {self._shown()}"
            )
        return told

    def _shown(self) -> str:
        return "; ".join(
            f"{member.raft_id} {member.replica.role} term {member.replica.term} leader {member.replica.leader}"
            f" applied {member.replica.applied_index} of {member.replica.last_index}"
            f" waiting {member.calls_waiting} {member.replica.membership.conf}"
            for member in self.members.values()
            if member.running
        )

    # --- what is held against the whole run --------------------------------------------------------------------

    def _finish(self) -> None:
        ledger = self._voters_up()[0]
        size = ledger.machine.extent.size
        for index, operation, version in self.acknowledged:
            entry = self.checks.entries.get(index)
            if index >= size or entry is None or entry != (operation.key, version, operation.value):
                raise Violation(f"lost: {operation} was acknowledged as entry {index}, which is {entry} now")
        for member in self.members.values():
            signed, root = member.head
            if signed and (signed > size or ledger.machine.root_at(signed) != root):
                raise Violation(f"member {member.raft_id} signed {signed} entries that the ledger does not have")
        verdict = check(self.history, states_max=100_000)
        if not verdict:
            raise Violation(f"the history of {verdict.key!r} is {verdict.result}:\n{verdict.report}")

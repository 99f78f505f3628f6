"""Several replicas in one process, over a network and disks that do what a test says. Everything is in its own time.

``settle`` lets all messages travel and all writes become durable until nothing moves; ``pass_time`` ticks. A test may
drop messages, hold back syncs, and crash a member between any two steps.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.store import Contents, Entry, HardState, LogWrite
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.replica import Replica, ReplicaSettings, Turn
from scribe_ledger.errors import Overloaded, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Log:
    """Raft's log as a list. What is written and not synced is lost in a crash."""

    def __init__(self) -> None:
        self.durable = Contents((0, 0), (0, 0, 0), [])
        self.pending: list[LogWrite] = []

    def write(self, write: LogWrite) -> None:
        self.pending.append(write)

    def sync(self) -> None:
        for write in self.pending:
            self.durable = applied_to(self.durable, write)
        self.pending = []

    def cut(self, index: int, term: int) -> None:
        truncated, hard_state, entries = self.durable
        if index > truncated[0]:
            self.durable = Contents((index, term), hard_state, entries[index - truncated[0] :])

    def crash(self) -> None:
        self.pending = []


def applied_to(contents: Contents, write: LogWrite) -> Contents:
    truncated: tuple[int, int] = write.reset or contents.truncated
    entries: list[Entry] = [] if write.reset else contents.entries
    hard_state: HardState = write.hard_state or contents.hard_state
    if write.entries:
        entries = [*entries[: write.entries[0][0] - truncated[0] - 1], *write.entries]
    return Contents(truncated, hard_state, entries)


class Machine:
    """A list of (position, unit) in memory that outlives crashes, as the log is applied to it only when durable."""

    def __init__(self) -> None:
        self.units: list[tuple[int, bytes]] = []
        self.position = 0
        self.membership = b""
        self.overloaded = 0
        self.timestamps: list[int] = []
        self.local: list[object] = []
        self.unreadable: set[bytes] = set()

    def check(self, unit: bytes) -> None:
        if unit in self.unreadable:
            raise SerializationError("a unit of a newer version")

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[object]:
        self._take_a_breath()
        assert position > self.position
        self.position = position
        self.timestamps.append(timestamp)
        self.local.append(local)
        self.units += [(position, unit) for unit in units]
        return [(position, unit) for unit in units]

    def set_membership(self, position: int, record: bytes) -> None:
        self._take_a_breath()
        assert position > self.position
        self.position, self.membership = position, record

    def _take_a_breath(self) -> None:
        if self.overloaded:
            self.overloaded -= 1
            raise Overloaded("the machine takes a breath")

    @property
    def names(self) -> list[str]:
        return [unit.decode() for _, unit in self.units]


class Member:
    def __init__(self, raft_id: int) -> None:
        self.raft_id = raft_id
        self.log = Log()
        self.machine = Machine()
        self.session = 0
        self.running = False
        self.slow_disk = False
        self.held: list[Turn] = []
        self.replica: Replica

    def start(self, group: Group) -> None:
        self.session += 1
        self.held = []
        self.replica = Replica(
            self.raft_id,
            self.session,
            self.log.durable,
            self.machine,  # type: ignore[arg-type]  # it makes no snapshots by itself
            group.settings,
            clock=lambda: group.time,
            seed=group.seed,
        )
        if self.replica.initial_write is not None:
            self.log.write(self.replica.initial_write)
            self.log.sync()
        self.running = True


class Outcomes(list[object]):
    """Gathers what a ``done`` is told."""

    def __call__(self, outcome: object) -> None:
        self.append(outcome)

    @property
    def only(self) -> object:
        assert len(self) == 1, f"answered {len(self)} times: {list(self)}"
        return self[0]


class Group:
    def __init__(self, *voters: int, seed: int = 1, start: bool = True, **settings: int) -> None:
        self.settings = ReplicaSettings(**settings)
        self.seed = seed
        self.time = 1000
        self.members: dict[int, Member] = {}
        self.waiting: list[tuple[int, int, bytes]] = []
        self.lost: Callable[[int, int, bytes], bool] = lambda sender, to, frame: False
        self.snapshots: list[tuple[int, int, int, bytes]] = []
        founded = Membership(1, 1, voters=voters, members={each: info(each) for each in voters})
        for raft_id in voters:
            self.add(raft_id, founded)
            if start:
                self.members[raft_id].start(self)

    def add(self, raft_id: int, founded: Membership | None = None) -> Member:
        member = self.members[raft_id] = Member(raft_id)
        if founded is not None:
            member.machine.set_membership(1, founded.encode())
            member.log.durable = Contents((1, 1), (1, 0, 1), [])
        return member

    def __getitem__(self, raft_id: int) -> Replica:
        return self.members[raft_id].replica

    def __iter__(self) -> Iterator[Member]:
        return iter([member for member in self.members.values() if member.running])

    # --- what happens ------------------------------------------------------------------------------------------

    def step(self, member: Member) -> bool:
        """One turn of one member."""
        turn = member.replica.ready()
        if turn is None:
            return False
        self._send(member.raft_id, turn.messages)
        if turn.write is not None:
            member.log.write(turn.write)
        member.held.append(turn)
        if not member.slow_disk:
            self.sync(member)
        return True

    def sync(self, member: Member) -> None:
        """What this member has written becomes durable, and what waited for that is sent."""
        member.log.sync()
        held, member.held = member.held, []
        for turn in held:
            self._send(member.raft_id, turn.after)
            self.snapshots += [(member.raft_id, peer, index, frame) for peer, index, frame in turn.snapshots]
        if held:
            member.replica.persisted(held[-1].number)

    def _send(self, sender: int, messages: object) -> None:
        assert isinstance(messages, dict)
        self.waiting += [(sender, peer, frame) for peer, sent in messages.items() for frame in sent]

    def deliver(self) -> bool:
        waiting, self.waiting = self.waiting, []
        for sender, to, frame in waiting:
            member = self.members.get(to)
            if member is not None and member.running and not self.lost(sender, to, frame):
                member.replica.receive(sender, frame)
        return bool(waiting)

    def settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for member in self:
                while self.step(member):
                    moved = True
            moved = self.deliver() or moved

    def pass_time(self, ticks: int = 1, *only: int) -> None:
        for _ in range(ticks):
            self.time += 1
            for member in self:
                if not only or member.raft_id in only:
                    member.replica.tick()
            self.settle()

    def lead(self, raft_id: int) -> None:
        self[raft_id].campaign()
        self.settle()
        assert self[raft_id].is_leader

    def await_leader(self, *among: int) -> int:
        for _ in range(200):
            self.pass_time()
            leaders = [each.raft_id for each in self if each.replica.is_leader and (not among or each.raft_id in among)]
            if leaders:
                return leaders[0]
        raise AssertionError("no leader in 200 ticks")

    def crash(self, raft_id: int) -> None:
        member = self.members[raft_id]
        member.log.crash()
        member.running = False

    def restart(self, raft_id: int) -> None:
        self.crash(raft_id)
        self.members[raft_id].start(self)

    def isolate(self, *raft_ids: int) -> None:
        """They and the rest hear nothing of each other."""
        self.lost = lambda sender, to, frame: (sender in raft_ids) != (to in raft_ids)

    def heal(self) -> None:
        self.lost = lambda sender, to, frame: False

    # --- what is asked -----------------------------------------------------------------------------------------

    def submit(self, raft_id: int, *units: str, ticks: int = 100, alone: bool = False) -> Outcomes:
        outcomes = Outcomes()
        for unit in units:
            self[raft_id].submit(unit.encode(), unit, outcomes, ticks=ticks, alone=alone)
        return outcomes

    def write(self, raft_id: int, *units: str) -> Outcomes:
        outcomes = self.submit(raft_id, *units)
        self.settle()
        return outcomes

    def read(self, raft_id: int, ticks: int = 100) -> Outcomes:
        outcomes = Outcomes()
        self[raft_id].read(outcomes, ticks=ticks)
        return outcomes

    def names(self) -> dict[int, list[str]]:
        return {member.raft_id: member.machine.names for member in self}

    def assert_all_have(self, *units: str) -> None:
        assert self.names() == {member.raft_id: [*units] for member in self}
        assert len({tuple(member.machine.units) for member in self}) == 1

    def bundles_applied(self) -> int:
        positions: dict[int, int] = defaultdict(int)
        for position, _ in max((member.machine.units for member in self), key=len):
            positions[position] += 1
        return len(positions)


def info(raft_id: int) -> MemberInfo:
    return MemberInfo(raft_id, raft_id, f"10.0.0.{raft_id}:9001", f"10.0.0.{raft_id}:8001")

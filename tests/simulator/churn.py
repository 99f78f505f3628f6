"""``Churn``: who belongs changes: learners join, are promoted, members are removed and replaced, leadership moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.membership import MemberInfo
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from tests.simulator.member import Member
    from tests.simulator.simulation import Simulation

    from scribe_ledger.consensus.membership import Membership

MEMBERS_MAX = 6
CHANGE_TICKS = 40


def info(raft_id: int) -> MemberInfo:
    return MemberInfo(raft_id, raft_id, f"10.0.0.{raft_id}:9001", f"10.0.0.{raft_id}:8001")


class Churn:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._world = simulation.world

    def act(self) -> None:
        """Asks whoever leads for one change."""
        leader = self._leader()
        if leader is None:
            return
        membership = leader.replica.membership
        choice = self._world.random.random()
        if choice < 0.15:
            leader.replica.propose_members([info(leader.raft_id)], self._told, ticks=CHANGE_TICKS)
        elif membership.learners and choice < 0.7:
            self._promote(leader, membership)
        elif len(membership.voters) > 3 or (len(membership.voters) == 3 and choice > 0.92):
            self._remove(leader, membership)
        elif len(membership.ids) < MEMBERS_MAX:
            self._add(leader)
        leader.turns.wake()

    def transfer(self) -> None:
        """Has leadership handed over."""
        leader = self._leader()
        if leader is not None:
            self._transfer(leader, leader.replica.membership)
            leader.turns.wake()

    def _leader(self) -> Member | None:
        leaders = [member for member in self._simulation.up() if member.replica.is_leader]
        return self._world.random.choice(leaders) if leaders else None

    def _transfer(self, leader: Member, membership: Membership) -> None:
        to = self._world.random.choice(membership.voters)
        self._world.tell(f"leadership is to go from {leader.raft_id} to {to}")
        try:
            leader.replica.transfer(to)
        except ScribeError as error:
            self._world.tell(f"not handed over: {error.kind}")

    def _add(self, leader: Member) -> None:
        simulation = self._simulation
        waiting = [each.raft_id for each in simulation.up() if not each.replica.membership.ids]
        raft_id = waiting[0] if waiting else simulation.new_member().raft_id
        self._propose(leader, [("learner", raft_id)], raft_id)

    def _promote(self, leader: Member, membership: Membership) -> None:
        learner = self._world.random.choice(membership.learners)
        progress = leader.replica.progress().get(learner)
        if progress is None or progress.match + 20 < leader.replica.last_index:
            return
        changes = [("voter", learner)]
        if len(membership.voters) > 2 and self._world.chance(0.4):  # in the place of another
            changes.append(("remove", self._world.random.choice(membership.voters)))
        self._propose(leader, changes, learner)

    def _remove(self, leader: Member, membership: Membership) -> None:
        self._propose(leader, [("remove", self._world.random.choice(sorted(membership.ids)))])

    def _propose(self, leader: Member, changes: list[tuple[str, int]], *infos: int) -> None:
        self._world.tell(f"{leader.raft_id} is asked for {changes}")
        leader.replica.propose_change(changes, [info(each) for each in infos], self._told, ticks=CHANGE_TICKS)

    def _told(self, outcome: object) -> None:
        self._world.tell(f"the change: {outcome.kind if isinstance(outcome, ScribeError) else 'done'}")

"""Groups in seeded disorder: frames lost, doubled and late, slow disks, crashes, cut logs, snapshots.

The simulator is the thorough one; this finds in a second what is plainly wrong.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.consensus.group import Group, Member, Outcomes, info

from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from scribe_ledger.consensus.membership import Membership

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]


class Disorder:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.group = Group(1, 2, 3, seed=seed, max_entry_bytes=12, resend_ticks=4, read_retry_ticks=3)
        self.asked: dict[str, Outcomes] = {}
        self.reads: list[tuple[int, int, Outcomes]] = []
        self.history: dict[int, tuple[int, bytes]] = {}
        self.acknowledged: set[str] = set()

    def run(self, rounds: int) -> None:
        for number in range(rounds):
            self._act(number)
            self._move()
            self._check()
        self._calm()

    def _act(self, number: int) -> None:
        random, group = self.random, self.group
        member = random.choice([*group.members.values()])
        deed = random.random()
        if deed < 0.35 and member.running:
            name = f"{member.raft_id}.{number}"
            self.asked[name] = group.submit(member.raft_id, name, ticks=random.choice([5, 40, 400]))
        elif deed < 0.5 and member.running:
            self._read(member)
        elif deed < 0.53:
            self._restart(member)
        elif deed < 0.56 and member.running:
            self._cut(member)
        elif deed < 0.6:
            member.slow_disk = not member.slow_disk
        elif deed < 0.62 and member.running and member.replica.is_leader:
            member.replica.transfer(random.choice(member.replica.membership.voters))
        for each in group:
            if random.random() < 0.5:
                each.replica.tick()
            if each.slow_disk and random.random() < 0.3:
                group.sync(each)
            each.machine.overloaded = max(each.machine.overloaded, random.choice([0] * 30 + [2]))

    def _read(self, member: Member) -> None:
        least = len(self.acknowledged)
        outcome = Outcomes()

        def done(told: object) -> None:
            outcome.append(told)
            if told is None:
                assert len(member.machine.units) >= least, "an acknowledged write is not seen"

        member.replica.read(done, ticks=50)
        self.reads.append((member.raft_id, least, outcome))

    def _restart(self, member: Member) -> None:
        if member.running:
            self.group.crash(member.raft_id)
        else:
            member.start(self.group)

    def _cut(self, member: Member) -> None:
        cut = member.replica.compact(member.machine.position - 2)
        if cut is not None:
            member.log.cut(*cut)

    def _move(self) -> None:
        random, group = self.random, self.group
        for member in group:
            while group.step(member):
                pass
        waiting, group.waiting = group.waiting, []
        random.shuffle(waiting)
        for sender, to, frame in waiting:
            fate = random.random()
            member = group.members[to]
            if fate < 0.1:
                if random.random() < 0.5 and group.members[sender].running:
                    group[sender].report_unreachable(to)
            elif fate < 0.25:
                group.waiting.append((sender, to, frame))
            elif member.running:
                member.replica.receive(sender, frame)
                if fate < 0.35:
                    group.waiting.append((sender, to, frame))
        self._snapshots()

    def _snapshots(self) -> None:
        group = self.group
        for member in group:
            if member.replica.is_leader and member.replica.wants_snapshot():
                member.replica.offer_snapshot(member.replica.here.index, member.replica.here.encode())
        sent, group.snapshots = group.snapshots, []
        for sender, peer, index, frame in sent:
            ok = self.random.random() < 0.7 and group.members[peer].running
            if ok:
                group[peer].receive(sender, frame)
                self._install(group.members[sender], group.members[peer], index)
            if group.members[sender].running:
                group[sender].report_snapshot(peer, ok)

    def _install(self, source: Member, target: Member, index: int) -> None:
        arrived = target.replica.take_snapshot_arrived()
        if arrived is None or not target.replica.begin_install(index):
            return
        target.machine.units = [each for each in source.machine.units if each[0] <= index]
        target.machine.position, target.machine.membership = index, arrived.data
        if self.random.random() < 0.3:
            self.group.restart(target.raft_id)
        else:
            target.replica.finish_install(arrived.message)

    def _check(self) -> None:
        for member in self.group.members.values():
            for at, unit in enumerate(member.machine.units):
                assert self.history.setdefault(at, unit) == unit, f"member {member.raft_id} differs at {at}"
        self.acknowledged = {name for name, told in self.asked.items() if told and isinstance(told[0], tuple)}

    def _calm(self) -> None:
        group = self.group
        for member in group.members.values():
            member.slow_disk, member.machine.overloaded = False, 0
            if member.running:
                group.sync(member)
            else:
                member.start(group)
        for _ in range(300):
            group.pass_time()
            self._snapshots()
        group.settle()
        self._check()
        self._check_ends()

    def _check_ends(self) -> None:
        group = self.group
        belong = max(group, key=lambda each: each.replica.membership.index).replica.membership
        assert not belong.outgoing
        assert {len(group.members[each].machine.units) for each in belong.ids} == {len(self.history)}
        assert len({str(group[each].membership.conf) for each in belong.ids}) == 1
        names = [self.history[at][1].decode() for at in range(len(self.history))]
        assert len(set(names)) == len(names), "something took effect twice"
        for name, told in self.asked.items():
            assert len(told) <= 1
            if told and isinstance(told[0], tuple):
                assert told[0] == (told[0][0], name.encode())
                assert name in names, "an acknowledged write is lost"
            if told and isinstance(told[0], ScribeError) and told[0].kind == "unavailable":
                assert name not in names, "it was certainly not accepted"


class Churn(Disorder):
    """Members come and go too."""

    def _act(self, number: int) -> None:
        super()._act(number)
        leader = next((each for each in self.group if each.replica.is_leader), None)
        if leader is not None and self.random.random() < 0.08:
            wanted = self._change(leader.replica.membership)
            infos = [info(raft_id) for kind, raft_id in wanted if kind != "remove"]
            leader.replica.propose_change(wanted, infos, Outcomes(), ticks=200)

    def _change(self, now: Membership) -> list[tuple[str, int]]:
        random, group = self.random, self.group
        if now.learners and random.random() < 0.7:
            removed = [("remove", random.choice(now.voters))] if random.random() < 0.7 else []
            return [("voter", now.learners[0]), *removed]
        if len(now.voters) > 3:
            return [("remove", random.choice(now.voters))]
        group.add(max(group.members) + 1).start(group)
        return [("learner", max(group.members))]


@pytest.mark.parametrize("seed", range(20))
def test_a_group_in_disorder_keeps_its_promises(seed: int) -> None:
    Disorder(seed).run(300)


@pytest.mark.parametrize("seed", range(10))
def test_a_group_whose_members_come_and_go_keeps_its_promises(seed: int) -> None:
    Churn(seed).run(300)

"""What a leader does with the membership, told as transcripts: what is seen, what is done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.steward import PATIENCE_TICKS, PAUSE_TICKS, Steward
from scribe_ledger.consensus.stewardship.actions import Action, Change, HandOver, RaiseApplyVersion, Tell, View
from scribe_ledger.consensus.stewardship.duties import LEAVE_JOINT_TICKS, PROMOTE_WITHIN
from scribe_ledger.errors import ConfigurationError, Conflict, ConsensusError, Forbidden, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.errors import ScribeError

pytestmark = pytest.mark.consensus

LAST = 10_000


class Progress(NamedTuple):
    match: int
    active: bool = True


def info(raft_id: int, node_id: int = 0, **fields: object) -> MemberInfo:
    base = MemberInfo(raft_id, node_id or raft_id, f"10.0.0.{raft_id}:9001", f"10.0.0.{raft_id}:8001")
    return replace(base, **fields)  # type: ignore[arg-type]


def membership(voters: Sequence[int], learners: Sequence[int] = (), *others: MemberInfo) -> Membership:
    """Members whose label is their Raft id, but for ``others``."""
    members = {each: info(each) for each in (*voters, *learners)} | {each.raft_id: each for each in others}
    return Membership(1, 1, tuple(voters), tuple(learners), members=members)


class Leader:
    """A steward whose actions take effect when told, at node 1."""

    def __init__(self, membership: Membership, me: int = 1) -> None:
        self.steward = Steward()
        self.me = me
        self.now = 0
        self.membership = membership
        self.match: dict[int, int] = {}
        self.dead: set[int] = set()
        self.apply_version = 1
        self.answers: list[ScribeError | None] = []
        self.archivists: set[int] = set()
        self.roomy: set[int] = set(membership.ids)
        self.unfit: set[int] = set()

    def tick(self, ticks: int = 1) -> list[Action]:
        return [action for _ in range(ticks) for action in self._tick()]

    def _tick(self) -> list[Action]:
        self.now += 1
        ids = self.membership.ids
        progress = {each: Progress(self.match.get(each, LAST), each not in self.dead) for each in ids}
        view = View(
            self.me,
            self.now,
            self.membership,
            progress,
            ids - self.dead,
            LAST,
            self.apply_version,
            archivists=self.archivists,
            roomy=self.roomy,
            unfit=self.unfit,
        )
        return self.steward.actions(view)

    def take_effect(self, action: Action) -> None:
        """As the cluster would have it once the change is committed and applied, joint configurations left."""
        index = self.membership.index + 1
        if isinstance(action, Change) and not action.steps:
            self.membership = replace(self.membership, outgoing=(), index=index)
        elif isinstance(action, Change):
            voters, learners = set(self.membership.voters), set(self.membership.learners)
            for kind, raft_id in action.steps:
                voters.discard(raft_id)
                learners.discard(raft_id)
                if kind != "remove":
                    (voters if kind == "voter" else learners).add(raft_id)
            told = self.membership.with_members(action.infos, index=index, term=1)
            self.membership = told.with_conf((sorted(voters), sorted(learners), [], [], False), index=index, term=1)
        elif isinstance(action, Tell):
            self.membership = self.membership.with_members(action.infos, index=index, term=1)

    def done(self, error: ScribeError | None) -> None:
        self.answers.append(error)

    def run(self, ticks: int = 10) -> list[str]:
        """Each action takes effect at once; what was done, in short."""
        told = []
        for _ in range(ticks):
            for action in self.tick():
                told.append(short(action))
                self.take_effect(action)
        return told


def short(action: Action) -> str:
    match action:
        case Change():
            return " ".join(f"{kind}:{raft_id}" for kind, raft_id in action.steps) or "leave joint"
        case Tell():
            return "tell " + " ".join(f"{each.raft_id}={each.raft_address}" for each in action.infos)
        case HandOver():
            return f"hand over to {action.raft_id}"
        case RaiseApplyVersion():
            return f"rules {action.version}"


# --- unasked ---------------------------------------------------------------------------------------------------


def test_a_learner_is_promoted_when_it_has_caught_up() -> None:
    leader = Leader(membership([1], [2]))
    leader.match[2] = LAST - PROMOTE_WITHIN - 1
    assert leader.run() == []
    leader.match[2] += 1
    assert leader.run() == ["voter:2"]


def test_a_learner_with_another_ledger_is_not_promoted() -> None:
    leader = Leader(membership([1], [2]))
    leader.unfit = {2}
    assert leader.run() == []


def test_a_learner_that_is_not_heard_is_not_promoted() -> None:
    leader = Leader(membership([1], [2]))
    leader.dead.add(2)
    assert leader.run() == []


def test_learners_are_promoted_one_at_a_time() -> None:
    leader = Leader(membership([1], [2, 3]))
    first = leader.tick()
    assert [short(each) for each in first] == ["voter:2"]
    assert leader.tick(PATIENCE_TICKS - 2) == []  # its effect is not seen yet
    leader.take_effect(first[0])
    assert [short(each) for each in leader.tick()] == ["voter:3"]


def test_what_could_not_be_proposed_is_tried_again_after_a_pause() -> None:
    leader = Leader(membership([1], [2]))
    (action,) = leader.tick()
    leader.steward.failed(action)
    assert leader.tick(PAUSE_TICKS - 1) == []
    assert leader.tick() == [action]


def test_what_has_no_effect_is_tried_again_in_the_end() -> None:
    leader = Leader(membership([1], [2]))
    (action,) = leader.tick()
    assert leader.tick(PATIENCE_TICKS - 1) == []
    assert leader.tick() == [action]


def test_a_new_leader_leaves_the_joint_configuration_it_finds() -> None:
    leader = Leader(replace(membership([1, 2, 4]), outgoing=(1, 2, 3), auto_leave=True))
    assert leader.tick(LEAVE_JOINT_TICKS) == []  # the engine's own chance
    assert leader.run() == ["leave joint"]
    explicit = Leader(replace(membership([1, 2, 4]), outgoing=(1, 2, 3), auto_leave=False))
    assert [short(each) for each in explicit.tick()] == ["leave joint"]


def test_nothing_else_is_changed_in_a_joint_configuration() -> None:
    leader = Leader(replace(membership([1, 2, 4], [5]), outgoing=(1, 2, 3), auto_leave=True))
    leader.tick()
    leader.steward.leave(2, done=leader.done, ticks=500)
    assert leader.tick(LEAVE_JOINT_TICKS - 1) == []
    assert leader.answers == []


def test_a_replacement_is_finished_by_one_joint_change() -> None:
    leader = Leader(membership([1, 2, 3], [], info(7, node_id=3)))
    leader.membership = replace(leader.membership, learners=(7,))
    leader.dead.add(3)
    leader.match[7] = 0
    assert leader.run() == []
    leader.match[7] = LAST
    assert leader.run() == ["voter:7 remove:3"]
    assert leader.membership.voters == (1, 2, 7)
    assert leader.membership.removed == (3,)


def test_the_rules_are_raised_when_every_member_knows_them() -> None:
    leader = Leader(membership([1, 2, 3], [], info(1, apply_version=2), info(2, apply_version=3)))
    assert leader.run() == []
    leader.membership = leader.membership.with_members([info(3, apply_version=2)], index=9, term=1)
    assert [short(each) for each in leader.tick(5)] == ["rules 2"]
    leader.apply_version = 2
    assert leader.run() == []


# --- asked -----------------------------------------------------------------------------------------------------


def test_a_node_joins_as_a_learner_and_is_promoted() -> None:
    leader = Leader(membership([1]))
    leader.tick()
    leader.steward.add(info(2), replaced=0, done=leader.done, ticks=100)
    assert leader.run() == ["learner:2", "voter:2"]
    assert leader.answers == [None]
    leader.steward.add(info(2), replaced=0, done=leader.done, ticks=100)
    assert leader.run() == []
    assert leader.answers == [None, None]


def test_a_node_that_joins_again_under_a_new_address_is_known_there() -> None:
    leader = Leader(membership([1, 2]))
    leader.tick()
    leader.steward.add(info(2, raft_address="h:5"), replaced=0, done=leader.done, ticks=100)
    assert leader.run() == ["tell 2=h:5"]
    assert leader.answers == [None]


def test_a_raft_id_that_was_removed_does_not_return() -> None:
    leader = Leader(replace(membership([1]), removed=(2,)))
    leader.tick()
    leader.steward.add(info(2), replaced=0, done=leader.done, ticks=100)
    assert leader.run() == []
    assert isinstance(leader.answers[0], Forbidden)


def test_a_learner_whose_folder_is_lost_is_replaced_at_once() -> None:
    leader = Leader(membership([1, 2], [3]))
    leader.dead.add(3)
    leader.tick()
    leader.steward.add(info(7, node_id=3), replaced=3, done=leader.done, ticks=100)
    assert leader.run() == ["learner:7 remove:3", "voter:7"]


@pytest.mark.parametrize("dead", [set(), {3}], ids=["alive", "dead"])
def test_a_member_leaves(dead: set[int]) -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.dead = dead
    leader.tick()
    leader.steward.leave(3, done=leader.done, ticks=100)
    assert leader.run() == ["remove:3"]
    assert leader.answers == [None]


def test_the_last_voter_does_not_leave() -> None:
    leader = Leader(membership([1], [2]))
    leader.match[2] = 0
    leader.tick()
    leader.steward.leave(1, done=leader.done, ticks=100)
    assert leader.run() == []
    assert isinstance(leader.answers[0], Conflict) and "last voter" in leader.answers[0].message


def test_nobody_leaves_who_is_needed_for_a_majority() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.dead.add(3)
    leader.tick()
    leader.steward.leave(2, done=leader.done, ticks=100)
    assert leader.run() == []
    assert isinstance(leader.answers[0], Conflict) and "majority" in leader.answers[0].message


def test_a_leader_that_leaves_hands_over_to_the_furthest_and_the_next_is_asked() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.match[2] = LAST - 5
    leader.tick()
    leader.steward.leave(1, done=leader.done, ticks=100)
    assert leader.run() == ["hand over to 3"]
    leader.steward.deposed(3)
    assert isinstance(leader.answers[0], ConsensusError)
    heir = Leader(leader.membership, me=3)
    heir.tick()
    heir.steward.leave(1, done=heir.done, ticks=100)
    assert heir.run() == ["remove:1"]
    assert heir.answers == [None]


def test_who_is_no_member_cannot_leave() -> None:
    leader = Leader(membership([1]))
    leader.tick()
    leader.steward.leave(9, done=leader.done, ticks=100)
    assert leader.run() == []
    assert isinstance(leader.answers[0], NotFound)


def test_who_has_joined_since_the_leader_looked_can_leave() -> None:
    leader = Leader(membership([1]))
    leader.match[9] = 0
    leader.tick()
    leader.membership = membership([1], [9])
    leader.steward.leave(9, done=leader.done, ticks=100)
    assert leader.run() == ["remove:9"]
    assert leader.answers == [None]


def test_leadership_goes_to_a_voter_that_answers() -> None:
    leader = Leader(membership([1, 2, 3], [4]))
    leader.match[4] = 0
    leader.dead.add(3)
    leader.tick()
    for node_id in (1, 3, 4, 9):
        leader.steward.transfer(node_id, done=leader.done, ticks=100)
    assert leader.run() == []
    assert [type(each) for each in leader.answers] == [type(None), Conflict, Conflict, NotFound]
    leader.steward.transfer(2, done=leader.done, ticks=100)
    assert leader.run() == ["hand over to 2"]
    leader.steward.deposed(2)
    assert leader.answers[-1] is None


def test_leadership_does_not_go_to_a_member_with_another_ledger() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.tick()
    leader.unfit = {3}
    leader.steward.transfer(3, done=leader.done, ticks=100)
    assert leader.run() == []
    [error] = leader.answers
    assert isinstance(error, Conflict)
    assert "node 3 has another ledger" in error.message
    leader.match[2] = LAST - 1
    leader.steward.leave(1, done=leader.done, ticks=100)
    assert leader.run() == ["hand over to 2"], "though 3 has more of the log"


def test_a_leader_does_not_leave_a_cluster_to_members_with_another_ledger() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.tick()
    leader.unfit = {2, 3}
    leader.steward.leave(1, done=leader.done, ticks=100)
    assert leader.run() == []
    [error] = leader.answers
    assert isinstance(error, Conflict)
    assert "no other voter" in error.message


def test_a_transfer_that_does_not_come_about_is_told() -> None:
    leader = Leader(membership([1, 2]))
    leader.tick()
    leader.steward.transfer(2, done=leader.done, ticks=5)
    leader.run(8)
    assert isinstance(leader.answers[0], Unavailable)


def test_a_member_moves() -> None:
    leader = Leader(membership([1, 2]))
    leader.tick()
    leader.steward.update(info(2, raft_address="h:5"), done=leader.done, ticks=100)
    assert leader.run() == ["tell 2=h:5"]
    assert leader.answers == [None]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (info(9), Forbidden),
        (info(2, node_id=1), Conflict),
        (info(2, apply_version=0), ConfigurationError),
    ],
    ids=["a stranger", "a label in use", "older rules"],
)
def test_what_a_member_may_not_become(told: MemberInfo, kind: type[ScribeError]) -> None:
    leader = Leader(membership([1, 2]))
    leader.tick()
    leader.steward.update(told, done=leader.done, ticks=100)
    assert leader.run() == []
    assert isinstance(leader.answers[0], kind)


def test_an_operator_gives_up_a_dead_member_and_no_other() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.dead.add(3)
    leader.tick()
    for node_id in (3, 2, 9):
        leader.steward.replace(node_id, done=leader.done, ticks=100)
    assert leader.run() == ["tell 3=10.0.0.3:9001"]
    assert [type(each) for each in leader.answers] == [Conflict, NotFound, type(None)]
    assert leader.steward.may_replace(3)
    assert not leader.steward.may_replace(2)


def test_who_was_given_up_is_so_for_the_next_leader_until_it_says_otherwise() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.dead.add(3)
    leader.tick()
    leader.steward.replace(3, done=leader.done, ticks=100)
    leader.run()
    heir = Leader(Membership.decode(leader.membership.encode()), me=2)  # it knows the record only
    heir.dead.add(3)
    heir.tick()
    assert heir.steward.may_replace(3)
    heir.steward.replace(3, done=heir.done, ticks=100)
    assert (heir.run(), heir.answers) == ([], [None])
    heir.dead.clear()
    heir.steward.update(info(3), done=heir.done, ticks=100)
    heir.run()
    assert not heir.steward.may_replace(3)


def test_a_replacement_goes_through_from_the_operators_word_on() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.dead.add(3)
    leader.tick()
    leader.steward.replace(3, done=leader.done, ticks=100)
    assert leader.run() == ["tell 3=10.0.0.3:9001"]
    leader.match[7] = 0
    leader.steward.add(info(7, node_id=3), replaced=3, done=leader.done, ticks=100)
    assert leader.run() == ["learner:7"]
    heir = Leader(leader.membership, me=2)  # it knows the membership only
    heir.dead.add(3)
    assert heir.run() == ["voter:7 remove:3"]


def test_who_leaves_while_it_is_being_replaced_leaves_in_both_shapes() -> None:
    leader = Leader(replace(membership([1, 2, 3], [], info(7, node_id=3)), learners=(7,)))
    leader.match[7] = 0
    leader.dead.add(3)
    leader.tick()
    leader.steward.leave(3, done=leader.done, ticks=100)
    assert leader.run() == ["remove:7", "remove:3"]
    assert leader.answers == [None]


def test_a_leader_does_not_remove_itself_to_be_replaced() -> None:
    leader = Leader(replace(membership([1, 2, 3], [8], info(7, node_id=1)), learners=(7, 8)))
    assert leader.run() == ["voter:8"]
    heir = Leader(leader.membership, me=2)
    assert heir.run() == ["voter:7 remove:1"]


def test_rules_that_cannot_be_raised_hold_up_nothing_else() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.apply_version = 0
    (rules,) = leader.tick()
    leader.steward.failed(rules)
    leader.steward.leave(3, done=leader.done, ticks=100)
    assert [short(each) for each in leader.tick(PAUSE_TICKS)] == ["remove:3"]


def test_who_does_not_lead_is_asked_nothing() -> None:
    steward = Steward()
    with pytest.raises(ConsensusError):
        steward.leave(1, done=lambda _: None, ticks=1)
    with pytest.raises(ConsensusError):
        steward.replace(1, done=lambda _: None, ticks=1)


def test_a_leader_that_is_deposed_says_so_to_all_who_wait() -> None:
    leader = Leader(membership([1, 2, 3]))
    leader.tick()
    leader.steward.leave(3, done=leader.done, ticks=100)
    leader.steward.update(info(2, raft_address="h:5"), done=leader.done, ticks=100)
    leader.steward.deposed(0)
    assert [type(each) for each in leader.answers] == [ConsensusError, ConsensusError]
    with pytest.raises(ConsensusError):
        leader.steward.leave(3, done=leader.done, ticks=100)

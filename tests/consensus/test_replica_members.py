"""Changes of the members: added, promoted, replaced by one joint change, removed; and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.consensus.giving import change, give_snapshot
from tests.consensus.group import Group, Outcomes, info

from scribe_ledger.consensus.bundles import encode_members
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import Conflict, ConsensusError, OutcomeUnknown, ScribeError

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.consensus


def members_of(group: Group) -> dict[int, tuple[Sequence[int], Sequence[int]]]:
    return {each.raft_id: (each.replica.membership.voters, each.replica.membership.learners) for each in group}


def join(group: Group, raft_id: int, leader: int = 1) -> None:
    """A new node with an empty folder, which the leader brings up to date by a snapshot."""
    group.add(raft_id).start(group)
    assert isinstance(change(group, leader, ("learner", raft_id)).only, Membership)
    group.pass_time(3)
    assert group[leader].wants_snapshot() == [raft_id]
    give_snapshot(group, leader)
    group.pass_time(3)


def test_a_learner_joins_by_a_snapshot_and_is_promoted() -> None:
    group = Group(1, 2)
    group.lead(1)
    group.write(1, "a")
    join(group, 3)
    assert members_of(group) == dict.fromkeys((1, 2, 3), ((1, 2), (3,)))
    group.write(3, "b")
    promoted = change(group, 1, ("voter", 3))
    group.pass_time(3)
    assert isinstance(promoted.only, Membership)
    assert members_of(group) == dict.fromkeys((1, 2, 3), ((1, 2, 3), ()))
    assert group[3].membership.members[3] == info(3)
    group.assert_all_have("a", "b")


def test_the_record_has_the_position_of_its_change() -> None:
    group = Group(1, 2)
    group.lead(1)
    change(group, 1, ("learner", 3))
    membership = Membership.decode(group.members[1].machine.membership)
    assert (membership.index, membership.term) == (3, group[1].term)
    assert group.members[1].machine.position == 3
    assert membership == group[1].membership


def test_the_hook_is_called_after_every_change() -> None:
    group = Group(1)
    group.lead(1)
    seen: list[Membership] = []
    group[1].on_membership = seen.append
    change(group, 1, ("learner", 2))
    group[1].propose_members([replace(info(2), client_address="elsewhere:1")], Outcomes(), ticks=10)
    group.settle()
    assert [each.learners for each in seen] == [(2,), (2,)]
    assert [each.members[2].client_address for each in seen] == ["10.0.0.2:8001", "elsewhere:1"]


def test_a_member_is_replaced_by_one_joint_change() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.crash(3)
    join(group, 4)
    replaced = change(group, 1, ("voter", 4), ("remove", 3))
    group.pass_time(4)
    assert isinstance(replaced.only, Membership)
    assert replaced.only.voters == (1, 2, 4)
    assert members_of(group) == dict.fromkeys((1, 2, 4), ((1, 2, 4), ()))
    assert group[2].membership.outgoing == ()
    assert group[4].membership.removed == (3,)
    group.write(4, "a")
    group.pass_time(3)
    group.assert_all_have("a")


def test_a_new_leader_leaves_the_joint_configuration_that_it_finds() -> None:
    group = Group(1, 2, 3, 4, 5)
    group.lead(1)
    group[1]._node.propose_conf_change([("remove", 5)], "explicit", encode_members([]))
    group.settle()
    assert {each.replica.membership.outgoing for each in group} == {(1, 2, 3, 4, 5)}
    group.crash(1)
    leader = group.await_leader(2, 3, 4, 5)
    group.pass_time(4)
    left = group[leader].membership
    assert (left.voters, left.outgoing, left.removed) == ((1, 2, 3, 4), (), (5,))


def test_only_the_leader_changes_members() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.pass_time(1)
    refused = change(group, 2, ("remove", 3)).only
    assert isinstance(refused, ConsensusError)
    assert "node 1 leads" in str(refused)
    known = Outcomes()
    group[2].propose_members([info(1)], known, ticks=5)
    assert isinstance(known.only, ConsensusError)


def test_one_change_at_a_time() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    first = change(group, 1, ("learner", 4))
    second = change(group, 1, ("learner", 5))
    assert first == []
    assert isinstance(second.only, Conflict)
    assert "under way" in str(second.only)
    group.heal()
    group.pass_time(4)
    assert isinstance(first.only, Membership)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [([("remove", 1), ("remove", 2), ("remove", 3)], "removed all voters"), ([], "nothing to change")],
)
def test_an_impossible_change_is_refused_with_the_reason(wanted: list[tuple[str, int]], why: str) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    refused = change(group, 1, *wanted).only
    assert isinstance(refused, Conflict)
    assert why in str(refused)
    assert isinstance(change(group, 1, ("learner", 4)).only, Membership), "the next one is free to go"


def test_a_removed_id_never_comes_back() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    change(group, 1, ("remove", 3))
    refused = change(group, 1, ("learner", 3)).only
    assert isinstance(refused, Conflict)
    assert "never comes back" in str(refused)


def test_a_change_lost_with_its_leader_is_told() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    lost = change(group, 1, ("learner", 4), ticks=1000)
    group.await_leader(2, 3)
    group.heal()
    group.pass_time(10)
    assert isinstance(lost.only, ConsensusError)
    assert members_of(group) == dict.fromkeys((1, 2, 3), ((1, 2, 3), ()))


def test_a_change_that_nobody_confirms_has_an_unknown_outcome_at_its_deadline() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.isolate(1)
    change_outcome, known = change(group, 1, ("learner", 4), ticks=3), Outcomes()
    group[1].propose_members([info(2)], known, ticks=3)
    group.pass_time(3)
    assert [type(each) for each in (change_outcome.only, known.only)] == [OutcomeUnknown, OutcomeUnknown]


def test_a_leader_that_removed_itself_steps_down_at_once_though_writes_are_under_way() -> None:
    group = Group(1, 2, 3, max_entry_bytes=1)
    group.lead(1)
    removed = Outcomes()
    group[1].propose_change([("remove", 1)], [], removed, ticks=100)
    sent = group.write(1, "x", "y", "z")
    assert isinstance(removed.only, Membership)
    assert not group[1].is_leader
    group.await_leader(2, 3)
    group.pass_time(100)
    assert len(sent) == 3
    assert group.members[2].machine.units == group.members[3].machine.units
    group.write(3, "a")
    group.pass_time(3)
    assert group.members[2].machine.names[-1] == "a"


def test_the_only_voter_left_does_not_stand_while_it_writes_what_another_leader_sent() -> None:
    group = Group(1, 2)
    group.lead(2)
    group.pass_time(2)
    group[2].propose_change([("remove", 2)], [], Outcomes(), ticks=100)
    group.step(group.members[2])
    group.deliver()
    group.step(group.members[1])  # the removal is durable, and the answer on its way
    group.submit(2, "late")
    group.step(group.members[2])
    group.members[1].slow_disk = True
    group.settle()
    assert group[1].membership.voters == (1,)
    group.pass_time(50)
    assert group[1].role == "follower"
    group.members[1].slow_disk = False
    group.sync(group.members[1])
    group.pass_time(50)
    assert group[1].is_leader
    assert group.members[1].machine.names == ["late"]


def test_a_leader_that_became_a_learner_hands_over() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    assert isinstance(change(group, 1, ("learner", 1)).only, Membership)
    group.pass_time(4)
    assert not group[1].is_leader
    assert group[2].is_leader or group[3].is_leader
    group.write(2, "a")
    group.pass_time(3)
    assert group.members[3].machine.names == ["a"]


def test_what_is_known_of_who_was_removed_is_not_kept() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    change(group, 1, ("remove", 3))
    told = Outcomes()
    group[1].propose_members([info(3), replace(info(2), store_id="s3")], told, ticks=10)
    group.settle()
    assert isinstance(told.only, Membership)
    assert sorted(told.only.members) == [1, 2]
    assert told.only.members[2].store_id == "s3"


def test_a_record_that_could_not_be_written_is_written_later_and_once() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.members[2].machine.overloaded = 2
    change(group, 1, ("learner", 4))
    assert members_of(group) == {1: ((1, 2, 3), (4,)), 2: ((1, 2, 3), ()), 3: ((1, 2, 3), (4,))}
    group.pass_time(3)
    assert group[2].membership == group[1].membership


@pytest.mark.parametrize("victim", [1, 2])
def test_members_are_known_again_after_a_restart(victim: int) -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    change(group, 1, ("learner", 4))
    group.write(1, "a")
    group.restart(victim)
    group.await_leader()
    group.pass_time(4)
    changed = change(group, group[2].leader, ("voter", 4), ("remove", 3))
    group.pass_time(20)
    assert not any(isinstance(each, ScribeError) for each in changed)
    assert members_of(group)[1] == members_of(group)[2] == ((1, 2, 4), ())


def test_progress_says_how_far_everybody_is() -> None:
    group = Group(1, 2, 3)
    group.lead(1)
    group.write(1, "a")
    group.pass_time(2)
    assert {peer: told.match for peer, told in group[1].progress().items()} == {1: 3, 2: 3, 3: 3}
    assert group[2].progress() == {}

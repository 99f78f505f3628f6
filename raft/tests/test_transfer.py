"""Handing leadership over: raft-rs's published scenarios."""

from __future__ import annotations

import pytest
from scribe_raft import NotLeader, ProposalDropped, RaftError

from cluster import Cluster

KEPT = ("term", "vote", "commit", "applied", "persisted", "last_index", "conf")


def test_to_a_follower_that_has_everything() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster[1].transfer_leader(2)
    cluster.settle()
    assert cluster.leaders() == [2]
    cluster.propose(2, b"x")
    cluster[2].transfer_leader(1)
    cluster.settle()
    assert cluster.leaders() == [1]
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"x"])


def test_a_follower_that_lags_catches_up_first() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b")
    cluster.heal()
    cluster[1].transfer_leader(3)
    assert cluster.status(1)["transferring_to"] == 3
    cluster.settle()
    cluster.tick()
    assert cluster.leaders() == [3]
    assert cluster.states()[3] == [b"a", b"b"]


def test_to_itself_is_nothing() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster[1].transfer_leader(1)
    cluster.settle()
    assert cluster.leaders() == [1]
    assert cluster.status(1)["transferring_to"] == 0


def test_to_learners_and_strangers_is_refused() -> None:
    cluster = Cluster(1, 2, 3, conf=([1, 2], [3], [], [], False))
    cluster.campaign(1)
    for id in (3, 9):
        with pytest.raises(RaftError, match=f"node {id} is no voter"):
            cluster[1].transfer_leader(id)


def test_proposals_are_dropped_meanwhile_and_taken_after_the_timeout() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster[1].transfer_leader(3)
    with pytest.raises(ProposalDropped):
        cluster[1].propose(b"x")
    cluster.tick(10, 1)
    assert cluster.leaders() == [1]
    cluster.propose(1, b"x")
    assert cluster.states()[2] == [b"x"]


def test_another_target_takes_the_place_of_the_first() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster[1].transfer_leader(3)
    cluster.settle()
    cluster[1].transfer_leader(2)
    cluster.settle()
    assert cluster.leaders() == [2, *([1] if cluster[1].is_leader else [])]
    assert not cluster[1].is_leader


def test_a_leader_steps_down_for_nobody_in_its_own_term() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a")
    before = cluster.status(1)
    cluster[1].step_down()
    after = cluster.status(1)
    assert (after["role"], after["leader"]) == ("follower", 0)
    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}
    with pytest.raises(NotLeader):
        cluster[1].propose(b"lost")
    cluster.settle()
    assert cluster.leaders() == []
    cluster.tick(60)
    [leader] = cluster.leaders()
    assert cluster[leader].term > before["term"]
    cluster.propose(leader, b"b")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b"])


def test_who_is_asked_to_take_over_does_so_though_the_leader_stepped_down() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster[1].transfer_leader(2)
    cluster[1].step_down()
    cluster.settle()
    assert cluster.leaders() == [2]


def test_only_a_leader_steps_down() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    with pytest.raises(NotLeader) as raised:
        cluster[2].step_down()
    assert raised.value.args[0] == 1
    cluster[1].step_down()
    with pytest.raises(NotLeader):
        cluster[1].step_down()

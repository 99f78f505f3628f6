"""Linearizable reads by ReadIndex: who answers, when, and what is lost."""

from __future__ import annotations

import pytest
from scribe_raft import Node, StepError

import wire
from cluster import Cluster, voters


def test_leader_and_followers_read_at_what_is_committed() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"x")
    for id in (1, 2, 3):
        assert cluster[id].read_index(b"read %d" % id)
        cluster.settle()
        assert cluster.members[id].reads == [(2, b"read %d" % id)]


def test_a_single_node_answers_itself() -> None:
    cluster = Cluster(1)
    cluster.campaign(1)
    assert cluster[1].read_index(b"r")
    cluster.settle()
    assert cluster.members[1].reads == [(1, b"r")]


def test_without_a_leader_a_read_is_not_taken() -> None:
    cluster = Cluster(1, 2, 3)
    assert not cluster[1].read_index(b"r")
    cluster.isolate(1)
    cluster.campaign(1)
    assert cluster[1].role == "pre-candidate"
    assert not cluster[1].read_index(b"r")


def test_a_new_leader_reads_only_after_its_first_commit() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.drop = lambda told: told["type"] == "MsgAppend"
    cluster.campaign(1)
    assert cluster[1].is_leader
    assert not cluster[1].read_index(b"r")
    cluster.heal()
    cluster.tick()
    assert cluster[1].read_index(b"r")


def test_a_leader_cut_off_answers_no_read() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(1)
    for id in (2, 3):
        cluster[id].set_randomized_election_timeout(19)
    cluster.tick(10, 2, 3)  # longer than a leader is waited for, shorter than these two wait
    cluster.campaign(2)
    cluster.propose(2, b"new")
    assert cluster.leaders() == [1, 2]
    assert cluster[1].read_index(b"stale?")
    cluster.tick(3, 1)
    assert cluster.members[1].reads == []
    cluster.heal()
    cluster.tick(3)
    assert cluster.members[1].reads == [], "it is lost with the leadership: the caller asks again"


def test_one_confirmation_answers_the_reads_before_it() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.drop = lambda told: told["context"] == b"first"
    cluster[1].read_index(b"first")
    cluster.settle()
    assert cluster.members[1].reads == []
    cluster[1].read_index(b"second")
    cluster.settle()
    assert cluster.members[1].reads == [(1, b"first"), (1, b"second")]


@pytest.mark.parametrize("context", [b"", bytes(1025)])
def test_a_context_has_a_length(context: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        Node(1, conf_state=voters(1)).read_index(context)


def test_waiting_reads_are_bounded() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    assert all(cluster[1].read_index(b"%d" % number) for number in range(4096))
    assert not cluster[1].read_index(b"one more")
    with pytest.raises(StepError, match="too many reads"):
        cluster[1].step(wire.message(wire.READ_INDEX, entries=(wire.octets(4, b"from a follower"),)))

"""Changes of the configuration: simple ones, joint ones, learners, and what is refused before it does harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scribe_raft import ConfChangeRefused, Node, RaftError, decode_conf_change

import wire
from cluster import NOBODY, Cluster, Disk, voters

if TYPE_CHECKING:
    from scribe_raft import Conf, Transition


def confs(cluster: Cluster) -> set[str]:
    return {str(member.disk.conf) for member in cluster.members.values()}


def led(*ids: int, conf: Conf | None = None, **options: Any) -> Cluster:
    cluster = Cluster(*ids, conf=conf, **options)
    cluster.campaign(ids[0])
    return cluster


def test_a_voter_is_added_and_removed() -> None:
    cluster = led(1)
    cluster.add(2, Disk(voters(1)))
    cluster.change(1, ("voter", 2))
    cluster.tick(2)
    assert confs(cluster) == {str(voters(1, 2))}
    cluster.isolate(2)
    cluster.propose(1, b"needs both")
    assert cluster.states()[1] == []
    cluster.heal()
    cluster.tick(3)
    assert cluster.states() == {1: [b"needs both"], 2: [b"needs both"]}
    cluster.change(1, ("remove", 2))
    cluster.isolate(2)
    cluster.propose(1, b"needs one")
    assert cluster.members[1].disk.conf == voters(1)
    assert cluster.states()[1] == [b"needs both", b"needs one"]


def test_a_learner_follows_and_does_not_vote() -> None:
    cluster = led(1, 2, 3, conf=([1, 2], [3], [], [], False))
    cluster.propose(1, b"x")
    assert cluster.states()[3] == [b"x"]
    cluster.isolate(2)
    cluster.propose(1, b"no majority")
    assert cluster.states()[1] == [b"x"]
    with pytest.raises(RaftError, match="only a voter"):
        cluster[3].campaign()
    cluster.tick(40, 3)
    assert cluster[3].role == "follower"


def test_a_learner_is_promoted() -> None:
    cluster = led(1, 2, 3, conf=([1, 2], [3], [], [], False))
    cluster.change(1, ("voter", 3))
    assert confs(cluster) == {str(voters(1, 2, 3))}
    cluster.isolate(2)
    cluster.propose(1, b"x")
    assert cluster.states()[1] == [b"x"]


@pytest.mark.parametrize("transition", ["auto", "implicit"])
def test_several_changes_pass_through_a_joint_configuration_and_leave_it(transition: Transition) -> None:
    cluster = led(1, 2, 3)
    for id in (4, 5):
        cluster.add(id, Disk(voters(1, 2, 3)))
    cluster[1].propose_conf_change([("voter", 4), ("learner", 5), ("remove", 3)], transition)
    cluster.settle()
    cluster.tick(3)
    final: Conf = ([1, 2, 4], [5], [], [], False)
    assert {str(cluster.members[id].disk.conf) for id in (1, 2, 4, 5)} == {str(final)}
    assert cluster.status(1)["conf"] == final


def test_an_explicit_joint_configuration_stays_until_it_is_left() -> None:
    cluster = led(1, 2, 3)
    cluster.add(4, Disk(voters(1, 2, 3)))
    cluster.change(1, ("voter", 4), ("remove", 3), transition="explicit")
    cluster.tick(3)
    assert cluster.status(1)["conf"] == ([1, 2, 4], [], [1, 2, 3], [], False)
    cluster.change(1)
    assert cluster.status(1)["conf"] == voters(1, 2, 4)


def test_a_joint_configuration_needs_both_majorities() -> None:
    cluster = led(1, 2, 3)
    for id in (4, 5):
        cluster.add(id, Disk(voters(1, 2, 3)))
    changes = [("voter", 4), ("voter", 5), ("remove", 2), ("remove", 3)]
    cluster.change(1, *changes, transition="explicit")
    cluster.tick(3)
    assert cluster.status(1)["conf"] == ([1, 4, 5], [], [1, 2, 3], [], False)
    for cut in ([2, 3], [4, 5]):
        before = list(cluster.states()[1])
        cluster.isolate(*cut)
        cluster.propose(1, b"x")
        assert cluster.states()[1] == before
        cluster.heal()
        cluster.tick(3)
        assert cluster.states()[1] == [*before, b"x"]


def test_a_demoted_voter_votes_until_the_joint_configuration_is_left() -> None:
    cluster = led(1, 2, 3)
    cluster.change(1, ("learner", 3), transition="explicit")
    assert cluster.status(1)["conf"] == ([1, 2], [], [1, 2, 3], [3], False)
    cluster.change(1)
    assert cluster.status(1)["conf"] == ([1, 2], [3], [], [], False)


def test_a_new_leader_finds_a_joint_configuration_and_leaves_it() -> None:
    cluster = led(1, 2, 3)
    cluster.change(1, ("learner", 3), transition="explicit")
    cluster[1].transfer_leader(2)
    cluster.settle()
    outgoing = cluster.status(2)["conf"][2]
    assert outgoing == [1, 2, 3]
    cluster.change(2)
    assert cluster.status(2)["conf"] == ([1, 2], [3], [], [], False)


def test_restart_within_a_joint_configuration() -> None:
    cluster = led(1, 2, 3)
    cluster.change(1, ("learner", 3), transition="explicit")
    for member in cluster.members.values():
        member.start()
    cluster.campaign(2)
    assert cluster.leaders() == [2]
    assert cluster.status(2)["conf"] == ([1, 2], [], [1, 2, 3], [3], False)


def test_a_leader_may_remove_itself_and_goes_on_until_told() -> None:
    cluster = led(1, 2, 3)
    cluster.change(1, ("remove", 1))
    assert cluster[1].is_leader
    assert not cluster.status(1)["promotable"]
    cluster.isolate(1)
    for id in (2, 3):
        cluster.tick(10, id)
    cluster.campaign(2)
    assert cluster[2].is_leader
    assert cluster.members[2].disk.conf == voters(2, 3)


@pytest.mark.parametrize(
    ("conf", "changes", "transition", "why"),
    [
        (voters(1), [("remove", 1)], "auto", "removed all voters"),
        (voters(1), [("learner", 1)], "auto", "removed all voters"),
        (voters(1), [("learner", 1)], "explicit", "removed all voters"),
        (voters(1), [], "auto", "can't leave a non-joint config"),
        (voters(1), [], "explicit", "nothing to change"),
        (([1], [], [1, 2], [2], False), [("voter", 3)], "auto", "in joint config"),
        (([1], [], [1, 2], [2], False), [("voter", 3), ("voter", 4)], "auto", "already joint"),
    ],
)
def test_what_could_not_be_applied_is_not_proposed(conf: Conf, changes: Any, transition: Any, why: str) -> None:
    cluster = led(1, 2, conf=conf)
    last = cluster.status(1)["last_index"]
    with pytest.raises(ConfChangeRefused, match=why):
        cluster[1].propose_conf_change(changes, transition)
    assert cluster.status(1)["last_index"] == last


def test_one_change_at_a_time() -> None:
    cluster = led(1, 2, 3)
    cluster[1].propose_conf_change([("learner", 4)])
    assert cluster.status(1)["pending_conf_change"]
    with pytest.raises(ConfChangeRefused, match="not applied yet"):
        cluster[1].propose_conf_change([("learner", 5)])
    cluster.settle()
    assert not cluster.status(1)["pending_conf_change"]
    cluster.change(1, ("learner", 5))
    assert cluster.status(1)["conf"] == ([1, 2, 3], [4, 5], [], [], False)


@pytest.mark.parametrize(
    ("changes", "transition"), [([("witness", 2)], "auto"), ([("voter", 0)], "auto"), ([("voter", 2)], "gently")]
)
def test_unknown_words_and_ids_are_refused(changes: Any, transition: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown word|no node has the id 0"):
        led(1)[1].propose_conf_change(changes, transition)


@pytest.mark.parametrize(
    "conf",
    [
        ([], [1], [], [], False),
        ([0], [], [], [], False),
        ([1, 1], [], [], [], False),
        ([1], [1], [], [], False),
        ([1], [2], [2], [], False),
        ([1], [], [], [2], False),
        ([1, 2], [], [1, 2], [2], False),
        ([1], [], [], [], True),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(conf: Conf) -> None:
    with pytest.raises(ValueError, match="not a configuration"):
        Node(1, conf_state=conf)


def test_a_change_can_be_read_back() -> None:
    cluster = led(1)
    cluster[1].propose_conf_change([("learner", 2), ("voter", 3)], "explicit", b"address")
    cluster.settle()
    kind, data = cluster.members[1].disk.entries[-1][2:4]
    assert kind == 2
    assert decode_conf_change(kind, data) == ([("learner", 2), ("voter", 3)], "explicit", b"address")


def test_changes_of_the_first_version_are_understood() -> None:
    old = wire.number(2, 2) + wire.number(3, 7) + wire.octets(4, b"why")  # AddLearnerNode, node 7
    assert decode_conf_change(1, old) == ([("learner", 7)], "auto", b"why")
    assert Node(1, conf_state=voters(1)).apply_conf_change(1, old) == ([1], [7], [], [], False)


@pytest.mark.parametrize(
    ("kind", "data"), [(0, b""), (3, b""), (2, b"\xff"), (2, b"\x0b" * 10_000), (1, wire.number(2, 9))]
)
def test_bytes_that_are_no_change_are_refused(kind: int, data: bytes) -> None:
    node = Node(1, conf_state=voters(1))
    for attempt in (lambda: decode_conf_change(kind, data), lambda: node.apply_conf_change(kind, data)):
        with pytest.raises(ValueError, match=r"."):
            attempt()


def test_a_change_that_cannot_be_applied_changes_nothing() -> None:
    node = Node(1, conf_state=voters(1))
    with pytest.raises(ConfChangeRefused):
        node.apply_conf_change(2, b"")
    assert node.status()["conf"] == voters(1)


def test_a_node_without_configuration_waits() -> None:
    node = Node(4, conf_state=NOBODY, seed=1)
    assert not any(node.tick() for _ in range(50))
    assert node.ready() is None

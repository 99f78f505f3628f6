"""Elections: raft-rs's published scenarios (test_raft.rs, test_raft_paper.rs) through Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from scribe_raft import Node

import wire
from cluster import Cluster, Disk, voters


@pytest.mark.parametrize("pre_vote", [False, True])
@pytest.mark.parametrize(
    ("size", "cut", "role"),
    [
        (1, [], "leader"),
        (3, [], "leader"),
        (3, [2], "leader"),
        (3, [2, 3], "candidate"),
        (4, [2, 3], "candidate"),
        (5, [2, 3], "leader"),
        (5, [2, 3, 4], "candidate"),
    ],
)
def test_a_majority_elects(size: int, cut: list[int], role: str, pre_vote: bool) -> None:
    cluster = Cluster(*range(1, size + 1), pre_vote=pre_vote)
    cluster.isolate(*cut)
    cluster.campaign(1)
    won = role == "leader"
    assert cluster[1].role == (f"pre-{role}" if pre_vote and not won else role)
    assert cluster[1].term == (0 if pre_vote and not won else 1)


@pytest.mark.parametrize("pre_vote", [False, True])
def test_every_member_can_lead_in_turn(pre_vote: bool) -> None:
    cluster = Cluster(1, 2, 3, pre_vote=pre_vote, check_quorum=False)
    for turn, id in enumerate([1, 2, 3, 1], start=1):
        cluster.campaign(id)
        assert cluster.leaders() == [id]
        assert {node.node.term for node in cluster.members.values()} == {turn}
        assert {node.node.leader for node in cluster.members.values()} == {id}


def test_elections_begin_when_nobody_is_heard() -> None:
    cluster = Cluster(1, 2, 3, seed=7)
    assert not cluster.leaders()
    cluster.tick(20)
    assert len(cluster.leaders()) == 1


def test_one_vote_a_term() -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster[1].campaign()
    cluster[3].campaign()
    cluster.settle()
    assert cluster.leaders() == [1]
    assert cluster[3].role == "follower"
    assert cluster[3].term == 1


@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_candidate_concedes_to_the_leader_of_its_term(pre_vote: bool) -> None:
    cluster = Cluster(1, 2, 3, pre_vote=pre_vote)
    cluster.isolate(1)
    cluster.campaign(1)
    cluster.campaign(3)
    assert cluster.roles() == ["pre-candidate" if pre_vote else "candidate", "follower", "leader"]
    cluster.heal()
    cluster.propose(3, b"x")
    cluster.tick(1, 3)
    assert cluster.roles() == ["follower", "follower", "leader"]
    assert cluster.states() == {1: [b"x"], 2: [b"x"], 3: [b"x"]}


def test_a_shorter_log_is_not_elected() -> None:
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.propose(1, b"x")
    cluster.heal()
    cluster.campaign(3)
    assert cluster.leaders() == [1]
    cluster.campaign(2)
    assert cluster.leaders() == [2]


@pytest.mark.parametrize(
    ("log", "granted"),
    [([(1, 1)], True), ([(1, 2)], False), ([(1, 1), (2, 1)], True), ([(1, 1), (2, 1), (3, 1)], False)],
)
def test_votes_go_to_logs_that_are_as_new(log: list[tuple[int, int]], granted: bool) -> None:
    entries = [(index, term, 0, b"", b"") for index, term in log]
    node = Node(1, conf_state=voters(1, 2, 3), hard_state=(2, 0, 0), entries=entries, pre_vote=False)
    node.step(wire.message(wire.VOTE, term=3, index=2, log_term=1))
    ready = node.ready()
    assert ready is not None
    assert ready.hard_state == (3, 2 if granted else 0, 0)
    assert ready.must_sync


def test_a_newer_term_makes_a_leader_follow_and_an_older_one_does_nothing() -> None:
    cluster = Cluster(1, 2, 3, check_quorum=False, pre_vote=False)
    cluster.campaign(2)
    cluster.campaign(1)
    cluster[1].step(wire.message(wire.HEARTBEAT, term=1))
    assert cluster[1].is_leader
    cluster[1].step(wire.message(wire.HEARTBEAT, term=5))
    assert (cluster[1].role, cluster[1].term, cluster[1].leader) == ("follower", 5, 2)


def test_pre_vote_keeps_a_returning_member_from_disturbing() -> None:
    cluster = Cluster(1, 2, 3, seed=1)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.tick(60)
    assert cluster[3].role == "pre-candidate"
    cluster.heal()
    cluster.tick(5)
    assert cluster.leaders() == [1]
    assert {cluster[id].term for id in (1, 2, 3)} == {1}


def test_without_pre_vote_a_returning_member_forces_an_election() -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False, seed=1)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.tick(60)
    assert cluster[3].term > 1
    cluster.heal()
    cluster.tick(60)
    assert len(cluster.leaders()) == 1
    assert min(cluster[id].term for id in (1, 2, 3)) > 1


def test_check_quorum_makes_a_leader_without_majority_step_down() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(1)
    cluster.tick(21, 1)
    assert cluster[1].role == "follower"
    assert cluster[1].leader == 0


def test_check_quorum_off_leaves_it_leading() -> None:
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.campaign(1)
    cluster.isolate(1)
    cluster.tick(60, 1)
    assert cluster[1].is_leader


def test_a_leader_that_is_heard_of_is_not_superseded() -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.campaign(1)
    cluster.campaign(3)
    assert cluster.leaders() == [1]
    cluster.tick(20, 2)  # node 2 has not heard of a leader for a whole timeout
    cluster.campaign(3)
    assert cluster.leaders() == [3]


def test_the_higher_priority_wins() -> None:
    cluster = Cluster(1, 2, 3, pre_vote=False)
    cluster.members[1].options["priority"] = 1
    cluster.members[1].start()
    cluster.isolate(3)
    cluster.campaign(2)
    assert not cluster.leaders()
    cluster.campaign(1)
    assert cluster.leaders() == [1]


def test_a_node_that_is_no_voter_never_campaigns() -> None:
    node = Node(9, conf_state=voters(1, 2, 3), seed=1)
    assert not any(node.tick() for _ in range(100))
    assert node.role == "follower"


def test_a_vote_survives_a_restart() -> None:
    disk = Disk(voters(1, 2, 3))
    cluster = Cluster(1, disks={1: disk}, conf=voters(1, 2, 3), pre_vote=False)
    cluster[1].step(wire.message(wire.VOTE, sender=2, term=4))
    cluster.settle()
    assert disk.hard_state == (4, 2, 0)
    cluster.members[1].start()
    cluster[1].step(wire.message(wire.VOTE, sender=3, term=4))
    cluster.settle()
    assert disk.hard_state == (4, 2, 0)


def run(seed: int) -> str:
    """A digest of every message of a run in which leaders are lost and come back, and of all timeouts."""
    cluster = Cluster(1, 2, 3, 4, 5, seed=seed)
    timeouts = []
    for turn in range(300):
        if turn % 50 == 49:
            cluster.heal()
            cluster.isolate(*cluster.leaders())
        for leader in cluster.leaders()[-1:]:
            cluster[leader].propose(b"%d" % turn)
        cluster.tick()
        timeouts += [cluster[id].randomized_election_timeout for id in cluster.members]
    assert all(10 <= ticks < 20 for ticks in timeouts)
    assert len(set(timeouts)) > 5
    return f"{cluster.digest.hexdigest()} {timeouts}"


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    program = "import test_elections; print(test_elections.run(5))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == run(5)
    assert run(5) != run(6)


def test_members_that_share_a_seed_draw_apart() -> None:
    nodes = [Node(id, conf_state=voters(1, 2, 3, 4, 5), seed=1) for id in range(1, 6)]
    assert len({node.randomized_election_timeout for node in nodes}) > 1


def test_a_timeout_can_be_set() -> None:
    node = Node(1, conf_state=voters(1), seed=3)
    node.set_randomized_election_timeout(10)
    assert [node.tick() for _ in range(10)] == [False] * 9 + [True]
    for ticks in (9, 20):
        with pytest.raises(ValueError, match="possible from 10 to 19"):
            node.set_randomized_election_timeout(ticks)


@pytest.mark.parametrize("seed", [None, 4], ids=["engine", "seeded"])
@pytest.mark.parametrize(("longest", "drawn"), [(None, range(10, 20)), (13, range(10, 13)), (11, range(10, 11))])
def test_timeouts_are_drawn_between_their_bounds(longest: int | None, drawn: range, seed: int | None) -> None:
    node = Node(1, conf_state=voters(1, 2, 3), election_tick_max=longest, pre_vote=False, seed=seed)
    seen = set()
    for _ in range(200):  # nobody answers: it stands again and again, and draws each time
        node.campaign()
        while (ready := node.ready()) is not None:
            node.advance(ready)
        seen.add(node.randomized_election_timeout)
    assert seen == set(drawn)


def test_the_longest_timeout_bounds_what_can_be_set() -> None:
    node = Node(1, conf_state=voters(1), election_tick_max=40, seed=3)
    node.set_randomized_election_timeout(39)
    assert [node.tick() for _ in range(39)] == [False] * 38 + [True]
    with pytest.raises(ValueError, match="possible from 10 to 39"):
        node.set_randomized_election_timeout(40)

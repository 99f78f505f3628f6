"""Snapshots and the cut of the log: who gets one, what it carries, and what happens when it is lost."""

from __future__ import annotations

import pytest
from scribe_raft import Node, RaftError, describe

import wire
from cluster import NOBODY, Cluster, Disk, voters


def lagging() -> Cluster:
    """A leader that has cut its log while node 3 was away."""
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.propose(1, b"a", b"b", b"c")
    compact(cluster, 1, 4)
    cluster.heal()
    cluster.tick()
    return cluster


def compact(cluster: Cluster, id: int, index: int) -> None:
    cluster[id].compact(index)
    cluster.members[id].disk.compact(index)


def offer(cluster: Cluster, id: int) -> None:
    disk = cluster.members[id].disk
    cluster[id].set_snapshot(disk.applied, disk.conf, b",".join(disk.state))


def send_snapshots(cluster: Cluster, id: int) -> int:
    """What the other connection does: delivers, and reports. Gives the number sent."""
    sent = cluster.members[id].snapshots
    cluster.members[id].snapshots = []
    for peer, _, data in sent:
        cluster[peer].step(data, sender=id)
        cluster[id].report_snapshot(peer, True)
    cluster.settle()
    return len(sent)


def test_the_log_knows_the_terms_of_what_it_holds_and_of_the_last_that_was_cut() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a")
    cluster[1].transfer_leader(2)
    cluster.settle()
    cluster[1].compact(2)
    cluster[2].propose(b"not written yet")
    assert [cluster[1].term_at(index) for index in range(5)] == [None, None, 1, 2, None]
    assert [cluster[2].term_at(index) for index in range(6)] == [None, 1, 1, 2, 2, None]


def test_a_log_that_begins_at_a_snapshot_knows_its_term() -> None:
    node = Node(1, conf_state=NOBODY)
    node.step(wire.message(wire.SNAPSHOT, term=5, snapshot=wire.snapshot(9, 4, [1, 2])))
    assert [node.term_at(index) for index in (8, 9, 10)] == [None, 4, None]


def test_a_peer_that_needs_what_was_cut_gets_a_snapshot() -> None:
    cluster = lagging()
    assert cluster[1].take_snapshots_wanted() == [3]
    assert cluster[1].take_snapshots_wanted() == []
    assert cluster.states()[3] == []
    offer(cluster, 1)
    cluster.tick()
    [(peer, index, data)] = cluster.members[1].snapshots
    assert (peer, index) == (3, 4)
    assert describe(data)["snapshot"] == (4, 1, voters(1, 2, 3), b"a,b,c")
    assert cluster.status(1, 3)["state"] == "snapshot"
    assert send_snapshots(cluster, 1) == 1
    cluster.propose(1, b"d")
    cluster.tick()
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b", b"c", b"d"])
    assert cluster.status(1, 3)["state"] == "replicate"
    assert cluster.members[3].disk.truncated == (4, 1)


def test_snapshots_never_travel_with_the_other_messages() -> None:
    cluster = lagging()
    offer(cluster, 1)
    cluster.tick()
    assert cluster.members[1].snapshots
    assert cluster.sent["MsgSnapshot"] == 0


def test_a_new_node_without_configuration_learns_it_from_a_snapshot() -> None:
    cluster = Cluster(1)
    cluster.campaign(1)
    cluster.propose(1, b"a")
    compact(cluster, 1, 2)
    cluster.add(2, Disk(NOBODY))
    cluster.change(1, ("learner", 2))
    cluster.tick()
    assert cluster[1].take_snapshots_wanted() == [2]
    offer(cluster, 1)
    cluster.tick()
    assert send_snapshots(cluster, 1) == 1
    assert cluster.members[2].disk.conf == ([1], [2], [], [], False)
    assert cluster.states()[2] == [b"a"]


def test_while_a_snapshot_is_under_way_nothing_else_is_sent() -> None:
    cluster = lagging()
    offer(cluster, 1)
    cluster.tick()
    appends = cluster.sent["MsgAppend"]
    cluster.drop = lambda told: told["to"] == 2
    cluster.propose(1, b"d")
    cluster.tick(5, 1)
    assert cluster.status(1, 3)["paused"]
    assert len(cluster.members[1].snapshots) == 1
    assert cluster.sent["MsgAppend"] - appends <= 7, "only to node 2"


def test_a_snapshot_that_failed_is_sent_again() -> None:
    cluster = lagging()
    offer(cluster, 1)
    cluster.tick()
    cluster.members[1].snapshots.clear()
    cluster[1].report_snapshot(3, False)
    assert cluster.status(1, 3)["state"] == "probe"
    cluster.tick()
    assert send_snapshots(cluster, 1) == 1
    cluster.tick()
    assert cluster.states()[3] == [b"a", b"b", b"c"]


def test_a_snapshot_older_than_the_log_is_not_sent() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.isolate(3)
    cluster.propose(1, b"a")
    offer(cluster, 1)
    assert cluster.status(1)["snapshot_index"] == 2
    cluster.propose(1, b"b", b"c")
    compact(cluster, 1, 4)
    assert cluster.status(1)["snapshot_index"] == 0
    cluster.heal()
    cluster.tick(2)
    assert cluster[1].take_snapshots_wanted() == [3]
    assert cluster.members[1].snapshots == []


def test_a_snapshot_can_be_taken_back() -> None:
    cluster = lagging()
    offer(cluster, 1)
    cluster[1].clear_snapshot()
    cluster[1].take_snapshots_wanted()
    cluster.tick()
    assert cluster[1].take_snapshots_wanted() == [3]


def test_a_snapshot_of_what_is_known_already_replaces_nothing() -> None:
    cluster = Cluster(1, 2)
    cluster.campaign(1)
    cluster.propose(1, b"a", b"b")
    log = list(cluster.members[2].disk.entries)
    content = wire.snapshot(2, 1, [1, 2], b"other")
    cluster[2].step(wire.message(wire.SNAPSHOT, to=2, sender=1, term=1, snapshot=content))
    cluster.settle()
    assert cluster.members[2].disk.entries == log
    assert cluster.states()[2] == [b"a", b"b"]


def test_a_snapshot_without_this_node_is_ignored() -> None:
    node = Node(3, conf_state=NOBODY)
    content = wire.snapshot(9, 1, [1, 2])
    node.step(wire.message(wire.SNAPSHOT, to=3, sender=1, term=1, snapshot=content))
    ready = node.ready()
    assert ready is not None
    assert ready.snapshot is None
    assert ready.hard_state == (1, 0, 0)


def test_a_follower_may_ask_for_a_snapshot() -> None:
    cluster = Cluster(1, 2, 3)
    with pytest.raises(RaftError, match="dropped"):
        cluster[2].request_snapshot()
    cluster.campaign(1)
    cluster.propose(1, b"a")
    cluster[2].request_snapshot()
    cluster.settle()
    assert cluster[1].take_snapshots_wanted() == [2]
    cluster.members[1].disk.state = [b"mended"]
    offer(cluster, 1)
    cluster.tick()
    assert send_snapshots(cluster, 1) == 1
    assert cluster.states()[2] == [b"mended"]


def test_what_a_follower_asks_for_is_not_older_than_its_log() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a")
    offer(cluster, 1)
    cluster.propose(1, b"b")
    cluster[2].request_snapshot()
    cluster.settle()
    assert cluster.members[1].snapshots == []
    assert cluster[1].take_snapshots_wanted() == [2]


def test_restart_after_a_snapshot() -> None:
    cluster = lagging()
    offer(cluster, 1)
    cluster.tick()
    send_snapshots(cluster, 1)
    for member in cluster.members.values():
        member.start()
    assert cluster.status(3)["first_index"] == 5
    cluster.campaign(3)
    cluster.propose(3, b"d")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b", b"c", b"d"])


def test_a_log_cut_completely_keeps_its_end_and_its_term() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a", b"b")
    for id in (1, 2, 3):
        compact(cluster, id, 3)
    status = cluster.status(1)
    assert (status["truncated_index"], status["last_index"], status["last_term"]) == (3, 3, 1)
    assert (status["log_entries"], status["log_bytes"]) == (0, 0)
    cluster.propose(1, b"c")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b", b"c"])
    cluster.members[2].start()
    assert cluster.status(2)["last_index"] == 4


def test_only_what_is_applied_is_cut_or_offered() -> None:
    cluster = Cluster(1, 2)
    cluster.campaign(1)
    cluster.propose(1, b"a")
    with pytest.raises(ValueError, match="entry 3 is not applied"):
        cluster[1].compact(3)
    cluster[1].compact(1)
    cluster[1].compact(1)
    cluster[1].compact(0)
    assert cluster.status(1)["truncated_index"] == 1
    for index in (0, 3):
        with pytest.raises(ValueError, match="possible from 1 to 2"):
            cluster[1].set_snapshot(index, voters(1, 2))
    with pytest.raises(ValueError, match="with voters"):
        cluster[1].set_snapshot(2, NOBODY)
    with pytest.raises(ValueError, match="fit a message"):
        cluster[1].set_snapshot(2, voters(1, 2), bytes(1 << 24))
    cluster[1].set_snapshot(1, voters(1, 2))


def test_the_size_of_the_log_is_told() -> None:
    cluster = Cluster(1)
    cluster.campaign(1)
    cluster.propose(1, bytes(1000), bytes(1000))
    before = cluster.status(1)
    assert before["log_entries"] == 3
    assert 2000 < before["log_bytes"] < 3000
    cluster[1].compact(2)
    assert cluster.status(1)["log_entries"] == 1
    assert 1000 < cluster.status(1)["log_bytes"] < 1500

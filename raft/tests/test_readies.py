"""Readies: the order of the work, what must be durable first, and what a restart needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scribe_raft import Node, RaftError, describe

import wire
from cluster import Cluster, Disk, voters

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_raft import Ready


def ready_of(node: Node) -> Ready:
    ready = node.ready()
    assert ready is not None
    return ready


def follower(**options: Any) -> Node:
    return Node(1, conf_state=voters(1, 2, 3), **options)


def append(*, index: int = 0, log_term: int = 0, count: int = 1, commit: int = 0, term: int = 1) -> bytes:
    entries = tuple(wire.entry(index + 1 + at, term, b"x") for at in range(count))
    return wire.message(wire.APPEND, term=term, index=index, log_term=log_term, entries=entries, commit=commit)


def test_a_follower_answers_only_when_durable() -> None:
    node = follower()
    node.step(append(commit=1))
    ready = ready_of(node)
    assert ready.entries == [(1, 1, 0, b"x", b"")]
    assert ready.hard_state == (1, 0, 1)
    assert ready.soft_state == (2, "follower")
    assert ready.must_sync
    assert ready.messages == {}
    assert [describe(data)["type"] for data in ready.persisted_messages[2]] == ["MsgAppendResponse"]
    assert ready.committed_entries == [], "nothing is applied before it is durable"
    light = node.advance(ready)
    assert light.committed_entries == [(1, 1, 0, b"x", b"")]


def test_a_leader_sends_while_it_writes() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster[1].propose(b"x")
    ready = ready_of(cluster[1])
    assert sorted(ready.messages) == [2, 3]
    assert ready.persisted_messages == {}
    assert len(ready.entries) == 1


def test_the_leader_counts_itself_only_when_durable() -> None:
    cluster = Cluster(1, 2)
    cluster.campaign(1)
    node = cluster[1]
    node.propose(b"x")
    ready = ready_of(node)
    node.advance_append_async(ready)
    node.step(wire.message(wire.APPEND_RESPONSE, term=1, index=2))
    assert node.commit_index == 1
    node.on_persist_ready(ready.number)
    assert node.commit_index == 2


def test_a_commit_alone_needs_no_sync() -> None:
    node = follower()
    node.step(append())
    node.advance(ready_of(node))
    node.step(wire.message(wire.HEARTBEAT, term=1, commit=1))
    ready = ready_of(node)
    assert ready.hard_state == (1, 0, 1)
    assert not ready.must_sync


def test_messages_to_one_peer_keep_their_order() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    for _ in range(5):
        cluster[1].propose(b"x")
    ready = ready_of(cluster[1])
    for peer in (2, 3):
        assert [describe(data)["index"] for data in ready.messages[peer]] == [1, 2, 3, 4, 5]


OUT_OF_TURN: dict[str, Callable[[Node], object]] = {
    "tick": lambda node: node.tick(),
    "step": lambda node: node.step(append()),
    "step_many": lambda node: node.step_many([append()]),
    "campaign": lambda node: node.campaign(),
    "propose": lambda node: node.propose(b"x"),
    "propose_many": lambda node: node.propose_many([b"x"]),
    "propose_conf_change": lambda node: node.propose_conf_change([("learner", 9)]),
    "read_index": lambda node: node.read_index(b"x"),
    "transfer_leader": lambda node: node.transfer_leader(1),
    "step_down": lambda node: node.step_down(),
    "report_unreachable": lambda node: node.report_unreachable(2),
    "report_snapshot": lambda node: node.report_snapshot(2, True),
    "request_snapshot": lambda node: node.request_snapshot(),
    "ready": lambda node: node.ready(),
    "on_persist_ready": lambda node: node.on_persist_ready(0),
    "advance_apply": lambda node: node.advance_apply(),
}


@pytest.mark.parametrize("name", OUT_OF_TURN)
def test_while_a_ready_is_out_nothing_may_change(name: str) -> None:
    node = Node(1, conf_state=voters(1))
    node.campaign()
    ready = ready_of(node)
    with pytest.raises(RaftError, match="ready 1 is out"):
        OUT_OF_TURN[name](node)
    node.advance(ready)


def test_a_ready_is_advanced_once_and_by_its_own_node() -> None:
    one, other = Node(1, conf_state=voters(1)), Node(2, conf_state=voters(2))
    one.campaign()
    other.campaign()
    ready = ready_of(one)
    assert (ready.node, ready.number, ready_of(other).number) == (1, 1, 1)
    with pytest.raises(RaftError, match="not out of node 2"):
        other.advance(ready)
    one.advance(ready)
    with pytest.raises(RaftError, match="not out of node 1"):
        one.advance(ready)
    assert one.ready() is None


def test_writes_overlap_with_syncs() -> None:
    node = follower()
    node.step(append())
    first = ready_of(node)
    node.advance_append_async(first)
    node.step(append(index=1, log_term=1, count=2, commit=3))
    second = ready_of(node)
    assert [entry[0] for entry in second.entries] == [2, 3]
    assert second.committed_entries == []
    node.advance_append_async(second)
    node.on_persist_ready(first.number)
    assert [entry[0] for entry in ready_of(node).committed_entries] == [1]


def test_nothing_is_persisted_before_it_is_advanced() -> None:
    node = follower()
    node.step(append())
    ready = ready_of(node)
    with pytest.raises(ValueError, match="ready 1 is not advanced yet"):
        node.on_persist_ready(ready.number)


def test_applied_follows_what_was_given_out() -> None:
    node = follower()
    node.step(append(count=3, commit=3))
    node.advance_append(ready_of(node))
    node.advance_apply(2)
    assert node.applied_index == 2
    for index in (1, 4):
        with pytest.raises(ValueError, match=f"applied {index}: it is 2 now and can be 3 at most"):
            node.advance_apply(index)
    node.advance_apply()
    assert node.applied_index == 3


def test_a_crash_before_the_sync_loses_only_what_nobody_was_told() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"kept")
    cluster[1].propose(b"lost")
    ready = ready_of(cluster[1])
    assert ready.entries
    cluster.members[1].start()  # neither written nor sent
    cluster.tick(10)
    cluster.campaign(2)
    cluster.propose(cluster.leaders()[0], b"new")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"kept", b"new"])


def test_everybody_restarts_and_nothing_is_lost_or_applied_twice() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a", b"b")
    for member in cluster.members.values():
        member.start()
    cluster.campaign(3)
    cluster.propose(3, b"c")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b", b"c"])


def test_what_was_committed_and_not_applied_comes_again() -> None:
    entries = [(1, 1, 0, b"", b""), (2, 1, 0, b"x", b"c"), (3, 2, 0, b"y", b"")]
    node = follower(hard_state=(2, 1, 2), entries=entries, applied=1)
    assert ready_of(node).committed_entries == [(2, 1, 0, b"x", b"c")]


@pytest.mark.parametrize(
    "start",
    [
        {"hard_state": (1, 0, 1)},
        {"hard_state": (1, 0, 1), "entries": [(2, 1, 0, b"", b"")]},
        {"hard_state": (1, 0, 0), "entries": [(1, 2, 0, b"", b"")]},
        {"hard_state": (2, 0, 0), "entries": [(1, 2, 0, b"", b""), (2, 1, 0, b"", b"")]},
        {"hard_state": (2, 0, 0), "entries": [(1, 0, 0, b"", b"")]},
        {"hard_state": (2, 0, 0), "entries": [(1, 1, 7, b"", b"")]},
        {"hard_state": (1, 0, 1), "entries": [(1, 1, 0, b"", b"")], "applied": 2},
        {"hard_state": (1, 0, 5), "truncated": (5, 1), "applied": 4},
        {"hard_state": (1, 0, 5), "truncated": (5, 2), "applied": 5},
        {"hard_state": (1, 0, 5), "truncated": (5, 0), "applied": 5},
        {"id": 0},
        {"heartbeat_tick": 0},
        {"election_tick": 1},
        {"election_tick_max": 10},
        {"election_tick_max": 0},
        {"max_inflight_msgs": 0},
        {"max_message_bytes": 1 << 20},
        {"max_uncommitted_size": 1},
    ],
    ids=str,
)
def test_a_start_that_contradicts_itself_is_refused(start: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Node(**{"id": 1, "conf_state": voters(1, 2, 3), **start})


def test_a_commit_that_was_not_written_is_known_from_what_was_applied() -> None:
    disk = Disk(voters(1))
    cluster = Cluster(1, disks={1: disk})
    cluster.campaign(1)
    cluster.propose(1, b"a")
    assert (disk.hard_state[2], disk.applied) == (0, 2)
    cluster.members[1].start()
    assert cluster[1].commit_index == 2
    cluster.campaign(1)
    assert disk.state == [b"a"]

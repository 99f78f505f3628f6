"""Replication: raft-rs's published scenarios through Python, the log of one member held against the others'."""

from __future__ import annotations

import pytest
from scribe_raft import Node, NotLeader, ProposalDropped, describe

import wire
from cluster import Cluster, Disk, voters


def test_what_is_proposed_is_applied_everywhere() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    cluster.propose(1, b"a", b"b")
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b"])
    assert cluster.logs() == dict.fromkeys((1, 2, 3), [(1, 1), (2, 1), (3, 1)])
    cluster.campaign(2)  # refused: the leader was just heard of
    assert cluster.leaders() == [1]


def test_a_proposal_says_its_place() -> None:
    cluster = Cluster(1, 2, 3)
    cluster.campaign(1)
    assert cluster[1].propose(b"a") == (1, 2)
    assert cluster[1].propose_many([b"b", bytearray(b"c"), memoryview(b"d")]) == (1, 3, 5)
    cluster.settle()
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"a", b"b", b"c", b"d"])


def test_context_and_empty_data_travel() -> None:
    cluster = Cluster(1, 2)
    cluster.campaign(1)
    cluster[1].propose(b"", b"who asked")
    cluster.settle()
    assert cluster.members[2].disk.entries[-1] == (2, 1, 0, b"", b"who asked")


@pytest.mark.parametrize(
    ("size", "cut", "committed"),
    [(1, [], True), (3, [], True), (3, [2], True), (3, [2, 3], False), (5, [2, 3], True), (5, [2, 3, 4], False)],
)
def test_a_majority_commits(size: int, cut: list[int], committed: bool) -> None:
    cluster = Cluster(*range(1, size + 1))
    cluster.campaign(1)
    cluster.isolate(*cut)
    cluster.propose(1, b"x")
    assert cluster.states()[1] == ([b"x"] if committed else [])
    cluster.heal()
    cluster.tick(3)
    assert cluster.states() == dict.fromkeys(range(1, size + 1), [b"x"])


def test_only_the_leader_takes_proposals() -> None:
    cluster = Cluster(1, 2, 3)
    with pytest.raises(NotLeader) as refused:
        cluster[1].propose(b"x")
    assert refused.value.args == (0,)
    cluster.campaign(1)
    for attempt in (
        lambda: cluster[2].propose(b"x"),
        lambda: cluster[2].propose_many([b"x"]),
        lambda: cluster[2].propose_conf_change([("learner", 4)]),
        lambda: cluster[2].transfer_leader(3),
    ):
        with pytest.raises(NotLeader) as refused:
            attempt()
        assert refused.value.args == (1,)
    assert not cluster[2].has_ready()


def test_nothing_is_no_proposal_and_too_much_is_none() -> None:
    node = Node(1, conf_state=voters(1), max_message_bytes=(1 << 20) + 1024)
    node.campaign()
    with pytest.raises(ValueError, match="nothing to propose"):
        node.propose_many([])
    with pytest.raises(ValueError, match="at most 1048576 fit a message"):
        node.propose(bytes(1 << 20), b"+")


def test_an_entry_of_an_older_term_is_committed_by_one_of_the_new() -> None:
    """The figure 8 of the Raft paper: counting replicas is not enough for entries of earlier terms."""
    cluster = Cluster(1, 2, 3, 4, 5, check_quorum=False)
    cluster.campaign(1)
    cluster.isolate(3, 4, 5)
    cluster.propose(1, b"old")
    cluster.heal()
    cluster.drop = lambda told: told["type"] == "MsgAppend" and told["to"] != 1 and not told["entries"]
    cluster.cut = {(2, id) for id in (3, 4, 5)}
    cluster[2].campaign()
    cluster.settle()
    assert cluster.states()[1] == []
    cluster.heal()
    cluster.campaign(2)
    assert cluster.leaders() == [2]
    assert cluster.states() == dict.fromkeys(range(1, 6), [b"old"])


def test_a_leader_cut_off_loses_what_was_not_committed() -> None:
    cluster = Cluster(1, 2, 3, check_quorum=False)
    cluster.campaign(1)
    cluster.propose(1, b"kept")
    cluster.isolate(1)
    cluster.propose(1, b"lost", b"lost too")
    cluster.tick(10, 2)
    cluster.campaign(2)
    cluster.propose(2, b"new")
    cluster.heal()
    cluster.tick(3)
    assert cluster.leaders() == [2]
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"kept", b"new"])
    assert len({tuple(log) for log in cluster.logs().values()}) == 1


LEADER = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize(
    "follower",
    [
        [1, 1, 1, 4, 4, 5, 5, 6, 6],
        [1, 1, 1, 4],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        [1, 1, 1, 4, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        [],
    ],
    ids="abcdef ",
)
def test_a_leader_repairs_every_log(follower: list[int]) -> None:
    """Figure 7 of the Raft paper. The third member is one vote for the leader, and is then gone."""

    def disk(terms: list[int], term: int) -> Disk:
        entries = [(index, entry_term, 0, b"%d" % entry_term, b"") for index, entry_term in enumerate(terms, 1)]
        return Disk(voters(1, 2, 3), hard_state=(term, 0, 0), entries=entries)

    disks = {1: disk(LEADER, 7), 2: disk(follower, 7)}
    cluster = Cluster(1, 2, 3, disks=disks, conf=voters(1, 2, 3), pre_vote=False)
    cluster.campaign(1)
    if not cluster.leaders():
        cluster.campaign(1)
    assert cluster.leaders() == [1]
    assert cluster.states()[2] == [b"%d" % term for term in LEADER]
    assert cluster.logs()[2] == cluster.logs()[1]
    assert cluster.logs()[3] == cluster.logs()[1]


def test_appends_are_answered_by_what_matches() -> None:
    """Raft paper, 5.3: an append is refused where the entry before it is missing or of another term."""
    entries = [(1, 1, 0, b"", b""), (2, 2, 0, b"", b"")]
    for index, log_term, reject, hint in [(0, 0, False, 0), (2, 2, False, 0), (2, 1, True, 1), (3, 3, True, 2)]:
        node = Node(1, conf_state=voters(1, 2, 3), hard_state=(2, 0, 0), entries=entries)
        node.step(wire.message(wire.APPEND, term=3, index=index, log_term=log_term))
        ready = node.ready()
        assert ready is not None
        assert not ready.messages, "an answer waits until the new term is durable"
        told = describe(ready.persisted_messages[2][0])
        assert (told["type"], told["reject"], told["reject_hint"]) == ("MsgAppendResponse", reject, hint)


def test_a_message_twice_and_out_of_order_does_no_harm() -> None:
    cluster = Cluster(1, 2)
    cluster.campaign(1)
    seen: list[bytes] = []
    original = cluster.deliver

    def twice(sender: int, to: int, data: bytes) -> None:
        original(sender, to, data)
        seen.append(data)
        for old in seen[-3:]:
            told = describe(old)
            original(told["from"], told["to"], old)

    cluster.deliver = twice  # type: ignore[method-assign]
    cluster.propose(1, b"a", b"b", b"c")
    assert cluster.states() == {1: [b"a", b"b", b"c"], 2: [b"a", b"b", b"c"]}


def test_a_commit_reaches_followers_by_heartbeat() -> None:
    cluster = Cluster(1, 2, 3, skip_bcast_commit=True)
    cluster.campaign(1)
    cluster.propose(1, b"x")
    assert cluster.states() == {1: [b"x"], 2: [], 3: []}
    cluster.tick(1, 1)
    assert cluster.states() == dict.fromkeys((1, 2, 3), [b"x"])


# --- flow control ----------------------------------------------------------------------------------------------


def follower_of(node: Node, matched: int) -> None:
    """Makes node 2 a follower that has acknowledged `matched`."""
    node.step(wire.message(wire.APPEND_RESPONSE, term=node.term, index=matched))


def lead(**options: int) -> Node:
    """A leader of two, whose follower has acknowledged all so far."""
    node = Node(1, conf_state=voters(1, 2), pre_vote=False, **options)  # type: ignore[arg-type]
    node.campaign()
    turn(node)
    node.step(wire.message(wire.VOTE_RESPONSE, term=1))
    turn(node)
    follower_of(node, 1)
    turn(node)
    return node


def turn(node: Node) -> list[bytes]:
    """Everything that goes to node 2 until there is no more."""
    sent = []
    while (ready := node.ready()) is not None:
        light = node.advance(ready)
        node.advance_apply()
        for batch in (ready.messages, ready.persisted_messages, light.messages):
            sent += batch.get(2, [])
    return sent


def test_no_more_messages_than_may_be_under_way() -> None:
    node = lead(max_inflight_msgs=4)
    for _ in range(10):
        node.propose(b"x")
    appends = [describe(data) for data in turn(node)]
    assert [told["index"] for told in appends] == [1, 2, 3, 4]
    assert node.status()["progress"][2]["inflight"] == 4
    assert node.status()["progress"][2]["paused"]
    assert not turn(node)
    follower_of(node, 3)  # entries 2 and 3 have arrived: there is room, and the rest goes in one message
    sent = [describe(data) for data in turn(node)]
    assert [(told["index"], len(told["entries"])) for told in sent if told["entries"]] == [(5, 6)]


def test_a_heartbeat_answer_frees_one_place() -> None:
    node = lead(max_inflight_msgs=2)
    for _ in range(6):
        node.propose(b"x")
    assert len(turn(node)) == 2
    node.step(wire.message(wire.HEARTBEAT_RESPONSE, term=1))
    sent = [describe(data) for data in turn(node)]
    assert [told["index"] for told in sent if told["entries"]] == [3]


def test_messages_are_filled_up_to_their_size() -> None:
    node = lead(max_size_per_msg=1000)
    node.report_unreachable(2)
    for _ in range(20):
        node.propose(bytes(300))
    assert [len(describe(data)["entries"]) for data in turn(node)] == [1], "a probe is one message"
    follower_of(node, 2)
    counts = [len(describe(data)["entries"]) for data in turn(node)]
    assert sum(counts) == 19
    assert max(counts) == 3


def test_an_unreachable_peer_is_probed() -> None:
    node = lead()
    assert node.status()["progress"][2]["state"] == "replicate"
    node.report_unreachable(2)
    assert node.status()["progress"][2]["state"] == "probe"
    node.report_unreachable(99)


def test_too_much_uncommitted_drops_proposals() -> None:
    node = lead(max_uncommitted_size=2000, max_size_per_msg=1000)
    node.propose(bytes(900))
    node.propose(bytes(900))
    with pytest.raises(ProposalDropped):
        node.propose(bytes(900))
    turn(node)
    follower_of(node, 3)
    turn(node)
    node.propose(bytes(900))
    assert node.status()["uncommitted_bytes"] == 900


def test_committed_entries_come_in_pieces() -> None:
    entries = [(index, 1, 0, bytes(100), b"") for index in range(1, 21)]
    node = Node(1, conf_state=voters(1, 2), hard_state=(1, 0, 20), entries=entries, max_committed_size_per_ready=500)
    pieces = []
    while (ready := node.ready()) is not None:
        pieces.append(len(ready.committed_entries))
        pieces.append(len(node.advance(ready).committed_entries))
        node.advance_apply()
    assert sum(pieces) == 20
    assert max(pieces) == 4
    assert node.applied_index == 20

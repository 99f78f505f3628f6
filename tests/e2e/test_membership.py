"""Members that join, leave, move, lose their disk or were away too long, in a cluster that goes on all the while."""

from __future__ import annotations

import contextlib
import json
import shutil
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import ClusterOfNodes
from tests.e2e.load import Load
from tests.e2e.settling import assert_holds_all, settle

from scribe_ledger import Ledger
from scribe_ledger.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

SHORT_LOG = {"consensus": {"snapshot_logs_since_last": 40, "max_in_snapshot_log_to_keep": 10, "log_max_bytes": 16384}}
"""Bytes too: a snapshot that was sent holds the log for a while, but not beyond four times as many."""

ALONE = {"enabled": True, "mdns": False, "dns": ["localhost"]}
"""Of a node that waits to be invited: it finds itself."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfNodes]:
    """Three voters; every test leaves them so. At the end nothing may be missing anywhere."""
    with ClusterOfNodes(tmp_path_factory.mktemp("membership"), sections=SHORT_LOG) as cluster:
        cluster.start(bootstrap=False)
        cluster.wait_until_formed()
        yield cluster
        settle(cluster)


def load_of(cluster: ClusterOfNodes, name: str, seed: int = 1) -> Load:
    return Load([node.url for node in cluster.nodes], name=name, seed=seed, clients=4)


def member(cluster: ClusterOfNodes, node_id: int) -> dict[str, Any]:
    members = cluster.leader().get_json("/cluster/members")["members"]
    return next((each for each in members if each["node_id"] == node_id), {})


def order(node: ClusterNode, path: str, **fields: object) -> tuple[int, dict[str, Any]]:
    status, body = node.ask("POST", f"/cluster/{path}", json.dumps(fields).encode())
    return status, json.loads(body)


def wait_for_new_self(cluster: ClusterOfNodes, node: ClusterNode, old_raft_id: str) -> None:
    """Until it votes under another Raft id, and its old self is no member."""

    def in_place() -> bool:
        members = cluster.leader().get_json("/cluster/members")["members"]
        found = [(each["role"], each["raft_id"] != old_raft_id) for each in members if each["node_id"] == node.node_id]
        return found == [("voter", True)]

    cluster.wait(in_place, "the new self votes, and the old one is gone")
    cluster.wait_until_formed()


@contextlib.contextmanager
def guests(cluster: ClusterOfNodes, *nodes: ClusterNode) -> Iterator[None]:
    """Nodes that are no members in the end, whatever happens."""
    try:
        yield
    finally:
        for node in nodes:
            if node.running:
                node.kill()
            if node in cluster.nodes:
                cluster.nodes.remove(node)
            if member(cluster, node.node_id):
                order(cluster.leader(), "leave", node_id=node.node_id)


def end_of(node: ClusterNode) -> str:
    """What a node said that gave up."""
    assert node.process is not None
    assert node.process.wait(30) == 3, node.log[-2000:]
    return node.log


def test_a_rolling_restart_under_load_fails_no_request(three: ClusterOfNodes) -> None:
    with load_of(three, "rolling") as load:
        for node in three.nodes:
            load.step(20)
            assert node.stop() == 0
            node.start()
            three.wait_until_formed()
        load.step(20)
    assert load.failures == []
    load.check()
    size, _ = three.wait_until_equal()
    for node in three.nodes:
        assert_holds_all(node, load, size)


def test_leadership_is_handed_over_on_request(three: ClusterOfNodes) -> None:
    target = three.followers()[0]
    status, answer = order(three.nodes[0], "transfer", node_id=target.node_id)
    assert (status, answer["leader_id"]) == (200, target.node_id)
    assert three.leader() is target


def test_a_wiped_node_comes_back_only_when_an_operator_says_so(three: ClusterOfNodes) -> None:
    leader, wiped = three.leader(), three.followers()[0]
    leader.put("wiped/before", b"x")
    before = member(three, wiped.node_id)
    wiped.kill()
    shutil.rmtree(wiped.data_dir)
    three.wait(lambda: member(three, wiped.node_id)["state"] == "failed", "its silence is noticed")
    begun = len(wiped.log)
    wiped.start()
    three.wait(lambda: "does not answer" in wiped.log[begun:], "it is told why it is not let in")
    assert wiped.ask("GET", "/health")[0] == 503
    assert member(three, wiped.node_id)["raft_id"] == before["raft_id"]
    status, answer = order(leader, "replace", node_id=wiped.node_id)
    assert status == 200, answer
    wait_for_new_self(three, wiped, before["raft_id"])
    three.wait_until_equal()
    assert wiped.get("wiped/before") == b"x"


@pytest.mark.parametrize("lost", [("raft", "store"), ("raft",)], ids=["log and store", "log"])
def test_a_folder_that_lost_its_log_is_refused_under_its_old_raft_id(three: ClusterOfNodes, lost: tuple[str]) -> None:
    damaged = three.followers()[0]
    three.leader().put("damaged", b"x")
    three.wait_until_equal()
    assert damaged.stop() == 0
    for name in lost:
        shutil.move(damaged.data_dir / name, three.folder / f"{name}-aside")
    damaged.start()
    said = end_of(damaged)
    assert "scribe-node: " in said.splitlines()[-1], said[-500:]
    for name in lost:
        shutil.rmtree(damaged.data_dir / name, ignore_errors=True)
        shutil.move(three.folder / f"{name}-aside", damaged.data_dir / name)
    damaged.start()
    three.wait_until_formed()
    three.wait_until_equal()


def _write_much(cluster: ClusterOfNodes, prefix: str, count: int) -> None:
    """In so many entries of Raft's log that it is cut on the way."""
    with Client([node.url for node in cluster.nodes if node.running]) as client:
        for first in range(0, count, 100):
            client.put_many([(f"{prefix}/{number}", b"%d" % number) for number in range(first, first + 100)])


def _away(cluster: ClusterOfNodes, count: int) -> None:
    away = cluster.followers()[0]
    assert away.stop() == 0
    begun = len(away.log)
    _write_much(cluster, f"away/{count}", count)
    away.start()
    cluster.wait_until_formed()
    cluster.wait_until_equal(seconds=300)
    assert "snapshot" in away.log[begun:]
    assert away.get(f"away/{count}/{count - 1}", "?consistency=stale") == b"%d" % (count - 1)


def test_a_node_that_was_away_for_ten_thousand_entries_is_given_what_it_missed(three: ClusterOfNodes) -> None:
    _away(three, 10_000)


@pytest.mark.soak
def test_a_node_that_was_away_for_a_hundred_thousand_entries(three: ClusterOfNodes) -> None:
    _away(three, 100_000)


def test_a_fourth_joins_and_leaves_and_its_folder_cannot_come_back(three: ClusterOfNodes) -> None:
    fourth = three.stranger(4)
    with guests(three, fourth):
        fourth.start()
        three.nodes.append(fourth)
        three.wait_until_formed(voters=4)
        fourth.put("fourth", b"x")
        assert [node.get("fourth") for node in three.nodes] == [b"x"] * 4
        with closing(HTTPConnection("127.0.0.1", fourth.port, timeout=20)) as watching:
            watching.request("GET", "/v1/watch")
            stream = watching.getresponse()
            status, answer = order(three.nodes[0], "leave", node_id=4)
            assert (status, answer["node_id"]) == (200, 4)
            assert b"was removed from its cluster" in stream.read(), "who watches is told, and sent away"
        three.nodes.remove(fourth)
        three.wait_until_formed(voters=3)
        three.wait(lambda: fourth.ask("GET", "/health")[0] == 503, "it notices")
        fourth.kill()
        fourth.start()
        three.wait(lambda: b"was removed from its cluster" in fourth.ask("GET", "/health")[1], "it says why")
        assert fourth.ask("GET", "/fourth")[0] == 503


def test_a_fourth_is_invited_dies_and_is_removed_dead(three: ClusterOfNodes) -> None:
    fourth = three.stranger(8, name="invited", seeds=[], discovery=ALONE)
    with guests(three, fourth):
        fourth.start()
        three.wait(lambda: fourth.ask("GET", "/health/live")[0] == 200, "it lives")
        status, answer = order(three.followers()[0], "join", node_id=8, address=fourth.raft_address)
        assert (status, answer["node_id"]) == (200, 8)
        three.wait_until_formed(voters=4)
        fourth.kill()
        status, answer = order(three.leader(), "leave", node_id=8)
        assert status == 200, answer
        three.wait_until_formed(voters=3)


def test_a_node_that_moves_is_found_at_its_new_address(three: ClusterOfNodes) -> None:
    moved = three.followers()[0]
    assert moved.stop() == 0
    moved.move_raft_port()
    moved.configure(three.seeds_of(moved), three.sections)
    moved.start()
    three.wait(lambda: member(three, moved.node_id)["raft_address"] == moved.raft_address, "the new address")
    three.wait_until_formed()
    three.leader().put("moved", b"x")
    three.wait_until_equal()


def test_who_does_not_fit_is_refused_with_a_reason(three: ClusterOfNodes, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "other", object_store=(tmp_path / "store").as_uri()) as other:
        other.put("key", bytes(300_000))  # so large that the store is used, and this ledger's
    other_store = three.stranger(5, storage={"object_store": (tmp_path / "store").as_uri()})
    other_policy = three.stranger(6, ledger={"overwrite": "forbid"})
    other_cluster = three.stranger(7, seeds=[], discovery=ALONE)
    with guests(three, other_store, other_policy, other_cluster):
        other_cluster.start("--bootstrap")
        other_store.start()
        other_policy.start()
        assert "object store" in end_of(other_store)
        assert "overwrite" in end_of(other_policy)
        three.wait(lambda: other_cluster.is_healthy, "a cluster of its own")
        status, answer = order(three.leader(), "join", node_id=7, address=other_cluster.raft_address)
        assert status >= 400
        assert "of another cluster" in answer["error"]["message"]
        assert len(other_cluster.get_json("/cluster/members")["members"]) == 1
    three.wait_until_formed(voters=3)


def test_a_wiped_node_is_let_in_where_the_settings_say_so(three: ClusterOfNodes) -> None:
    for node in three.nodes:
        consensus = {**SHORT_LOG["consensus"], "replace_wiped": True}
        assert node.stop() == 0
        node.configure(three.seeds_of(node), {"consensus": consensus})
        node.start()
    three.wait_until_formed()
    wiped = three.followers()[0]
    before = member(three, wiped.node_id)["raft_id"]
    wiped.kill()
    shutil.rmtree(wiped.data_dir)
    wiped.start()
    wait_for_new_self(three, wiped, before)
    three.wait_until_equal()


def test_the_last_voter_cannot_be_removed(three: ClusterOfNodes) -> None:
    alone = three.stranger(9, name="alone", seeds=[], discovery=ALONE)
    with guests(three, alone):
        alone.start("--bootstrap")
        three.wait(lambda: alone.is_healthy, "a cluster of one")
        status, answer = order(alone, "leave", node_id=9)
        assert status == 409, answer
        alone.put("still", b"there")

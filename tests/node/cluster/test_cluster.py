"""Clusters of three processes: they form, take writes anywhere, read what was written, and survive their leader."""

from __future__ import annotations

import http.client
import json
import re
import resource
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes
from tests.ports import free_ports
from tests.running import run_to_end

from scribe_ledger import Ledger, verify
from scribe_ledger.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = pytest.mark.cluster

OLD = 25_000
"""Entries of a ledger that is too large to be sent one by one."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfNodes]:
    """A cluster that formed; whoever harms it leaves it whole."""
    with ClusterOfNodes(tmp_path_factory.mktemp("three")) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        yield cluster


def whole(cluster: ClusterOfNodes) -> ClusterOfNodes:
    """All of its nodes run and serve."""
    cluster.start(bootstrap=False)
    cluster.wait_until_formed()
    return cluster


def test_a_write_on_any_node_is_read_on_every_node_at_once(three: ClusterOfNodes) -> None:
    whole(three)
    for turn in range(10):
        for writer in three.nodes:
            key, value = f"at-once/{writer.node_id}/{turn}", b"%d" % turn
            writer.put(key, value)
            assert [node.get(key) for node in three.nodes] == [value] * 3
    key = "at-once/1/0"
    three.wait(lambda: all(node.get(key, "?consistency=stale") == b"0" for node in three.nodes), "stale reads follow")
    three.wait_until_equal()


def test_one_trip_to_any_node_proves_a_value_to_who_requires_a_quorum(three: ClusterOfNodes) -> None:
    for writer, reader in zip(whole(three).nodes, reversed(three.nodes), strict=True):
        key, value = f"proven/{writer.node_id}", b"%d" % writer.node_id
        writer.put(key, value)
        known = reader.get_json("/v1/key")
        by = {"public_key": known["vkey"], "cosigners": known["cosigners"], "quorum": 2}
        verify.inclusion(reader.get_json(f"/{key}?proof=true")["proof"], value, key=key, **by)
        for path in (f"/v1/proof/{key}", f"/v1/proof/history/{key}"):
            status, text = reader.ask("GET", path)
            assert status == 200, text
            check = verify.history if "history" in path else verify.inclusion
            check(text.decode(), **by)


def test_every_node_knows_the_members_and_the_leader(three: ClusterOfNodes) -> None:
    leader = whole(three).leader()
    for node in three.nodes:
        members = node.get_json("/cluster/members")["members"]
        assert [(each["node_id"], each["role"]) for each in members] == [(1, "voter"), (2, "voter"), (3, "voter")]
        assert {each["raft_address"] for each in members} == {each.raft_address for each in three.nodes}
        assert node.leader_id == leader.node_id
        assert node.get_json("/cluster/leader")["address"] == f"127.0.0.1:{leader.port}"
        assert node.get_json("/health")["state"] == ("leader" if node is leader else "follower")


def test_the_leader_is_killed_and_the_next_write_succeeds_within_two_seconds(three: ClusterOfNodes) -> None:
    leader = whole(three).leader()
    written = {f"before/{number}": leader.put(f"before/{number}", b"%d" % number)["index"] for number in range(20)}
    survivor = next(node for node in three.nodes if node is not leader)
    begun = time.monotonic()
    leader.kill()
    index = survivor.put("after", b"x")["index"]
    seconds = time.monotonic() - begun
    assert index > max(written.values())
    assert [survivor.get(key) for key in written] == [b"%d" % number for number in range(20)]
    leader.start()
    three.wait_until_formed()
    three.wait_until_equal()
    assert leader.get("after") == b"x"
    assert seconds < 2, seconds


def test_all_nodes_are_killed_under_load_and_nothing_acknowledged_is_lost(three: ClusterOfNodes) -> None:
    whole(three)
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(node: ClusterNode) -> None:
        number = 0
        while not stop.is_set():
            key = f"killed/{node.node_id}/{number}"
            try:
                node.put(key, key.encode(), timeout=5)
            except (OSError, http.client.HTTPException, AssertionError):
                return
            acknowledged.append(key)
            number += 1

    writers = [threading.Thread(target=write, args=(node,)) for node in three.nodes]
    for each in writers:
        each.start()
    three.wait(lambda: len(acknowledged) > 100, "a hundred writes")
    for node in three.nodes:
        node.kill()
    stop.set()
    for each in writers:
        each.join()
    whole(three)
    three.wait_until_equal()
    for node in three.nodes:
        assert [key for key in acknowledged if node.get(key) != key.encode()] == []


def test_a_member_that_was_away_catches_up(three: ClusterOfNodes) -> None:
    away = next(node for node in whole(three).nodes if node is not three.leader())
    assert away.stop() == 0
    leader = three.leader()
    for number in range(50):
        leader.put(f"away/{number}", b"%d" % number)
    away.start()
    three.wait_until_formed()
    three.wait_until_equal()
    assert away.get("away/49") == b"49"


def test_a_paused_leader_is_replaced_and_reads_nothing_stale_when_it_comes_back(three: ClusterOfNodes) -> None:
    paused = whole(three).leader()
    paused.put("paused", b"before")
    paused.pause()
    other = three.leader(other_than=paused)
    other.put("paused", b"after")
    paused.resume()
    assert paused.get("paused") == b"after"
    three.wait_until_formed()
    three.wait_until_equal()


def test_a_leader_whose_disk_takes_no_more_answers_who_waits_and_ends(three: ClusterOfNodes) -> None:
    leader = whole(three).leader()
    other = next(node for node in three.nodes if node is not leader)
    assert leader.process is not None
    resource.prlimit(leader.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    status, body = leader.ask("PUT", "/full/1", b"x" * 1000)
    assert (status, json.loads(body)["error"]["kind"]) == (503, "outcome_unknown"), body
    other.put("full/2", b"x", timeout=5)
    assert leader.process.wait(20) != 0
    leader.start()
    three.wait_until_formed()
    three.wait_until_equal()
    assert leader.get("full/2") == b"x"


def test_a_leader_that_is_asked_to_stop_hands_over_first(three: ClusterOfNodes) -> None:
    leader = whole(three).leader()
    other = next(node for node in three.nodes if node is not leader)
    before = leader.log.count("leadership was handed over")
    assert leader.stop() == 0
    assert leader.log.count("leadership was handed over") == before + 1
    other.put("handed-over", b"x", timeout=5)
    leader.start()
    three.wait_until_formed()


def test_a_value_too_large_for_the_log_is_refused_without_a_shared_store(three: ClusterOfNodes) -> None:
    node = whole(three).nodes[1]
    status, body = node.ask("PUT", "/large", bytes(300_000))
    assert status == 400, body
    assert "object store that all members share" in json.loads(body)["error"]["message"]


def test_members_that_share_no_store_name_none(three: ClusterOfNodes) -> None:
    node = whole(three).nodes[1]
    unknown = {"url": None, "ok": None, "error": None, "checked": None}
    assert node.get_json("/health")["object_store"] == unknown
    none = "none (the members share no object store)"
    assert f"object store  {none}" in node.log
    assert re.search(rf"listening .*object_store=.?{re.escape(none)}", node.log)
    assert (node.data_dir / "objects").as_uri() not in node.log


def test_nodes_agree_who_founds_when_nobody_was_told_to(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path / "agree", sections={"cluster": {"secret": "a secret of the test"}}) as cluster:
        for node in reversed(cluster.nodes):
            node.start()
        cluster.wait_until_formed()
        cluster.nodes[2].put("key", b"value")
        assert [node.get("key") for node in cluster.nodes] == [b"value"] * 3
        assert len({node.get_json("/health")["ledger_id"] for node in cluster.nodes}) == 1


def test_a_standalone_ledger_becomes_the_first_member_with_its_history(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path / "grown") as cluster:
        first = cluster.nodes[0]
        with Ledger.open(first.data_dir, name="example.org/grown") as ledger:
            for number in range(0, OLD, 1000):
                ledger.put_many((f"old/{each}", b"%d" % each) for each in range(number, number + 1000))
            root, origin = ledger.checkpoint().root, ledger.origin
        first.start("--bootstrap")
        cluster.wait(lambda: first.is_healthy, "the first member serves")
        cluster.start()
        cluster.wait_until_formed()
        cluster.nodes[1].put("new", b"x")
        for node in cluster.nodes:
            assert node.get(f"old/{OLD - 1}") == b"%d" % (OLD - 1)
            assert node.get("new") == b"x"
        assert cluster.nodes[2].get_json("/v1/stats")["origin"] == origin
        size, _ = cluster.wait_until_equal()
        assert size == OLD + 1
        for node in cluster.nodes[1:]:
            assert "the node begins again" in node.log, "so large a ledger is fetched as files"
        for node in cluster.nodes:
            assert node.stop() == 0
        with Ledger.open(first.data_dir, create=False) as ledger:
            assert ledger.checkpoint(at=OLD).root == root
            with pytest.raises(Forbidden, match="belongs to member"):
                ledger.put("alone", b"x")
        settings = {"SCRIBE_NODE_DATA_DIR": str(first.data_dir), "SCRIBE_NETWORK_RAFT_PORT": str(free_ports(1)[0])}
        refused = run_to_end("--port", "0", env=settings, cwd=tmp_path)
        assert refused.returncode == 3
        assert "the folder of a member of a cluster" in refused.stderr
        assert f"it is recorded as node 1 at {first.raft_address}" in refused.stderr
        for node in cluster.nodes:
            node.configure([], cluster.sections)
            node.start()
        cluster.wait_until_formed()
        assert first.get("new") == b"x", "they know each other from the record"


def test_a_node_without_company_waits_and_says_so(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path / "waits") as cluster:
        node = cluster.nodes[0]
        node.start()
        cluster.wait(lambda: node.ask("GET", "/health/live")[0] == 200, "it lives")
        status, body = node.ask("GET", "/health")
        assert status == 503
        assert json.loads(body)["state"] == "forming"
        cluster.wait(lambda: "looks for a cluster, and sees nobody" in node.log, "it says so")
        assert node.stop() == 0


def test_the_raft_port_in_use_is_one_line(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path / "port") as cluster:
        node = cluster.nodes[0]
        node.start("--bootstrap")
        cluster.wait(lambda: node.ask("GET", "/health/live")[0] == 200, "it lives")
        text = node.file.read_text().replace(f"client_port = {node.port}", f"client_port = {cluster.nodes[1].port}")
        (tmp_path / "other.toml").write_text(text.replace("node-1", "node-other"))
        refused = run_to_end("-c", str(tmp_path / "other.toml"), cwd=tmp_path)
        assert refused.returncode == 3
        assert f"cannot listen on 127.0.0.1:{node.raft_port}: the port is in use" in refused.stderr
        assert "[network] raft_port" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert not (tmp_path / "port" / "node-other").exists()

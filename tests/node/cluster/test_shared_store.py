"""A cluster whose members share a store: large values, archiving by the leader, a wiped member, a removed one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import encode_identity, read_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfNodes]:
    folder = tmp_path_factory.mktemp("shared")
    sections: dict[str, dict[str, Any]] = {
        "storage": {"object_store": (folder / "objects").as_uri()},
        "cluster": {"secret": "a secret of the test"},
        "consensus": {
            "snapshot_logs_since_last": 50,
            "max_in_snapshot_log_to_keep": 10,
            "heartbeat_interval_ms": 20,  # two ticks: 600 of them are 6 seconds
        },
    }
    with ClusterOfNodes(folder, sections=sections) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        yield cluster


def order(node: ClusterNode, what: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json"}
    status, answer = node.ask("POST", what, json.dumps(body).encode(), headers=headers)
    return status, json.loads(answer)


def test_a_large_value_that_one_member_took_is_read_on_all(shared: ClusterOfNodes) -> None:
    value = bytes(range(256)) * 4096
    shared.followers()[0].put("large", value)
    assert [node.get("large") == value for node in shared.nodes] == [True] * 3


def test_the_leader_archives_whoever_is_asked_and_all_members_know_what_is_archived(shared: ClusterOfNodes) -> None:
    leader, followers = shared.leader(), shared.followers()
    for number in range(100):
        leader.put(f"archived/{number}", b"%d" % number)
    status, done = order(followers[0], "/v1/archive", {})
    assert status == 200, done
    assert done["archived_size"] >= 100
    health = followers[0].get_json("/health")
    assert (health["status"], health["archive"]["last_error"]) == ("ok", None)
    sealed = [node.get_json("/metrics")["archive"]["sealed_entries"] for node in (leader, *followers)]
    assert (sealed[0] >= 100, sealed[1:]) == (True, [0, 0])
    size = done["archived_size"]
    shared.wait(
        lambda: all(node.get_json("/v1/manifest")["archived_size"] == size for node in shared.nodes),
        "every member knows what is archived",
    )
    leader.kill()
    successor = shared.leader(other_than=leader)
    successor.put("after", b"x")
    status, done = order(successor, "/v1/archive", {})
    assert (status, done["archived_size"] > size) == (200, True), done
    leader.start()
    shared.wait_until_formed()
    shared.wait_until_equal()


def test_a_node_with_an_unused_store_of_its_own_is_not_taken_in(shared: ClusterOfNodes) -> None:
    stranger = shared.stranger(9, storage={"object_store": (shared.folder / "another").as_uri()})
    stranger.start()
    reason = "the object store that the settings of node 9 name is not in use yet, and this ledger uses"
    shared.wait(lambda: reason in stranger.log, "it is told why")
    if stranger.running:
        stranger.kill()
    assert len(shared.leader().get_json("/cluster/members")["members"]) == 3


def test_a_store_that_is_not_mounted_is_an_outage_for_all_and_nothing_is_made_in_its_stead(
    shared: ClusterOfNodes,
) -> None:
    objects, unmounted = shared.folder / "objects", shared.folder / "unmounted"
    node = shared.followers()[0]
    node.stop()
    objects.rename(unmounted)
    try:
        node.start()
        health = shared.wait(lambda: degraded(node), "it serves without the store")
        assert "is not the object store that this ledger's objects are in" in health["object_store"]["error"]
        assert node.ask("GET", "/health/ready")[0] == 200
        node.put("small/unmounted", b"x")
        assert [refusal_of_a_large_value(each) for each in shared.nodes] == [(503, "unavailable", True)] * 3
        assert not objects.exists()
    finally:
        unmounted.rename(objects)
    node.put("large/mounted", bytes(300_001))
    shared.wait(lambda: node.is_healthy, "it is well again")


def degraded(node: ClusterNode) -> Any:
    found = json.loads(node.ask("GET", "/health")[1])
    return found if found.get("status") == "degraded" else None


def refusal_of_a_large_value(node: ClusterNode) -> tuple[int, str, bool]:
    status, answer = node.ask("PUT", f"/large/{node.node_id}", bytes(300_001))
    error = json.loads(answer)["error"]
    return status, error["kind"], "mount it" in error["hint"]


def test_a_member_that_comes_back_with_another_store_or_none_says_so(shared: ClusterOfNodes, tmp_path: Path) -> None:
    shared.nodes[0].put("elsewhere", bytes(300_000))
    node = shared.followers()[0]
    shared.wait(lambda: len(node.get("elsewhere") or b"") == 300_000, "it has the entry")
    adopted = read_identity(FolderStore(shared.folder / "objects"))
    assert adopted is not None
    other = tmp_path / "other"
    other.mkdir()
    (other / "scribe.json").write_bytes(encode_identity(replace(adopted, store_id="0" * 32)))

    node.stop()
    node.configure(shared.seeds_of(node), shared.sections | {"storage": {"object_store": other.as_uri()}})
    node.start()
    assert node.wait_for_end() == 3
    assert f"is the object store {'0' * 32}, and this cluster uses {adopted.store_id}" in node.log

    node.configure(shared.seeds_of(node), shared.sections | {"storage": {}})
    node.start()
    health = shared.wait(
        lambda: (found := json.loads(node.ask("GET", "/health")[1])).get("status") == "degraded" and found, "it serves"
    )
    assert "the settings of this node name none" in health["object_store"]["error"]
    status, answer = node.ask("GET", "/elsewhere")
    error = json.loads(answer)["error"]
    assert (status, error["kind"]) == (503, "unavailable")
    assert "[storage] object_store" in error["hint"]
    assert node.ask("PUT", "/too-large-for-it", bytes(300_001))[0] == 400
    node.put("small", b"x")
    assert order(node, "/v1/archive", {})[0] == 200  # the leader does it
    assert node.get_json("/metrics")["archive"]["lag_seconds"] == 0

    shared.wait(
        lambda: (
            order(node, "/cluster/transfer", {"node_id": node.node_id})
            == (200, {"leader_id": node.node_id, "address": f"127.0.0.1:{node.port}"})
        ),
        "the leader has heard of it again, and hands over",
    )
    node.put("pending", b"x")
    assert order(node, "/v1/archive", {})[0] == 409
    successor = shared.leader(other_than=node)
    assert "the object store works there, and not here" in node.log
    assert order(node, "/v1/archive", {})[0] == 200
    assert successor.get_json("/metrics")["archive"]["sealed_entries"] > 0

    node.stop()
    node.configure(shared.seeds_of(node), shared.sections)
    node.start()
    shared.wait_until_formed()
    assert node.get("elsewhere") == bytes(300_000)


def test_a_wiped_member_takes_its_place_again_and_a_removed_one_says_so(shared: ClusterOfNodes) -> None:
    leader, wiped = shared.leader(), shared.followers()[0]
    wiped.kill()
    shutil.rmtree(wiped.data_dir)
    wiped.start()
    shared.wait(lambda: "does not answer" in wiped.log or "answers" in wiped.log, "its label is taken")
    shared.wait(
        lambda: order(leader, "/cluster/replace", {"node_id": wiped.node_id})[0] == 200, "its place is given up"
    )
    shared.wait_until_formed()
    shared.wait_until_equal()
    assert wiped.get("large") == bytes(range(256)) * 4096
    shared.wait(
        lambda: (
            sorted(each["state"] for each in leader.get_json("/cluster/members")["members"])
            == ["follower", "follower", "leader"]
        ),
        "the leader hears all, or it would have no majority without one",
    )
    status, gone = order(leader, "/cluster/leave", {"node_id": wiped.node_id})
    assert status == 200, gone
    shared.wait(lambda: wiped.ask("GET", "/health")[0] == 503, "it does not serve")
    error = json.loads(wiped.ask("GET", "/archived/1")[1])["error"]
    assert "removed from its cluster" in error["message"]
    wiped.kill()
    wiped.start()
    shared.wait(lambda: b"removed from its cluster" in wiped.ask("GET", "/health")[1], "it says so again")
    status, members = wiped.ask("GET", "/cluster/members")
    assert status == 503, members
    assert b"removed from its cluster" in members
    assert wiped.get_json("/cluster/status")["state"] == "removed"
    assert "dialled itself" not in wiped.log
    leader.put("two-are-left", b"x")
    assert len(leader.get_json("/cluster/members")["members"]) == 2

"""``/cluster`` on a node that stands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.http.asking import ask, get, put
from tests.http.membership import MEMBERS, FakeCluster
from tests.http.serving import Served, serve

from scribe_ledger.archive.leading import not_leading
from scribe_ledger.errors import ConsensusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

SETTINGS = {"node.id": 7, "node.address": "ledger.example:8443"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("cluster") / "data", settings=SETTINGS) as running:
        put(running, "/a")
        put(running, "/b")
        yield running


STATUS = {
    "node_id": 7,
    "is_leader": True,
    "current_leader": 7,
    "state": "standalone",
    "current_term": 0,
    "last_log_index": 1,
    "last_applied": 1,
    "commit_index": 1,
}
MEMBER = {
    "node_id": 7,
    "raft_id": None,
    "address": "ledger.example:8443",
    "role": "voter",
    "state": "standalone",
    "last_heartbeat": None,
    "match_index": 1,
    "lag": 0,
}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/cluster/status", STATUS),
        ("/cluster/info", STATUS),
        ("/cluster/members", {"members": [MEMBER]}),
        ("/cluster/nodes", {"members": [MEMBER]}),
        ("/cluster/leader", {"leader_id": 7, "address": "ledger.example:8443"}),
        ("/cluster/leader/info", {"leader_id": 7, "address": "ledger.example:8443"}),
        ("/cluster/metrics", {**STATUS, "voters": 1, "learners": 0, "lag": 0}),
    ],
)
def test_a_node_alone_is_its_own_leader(served: Served, path: str, document: object) -> None:
    answer = get(served, path)
    assert answer.status == 200
    assert answer.json == document
    assert ask(served, "HEAD", path).status == 200


def test_before_the_first_entry_there_is_no_last_one(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        status = get(served, "/cluster/status").json
        assert status["last_applied"] is status["commit_index"] is status["last_log_index"] is None


@pytest.mark.parametrize("action", ["join", "leave", "replace", "transfer", "snapshot"])
@pytest.mark.parametrize("body", [None, b'{"node_id": 2, "address": "x:1"}', b"not JSON", b"x" * 100_000])
def test_what_needs_a_cluster_is_a_conflict_that_says_how_to_found_one(
    served: Served, action: str, body: bytes | None
) -> None:
    answer = ask(served, "POST", f"/cluster/{action}", body)
    assert (answer.status, answer.error["kind"]) == (409, "conflict")
    assert "--bootstrap" in answer.error["hint"]


@pytest.mark.parametrize("path", ["/cluster", "/cluster/", "/cluster/nothing", "/cluster/status/", "/cluster/join/2"])
def test_other_paths_are_not_found(served: Served, path: str) -> None:
    answer = get(served, path)
    assert (answer.status, answer.error["kind"]) == (404, "not_found")
    assert f"/v1/kv{path}" in answer.error["hint"]


def test_reading_an_action_is_refused(served: Served) -> None:
    answer = get(served, "/cluster/join")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")


def test_a_node_alone_keeps_no_snapshots(served: Served) -> None:
    assert get(served, "/cluster/snapshots").json == {"snapshots": []}


# --- in a cluster ----------------------------------------------------------------------------------------------


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "member", cluster=FakeCluster) as running:
        yield running


def test_a_member_answers_what_its_cluster_says(member: Served) -> None:
    cluster = cluster_of(member)
    for path in ("/cluster/status", "/cluster/info"):
        assert get(member, path).json == cluster.status()
    for path in ("/cluster/members", "/cluster/nodes"):
        assert get(member, path).json == {"members": MEMBERS}
    for path in ("/cluster/leader", "/cluster/leader/info"):
        assert get(member, path).json == {"leader_id": 2, "address": "10.0.0.2:8001"}
    found = get(member, "/cluster/metrics").json
    assert cluster.status().items() <= found.items()
    assert found["peers"]["3"] == {"lag_entries": 4, "last_contact_seconds": None}
    assert found["snapshots"]["made"] == {"count": 1, "seconds": 0.5}
    assert (found["lag"], found["elections"], found["refused_connections"]) == (1, 3, {"secret": 9})
    (snapshot,) = get(member, "/cluster/snapshots").json["snapshots"]
    assert snapshot["position"] == 38


def test_orders_reach_the_cluster(member: Served) -> None:
    def order(action: str, body: bytes) -> Any:
        answer = ask(member, "POST", f"/cluster/{action}", body)
        assert answer.status == 200, answer.text
        return answer.json

    assert order("join", b'{"node_id": 4, "address": "[::1]:9001"}')["raft_address"] == "[::1]:9001"
    assert order("leave", b'{"node_id": 3}')["raft_id"] == str(2**63 + 3)
    assert order("replace", b'{"node_id": 3}')["node_id"] == 3
    assert order("replace", b'{"node_id": 3, "raft_id": "9223372036854775811"}')["node_id"] == 3
    assert order("transfer", b'{"node_id": 3}') == {"leader_id": 3, "address": "10.0.0.3:8001"}
    assert order("snapshot", b"")["size"] == 0
    assert cluster_of(member).orders == [
        ("join", 4, "[::1]:9001"),
        ("leave", 3),
        ("replace", 3, None),
        ("replace", 3, 9223372036854775811),
        ("transfer", 3),
    ]
    answer = ask(member, "POST", "/cluster/join", b'{"node_id": 5, "address": "a:1"}')
    assert (answer.status, answer.json["waits_for"]) == (202, "node 5 has not joined yet")
    answer = ask(member, "POST", "/cluster/join", b'{"node_id": 3, "address": "a:1"}')
    assert (answer.status, answer.error["message"]) == (409, "node 3 is a member already")


def test_who_does_not_lead_has_the_leader_archive_and_counts_no_pass(member: Served) -> None:
    cluster = cluster_of(member)
    answer = ask(member, "POST", "/v1/archive")
    assert (answer.status, answer.json["archived_size"]) == (200, 38)
    cluster.has_leader = False
    answer = ask(member, "POST", "/v1/archive")
    assert (answer.status, answer.error["kind"]) == (503, "unavailable")
    cluster.trouble = ConsensusError("this node was removed")
    assert ask(member, "POST", "/v1/archive").error["message"] == "this node was removed"
    assert get(member, "/metrics").json["archive"]["runs"] == {"ok": 0, "failed": 0}
    cluster.trouble, cluster.state = None, "leader"
    assert ask(member, "POST", "/v1/archive").status == 200
    assert cluster.orders == [("archive",)] * 2


def test_a_leader_that_does_not_archive_yet_looks_for_who_does(member: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of(member)
    cluster.state = "leader"
    assert member.service.archive_desk is not None

    async def archive() -> None:
        raise not_leading()

    monkeypatch.setattr(member.service.archive_desk, "archive", archive)
    assert ask(member, "POST", "/v1/archive").status == 200
    assert cluster.orders == [("archive",)]


def test_a_member_without_an_archiver_has_nothing_pending_and_names_the_setting(member: Served) -> None:
    put(member, "/k")
    member.service.archiver = member.service.archive_desk = None
    assert ask(member, "POST", "/v1/archive").status == 200  # the leader may well have one
    cluster_of(member).state = "leader"
    answer = ask(member, "POST", "/v1/archive")
    assert answer.status == 409
    assert "[storage] object_store" in answer.error["hint"]
    figures = get(member, "/metrics").json["archive"]
    assert [figures[name] for name in ("pending_entries", "pending_bytes", "lag_seconds")] == [0, 0, 0]
    assert figures["store_up"] is None
    assert "\nscribe_object_store_up " not in get(member, "/metrics/prometheus").text


@pytest.mark.parametrize(
    ("action", "body", "message"),
    [
        ("join", b"", "not JSON"),
        ("join", b"[]", "not an object"),
        ("join", b'{"node_id": 4}', "address is missing"),
        ("join", b'{"node_id": 4, "address": "a:1", "replace": true}', "no field 'replace'"),
        ("join", b'{"node_id": 4, "address": 5}', "address is not"),
        ("join", b'{"node_id": 4, "address": "a"}', "no port"),
        ("join", b'{"node_id": 4, "address": "http://a:1"}', "is a URL"),
        ("join", b'{"node_id": 4, "address": "a:99999"}', "impossible port"),
        ("leave", b"{}", "node_id is missing"),
        ("leave", b'{"node_id": 0}', "node_id is not"),
        ("leave", b'{"node_id": true}', "node_id is not"),
        ("leave", b'{"node_id": "3"}', "node_id is not"),
        ("transfer", b'{"node_id": 9223372036854775808}', "from 1 to 9223372036854775807"),
        ("replace", b'{"node_id": 3, "raft_id": 7}', "raft_id is not"),
        ("replace", b'{"node_id": 3, "raft_id": "0"}', "no Raft id"),
        ("replace", b'{"node_id": 3, "raft_id": "99999999999999999999"}', "no Raft id"),
        ("replace", b'{"node_id": 3, "raft_id": "99999999999999999999999"}', "no Raft id"),
    ],
)
def test_a_wrong_order_is_refused_before_the_cluster_hears_of_it(
    refusing: Served, action: str, body: bytes, message: str
) -> None:
    answer = ask(refusing, "POST", f"/cluster/{action}", body)
    assert (answer.status, answer.error["kind"]) == (400, "invalid")
    assert message in answer.error["message"]
    assert cluster_of(refusing).orders == []


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("refusing") / "data", cluster=FakeCluster) as running:
        yield running


def cluster_of(member: Served) -> FakeCluster:
    cluster = member.service.cluster
    assert isinstance(cluster, FakeCluster)
    return cluster

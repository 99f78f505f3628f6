"""``/cluster`` on a node that stands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

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


@pytest.mark.parametrize("action", ["join", "leave", "transfer", "snapshot"])
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

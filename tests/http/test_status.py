"""What a node says of itself, well and unwell."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.membership import FakeCluster
from tests.http.serving import Served, serve
from tests.ledger.opening import open_on

from scribe_ledger import verify
from scribe_ledger.errors import ConsensusError, Corruption, Forbidden, StorageError, Unavailable
from scribe_ledger.http.archiving import StoreHealth
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("status") / "data", settings={"node.id": 7}) as running:
        yield running


def in_loop(served: Served, act: Callable[[], object]) -> None:
    """Acts where the service lives, and returns when that is done."""

    async def acting() -> None:
        act()

    asyncio.run_coroutine_threadsafe(acting(), served.loop).result(10)


# --- index and key ---------------------------------------------------------------------------------------------


def test_the_index_says_where_to_begin(served: Served) -> None:
    answer = get(served, "/")
    assert answer.status == 200
    assert answer.json == {
        "name": "scribe-ledger",
        "version": __version__,
        "docs": "/docs",
        "openapi": "/openapi.json",
    }


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_an_empty_key_is_not_a_key(served: Served, method: str) -> None:
    answer = ask(served, method, "/", b"v" if method != "DELETE" else None)
    assert (answer.status, answer.error["kind"]) == (405, "method")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_the_key_is_the_one_that_checks_proofs(served: Served) -> None:
    put(served, "/key-test", b"v")
    document = get(served, "/v1/key").json
    assert document == {
        "vkey": served.ledger.public_key,
        "origin": served.ledger.origin,
        "cosigners": [],
        "quorum": 0,
    }
    verify.inclusion(get(served, "/v1/proof/key-test").text, b"v", public_key=document["vkey"])


# --- health ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_a_well_node_says_so(served: Served, path: str) -> None:
    answer = get(served, path)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json
    stores = {name: found.pop(name, None) for name in ("object_store", "archive")}
    assert found == {
        "status": "ok",
        "node_id": 7,
        "version": __version__,
        "ledger_id": served.ledger.ledger_id,
        "state": "standalone",
        "term": 0,
        "leader": 7,
        "quorum": 1,
        "size": served.ledger.size,
    }
    assert all(stores.values()) == (path != "/health/live"), "live needs nothing that may wait"


def check_unwell(served: Served, kind: str, message: str) -> None:
    for path in ("/health", "/health/ready"):
        answer = get(served, path)
        assert answer.status == 503, path
        assert answer.error["kind"] == kind
        assert re.search(message, answer.error["message"])
        assert answer.json["status"] == "unavailable"
        assert answer.json["node_id"] == 1
    assert get(served, "/health/live").json["status"] == "ok"
    assert get(served, "/metrics").json["healthy"] is False
    assert "\nscribe_healthy 0\n" in get(served, "/metrics/prometheus").text


def test_a_node_that_takes_no_writes_for_now_is_not_ready_and_still_reads(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a", b"v")
        full = Unavailable("the disk is nearly full", hint="free some")
        in_loop(served, lambda: setattr(served.service, "writes_refused", full))
        check_unwell(served, "unavailable", "nearly full")
        assert get(served, "/health").headers["retry-after"]
        assert get(served, "/a").body == b"v"
        in_loop(served, lambda: setattr(served.service, "writes_refused", None))
        assert get(served, "/health/ready").status == 200


def test_a_member_on_a_full_disk_sends_small_writes_on_unless_it_leads(tmp_path: Path) -> None:
    with serve(tmp_path / "data", cluster=FakeCluster) as served:
        full = Unavailable("the disk is nearly full", hint="free some")
        in_loop(served, lambda: setattr(served.service, "writes_refused", full))
        health = get(served, "/health")
        assert (health.status, health.json["status"], health.json["disk"]) == (200, "degraded", full.message)
        assert ask(served, "PUT", "/small", b"v").status == 201
        large = ask(served, "PUT", "/large", bytes(300_000))
        assert (large.status, large.error["kind"]) == (503, "unavailable")
        in_loop(served, lambda: setattr(served.service.cluster, "state", "leader"))
        check_unwell(served, "unavailable", "nearly full")
        assert ask(served, "PUT", "/small", b"w").status == 503
        in_loop(served, lambda: setattr(served.service, "writes_refused", None))
        assert "disk" not in get(served, "/health").json


def test_a_node_whose_sync_failed_is_not_ready_and_still_reads_and_proves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    open_on(store, tmp_path / "data").close()

    def fail() -> None:
        raise StorageError("the disk is gone")

    with serve(tmp_path / "data", open_store=lambda _: reopened(store)) as served:
        put(served, "/a", b"v")
        monkeypatch.setattr(store, "sync", fail)
        answer = ask(served, "PUT", "/b", b"v")
        assert (answer.status, answer.error["kind"]) == (503, "storage")
        check_unwell(served, "storage", "writes are refused since one failed")
        assert get(served, "/a").body == b"v"
        assert get(served, "/verify/a").json["verified"] is True
        assert get(served, "/b").status == 404
        assert get(served, "/v1/stats").json["writable"] is False


def reopened(store: MemoryStore) -> MemoryStore:
    store.crash(keep=store.unsynced)
    return store


def test_health_says_where_objects_are_and_how_far_archiving_is(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a", b"v")
        health = get(served, "/health").json
        url = (tmp_path / "data" / "objects").as_uri()
        assert health["object_store"] == {"url": url, "ok": None, "error": None, "checked": None}
        archive = health["archive"]
        assert (archive["pending_entries"], archive["archived_size"], archive["last_success"]) == (1, 0, None)
        assert archive["pending_bytes"] > 100
        assert 0 <= archive["lag_seconds"] < 60
        ask(served, "POST", "/v1/archive")
        archive = get(served, "/health").json["archive"]
        assert (archive["pending_entries"], archive["pending_bytes"], archive["lag_seconds"]) == (0, 0, 0)
        assert archive["archived_size"] == 1
        assert archive["last_success"] > 0


def test_archiving_that_has_ended_degrades_and_one_that_was_not_begun_does_not(tmp_path: Path) -> None:
    def broken(**_: object) -> None:
        raise Corruption("bytes are not what was written")

    with serve(tmp_path / "data") as served:
        archiver = served.service.archiver
        assert archiver is not None
        assert get(served, "/health").json["status"] == "ok"
        archiver._run = broken  # type: ignore[method-assign,assignment]
        archiver.start()
        assert "\nscribe_archive_running " in get(served, "/metrics/prometheus").text
        deadline = time.monotonic() + 20
        while not archiver.gave_up:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        archiver._failure = None  # as if somebody else had forgotten it
        health = get(served, "/health").json
        assert (health["status"], health["archive"]["running"]) == ("degraded", False)
        text = get(served, "/metrics/prometheus").text
        assert "\nscribe_archive_running 0\n" in text
        assert "\nscribe_archive_failures_in_a_row 1\n" in text
        assert '\nscribe_errors_total{kind="corruption"} 1\n' in text
        assert "\nscribe_healthy 1\n" in text, "it takes writes"


def test_a_store_that_is_down_degrades_and_does_not_stop(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        down = StoreHealth("s3://ledger", False, "no route to the bucket", 17)
        in_loop(served, lambda: setattr(served.service, "store_health", down))
        for path in ("/health", "/health/ready"):
            answer = get(served, path)
            assert (answer.status, answer.json["status"]) == (200, "degraded")
            assert answer.json["object_store"] == {
                "url": "s3://ledger",
                "ok": False,
                "error": "no route to the bucket",
                "checked": 17,
            }
        assert "\nscribe_object_store_up 0\n" in get(served, "/metrics/prometheus").text
        put(served, "/a", b"v")


def test_a_ledger_that_may_not_go_on_here_is_not_ready_and_its_writes_are_forbidden(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/a", b"v")
        served.ledger.refuse_writes(Forbidden("epoch 2 has begun elsewhere", hint="serve that one"))
        check_unwell(served, "forbidden", "epoch 2")
        answer = ask(served, "PUT", "/b", b"v")
        assert (answer.status, answer.error["kind"], answer.error["hint"]) == (403, "forbidden", "serve that one")
        assert get(served, "/a").body == b"v"


def test_a_node_that_drains_is_not_ready(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        in_loop(served, served.service.drain)
        check_unwell(served, "unavailable", "stopping")


# --- figures ---------------------------------------------------------------------------------------------------


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    with serve(tmp_path / "data", settings={"node.id": 7}) as served:
        put(served, "/a", b"12345")
        put(served, "/b", b"12345")
        ask(served, "DELETE", "/b")
        get(served, "/a")
        get(served, "/a")
        stats = get(served, "/v1/stats").json
        assert stats["entries"] == 3
        assert stats["keys"] == 2
        assert stats["live_keys"] == 1
        assert stats["value_bytes"] == 10
        assert stats["node_id"] == 7
        assert stats["version"] == __version__
        assert stats["published_size"] == 0
        assert stats["queue"] == {"entries": 0, "bytes": 0}
        assert stats["cache"]["entries"] == 1
        assert stats["writable"] is True
        get(served, "/tlog/checkpoint")
        assert get(served, "/v1/stats").json["published_size"] == 3


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json, text/plain, */*", False),
        ("text/plain", True),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("application/json;q=0.4, text/plain;q=0.5", True),
        ("text/plain;q=0", False),
        ("text/plain;q=much", False),
        (",;q=;,", False),
    ],
)
def test_metrics_are_json_unless_text_is_preferred(served: Served, accept: str | None, text: bool) -> None:
    answer = ask(served, "GET", "/metrics", headers={} if accept is None else {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"] == (PROMETHEUS if text else "application/json")


def test_metrics_have_the_fields_of_the_contract(tmp_path: Path) -> None:
    with serve(tmp_path / "data", settings={"node.id": 7}) as served:
        put(served, "/a")
        document = get(served, "/metrics").json
        assert (document["current_term"], document["current_leader"]) == (0, 7)
        assert (document["last_applied"], document["state"]) == (0, "standalone")
        assert document["counts"]["entries"] == 1
        assert {"p50", "p95", "p99"} <= set(document["request_seconds"])
        assert document["routes"]["PUT /{key}"]["count"] == 1


def test_prometheus_text_is_there_whatever_accept_says(served: Served) -> None:
    answer = get(served, "/metrics/prometheus", accept="application/json")
    assert answer.headers["content-type"] == PROMETHEUS
    assert f'\nscribe_node_info{{node_id="7",ledger_id="{served.ledger.ledger_id}"}} 1\n' in answer.text


def test_requests_are_counted_under_the_template_of_their_route(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        get(served, "/verify/secret")
        get(served, "/tlog/tile/0/000")
        text = get(served, "/metrics/prometheus").text
        assert 'route="/verify/{key}",status="404"' in text
        assert 'route="/tlog/tile/{tile}",status="404"' in text
        assert "secret" not in text
        assert 'scribe_errors_total{kind="not_found"} 2' in text
        assert 'scribe_errors_total{kind="internal"} 0' in text


@pytest.mark.parametrize(
    "path", ["/", "/v1/key", "/v1/stats", "/health", "/health/live", "/health/ready", "/metrics", "/metrics/prometheus"]
)
def test_routes_of_the_node_answer_head_and_refuse_the_rest(served: Served, path: str) -> None:
    head = ask(served, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    answer = ask(served, "POST", path, b"{}")
    assert (answer.status, answer.error["kind"]) == (405, "method")
    assert get(served, f"{path}?unknown=1").error["kind"] == "invalid"
    options = ask(served, "OPTIONS", path)
    assert (options.status, options.body, options.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")


# --- in a cluster ----------------------------------------------------------------------------------------------


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "member", cluster=FakeCluster) as running:
        yield running


def test_a_member_says_where_it_stands(member: Served) -> None:
    found = get(member, "/health").json
    assert (found["status"], found["state"], found["term"], found["leader"], found["quorum"]) == (
        "ok",
        "follower",
        7,
        2,
        2,
    )
    found = get(member, "/metrics").json
    assert [found[name] for name in ("current_term", "current_leader", "last_applied", "state")] == [
        7,
        2,
        38,
        "follower",
    ]
    assert "\nscribe_raft_term 7\n" in get(member, "/metrics/prometheus").text
    assert get(member, "/v1/key").json == {
        "vkey": member.ledger.public_key,
        "origin": member.ledger.origin,
        "cosigners": ["example.org/a+00000001+AAAA"],
        "quorum": 2,
    }


def test_a_member_that_others_contradict_is_degraded_and_serves(member: Served) -> None:
    cluster = member.service.cluster
    assert isinstance(cluster, FakeCluster)
    assert "disagreement" not in get(member, "/health").json
    cluster.dissent = ConsensusError("members have different ledgers")
    found = get(member, "/health")
    assert (found.status, found.json["status"]) == (200, "degraded")
    assert found.json["disagreement"] == "members have different ledgers"
    assert put(member, "/key").status == 201


def test_a_member_without_a_leader_is_alive_and_not_ready(member: Served) -> None:
    cluster = member.service.cluster
    assert isinstance(cluster, FakeCluster)
    cluster.has_leader = False
    check_unwell(member, "unavailable", "no leader is known")
    cluster.refusals = "node 1 refuses this node: a folder was copied"
    check_unwell(member, "unavailable", "wait for one; node 1 refuses this node: a folder was copied")
    assert get(member, "/health").json["leader"] is None
    assert "\nscribe_healthy 0\n" in get(member, "/metrics/prometheus").text
    assert get(member, "/v1/kv?consistency=stale").status == 200
    cluster.has_leader = True
    assert get(member, "/health/ready").status == 200

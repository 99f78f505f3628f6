"""A node and its object store from the outside: a folder, a bucket at a real S3 server, and one that is not there."""

from __future__ import annotations

import json
import re
import shutil
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest
from tests.running import Answer, request, run_to_end, start_node
from tests.s3_server import S3Server

from scribe_ledger import Ledger, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.running import RunningNode

pytestmark = pytest.mark.s3

PATIENCE_SECONDS = 30
LARGE = bytes(range(256)) * 5000
ALL_EVICTED = {"SCRIBE_STORAGE_HOT_SIZE": "0", "SCRIBE_STORAGE_SEGMENT_SIZE": "20000"}
"""Everything is evicted as soon as it is archived."""
QUICK = {"SCRIBE_STORAGE_TIERING_AGE_THRESHOLD_SECS": "0", "SCRIBE_STORAGE_TIERING_ARCHIVAL_CHECK_INTERVAL_SECS": "1"}
"""And it is archived at once."""
BY_HAND = {"SCRIBE_STORAGE_TIERING_ENABLE_AUTO_ARCHIVAL": "false"}


def put(node: RunningNode, key: str, value: bytes) -> Any:
    answer = request(f"{node.url}/{key}", "PUT", value)
    assert answer.status in {200, 201}, answer.body
    return json.loads(answer.body)


def document(node: RunningNode, path: str) -> Any:
    answer = request(f"{node.url}{path}")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def archive(node: RunningNode) -> Answer:
    return request(f"{node.url}/v1/archive", "POST", b"")


def archive_all(node: RunningNode) -> Any:
    answer = archive(node)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


def fill(node: RunningNode) -> None:
    for number in range(120):
        put(node, f"key/{number:03}", b"first %d " % number * 10)
    for number in range(0, 120, 5):
        put(node, f"key/{number:03}", b"second %d" % number)
    put(node, "gone", b"was here")
    assert request(f"{node.url}/gone", "DELETE").status == 200
    put(node, "large", LARGE)
    put(node, "large/again", LARGE)


def check_reads(node: RunningNode) -> None:
    """Everything that ``fill`` wrote, by every way to read."""
    assert request(f"{node.url}/key/001").body == b"first 1 " * 10
    assert request(f"{node.url}/key/005").body == b"second 5"
    assert request(f"{node.url}/key/005?version=1").body == b"first 5 " * 10
    assert request(f"{node.url}/key/005?as_of=100").body == b"first 5 " * 10
    part = request(f"{node.url}/key/001", headers={"Range": "bytes=6-6"})
    assert (part.status, part.body) == (206, b"1")
    assert request(f"{node.url}/large").body == LARGE
    assert request(f"{node.url}/large/again", headers={"Range": "bytes=1048570-1048579"}).body == LARGE[1048570:1048580]
    assert request(f"{node.url}/gone").status == 404
    assert request(f"{node.url}/gone?version=1").body == b"was here"
    history = document(node, "/v1/history/key/005?values=true")["entries"]
    values = [b64decode(entry["value_base64"]) for entry in history]
    assert values == [b"second 5", b"first 5 " * 10]
    listed = document(node, "/v1/kv?values=true&limit=1000")["entries"]
    assert len(listed) == 122
    assert all(entry["value_base64"] for entry in listed if not entry["key"].startswith("large"))
    log = document(node, "/v1/log?values=true&limit=1000")["entries"]
    assert [entry["index"] for entry in log] == list(range(148))
    many = request(f"{node.url}/v1/get", "POST", b'{"keys": ["key/010", "nobody", "key/011"]}')
    assert [entry and entry["version"] for entry in json.loads(many.body)["entries"]] == [2, None, 1]
    key = document(node, "/v1/key")["vkey"]
    for path, value in (("key/005", b"second 5"), ("key/005?version=1", b"first 5 " * 10)):
        joined = path + ("&" if "?" in path else "?") + "proof=true"
        verify.inclusion(document(node, f"/{joined}")["proof"], value, public_key=key)
    assert document(node, "/verify/key/007")["verified"] is True


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    """One that the test may stop."""
    with S3Server(tmp_path / "s3") as server:
        yield server


# --- a bucket --------------------------------------------------------------------------------------------------


def test_a_ledger_in_a_bucket_reads_the_same_after_eviction_restart_and_kill(
    tmp_path: Path, s3_server: S3Server
) -> None:
    bucket = s3_server.bucket()
    env = bucket.settings() | ALL_EVICTED | BY_HAND
    data = tmp_path / "data"
    with start_node(data, env=env) as node:
        assert re.search(rf"^ +object store +{bucket.url}$", node.banner, re.MULTILINE)
        fill(node)
        check_reads(node)
        answer = archive_all(node)
        assert answer["archived_size"] == answer["evicted"] == 148
        check_reads(node)
        stats = document(node, "/v1/stats")
        assert stats["archive"]["evicted_size"] == 148
        assert stats["storage_bytes"]["archive"] > 0
        put(node, "later", b"not archived")
        health = document(node, "/health")
        store = health["object_store"]
        assert (health["status"], store["url"], store["ok"]) == ("ok", bucket.url, True)
        assert health["archive"]["pending_entries"] == 1
    with start_node(data, env=env) as node:
        assert request(f"{node.url}/later").body == b"not archived"
        node.kill()
    with start_node(data, env=env) as node:
        assert request(f"{node.url}/later").body == b"not archived"
        assert document(node, "/v1/manifest")["archived_size"] == 148
        assert request(f"{node.url}/key/005").body == b"second 5"
        assert request(f"{node.url}/large").body == LARGE


def test_what_was_archived_exports_the_same(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.conftest import Cli

    bucket = s3_server.bucket()
    data = tmp_path / "data"
    scribe = Cli(tmp_path, data=data)
    scribe.environment |= bucket.settings()
    monkeypatch.chdir(tmp_path)
    with start_node(data, env=bucket.settings() | ALL_EVICTED | BY_HAND) as node:
        fill(node)
    before = scribe("export").out
    scribe.environment |= ALL_EVICTED
    assert scribe("archive", "--now", "--json").document["evicted"] == 148
    assert scribe("export").out == before
    assert scribe("get", "large").out == LARGE


def test_a_node_archives_by_itself_and_an_idle_one_writes_nothing(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    with start_node(tmp_path / "data", env=bucket.settings() | ALL_EVICTED | QUICK) as node:
        wait_until(lambda: document(node, "/health")["archive"]["last_success"] is not None)
        assert document(node, "/v1/manifest")["version"] == 0, "nobody has written anything"
        assert list(bucket.folder.rglob("*.json")) == []
        put(node, "key", b"value")
        wait_until(lambda: document(node, "/v1/stats")["archive"]["evicted_size"] == 1)
        version = document(node, "/v1/manifest")["version"]
        assert request(f"{node.url}/key").body == b"value"
        success = document(node, "/health")["archive"]["last_success"]
        wait_until(lambda: document(node, "/health")["archive"]["last_success"] > success)
        assert document(node, "/v1/manifest")["version"] == version


def test_a_bucket_that_goes_down_fails_no_write_and_what_it_missed_follows(
    tmp_path: Path, own_server: S3Server
) -> None:
    bucket = own_server.bucket()
    env = bucket.settings(TIMEOUT_SECS="1", MAX_RETRIES="1") | ALL_EVICTED | BY_HAND
    with start_node(tmp_path / "data", env=env) as node:
        put(node, "cold", b"in the bucket alone")
        archive_all(node)
        own_server.stop()
        for number in range(20):
            put(node, f"key/{number}", b"value")
        assert request(f"{node.url}/key/3").body == b"value"
        refused = request(f"{node.url}/cold")
        assert (refused.status, json.loads(refused.body)["error"]["kind"]) == (503, "unavailable")
        assert f"{bucket.url}/segments/" in json.loads(refused.body)["error"]["message"]
        assert refused.headers["retry-after"]
        refused = request(f"{node.url}/large", "PUT", LARGE)
        assert (refused.status, json.loads(refused.body)["error"]["kind"]) == (503, "unavailable")
        assert f"{bucket.url}/blobs/" in json.loads(refused.body)["error"]["message"], "it has no place but the bucket"
        refused = archive(node)
        assert (refused.status, json.loads(refused.body)["error"]["kind"]) == (503, "unavailable")
        health = document(node, "/health")
        assert health["status"] == "degraded"
        assert bucket.url in health["archive"]["last_error"]
        assert request(f"{node.url}/health/ready").status == 200
        own_server.start()
        assert archive_all(node)["archived_size"] == 21
        assert request(f"{node.url}/cold").body == b"in the bucket alone"
        assert document(node, "/health")["archive"]["last_error"] is None


def test_a_node_starts_without_its_bucket_and_says_so(tmp_path: Path, own_server: S3Server) -> None:
    bucket = own_server.bucket()
    env = bucket.settings(TIMEOUT_SECS="1", MAX_RETRIES="0") | ALL_EVICTED | BY_HAND
    with start_node(tmp_path / "data", env=env) as node:
        put(node, "before", b"1")
        archive_all(node)
    own_server.stop()
    with start_node(tmp_path / "data", env=env) as node:
        wait_until(lambda: "the object store cannot be used" in node.log)  # by a thread of its own
        health = document(node, "/health")
        assert (health["status"], health["object_store"]["ok"]) == ("degraded", False)
        assert bucket.url in health["object_store"]["error"]
        put(node, "while", b"2")
        assert request(f"{node.url}/while").body == b"2"


def test_a_node_stops_in_good_time_while_its_bucket_does_not_answer(tmp_path: Path, own_server: S3Server) -> None:
    bucket = own_server.bucket()
    env = bucket.settings(TIMEOUT_SECS="2", MAX_RETRIES="20") | ALL_EVICTED | QUICK
    with start_node(tmp_path / "data", env=env) as node:
        put(node, "key", b"value")
        wait_until(lambda: document(node, "/v1/manifest")["archived_size"] == 1)
        own_server.stop()
        put(node, "other", b"value")
        wait_until(lambda: document(node, "/health")["archive"]["pending_entries"] == 1)
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < 15
        assert "Traceback" not in node.log


# --- whose store it is -----------------------------------------------------------------------------------------


def test_the_store_of_another_ledger_is_a_refusal_to_start(tmp_path: Path) -> None:
    env = {"SCRIBE_STORAGE_OBJECT_STORE": (tmp_path / "bucket").as_uri()}
    with start_node(tmp_path / "one", env=env) as node:
        put(node, "key", b"value")
        archive_all(node)
    Ledger.open(tmp_path / "two", name="example.org/two").close()
    ended = run_to_end("--data-dir", str(tmp_path / "two"), "--port", "0", env=env)
    assert ended.returncode == 3
    assert "example.org/two" in ended.stderr or "this ledger is" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_older_copy_of_the_folder_reads_and_does_not_write(tmp_path: Path) -> None:
    env = {"SCRIBE_STORAGE_OBJECT_STORE": (tmp_path / "bucket").as_uri()}
    data = tmp_path / "data"
    with start_node(data, env=env) as node:
        put(node, "key", b"old")
        archive_all(node)
    shutil.copytree(data, tmp_path / "copy")
    with start_node(data, env=env) as node:
        put(node, "key", b"new")
        archive_all(node)
    with start_node(tmp_path / "copy", env=env) as node:
        wait_until(lambda: "writes are refused" in node.log)
        assert request(f"{node.url}/key").body == b"old"
        refused = request(f"{node.url}/key", "PUT", b"fork")
        assert (refused.status, json.loads(refused.body)["error"]["kind"]) == (403, "forbidden")
        health = request(f"{node.url}/health")
        assert (health.status, json.loads(health.body)["status"]) == (503, "unavailable")
        assert "older copy" in json.loads(health.body)["error"]["message"]
        assert archive(node).status == 403


def test_a_node_on_an_empty_folder_restores_its_ledger_and_only_reads(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    env = bucket.settings() | ALL_EVICTED | BY_HAND
    with start_node(tmp_path / "lost", env=env) as node:
        fill(node)
        archive_all(node)
        put(node, "too/late", b"not archived")
        node.kill()
    with start_node(tmp_path / "new", env=env) as node:
        assert "READ ONLY" in node.banner
        assert "restored from the object store" in node.log
        check_reads(node)
        assert request(f"{node.url}/too/late").status == 404
        refused = request(f"{node.url}/key/001", "PUT", b"x")
        error = json.loads(refused.body)["error"]
        assert (refused.status, error["kind"]) == (403, "forbidden")
        assert "--promote" in error["hint"]
        health = document(node, "/health")
        assert (health["status"], health["size"]) == ("read_only", 148)


def test_a_folder_that_was_restored_is_not_restored_again(tmp_path: Path) -> None:
    env = {"SCRIBE_STORAGE_OBJECT_STORE": (tmp_path / "bucket").as_uri()}
    with start_node(tmp_path / "lost", env=env) as node:
        put(node, "key", b"value")
        archive_all(node)
    for _ in range(2):
        with start_node(tmp_path / "new", env=env) as node:
            assert request(f"{node.url}/key").body == b"value"
    assert node.log.count("is restored from the object store") == 1


# --- faults ----------------------------------------------------------------------------------------------------


def test_a_fork_in_the_store_stops_archiving_loudly_and_nothing_else(tmp_path: Path) -> None:
    env = {"SCRIBE_STORAGE_OBJECT_STORE": (tmp_path / "bucket").as_uri()} | ALL_EVICTED | QUICK
    checkpoint = tmp_path / "bucket" / "checkpoints" / f"{300:020}"
    with start_node(tmp_path / "data", env=env) as node:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_bytes(b"of another log")
        operations = [{"op": "put", "key": f"key/{number}", "value": "v"} for number in range(300)]
        batch = json.dumps({"operations": operations}).encode()
        assert request(f"{node.url}/v1/batch", "POST", batch).status == 201
        wait_until(lambda: "archiving has stopped" in node.log)
        health = document(node, "/health")
        assert health["status"] == "degraded"
        assert checkpoint.name in health["archive"]["last_error"]
        assert (health["archive"]["enabled"], health["archive"]["running"]) == (True, False)
        refused = archive(node)
        assert (refused.status, json.loads(refused.body)["error"]["kind"]) == (503, "corruption")
        put(node, "after", b"writes go on")
        assert request(f"{node.url}/after").body == b"writes go on"
        assert request(f"{node.url}/key/7").body == b"v"


def test_a_node_that_is_killed_while_it_archives_goes_on_where_it_was(tmp_path: Path) -> None:
    store = (tmp_path / "bucket").as_uri()
    env = ALL_EVICTED | BY_HAND | {"SCRIBE_STORAGE_OBJECT_STORE": store, "SCRIBE_STORAGE_SEGMENT_SIZE": "150000"}
    data, count = tmp_path / "data", 3000
    with start_node(data, env=env) as node:
        operations = [{"op": "put", "key": f"key/{number}", "value": f"value {number}" * 9} for number in range(count)]
        batch = json.dumps({"operations": operations}).encode()
        assert request(f"{node.url}/v1/batch", "POST", batch).status == 201
    reached = 0
    with ThreadPoolExecutor(1) as client:
        while reached < count:
            with start_node(data, env=env) as node:
                ordered = client.submit(_archive_or_lose, node)
                before = reached
                wait_until(lambda: document(node, "/v1/manifest")["archived_size"] > before)  # noqa: B023
                node.kill()
                ordered.result()
            with Ledger.open(data, object_store=store) as ledger:
                reached = ledger.stats()["archive"]["archived_size"]
                assert ledger.get_many([f"key/{number}" for number in range(0, count, 97)]) == [
                    (f"value {number}" * 9).encode() for number in range(0, count, 97)
                ]
    with start_node(data, env=env) as node:
        manifest = document(node, "/v1/manifest")
        assert manifest["archived_size"] == count == sum(segment["count"] for segment in manifest["segments"])
        assert archive_all(node)["archived_size"] == count


def _archive_or_lose(node: RunningNode) -> None:
    with suppress(OSError, HTTPException):
        archive(node)

"""Values that are in the archive alone: every way to read gives what it gave before, and a store that fails or hangs
is a clear answer to whoever needs it and nothing to anybody else.
"""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import structlog
from tests.http.asking import Answer, ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger import verify
from scribe_ledger.config import Config
from scribe_ledger.errors import Forbidden, Unavailable
from scribe_ledger.http import readers
from scribe_ledger.http.service import OBJECT_READERS, UPLOADERS, uploaders
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.paths import blob_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

ALL_EVICTED = {"storage.hot_size": 0, "storage.segment_size": 4000}
"""Everything is evicted as soon as it is archived; some segments come of few entries."""
LARGE = bytes(range(256)) * 1200
KEYS = 40

READING = [
    "/key/007",
    "/key/007?version=1",
    "/key/007?as_of=20",
    "/key/007?index=7",
    "/v1/kv/key/039",
    "/odd%ff",
    "/empty",
    "/large",
    "/gone?version=1",
    "/gone",
    "/nobody",
    "/v1/kv?values=true&limit=1000",
    "/v1/kv?values=true&reverse=true&prefix=key",
    "/v1/kv",
    "/v1/history/key/007?values=true",
    "/v1/log?values=true&limit=1000",
    "/v1/proof/key/007",
    "/v1/proof/history/key/007",
    "/tlog/tile/entries/000.p/30",
]
"""What answers the same whenever it is asked, but for the request's id and the date."""


def fill(served: Served) -> None:
    for number in range(KEYS):
        put(served, f"/key/{number:03}", b"first %d " % number * 20, X_Scribe_Meta_Team="red")
    for number in range(0, KEYS, 3):
        put(served, f"/key/{number:03}", b"second %d" % number)
    put(served, "/key/007", b"seventh", Content_Type="text/plain")
    put(served, "/odd%ff", b"\x00\xff")
    put(served, "/empty", b"")
    put(served, "/gone", b"was here")
    ask(served, "DELETE", "/gone")
    put(served, "/large", LARGE)


def archive(served: Served) -> None:
    answer = ask(served, "POST", "/v1/archive")
    assert answer.status == 200, answer.body
    assert served.ledger.evicted == served.ledger.size == answer.json["archived_size"]


@contextmanager
def cold(path: Path, **settings: Any) -> Iterator[Served]:
    """A node whose values are all in the archive."""
    with serve(path / "data", settings=ALL_EVICTED) as served:
        fill(served)
        archive(served)
    with serve(path / "data", settings={**ALL_EVICTED, **settings}) as served:
        yield served


def essence(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    body = answer.body if answer.status < 400 else json.dumps(answer.error["kind"]).encode()
    if answer.status >= 400:
        headers.pop("content-length")
    return answer.status, headers, body


# --- all ways --------------------------------------------------------------------------------------------------


def test_every_way_to_read_gives_what_it_gave_before(tmp_path: Path) -> None:
    with serve(tmp_path / "data", settings=ALL_EVICTED) as served:
        fill(served)
        get(served, "/tlog/checkpoint")
        before = {path: essence(get(served, path)) for path in READING}
        archive(served)
    with serve(tmp_path / "data", settings=ALL_EVICTED) as served:
        assert served.ledger.evicted == served.ledger.size
        for path, expected in before.items():
            assert essence(get(served, path)) == expected, path


def test_parts_conditions_and_heads_of_a_cold_value(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        whole = b"first 8 " * 20
        head = ask(served, "HEAD", "/key/008")
        assert (head.status, head.headers["content-length"]) == (200, str(len(whole)))
        part = get(served, "/key/008", Range="bytes=6-8")
        assert (part.status, part.body) == (206, whole[6:9])
        assert get(served, "/key/008", If_None_Match=str(head.headers["etag"])).status == 304
        assert get(served, "/large", Range="bytes=-3").body == LARGE[-3:]
        assert ask(served, "HEAD", "/large").headers["content-length"] == str(len(LARGE))


def test_many_keys_and_proofs_of_cold_values(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        body = json.dumps({"keys": ["key/001", "nobody", "key/003", "gone"]}).encode()
        entries = ask(served, "POST", "/v1/get", body).json["entries"]
        assert [entry and entry["version"] for entry in entries] == [1, None, 2, None]
        assert entries[2]["value_base64"] == "c2Vjb25kIDM="
        proven = json.dumps({"keys": ["key/001"], "proof": True}).encode()
        assert ask(served, "POST", "/v1/get", proven).json["entries"][0]["hashes_base64"]
        document = get(served, "/key/003?proof=true").json
        verify.inclusion(document["proof"], b"second 3", public_key=served.ledger.public_key)
        document = get(served, "/key/003?proof=true&version=1").json
        verify.inclusion(document["proof"], b"first 3 " * 20, public_key=served.ledger.public_key)
        assert get(served, "/key/003?proof=true&as_of=5").json["value_base64"] == document["value_base64"]
        assert get(served, "/verify/key/004").json["verified"] is True


def test_a_watch_from_the_beginning_has_cold_values(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        with urlopen(f"{served.url}/v1/watch?start=0&values=true", timeout=20) as answer:
            events = [json.loads(line[6:]) for line in answer_lines(answer, served.ledger.size)]
        assert [event["index"] for event in events] == list(range(served.ledger.size))
        assert (
            events[7]["value_base64"]
            == get(served, "/v1/log?values=true&start=7&limit=1").json["entries"][0]["value_base64"]
        )


def answer_lines(answer: Any, count: int) -> Iterator[bytes]:
    found = 0
    while found < count:
        line = answer.readline()
        if line.startswith(b"data: "):
            found += 1
            yield line


def test_a_cold_value_that_was_read_is_answered_from_memory_and_forgotten_when_written(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        assert get(served, "/key/001").body == b"first 1 " * 20
        requests = served.ledger.cold.reader.requests
        hits = served.service.metrics.cache_hits
        for _ in range(3):
            assert get(served, "/key/001").body == b"first 1 " * 20
        assert served.ledger.cold.reader.requests == requests
        assert served.service.metrics.cache_hits == hits + 3
        put(served, "/key/001", b"new")
        assert get(served, "/key/001").body == b"new"
        assert get(served, "/key/001?version=1").body == b"first 1 " * 20


def test_cold_reads_are_counted(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        get(served, "/key/001")
        text = get(served, "/metrics/prometheus").text
        assert '\nscribe_cold_reads_total{result="miss"} 1\n' in text
        assert f"\nscribe_evicted_size {served.ledger.size}\n" in text
        assert "\nscribe_cold_requests_total 2\n" in text, "the footer and one row group"


# --- a store that does not do its part -------------------------------------------------------------------------

COLD = ["/key/001", "/key/001?version=1", "/key/001?proof=true", "/v1/kv?values=true", "/v1/log?values=true&start=1"]


def check_refused(served: Served, kind: str, named: str) -> None:
    for path in COLD:
        answer = get(served, path)
        assert (answer.status, answer.error["kind"]) == (503, kind), path
        assert named in answer.error["message"], path
    answer = ask(served, "POST", "/v1/get", b'{"keys": ["key/001"]}')
    assert (answer.status, answer.error["kind"]) == (503, kind)
    assert named in answer.error["message"]
    verdict = get(served, "/verify/key/001")
    assert (verdict.status, verdict.error["kind"]) == (503, kind)
    assert named in verdict.error["message"]


def check_all_else(served: Served) -> None:
    """What needs no cold value."""
    index = put(served, "/new", b"hot").json["index"]
    put(served, "/new", b"hotter")
    assert get(served, "/new").body == b"hotter"
    assert get(served, "/new?version=1").body == b"hot"
    assert get(served, "/new?version=1&proof=true").json["value_base64"] == "aG90"
    assert len(get(served, f"/v1/log?values=true&start={index}").json["entries"]) == 2
    for body in (b'{"keys": ["new", "nobody"]}', b'{"keys": ["new", "gone"], "proof": true}'):
        assert ask(served, "POST", "/v1/get", body).json["entries"][0]["value_base64"] == "aG90dGVy"
    with urlopen(f"{served.url}/v1/watch?start={index}&values=true", timeout=20) as answer:
        assert [json.loads(line[6:])["version"] for line in answer_lines(answer, 2)] == [1, 2]
    assert get(served, "/nobody").status == 404
    assert get(served, "/v1/history/key/007").status == 200
    head = ask(served, "HEAD", "/key/001")
    assert (head.status, head.headers["content-length"]) == (200, str(len(b"first 1 " * 20)))
    assert get(served, "/key/001", If_None_Match=str(head.headers["etag"])).status == 304
    assert get(served, "/key/001", Range="bytes=9999-").status == 416
    assert len(get(served, "/v1/kv?limit=1000").json["entries"]) == KEYS + 4
    assert get(served, "/v1/proof/key/001").status == 200
    assert get(served, "/tlog/checkpoint").status == 200
    assert get(served, "/v1/manifest").status == 200
    assert get(served, "/health/ready").status == 200


def test_a_store_that_is_down_is_503_by_name_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cold(tmp_path) as served:

        def fail(path: str, *_: Any) -> bytes:
            raise Unavailable(f"cannot read s3://bucket/{path} after 4 tries: refused")

        monkeypatch.setattr(served.ledger.objects, "get_range", fail)
        check_refused(served, "unavailable", "s3://bucket/segments/0")
        assert get(served, "/key/001").headers["retry-after"]
        check_all_else(served)
        monkeypatch.undo()
        assert get(served, "/key/001").body == b"first 1 " * 20


def test_a_segment_that_is_gone_or_altered_is_named_and_never_absent(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        segment = served.ledger.manifest.segments[0]
        file = served.ledger.path / "objects" / segment.path
        content = file.read_bytes()
        file.unlink()
        check_refused(served, "corruption", segment.path)
        check_all_else(served)
    half = len(content) // 2
    for altered in (bytes(half) + content[half:], content[:half], b""):
        file.write_bytes(altered)
        with serve(tmp_path / "data", settings=ALL_EVICTED) as served:
            answers = [get(served, path) for path in (f"/key/{number:03}?version=1" for number in range(10))]
            wrong = [answer for answer in answers if answer.status != 200]
            assert wrong, "something was altered"
            for answer in wrong:
                assert (answer.status, answer.error["kind"]) == (503, "corruption")
                assert segment.path in answer.error["message"]
            for number, answer in enumerate(answers):
                assert answer.status == 503 or answer.body == b"first %d " % number * 20


def test_a_large_value_that_is_gone_is_an_answer_and_not_one_that_breaks_off(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        (blob,) = [
            file
            for file in (served.ledger.path / "objects" / "blobs").rglob("*")
            if file.name.isalnum() and file.is_file()
        ]
        content = blob.read_bytes()
        blob.write_bytes(bytes(100) + content[100:])
        answer = get(served, "/large")
        assert (answer.status, answer.error["kind"]) == (503, "corruption")
        blob.unlink()
        answer = get(served, "/large")
        assert (answer.status, answer.error["kind"]) == (503, "corruption")
        assert blob.name in answer.error["message"]


def test_damage_stands_in_the_log_and_in_the_count_of_errors(tmp_path: Path) -> None:
    """Whoever can mend it is not whoever asked."""
    with cold(tmp_path) as served, structlog.testing.capture_logs() as lines:
        segment = served.ledger.manifest.segments[0]
        (served.ledger.path / "objects" / segment.path).unlink()
        check_refused(served, "corruption", segment.path)
        damage = [line for line in lines if line["log_level"] == "error"]
        assert len(damage) == served.service.metrics.errors["corruption"] > 0
        assert all(segment.path in line["error"] and line["kind"] == "corruption" for line in damage)


def test_an_answer_that_breaks_off_is_counted_as_what_it_broke_off_for(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        put(served, "/large", bytes(3 * CHUNK_BYTES))
        blob = served.ledger.path / "objects" / blob_path(sha256(bytes(3 * CHUNK_BYTES)).digest())
        blob.write_bytes(bytes(3 * CHUNK_BYTES - 1) + b"1")
        with pytest.raises(IncompleteRead), urlopen(f"{served.url}/large", timeout=20) as answer:
            answer.read()
        served.settle()
        assert served.service.metrics.errors == {"corruption": 1}


class Hanging:
    """A store that answers when it is let."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()
        store, read = served.ledger.objects, served.ledger.objects.get_range

        def get_range(*arguments: Any) -> bytes | None:
            self.asked.release()
            assert self.answer.wait(30)
            return read(*arguments)

        monkeypatch.setattr(store, "get_range", get_range)


def test_a_store_that_hangs_holds_up_nobody_who_does_not_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Keys of different segments: readers of one row group share what they wait for.
    with cold(tmp_path) as served, ThreadPoolExecutor(2 * OBJECT_READERS) as clients:
        hanging = Hanging(served, monkeypatch)
        waiting = [clients.submit(get, served, f"/key/{number:03}") for number in range(2 * OBJECT_READERS)]
        assert hanging.asked.acquire(timeout=20)
        check_all_else(served)
        assert not any(each.done() for each in waiting)
        hanging.answer.set()
        for number, each in enumerate(waiting):
            assert each.result().body.startswith((b"first %d " % number, b"second %d" % number, b"seventh"))


def test_a_ledger_that_only_reads_puts_nothing_into_the_store(tmp_path: Path) -> None:
    with cold(tmp_path) as served:
        served.ledger.refuse_writes(Forbidden("this ledger is read-only"))
        objects = sorted((served.ledger.path / "objects").rglob("*"))
        for answer in (
            ask(served, "PUT", "/new", b"other" + LARGE),
            ask(served, "POST", "/v1/archive"),
            ask(served, "POST", "/v1/batch", b'{"operations": [{"op": "put", "key": "a", "value": "b"}]}'),
        ):
            assert (answer.status, answer.error["kind"]) == (403, "forbidden")
        assert sorted((served.ledger.path / "objects").rglob("*")) == objects
        assert get(served, "/key/001").status == 200


def test_a_cold_read_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cold(tmp_path, **{"api.read_timeout_secs": 1}) as served:
        hanging = Hanging(served, monkeypatch)
        segment = served.ledger.manifest.find(1)
        assert segment is not None
        for path in ("/key/001", "/key/001?proof=true", "/verify/key/001"):
            answer = get(served, path)
            assert (answer.status, answer.error["kind"]) == (503, "unavailable"), path
            assert "did not answer within 1 seconds" in answer.error["message"]
            assert segment.path in answer.error["message"]
        hanging.answer.set()
        assert get(served, "/key/001").status == 200


def test_so_have_a_listing_and_a_look_up_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = b'{"keys": ["key/001", "key/030"]}'
    with cold(tmp_path, **{"api.read_timeout_secs": 1}) as served, ThreadPoolExecutor(8) as clients:
        hanging = Hanging(served, monkeypatch)
        pages = [path for path in READING if "values=true" in path]
        waiting = [clients.submit(get, served, path) for path in pages]  # more than have their turn at once
        waiting += [
            clients.submit(ask, served, "POST", "/v1/get", body) for body in (many, many[:-1] + b',"proof":true}')
        ]
        for answer in [each.result(20) for each in waiting]:
            assert (answer.status, answer.error["kind"]) == (503, "unavailable")
            assert "did not answer within 1 seconds" in answer.error["message"]
            assert served.ledger.objects.url in answer.error["message"]
            assert answer.headers["retry-after"]
        hanging.answer.set()
        assert [get(served, path).status for path in pages] == [200] * len(pages)
        assert ask(served, "POST", "/v1/get", many).status == 200


def test_so_has_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cold(tmp_path, **{"api.read_timeout_secs": 1}) as served:
        hanging = Hanging(served, monkeypatch)
        answer = get(served, "/large")
        assert (answer.status, answer.error["kind"]) == (503, "unavailable")
        assert blob_path(sha256(LARGE).digest()) in answer.error["message"]
        hanging.answer.set()
        assert get(served, "/large").body == LARGE


@contextmanager
def hanging_uploads(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A store that takes no objects inside; what it gives counts those who have begun."""
    store, asked, answer = served.ledger.objects, threading.Semaphore(0), threading.Event()
    put_file = store.put_file

    def hang(*arguments: Any, **options: Any) -> bool:
        asked.release()
        assert answer.wait(30)
        return put_file(*arguments, **options)

    monkeypatch.setattr(store, "put_file", hang)
    try:
        yield asked
    finally:
        answer.set()


def test_a_large_value_has_a_deadline_after_it_was_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [b"%d" % number + LARGE for number in range(UPLOADERS + 2)]  # more than threads: some never begin
    with serve(tmp_path / "data", settings={"api.write_timeout_secs": 1}) as served:
        with ThreadPoolExecutor(len(values)) as clients, hanging_uploads(served, monkeypatch):
            waiting = [clients.submit(ask, served, "PUT", "/large", value) for value in values]
            answers = [each.result() for each in waiting]
            assert {(answer.status, answer.error["kind"]) for answer in answers} == {(503, "unavailable")}
            messages = [answer.error["message"] for answer in answers]
            assert sum("did not answer within 1 seconds" in message for message in messages) == UPLOADERS
            assert sum(f"{UPLOADERS} requests were under way" in message for message in messages) == 2
            unit = json.dumps({"operations": [{"op": "put", "key": "large", "value": "a" * 400_000}]}).encode()
            assert ask(served, "POST", "/v1/batch", unit).error["kind"] == "unavailable"
        assert served.ledger.size == 0
        put(served, "/large", LARGE)
        assert get(served, "/large").body == LARGE
    assert not list((tmp_path / "data").rglob("?*.partial")), "a value that was given up is still spooled"


def test_slow_uploads_hold_up_nobody_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cold(tmp_path) as served, ThreadPoolExecutor(OBJECT_READERS + 1) as clients:
        with hanging_uploads(served, monkeypatch) as asked:
            values = [b"%d" % number + LARGE for number in range(OBJECT_READERS + 1)]
            waiting = [clients.submit(ask, served, "PUT", "/new", value) for value in values]
            for _ in range(UPLOADERS):
                assert asked.acquire(timeout=20)
            assert get(served, "/key/001").status == 200
            assert get(served, "/large").body == LARGE
            check_all_else(served)
            assert not any(each.done() for each in waiting)
        assert {each.result().status for each in waiting} == {201}


@pytest.mark.parametrize(("pool_size", "threads"), [(1, 1), (2, 1), (5, 2), (10, UPLOADERS), (100, UPLOADERS)])
def test_uploads_leave_half_of_the_connections_to_others(tmp_path: Path, pool_size: int, threads: int) -> None:
    s3 = {"storage.s3.bucket": "bucket", "storage.s3.pool_size": str(pool_size)}
    config = Config.load(environ={}, overrides={"node.data_dir": str(tmp_path), **s3})
    assert uploaders(config) == threads


def test_stopping_while_an_upload_hangs_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(tmp_path / "data") as served, socket.create_connection((served.host, served.port)) as client:
        with hanging_uploads(served, monkeypatch) as asked:
            client.sendall(b"PUT /large HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE)
            assert asked.acquire(timeout=20)
            served.call(lambda: [task.cancel() for task in served.server.server_state.tasks])
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert served.ledger.size == 0
    assert not [line for line in caplog.records if line.exc_info or line.levelname == "ERROR"]


def test_what_waits_for_the_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cold(tmp_path) as served, ThreadPoolExecutor(2) as clients:
        hanging = Hanging(served, monkeypatch)
        waiting = clients.submit(get, served, "/key/001")
        assert hanging.asked.acquire(timeout=20)
        monkeypatch.setattr(readers, "MAX_WAITING", 1)
        answer = get(served, "/large")
        assert (answer.status, answer.error["kind"]) == (503, "overloaded")
        assert get(served, "/nobody").status == 404
        hanging.answer.set()
        assert waiting.result().status == 200

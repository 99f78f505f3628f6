"""Listings of keys and of one key's versions: pages that are one moment together, whatever is written between them."""

from __future__ import annotations

import base64
import json
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, IncompleteRead
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

from scribe_ledger.errors import Corruption
from scribe_ledger.http import listing, pages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.model import Entry

pytestmark = pytest.mark.http

NDJSON = "application/x-ndjson"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data") as running:
        yield running


def key_of(entry: dict[str, Any]) -> bytes:
    return entry["key"].encode() if "key" in entry else base64.b64decode(entry["key_base64"])


def follow(served: Served, target: str, between: Iterator[object] | None = None) -> list[list[dict[str, Any]]]:
    """All pages; ``between`` is moved on after each."""
    found, cursor = [], ""
    while True:
        answer = get(served, f"{target}{cursor}")
        assert answer.status == 200, answer.body
        assert set(answer.json) == {"entries", "cursor"}
        found.append(answer.json["entries"])
        if answer.json["cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['cursor']}"
        if between is not None:
            next(between, None)


def keys_of(pages_found: list[list[dict[str, Any]]]) -> list[bytes]:
    return [key_of(entry) for page in pages_found for entry in page]


# --- keys ------------------------------------------------------------------------------------------------------


def test_a_listing_has_the_latest_live_entries_in_key_order(served: Served) -> None:
    ledger = served.ledger
    for key, value in ((b"b", "1"), (b"a", "1"), (b"b", "2"), (b"\xff\x00", "1"), (b"gone", "1"), (b"c/d", "1")):
        ledger.put(key, value)
    ledger.delete(b"gone")
    answer = get(served, "/v1/kv")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {"entries": [entry.to_json() for entry in ledger.scan()], "cursor": None}
    assert keys_of([answer.json["entries"]]) == [b"a", b"b", b"c/d", b"\xff\x00"]


def test_an_empty_listing_is_a_listing(served: Served) -> None:
    assert get(served, "/v1/kv").json == {"entries": [], "cursor": None}
    assert get(served, "/v1/kv?prefix=none&values=true").json == {"entries": [], "cursor": None}
    assert get(served, "/v1/kv", accept=NDJSON).body == b'{"cursor":null}\n'


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_together_are_one_moment_of_the_ledger(served: Served, reverse: bool, limit: int) -> None:
    ledger = served.ledger
    for number in range(20):
        ledger.put(f"k{number:02}", "before")
    ledger.delete("k03")
    expected = [entry.to_json() for entry in ledger.scan("k", reverse=reverse)]

    def disturb() -> Iterator[None]:
        for number in range(20):  # one of each before and behind wherever the listing stands
            ledger.put(f"k{number:02}", f"during {number}")
            ledger.delete(f"k{19 - number:02}")
            ledger.put(f"k{number:02}x", "new")
            yield

    target = f"/v1/kv?prefix=k&limit={limit}&reverse={str(reverse).lower()}"
    found = follow(served, target, disturb())
    assert [entry for page in found for entry in page] == expected
    assert all(len(page) == limit for page in found[:-1])
    assert 0 < len(found[-1]) <= limit


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
def test_a_page_ends_where_nothing_is_found_for_long(
    served: Served, monkeypatch: pytest.MonkeyPatch, reverse: bool, lines: bool, deleted: bool
) -> None:
    monkeypatch.setattr(listing, "PASSED_KEYS", 3)
    monkeypatch.setattr(pages, "MAX_PASSED", 4)
    ledger = served.ledger
    live = {0, 1, 17, 40, 41, 42, 99}
    ledger.put_many([(f"k{number:02}", "1") for number in (range(100) if deleted else live)])
    size = ledger.size
    if deleted:
        for number in sorted(set(range(100)) - live):
            ledger.delete(f"k{number:02}")
        size = ledger.size
    else:  # the others are later than the moment that is asked for
        ledger.put_many([(f"k{number:02}", "2") for number in range(100)])
    expected = [entry.to_json() for entry in ledger.scan(as_of=size, reverse=reverse)]
    target = f"/v1/kv?as_of={size}&limit=5&reverse={int(reverse)}"
    found = follow_lines(served, target) if lines else follow(served, target)
    assert [entry for page in found for entry in page] == expected
    assert len(expected) == len(live)
    assert [] in found
    assert 8 <= len(found) <= 12  # at most 4 times 3 keys of nothing a page, and some between the live ones


def follow_lines(served: Served, target: str) -> list[list[dict[str, Any]]]:
    found, cursor = [], ""
    while True:
        *entries, last = map(json.loads, get(served, f"{target}{cursor}", accept=NDJSON).text.splitlines())
        found.append(entries)
        if last["cursor"] is None:
            return found
        cursor = f"&cursor={last['cursor']}"


@pytest.mark.no_cover
def test_a_listing_that_finds_nothing_does_not_stop_others(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_PASSED", 1 << 30)
    served.ledger.put("a", "1")
    for _ in range(20):
        served.ledger.put_many([(f"k{served.ledger.size}-{number}", "1") for number in range(5000)])
    with ThreadPoolExecutor(4) as others:
        lookings = [others.submit(get, served, "/v1/kv?as_of=1") for _ in range(4)]
        while served.service.disk.page_turn.locked() is False:
            assert not any(looking.done() for looking in lookings)
        assert get(served, "/v1/kv?limit=1").status == 200
        assert not any(looking.done() for looking in lookings)
        assert all(len(looking.result().json["entries"]) == 1 for looking in lookings)


def test_a_listing_as_of_a_size_is_what_was_then(served: Served) -> None:
    ledger = served.ledger
    ledger.put_many([(f"k{number}", "1") for number in range(5)])
    expected = [entry.to_json() for entry in ledger.scan()]
    ledger.put_many([(f"k{number}", "2") for number in range(9)])
    found = follow(served, "/v1/kv?as_of=5&limit=2")
    assert [entry for page in found for entry in page] == expected
    assert get(served, "/v1/kv?as_of=0").json["entries"] == []
    future = get(served, "/v1/kv?as_of=15")
    assert (future.status, future.error["kind"]) == (400, "invalid")


ANY_BYTES = [
    b"\x00",
    b"a",
    b"a\x00",
    b"a\xff",
    b"a\xff\xff",
    b"b",
    b"\xc3\xa9",
    b"\xfe",
    b"\xff",
    b"\xff\x00",
    b"\xff\xff",
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("prefix", [b"", b"a", b"a\xff", b"\xff", b"\xff\xff", b"\x00", b"zz", b"\xc3"])
@pytest.mark.parametrize("start", [None, b"", b"a", b"a\x01", b"\xff", b"\xff\xff\xff", b"\x00"])
def test_prefix_and_start_are_any_bytes(any_bytes: Served, prefix: bytes, start: bytes | None, reverse: bool) -> None:
    def belongs(key: bytes) -> bool:
        return key.startswith(prefix) and (not start or (key <= start if reverse else key >= start))

    expected = sorted(filter(belongs, ANY_BYTES), reverse=reverse)
    target = f"/v1/kv?limit=2&prefix={quote(prefix)}&reverse={int(reverse)}"
    if start is not None:
        target += f"&start={quote(start)}"
    assert keys_of(follow(any_bytes, target)) == expected


@pytest.fixture(scope="module")
def any_bytes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("bytes") / "data") as running:
        running.ledger.put_many([(key, b"v") for key in ANY_BYTES])
        yield running


@pytest.mark.no_cover
def test_the_limit_is_a_thousand_unless_told(served: Served) -> None:
    served.ledger.put_many([(f"{number:05}", "v") for number in range(10_010)])
    assert [len(page) for page in follow(served, "/v1/kv?start=09000")] == [1000, 10]
    assert [len(page) for page in follow(served, "/v1/kv?limit=10000")] == [10_000, 10]


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=-1", "limit=x", "limit=", "reverse=2", "valuse=1"])
@pytest.mark.parametrize("path", ["/v1/kv", "/v1/history/k"])
def test_parameters_that_are_wrong_are_refused(served: Served, path: str, query: str) -> None:
    put(served, "/k")
    answer = get(served, f"{path}?{query}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_a_prefix_longer_than_any_key_is_refused(served: Served) -> None:
    assert get(served, f"/v1/kv?prefix={'k' * 4097}").error["kind"] == "too_large"
    assert get(served, f"/v1/kv?start={'k' * 4097}").error["kind"] == "too_large"


def test_cursors_of_anything_else_are_refused(served: Served, tmp_path: Path) -> None:
    served.ledger.put_many([(f"k{number}", "1") for number in range(5)])
    served.ledger.put("k1", "2")
    keys = get(served, "/v1/kv?prefix=k&limit=2").json["cursor"]
    versions = get(served, "/v1/history/k1?limit=1").json["cursor"]
    for target in (
        f"/v1/kv?prefix=k1&cursor={keys}",
        f"/v1/kv?prefix=k&reverse=true&cursor={keys}",
        f"/v1/kv?prefix=k&start=k0&cursor={keys}",
        f"/v1/kv?prefix=k&as_of=4&cursor={keys}",
        f"/v1/kv?prefix=k&cursor={versions}",
        f"/v1/kv?prefix=k&cursor={keys[:-4]}",
        f"/v1/kv?prefix=k&cursor={'A' + keys[1:]}",
        "/v1/kv?prefix=k&cursor=%FF",
        "/v1/kv?prefix=k&cursor=",
        f"/v1/history/k1?cursor={keys}",
        f"/v1/history/k2?cursor={versions}",
        f"/v1/history/k1?as_of=3&cursor={versions}",
    ):
        answer = get(served, target)
        assert (answer.status, answer.error["kind"]) == (400, "invalid"), target
    # The limit and the wish for values may change from page to page.
    assert len(get(served, f"/v1/kv?prefix=k&limit=1&values=true&cursor={keys}").json["entries"]) == 1
    with serve(tmp_path / "younger") as younger:
        younger.ledger.put_many([("k1", "1"), ("k2", "1")])
        for target in (f"/v1/kv?prefix=k&cursor={keys}", f"/v1/history/k1?cursor={get_versions(served)}"):
            assert "of a ledger with" in get(younger, target).error["message"], target


def get_versions(served: Served) -> str:
    """The cursor behind the newest version of k1, whose index is beyond what a younger ledger has."""
    served.ledger.put("k1", "3")
    cursor: str = get(served, "/v1/history/k1?limit=1").json["cursor"]
    return cursor


def test_a_cursor_outlives_the_node(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.ledger.put_many([(f"k{number}", "1") for number in range(5)])
        cursor = get(served, "/v1/kv?limit=2").json["cursor"]
    with serve(tmp_path / "data") as served:
        served.ledger.put("k3", "2")
        rest = get(served, f"/v1/kv?cursor={cursor}").json["entries"]
    assert [(entry["key"], entry["version"]) for entry in rest] == [("k2", 1), ("k3", 1), ("k4", 1)]


# --- values ----------------------------------------------------------------------------------------------------


def test_values_come_along_where_they_are_asked_for(served: Served) -> None:
    put(served, "/a", b"\x00\xff")
    put(served, "/b", b"")
    put(served, "/large", b"x" * 300_000)
    put(served, "/gone", b"v")
    ask(served, "DELETE", "/gone")
    entries = get(served, "/v1/kv?values=true").json["entries"]
    assert [(entry["key"], entry["value_base64"]) for entry in entries] == [("a", "AP8="), ("b", ""), ("large", None)]
    assert len(entries[2]["chunk_root"]) == 64
    assert not any("value_base64" in entry for entry in get(served, "/v1/kv").json["entries"])
    deleted, first = get(served, "/v1/history/gone?values=true").json["entries"]
    assert "value_base64" not in deleted
    assert first["value_base64"] == "dg=="


# --- one entry a line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [NDJSON, "Application/X-NDJSON", f"text/html, {NDJSON};q=0.9"])
def test_ndjson_is_one_entry_a_line_and_the_cursor_in_a_last_one(served: Served, accept: str) -> None:
    served.ledger.put_many([(f"k{number:03}", "v\n") for number in range(100)])
    answer = get(served, "/v1/kv?limit=99&values=true", accept=accept)
    assert answer.headers["content-type"] == NDJSON
    lines = answer.body.split(b"\n")
    assert lines.pop() == b""
    *entries, last = map(json.loads, lines)
    document = get(served, "/v1/kv?limit=99&values=true").json
    assert (entries, last) == (document["entries"], {"cursor": document["cursor"]})
    following = get(served, f"/v1/kv?cursor={last['cursor']}", accept=NDJSON)
    assert [*map(json.loads, following.text.splitlines())][-1] == {"cursor": None}


def test_head_of_a_listing_has_its_headers_and_no_body(served: Served) -> None:
    put(served, "/k")
    for path in ("/v1/kv", "/v1/history/k"):
        head = ask(served, "HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-type"] == "application/json"


# --- versions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_a_history_has_all_versions_newest_first_deletes_too(served: Served, limit: int) -> None:
    ledger = served.ledger
    for number in range(6):
        ledger.put(b"k\xff", f"{number}")
        ledger.put(b"k\xff\xff", "another key")
    ledger.delete(b"k\xff")
    ledger.put(b"k\xff", "last")
    expected = [entry.to_json() for entry in ledger.history(b"k\xff")]

    def disturb() -> Iterator[None]:
        while True:
            ledger.put(b"k\xff", f"{ledger.size}")
            yield

    found = follow(served, f"/v1/history/k%FF?limit={limit}", disturb())
    assert [entry for page in found for entry in page] == expected
    assert [entry["kind"] for page in found for entry in page].count("delete") == 1


def test_a_history_as_of_a_size_is_what_was_then(served: Served) -> None:
    for number in range(4):
        put(served, "/k", b"%d" % number)
    put(served, "/later")
    assert [entry["version"] for entry in get(served, "/v1/history/k?as_of=2").json["entries"]] == [2, 1]
    assert get(served, "/v1/history/later?as_of=4").status == 404
    assert get(served, "/v1/history/k?as_of=6").status == 400


def test_the_history_of_what_never_was_is_not_there(served: Served) -> None:
    answer = get(served, "/v1/history/never")
    assert (answer.status, answer.error["kind"]) == (404, "not_found")
    assert get(served, "/v1/history/").status == 400
    assert get(served, f"/v1/history/{'k' * 4097}").status == 413


# --- waiting ---------------------------------------------------------------------------------------------------


def test_a_listing_waits_for_the_entry_that_it_is_to_follow(tmp_path: Path) -> None:
    with serve(tmp_path, settings={"api.read_timeout_secs": 1}) as served:
        put(served, "/k")
        assert get(served, "/v1/kv?after=0").status == 200
        late = get(served, "/v1/kv?after=1")
        assert (late.status, late.error["kind"]) == (503, "unavailable")
        assert late.headers["retry-after"] == "1"


# --- streaming -------------------------------------------------------------------------------------------------


def test_a_page_of_large_values_is_sent_in_constant_memory(tmp_path: Path) -> None:
    value_bytes, count = 200_000, 300  # 60 MB, 80 MB as base64
    with serve(tmp_path / "data") as served:
        for number in range(0, count, 20):
            served.ledger.put_many([(f"k{number + at:03}", bytes([at]) * value_bytes) for at in range(20)])
        tracemalloc.start()
        size = 0
        connection = HTTPConnection(served.host, served.port, timeout=30)
        connection.request("GET", "/v1/kv?values=true&limit=10000")
        response = connection.getresponse()
        while piece := response.read(1 << 16):
            size += len(piece)
        connection.close()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > count * value_bytes * 4 / 3
    assert peak < 6 << 20


@pytest.mark.no_cover
def test_an_error_after_the_answer_began_breaks_the_connection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.ledger.put_many([(f"k{number:03}", "v") for number in range(200)])
    entry_json = pages.entry_json

    def fail(entry: Entry, *, values: bool) -> bytes:
        if entry.key == b"k150":
            raise Corruption("entry 150 is damaged")
        return entry_json(entry, values=values)

    monkeypatch.setattr(pages, "entry_json", fail)
    for headers in ({}, {"Accept": NDJSON}):
        connection = HTTPConnection(served.host, served.port, timeout=30)
        connection.request("GET", "/v1/kv", headers=headers)
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(IncompleteRead) as broken:
            response.read()
        assert b"k100" in broken.value.partial and b"cursor" not in broken.value.partial
        connection.close()
    assert get(served, "/k001").status == 200


def test_an_error_before_the_answer_began_is_a_proper_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: Entry, *, values: bool) -> bytes:
        raise Corruption("an entry is damaged")

    put(served, "/k")
    monkeypatch.setattr(pages, "entry_json", fail)
    answer = get(served, "/v1/kv")
    assert (answer.status, answer.error["kind"]) == (503, "corruption")


@pytest.mark.no_cover
def test_readers_that_read_nothing_do_not_stop_others(served: Served) -> None:
    served.ledger.put_many([(f"k{number:05}", "v" * 20_000) for number in range(500)])  # more than a socket holds
    stuck = [socket.create_connection((served.host, served.port), timeout=20) for _ in range(40)]
    for connection in stuck:
        connection.sendall(b"GET /v1/kv?limit=10000&values=true HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1)  # the answer has begun
    assert len(get(served, "/v1/kv?limit=10000").json["entries"]) == 500
    assert get(served, "/k00001").status == 200
    for connection in stuck:
        connection.close()

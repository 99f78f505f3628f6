"""The log over HTTP: entries in order, and a cursor that always goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data") as running:
        yield running


def test_the_log_has_all_entries_in_order(served: Served) -> None:
    put(served, "/a", b"1")
    put(served, "/a", b"2")
    put(served, "/large", b"x" * 300_000)
    ask(served, "DELETE", "/a")
    served.ledger.configure(deletes="forbid")
    answer = get(served, "/v1/log").json
    assert answer == {"entries": [entry.to_json() for entry in served.ledger.log()], "cursor": "5"}
    assert [entry["kind"] for entry in answer["entries"]] == ["put", "put", "put", "delete", "config"]
    values = [entry.get("value_base64", "absent") for entry in get(served, "/v1/log?values=true").json["entries"]]
    assert values == ["MQ==", "Mg==", None, "absent", "eyJkZWxldGVzIjoiZm9yYmlkIn0="]


def test_the_cursor_goes_on_where_more_was_written(served: Served) -> None:
    assert get(served, "/v1/log").json == {"entries": [], "cursor": "0"}
    put(served, "/a")
    first = get(served, "/v1/log?cursor=0").json
    assert (len(first["entries"]), first["cursor"]) == (1, "1")
    assert get(served, "/v1/log?cursor=1").json == {"entries": [], "cursor": "1"}
    put(served, "/b")
    assert [entry["key"] for entry in get(served, "/v1/log?cursor=1").json["entries"]] == ["b"]


@pytest.mark.parametrize("limit", [1, 7, 64, 200])
def test_pages_of_the_log_leave_nothing_out(served: Served, limit: int) -> None:
    served.ledger.put_many([(f"k{number}", "v") for number in range(150)])
    found: list[int] = []
    cursor = "0"
    while len(found) < 150:
        page = get(served, f"/v1/log?cursor={cursor}&limit={limit}").json
        assert len(page["entries"]) == min(limit, served.ledger.size - len(found))
        found += [entry["index"] for entry in page["entries"]]
        cursor = page["cursor"]
        served.ledger.put("later", f"{cursor}")
    assert found[:150] == [*range(150)]


def test_the_log_begins_where_it_is_told(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", "v") for number in range(20)])
    page = get(served, "/v1/log?start=17&limit=2").json
    assert ([entry["index"] for entry in page["entries"]], page["cursor"]) == ([17, 18], "19")


@pytest.mark.parametrize("start", [3, 20, (1 << 64) - 1])
def test_the_log_beyond_its_end_is_empty_and_stays_there(served: Served, start: int) -> None:
    served.ledger.put_many([("a", "v"), ("b", "v"), ("c", "v")])
    for name in ("start", "cursor"):
        assert get(served, f"/v1/log?{name}={start}").json == {"entries": [], "cursor": f"{start}"}


def test_the_log_as_lines(served: Served) -> None:
    served.ledger.put_many([(f"k{number}", "v") for number in range(3)])
    answer = get(served, "/v1/log?limit=2", accept="application/x-ndjson")
    *entries, last = map(json.loads, answer.text.splitlines())
    assert [entry["index"] for entry in entries] == [0, 1]
    assert last == {"cursor": "2"}


@pytest.mark.parametrize(
    "query",
    [
        *("cursor=", "cursor=x", "cursor=-1", "cursor=1.0", "cursor=%D9%A3", f"cursor={1 << 64}", f"cursor={'1' * 21}"),
        *("start=0&cursor=0", "start=x", f"start={1 << 64}", "limit=0", "limit=10001", "prefix=a", "as_of=1"),
    ],
)
def test_parameters_that_are_wrong_are_refused(served: Served, query: str) -> None:
    answer = get(served, f"/v1/log?{query}")
    assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_a_cursor_of_a_listing_is_none_of_the_log(served: Served) -> None:
    served.ledger.put_many([("a", "v"), ("b", "v")])
    assert get(served, f"/v1/log?cursor={get(served, '/v1/kv?limit=1').json['cursor']}").status == 400
    assert get(served, "/v1/kv?cursor=1").status == 400

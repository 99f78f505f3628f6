"""Lines say what happened, and nothing that a client sends can break or forge one."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.node.logging.lines import MAX_PATH_BYTES, Access, render_json, render_text

pytestmark = pytest.mark.http

MOMENT = 1_795_236_737.139
CLIENT = ("127.0.0.1", 51544)
FORGERY = b'/x\n2026-01-01T00:00:00.000Z error scribe.node: forged\x1b[2J\r\x00\x85"\\'


def access(
    path: bytes = b"/user:alice", request_id: bytes = b"5f3a-1", client: tuple[str, int] | None = CLIENT
) -> Access:
    return Access(MOMENT, "GET", path, 200, 11, 0.0000841, request_id, client)


def event(**fields: Any) -> dict[str, Any]:
    return {"timestamp": MOMENT, "level": "warn", "logger": "scribe.test", "event": "it rains", **fields}


def test_a_request_in_json() -> None:
    assert json.loads(render_json([access()])) == {
        "timestamp": "2026-11-21T04:52:17.139Z",
        "level": "info",
        "logger": "scribe.access",
        "event": "request",
        "method": "GET",
        "path": "/user:alice",
        "status": 200,
        "bytes": 11,
        "duration_us": 84,
        "request_id": "5f3a-1",
        "client": "127.0.0.1:51544",
    }


def test_a_request_in_text() -> None:
    assert render_text([access()]).decode() == (
        "2026-11-21T04:52:17.139Z info  scribe.access: GET /user:alice 200 bytes=11 duration_us=84 "
        "request_id=5f3a-1 client=127.0.0.1:51544\n"
    )


def test_an_event_in_both_forms() -> None:
    fields = event(count=3, name="a", spaced="a b", raw=b"\xff\n", none=None, text="ü")
    assert render_text([fields]).decode() == (
        "2026-11-21T04:52:17.139Z warn  scribe.test: it rains "
        'count=3 name=a spaced="a b" raw="\\\\xff\\\\x0a" none=null text="\\u00fc"\n'
    )
    assert json.loads(render_json([fields])) == {
        "timestamp": "2026-11-21T04:52:17.139Z",
        "level": "warn",
        "logger": "scribe.test",
        "event": "it rains",
        "count": 3,
        "name": "a",
        "spaced": "a b",
        "raw": "\\xff\\x0a",
        "none": None,
        "text": "ü",
    }


def test_lines_keep_their_order() -> None:
    lines: list[Any] = [access(b"/1"), event(event="two"), event(event="three"), access(b"/4"), access(b"/5")]
    shown = [json.loads(line) for line in render_json(lines).splitlines()]
    assert [line.get("path") or line["event"] for line in shown] == ["/1", "two", "three", "/4", "/5"]
    assert [line.split()[3] for line in render_text([access(b"/1"), access(b"/4")]).decode().splitlines()] == [
        "GET",
        "GET",
    ]


def test_a_long_path_is_cut() -> None:
    line = json.loads(render_json([access(b"/" + b"x" * 5000)]))
    assert line["path"] == "/" + "x" * (MAX_PATH_BYTES - 1) + "..."


def test_ipv6_and_no_client() -> None:
    assert json.loads(render_json([access(client=("::1", 5))]))["client"] == "[::1]:5"
    assert json.loads(render_json([access(client=None)]))["client"] == "-"


def printable(data: bytes) -> bool:
    return set(data) <= set(string.printable.encode()) - set(b"\t\r\x0b\x0c")


@given(path=st.binary(max_size=700), request_id=st.binary(max_size=200))
def test_nothing_in_a_request_breaks_its_line(path: bytes, request_id: bytes) -> None:
    lines = [access(), access(path, request_id), access()]
    for render in (render_json, render_text):
        data = render(lines)
        assert data.count(b"\n") == 3
        assert printable(data)
    shown = [json.loads(line) for line in render_json(lines).splitlines()]
    assert shown[0] == shown[2]
    assert set(shown[1]) == set(shown[0])


@given(st.text(max_size=100) | st.binary(max_size=100))
def test_nothing_in_an_event_breaks_its_line(anything: str | bytes) -> None:
    for fields in (event(field=anything), event(event=str(anything)), event(field=[anything])):
        for render in (render_json, render_text):
            data = render([fields])
            assert data.count(b"\n") == 1
            assert printable(data)


def test_a_forged_line_stays_inside_its_own() -> None:
    for data in (render_text([access(FORGERY)]), render_text([event(path=FORGERY.decode("latin-1"))])):
        assert len(data.splitlines()) == 1


def test_a_traceback_cannot_forge_a_line_either() -> None:
    try:
        raise ValueError(FORGERY.decode("latin-1"))
    except ValueError as error:
        fields = event(exception=error)
    first, *rest = render_text([fields]).decode().splitlines()
    assert first.endswith("it rains")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert printable(render_text([fields]))
    assert "ValueError" in json.loads(render_json([fields]))["exception"]

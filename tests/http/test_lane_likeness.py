"""Requests that are known by how they end mean what they mean to the parser, and do not reach it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.http.serving import Served, serve
from tests.http.test_lane import conversation, get, put, request

from scribe_ledger.client import Client
from scribe_ledger.http.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

AGENT = "User-Agent: a"
STORED = [put(f"/{name}", name.encode()) for name in ("a", "b", "a.b", "v1%2Fx", "x%20y")] + [put("/v1/kv/docs", b"d")]
READS = [
    "/a",
    "/b",
    "/a.b",
    "/v1/kv/a",
    "/v1/kv/docs",
    "/v1/kv/v1",
    "/v1",
    "/docs",
    "/verify",
    "/a/b",
    "/v1%2Fx",
    "/x%20y",
    "/%61",
    "/nobody",
    "//a",
    "/",
    "/v1/kv/",
    "/a?",
    "/a?version=1",
    "/a?proof=true",
    "/a?proof=true&since=3",
    "/a?proof=true&since=3&after=2",
    "/a?proof=true&after=4",
    "/a?proof=true&after=4&since=2",
    "/a?proof=true&since=99",
    "/a?proof=true&since=0",
    "/v1/kv/b?proof=true&since=1",
    "/nobody?proof=true",
    "/" + "k" * 600,
    "/" + "k" * 5000,
]
OTHERS = [
    request("HEAD", "/b", AGENT),
    put("/b", b"more", AGENT),
    get("/b", AGENT),
    get("/b", AGENT, "Range: bytes=0-1"),
    get("/b", "Range: bytes=0-1", AGENT),
    get("/b", AGENT),
    request("DELETE", "/b", AGENT),
    get("/b", AGENT),
]


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """One node with the lane and one without, of the same ledger's name, key and time."""
    clock = partial(int, 1_700_000_000_000)
    with serve(tmp_path / "lane", clock=clock) as served:
        conversation(served, STORED, pipelined=False)
        served.ledger.checkpoint()
        copy = served.ledger.snapshot(tmp_path / "application")
        with serve(copy, clock=clock, lane=False) as other:
            yield served, other


def test_what_ends_alike_gets_the_answers_of_the_application(twins: tuple[Served, Served]) -> None:
    sent = [found for target in READS for found in (get("/a", AGENT), get(target, AGENT))] + OTHERS
    with_lane, without = (conversation(served, sent, pipelined=False) for served in twins)
    for asked, one, other in zip(sent, with_lane, without, strict=True):
        assert one == other, asked


def parsed(served: Served, sent: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the parser saw of a conversation that went well."""
    seen = []
    parse = Lane._parse

    def note_and_parse(lane: Lane, data: bytes) -> None:
        seen.append(data)
        parse(lane, data)

    monkeypatch.setattr(Lane, "_parse", note_and_parse)
    assert all(found.startswith(b"HTTP/1.1 200") for found in conversation(served, sent, pipelined=False))
    return seen


def test_the_parser_sees_the_first_of_those_that_end_alike(
    twins: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = get("/a", AGENT), get("/a", "User-Agent: b")
    alike = [get(target, AGENT) for target in ("/b", "/a.b", "/v1/kv/a", "/a?proof=true&since=3&after=2")]
    assert parsed(twins[0], [first, *alike, other, *alike[:1]], monkeypatch) == [first, other, alike[0]]


def test_a_verified_read_with_memory_is_answered_by_the_lane(
    twins: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = []
    leave = Lane._leave_to_application

    def note_and_leave(lane: Lane) -> None:
        left.append(lane.url)
        leave(lane)

    monkeypatch.setattr(Lane, "_leave_to_application", note_and_leave)
    with Client(twins[0].url, public_key=twins[0].ledger.public_key) as client:
        assert [client.get(key, verify=True) for key in ("a", "b", "a", "a.b")] == [b"a", b"b", b"a", b"a.b"]
    assert left == []

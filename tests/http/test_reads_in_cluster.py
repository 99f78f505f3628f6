"""Reads and writes of a member: what waits for a round, what does not, and that lane and application agree on it."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import ask, get, put
from tests.http.membership import FakeCluster
from tests.http.serving import Served, serve
from tests.http.test_lane import CASES, LAST_CASES, Case, conversation, leaving, read_answer, request
from tests.http.test_lane import get as getting
from tests.http.test_lane import put as putting

from scribe_ledger.errors import Corruption, InvalidRequest, OutcomeUnknown, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.http.asking import Answer

pytestmark = pytest.mark.http

STALE_CASES = [
    Case(
        "stale",
        [
            putting("/k", b"v"),
            getting("/k?consistency=stale"),
            getting("/k?consistency=stale"),
            request("HEAD", "/k?consistency=stale"),
            getting("/v1/kv/k?consistency=stale"),
            getting("/absent?consistency=stale"),
            getting("/health?consistency=stale"),
            getting("/k?version=1&consistency=stale"),
            getting("/absent?proof=true"),
            getting("/k?consistency=linearizable"),
            getting("/k?consistency=stale", 'If-None-Match: "0"'),
        ],
    )
]


def member_of(served: Served) -> FakeCluster:
    cluster = served.service.cluster
    assert isinstance(cluster, FakeCluster)
    return cluster


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    with (
        serve(tmp_path / "lane", clock=lambda: 1_700_000_000_000, cluster=FakeCluster) as with_lane,
        serve(tmp_path / "app", clock=lambda: 1_700_000_000_000, cluster=FakeCluster, lane=False) as without,
    ):
        yield with_lane, without


@pytest.fixture(params=[True, False], ids=["lane", "application"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    settings = {"api.read_timeout_secs": 1}
    with serve(tmp_path, cluster=FakeCluster, lane=request.param, settings=settings) as running:
        yield running


@pytest.mark.parametrize("later", [True, False], ids=["later", "at once"])
def test_lane_and_application_give_the_same_answers(twins: tuple[Served, Served], later: bool) -> None:
    sent = [one for case in [*CASES, *STALE_CASES] for one in case.requests]
    for served in twins:
        member_of(served).later = later
    one_by_one = [conversation(served, sent, pipelined=False) for served in twins]
    for text, left, right in zip(sent, *one_by_one, strict=True):
        assert left == right, text
    assert conversation(twins[0], sent, pipelined=True)[0].startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_their_order(twins: tuple[Served, Served]) -> None:
    sent = [one for case in [*CASES, *STALE_CASES] for one in case.requests]
    with_lane, without = twins
    assert conversation(with_lane, sent, pipelined=True) == conversation(without, sent, pipelined=False)


@pytest.mark.parametrize("case", LAST_CASES, ids=lambda case: case.name)
def test_lane_and_application_end_a_connection_alike(twins: tuple[Served, Served], case: Case) -> None:
    for served in twins:
        conversation(served, [putting("/k", b"value")], pipelined=False)
    left, right = (conversation(served, case.requests, pipelined=False, last=True) for served in twins)
    assert left == right


@pytest.mark.parametrize("later", [True, False], ids=["later", "at once"])
def test_a_refused_round_is_the_same_error_by_both(twins: tuple[Served, Served], later: bool) -> None:
    for served in twins:
        conversation(served, [putting("/k", b"value")], pipelined=False)
        member_of(served).later = later
        member_of(served).refusal = Unavailable("no leader is known", hint="retry")
    sent = [getting("/k"), request("HEAD", "/k"), getting("/k?proof=true"), getting("/k"), getting("/absent")]
    left, right = (conversation(served, sent, pipelined=False) for served in twins)
    assert left == right
    assert all(answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer for answer in left)
    for served in twins:
        assert served.service.metrics.errors["unavailable"] == len(sent)


def test_a_member_in_trouble_serves_nothing_but_says_why(served: Served) -> None:
    put(served, "/k")
    get(served, "/k")
    member_of(served).trouble = Corruption("this node has another root than the majority", hint="see the runbook")
    requests: list[Callable[[], Answer]] = [
        lambda: get(served, "/k"),
        lambda: get(served, "/k?consistency=stale"),
        lambda: ask(served, "PUT", "/k", b"w"),
        lambda: ask(served, "POST", "/v1/get", b'{"keys": ["k"]}'),
        lambda: get(served, "/v1/kv"),
        lambda: get(served, "/tlog/checkpoint"),
        lambda: get(served, "/verify/k"),
        lambda: get(served, "/health"),
    ]
    for make in requests:
        answer = make()
        assert (answer.status, answer.error["kind"]) == (503, "corruption")
    for path in ("/health/live", "/cluster/status", "/metrics", "/v1/stats"):
        assert get(served, path).status == 200
    assert served.ledger.size == 1


WAITING = [
    "/k",
    "/k?proof=true",
    "/k?version=1",
    "/k?as_of=2",
    "/k?index=5",
    "/v1/kv",
    "/v1/history/k",
    "/v1/log",
    "/verify/k",
    "/v1/proof/k",
    "/v1/proof/history/k",
    "/v1/proof/consistency?from=1",
    "/tlog/checkpoint",
    "/v1/watch",
]
NOT_WAITING = [
    "/k?as_of=1",
    "/k?index=0",
    "/v1/kv?as_of=1",
    "/v1/history/k?as_of=1",
    "/v1/log?limit=1",
    "/v1/proof/k?at=1",
    "/v1/proof/history/k?at=1",
    "/v1/proof/consistency?from=0&to=1",
    "/tlog/checkpoint?at=1",
    "/v1/stats",
    "/v1/manifest",
    "/health",
]


def stale(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}consistency=stale"


def test_what_a_write_could_change_waits_for_one_round(served: Served) -> None:
    put(served, "/k", b"value")
    for rounds, path in enumerate(WAITING, 1):
        ask(served, "HEAD", path)
        assert member_of(served).reads == rounds, path
        ask(served, "HEAD", stale(path))
        assert member_of(served).reads == rounds, path


def test_what_no_write_can_change_waits_for_none(served: Served) -> None:
    put(served, "/k", b"value")
    for path in NOT_WAITING:
        assert ask(served, "HEAD", path).status == 200
        assert member_of(served).reads == 0, path


def test_many_keys_wait_for_one_round(served: Served) -> None:
    put(served, "/k", b"value")
    for query, rounds in (("", 1), ("?consistency=stale", 1), ("?after=0", 2)):
        answer = ask(served, "POST", f"/v1/get{query}", b'{"keys": ["k", "other"]}')
        assert answer.json["entries"][0]["index"] == 0
        assert member_of(served).reads == rounds


def test_a_read_sees_what_was_written_while_it_waited(served: Served) -> None:
    put(served, "/k", b"old")
    put(served, "/gone", b"old")
    for path in ("/k", "/gone"):
        get(served, path)  # in the cache
    held: list[Callable[[object], object]] = []
    served.call(lambda: setattr(member_of(served), "held", held))
    found: dict[str, Answer] = {}

    def read(path: str) -> None:
        found[path] = get(served, path)

    threads = [threading.Thread(target=read, args=(path,)) for path in ("/k", "/gone", "/made")]
    for thread in threads:
        thread.start()
    while served.call(lambda: len(held)) < len(threads):
        pass
    put(served, "/k", b"new")
    put(served, "/made", b"new")
    assert ask(served, "DELETE", "/gone").status == 200
    assert get(served, "/k?consistency=stale").body == b"new"
    assert not found
    served.call(member_of(served).let_go)
    for thread in threads:
        thread.join()
    assert found["/k"].body == found["/made"].body == b"new"
    assert found["/gone"].error["kind"] == "not_found"
    assert "was deleted" in found["/gone"].error["message"]


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_while_its_read_waits_harms_nobody(served: Served, reset: bool) -> None:
    """One that has closed its side is answered, and missed then; one that has broken off is missed at once."""
    put(served, "/k", b"value")
    held: list[Callable[[object], object]] = []
    served.call(lambda: setattr(member_of(served), "held", held))
    with socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(getting("/k"))
        while not served.call(lambda: len(held)):
            pass
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    while reset and served.connections():
        pass
    served.call(member_of(served).let_go)
    while served.connections():
        pass
    assert get(served, "/k").body == b"value"


def test_requests_behind_a_read_that_waits_come_after_it(served: Served) -> None:
    put(served, "/k", b"value")
    held: list[Callable[[object], object]] = []
    served.call(lambda: setattr(member_of(served), "held", held))
    with socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(getting("/k") + putting("/k", b"next") + getting("/k?consistency=stale"))
        while not served.call(lambda: len(held)):
            pass
        assert served.ledger.size == 1
        served.call(member_of(served).let_go)
        with connection.makefile("rb") as incoming:
            answers = [read_answer(incoming, head=False) for _ in range(3)]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in (answers[0], answers[2])] == [b"value", b"next"]


def test_plain_and_stale_reads_stay_in_the_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leaving(monkeypatch)
    plain = [putting("/k", b"v"), *[getting("/k")] * 3, request("HEAD", "/k"), getting("/k?proof=true")]
    with serve(tmp_path, cluster=FakeCluster) as served:
        conversation(served, [*plain, *[getting("/k?consistency=stale")] * 3], pipelined=False)
        assert left == [b"/k"]  # the proof: there was no checkpoint yet
        assert member_of(served).reads == 5
        assert len(served.server.config.http.shared.repeats) == 2  # type: ignore[union-attr]
        assert {type(key).__name__ for key in served.server.config.http.shared.repeats.values()} == {  # type: ignore[union-attr]
            "bytes",
            "StaleKey",
        }


def test_a_write_goes_to_the_cluster_and_its_doubt_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(_: object, unit: object, done: Callable[[object], object]) -> None:
        done(OutcomeUnknown("no answer came in time", hint="retry with the same request id"))

    monkeypatch.setattr(FakeCluster, "submit", submit)
    answers = [ask(served, "PUT", "/k", b"v"), ask(served, "DELETE", "/k")]
    answers.append(ask(served, "POST", "/v1/batch", b'{"operations": [{"op": "put", "key": "k", "value": "v"}]}'))
    assert [(answer.status, answer.error["kind"]) for answer in answers] == [(503, "outcome_unknown")] * 3
    assert served.ledger.size == 0


def test_large_values_are_refused_without_a_shared_store(served: Served) -> None:
    member_of(served).takes_large_values = InvalidRequest(
        "this cluster has no shared object store for values above 1000 bytes", hint="set [storage] object_store"
    )
    body = bytes(served.service.inline_max + 1)
    answer = ask(served, "PUT", "/k", body)
    assert (answer.status, answer.error["kind"]) == (400, "invalid")
    chunked = request("PUT", "/k", "Transfer-Encoding: chunked", length=False) + b"%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    assert conversation(served, [chunked], pipelined=False)[0].startswith(b"HTTP/1.1 400 ")
    assert put(served, "/k", body[:-1]).status == 201
    assert served.ledger.size == 1


def test_a_cursor_of_a_node_that_is_ahead_is_waited_for(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "ahead", cluster=FakeCluster) as ahead,
        serve(tmp_path / "behind", cluster=FakeCluster, settings={"api.read_timeout_secs": 1}) as behind,
    ):
        for served in (ahead, behind):
            put(served, "/a")
            put(served, "/b")
        put(ahead, "/c")
        cursor = get(ahead, "/v1/kv?limit=1").json["cursor"]
        late = get(behind, f"/v1/kv?limit=1&cursor={cursor}&consistency=stale")
        assert (late.status, late.error["kind"]) == (503, "unavailable")
        put(behind, "/c")
        assert get(behind, f"/v1/kv?limit=1&cursor={cursor}&consistency=stale").json["entries"][0]["key"] == "b"

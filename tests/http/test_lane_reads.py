"""Reads of one turn of the loop: all are looked up before the first is answered, and none stands in another's way."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.http.serving import Served, serve
from tests.http.test_lane import conversation, get, put, read_answer

from scribe_ledger.http.lane import Lane
from scribe_ledger.http.lane_reads import LaneRead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.http.answers import Answer

pytestmark = pytest.mark.http

UNCACHED = {"api.cache_capacity": 0}
KEYS = [b"/a", b"/b", b"/c", b"/missing"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path, settings=UNCACHED) as served:
        conversation(served, [put(key.decode(), key[1:]) for key in KEYS[:3]], pipelined=False)
        yield served


def ask_together(served: Served, targets: list[bytes]) -> list[bytes]:
    """Sends a GET on a connection for each, which the server finds in one turn of its loop; the answers."""
    with ExitStack() as held:
        clients = [
            held.enter_context(socket.create_connection((served.host, served.port), timeout=20)) for _ in targets
        ]
        while served.connections() < len(targets):
            pass

        def send() -> None:  # in the loop itself, which meanwhile receives nothing
            for client, target in zip(clients, targets, strict=True):
                client.sendall(get(target.decode()))

        served.call(send)
        return [read_whole(client) for client in clients]


def read_whole(client: socket.socket) -> bytes:
    if not client.recv(1, socket.MSG_PEEK):
        return b""
    with client.makefile("rb") as incoming:
        return read_answer(incoming, head=False)


def statuses(answers: list[bytes]) -> list[bytes]:
    return [answer.split(b" ", 2)[1] for answer in answers]


def test_all_are_looked_up_before_the_first_is_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    look_up, send = LaneRead.look_up, Lane.send

    def note_look_up(read: LaneRead) -> tuple[bytes, bytes] | None:
        steps.append(("look up", read.path))
        return look_up(read)

    def note_send(lane: Lane, status: int, head: bytes, body: bytes, request_id: bytes) -> None:
        steps.append(("send", b"/" + body))
        send(lane, status, head, body, request_id)

    monkeypatch.setattr(LaneRead, "look_up", note_look_up)
    monkeypatch.setattr(Lane, "send", note_send)
    answers = ask_together(served, KEYS)
    assert statuses(answers) == [b"200", b"200", b"200", b"404"]
    assert [step for step, _ in steps] == ["look up"] * 4 + ["send"] * 3
    assert {path for step, path in steps if step == "send"} == set(KEYS[:3])


def test_one_that_cannot_be_looked_up_or_answered_leaves_the_others_theirs(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest, send = served.service.latest, Lane.send

    def break_on_a(key: bytes) -> Answer | None:
        if key == b"a":
            raise RuntimeError("nobody foresaw this")
        return latest(key)

    def break_on_b(lane: Lane, status: int, head: bytes, body: bytes, request_id: bytes) -> None:
        if body == b"b":
            lane.transport.abort()
            raise RuntimeError("nor this")
        send(lane, status, head, body, request_id)

    told: list[dict[str, object]] = []
    served.loop.set_exception_handler(lambda _, context: told.append(context))
    monkeypatch.setattr(served.server.config.http.shared, "latest", break_on_a)  # type: ignore[union-attr]
    monkeypatch.setattr(Lane, "send", break_on_b)
    answers = ask_together(served, KEYS)
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200", b"", b"HTTP/1.1 200", b"HTTP/1.1 404"]
    assert [context["message"] for context in told] == [
        "a read failed in a way that nobody foresaw",
        "an answer could not be given",
    ]


def test_a_client_that_leaves_before_its_turn_is_over_is_in_the_books(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = LaneRead.look_up

    def leave(read: LaneRead) -> tuple[bytes, bytes] | None:
        read.lane.transport.abort()
        return look_up(read)

    monkeypatch.setattr(LaneRead, "look_up", leave)
    with socket.create_connection((served.host, served.port), timeout=20) as client:
        client.sendall(get("/a"))
        assert client.recv(1) == b""
    monkeypatch.undo()
    while served.connections():
        pass
    assert statuses(ask_together(served, [b"/b"])) == [b"200"]
    counted = served.call(lambda: {kind: stats.count for kind, stats in served.service.metrics.requests.items()})
    assert counted["GET", "/{key}", 499] == 1
    assert counted["GET", "/{key}", 200] == 1

"""Clients that are slow, silent, many, or never read: the others are served as before."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.node.load import Connection
from tests.running import request, start_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.running import RunningNode

pytestmark = [pytest.mark.http, pytest.mark.no_cover]

IDLE = 1000
LARGE = 8 << 20
RSS_LIMIT_BYTES = 100 << 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with start_node(tmp_path / "data", "-l", "warn") as running:
        yield running


def serves(node: RunningNode, *, times: int = 200) -> None:
    """Puts and gets on one connection, each well below a second."""
    slowest = 0.0
    with Connection(node.port) as connection:
        for number in range(times):
            began = time.monotonic()
            status, _ = connection.request("PUT", f"/served/{time.monotonic_ns()}", b"%d" % number)
            assert status == 201
            assert connection.request("GET", "/nobody")[0] == 404
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 2, "others are in the way"


def test_a_client_that_sends_a_byte_at_a_time(node: RunningNode) -> None:
    heads = [
        b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(node.port)) for _ in heads]
        for place in range(max(map(len, heads))):
            for connection, head in zip(slow, heads, strict=True):
                connection.socket.sendall(head[place : place + 1])
            if place % 20 == 0:
                serves(node, times=5)
        assert slow[0].answer()[0] in {200, 404}
        assert {slow[1].answer()[0], slow[2].answer()[0]} <= {200, 201}


def test_a_thousand_idle_connections(node: RunningNode) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=20))
        serves(node)
        counted = json.loads(request(f"{node.url}/metrics").body)["counts"]["connections"]
        assert counted >= IDLE


def test_more_connections_than_there_is_room_for_get_503(tmp_path: Path) -> None:
    limited = ["sh", "-c", 'ulimit -n 720 && exec "$0" "$@"']
    with (
        start_node(tmp_path / "data", "-l", "warn", launcher=limited) as node,
        contextlib.ExitStack() as stack,
    ):
        turned_away = 0
        for _ in range(200):
            connection = stack.enter_context(Connection(node.port))
            connection.socket.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                status, body = connection.answer()
                assert (status, json.loads(body)["error"]["kind"]) == (503, "overloaded")
                turned_away += 1
        assert 100 <= turned_away <= 130
        stack.close()
        deadline = time.monotonic() + 20
        while request(f"{node.url}/nobody").status == 503:  # until it has seen that they are gone
            assert time.monotonic() < deadline
        serves(node, times=20)


def test_a_client_that_never_reads_its_answer(node: RunningNode) -> None:
    assert request(f"{node.url}/large", "PUT", b"x" * LARGE).status == 201
    small = b"y" * 60_000
    assert request(f"{node.url}/small", "PUT", small).status == 201
    before = node.resident_bytes()
    with contextlib.ExitStack() as stack:
        for path, times in (("/large", 1), ("/small", 500)):
            for _ in range(20):
                deaf = stack.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect(("127.0.0.1", node.port))
                deaf.settimeout(0.2)
                with contextlib.suppress(TimeoutError):  # the node reads no more from those who take nothing
                    deaf.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() * times)
        serves(node)
        assert node.resident_bytes() - before < RSS_LIMIT_BYTES
    serves(node, times=20)


def test_requests_that_are_no_requests(node: RunningNode) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n" * 500,
        b"GET\x00/ HTTP/9.9\r\n\r\n",
        b"A" * 200_000,
    ):
        with Connection(node.port) as connection, contextlib.suppress(OSError):
            connection.socket.sendall(nonsense)
            connection.socket.settimeout(0.3)
            connection.socket.recv(4096)
    serves(node, times=20)


ENDLESS = {
    "a header": (b"GET /a HTTP/1.1\r\nX: ", b"x" * 100_000),
    "headers": (b"GET /a HTTP/1.1\r\n", b"X: y\r\n" * 16_000),
    "a path": (b"GET /a", b"x" * 100_000),
    "a chunk's extension": (b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;", b"x" * 100_000),
    "trailers": (b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 16_000),
}


@pytest.mark.parametrize("begin", ENDLESS)
def test_what_never_ends_is_broken_off(node: RunningNode, begin: str) -> None:
    head, more = ENDLESS[begin]
    before = node.resident_bytes()
    with Connection(node.port) as connection:
        connection.socket.sendall(head)
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.socket.sendall(more * 500)
    assert node.resident_bytes() - before < 20 << 20
    serves(node, times=20)


def test_a_head_that_is_too_long_is_answered(node: RunningNode) -> None:
    with Connection(node.port) as connection:
        connection.socket.sendall(b"GET /a HTTP/1.1\r\nX: ")
        connection.socket.settimeout(0.05)
        answered = None
        while answered is None:
            connection.socket.sendall(b"x" * 10_000)
            with contextlib.suppress(TimeoutError):  # sent piece by piece, so that nothing is left unread at the end
                answered = connection.answer()
        status, body = answered
        assert (status, json.loads(body)["error"]["kind"]) == (413, "too_large")


def test_trailers_do_not_pass_for_headers(node: RunningNode) -> None:
    with Connection(node.port) as connection:
        connection.socket.sendall(
            b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
            b"X-Scribe-Meta-Forged: yes\r\nIf-None-Match: *\r\n\r\n"
        )
        assert connection.answer()[0] == 201
    answer = request(f"{node.url}/a")
    assert answer.body == b"abc"
    assert answer.headers["x-scribe-meta-forged"] is None

"""The lane and the application give the same answer to the same request, byte for byte but for its id and the date."""

from __future__ import annotations

import contextlib
import gc
import json
import re
import socket
import threading
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import MagicMock
from urllib.request import Request, urlopen

import pytest
from tests.http.serving import Served, serve

from scribe_ledger.http.lane import (
    BODY_SECONDS,
    HEADER_SECONDS,
    LANE_BODY_BYTES,
    MAX_PIPELINED,
    SLOW_SECONDS,
    Lane,
)
from scribe_ledger.http.lane_reads import LaneRead

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

VARYING = re.compile(rb'^(x-request-id|date): [^\r]*\r\n|(?<="request_id":")[^"]*', re.MULTILINE)


class Case(NamedTuple):
    """Requests as they travel, one after another on one connection."""

    name: str
    requests: list[bytes]


def request(method: str, target: str, *headers: str, body: bytes = b"", length: bool = True) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: ledger.example", *headers]
    if length and (body or method == "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def put(target: str, body: bytes, *headers: str) -> bytes:
    return request("PUT", target, *headers, body=body)


def get(target: str, *headers: str) -> bytes:
    return request("GET", target, *headers)


def chunked(target: str, *pieces: bytes) -> bytes:
    body = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""]])
    return request("PUT", target, "Transfer-Encoding: chunked", length=False) + body


def sha256_of(value: bytes) -> str:
    return b64encode(sha256(value).digest()).decode()


ALL_BYTES = "".join(f"%{byte:02X}" for byte in range(256))
BINARY = bytes(range(256)) * 4

CASES = [
    Case("a value, written and read", [put("/k", b"v"), get("/k"), get("/k"), request("HEAD", "/k")]),
    Case("versions", [put("/k", b"1"), put("/k", b"2"), get("/k"), get("/k?version=1"), put("/k", b"2")]),
    Case("empty value", [put("/k", b""), get("/k"), request("HEAD", "/k")]),
    Case("binary value", [put("/k", BINARY), get("/k")]),
    Case("value at the lane's limit", [put("/k", b"x" * LANE_BODY_BYTES), get("/k")]),
    Case("value beyond the lane's limit", [put("/k", b"x" * (LANE_BODY_BYTES + 1)), get("/k")]),
    Case("value that is a blob", [put("/k", b"x" * 300_000), get("/k"), request("HEAD", "/k")]),
    Case("absent key", [get("/k"), request("HEAD", "/k"), request("DELETE", "/k"), get("/v1/kv/k")]),
    Case(
        "deleted key",
        [put("/k", b"v"), request("DELETE", "/k"), get("/k"), request("DELETE", "/k"), put("/k", b"v"), get("/k")],
    ),
    Case(
        "reserved words",
        [get("/health/x"), put("/v1/kv/health", b"v"), get("/v1/kv/health"), get("/verify"), put("/tlog", b"v")],
    ),
    Case("keys with slashes", [put("/a/b//c/", b"v"), get("/a/b//c/"), get("/v1/kv/a/b//c/"), get("/a/b/c")]),
    Case("keys of any bytes", [put(f"/{ALL_BYTES}", b"v"), get(f"/{ALL_BYTES}"), get(f"/v1/kv/{ALL_BYTES}")]),
    Case("encodings that mean nothing", [put("/%6b%2D", b"v"), get("/k-"), get("/%68ealth%2f"), get("/%76erify")]),
    Case("a percent sign alone", [put("/100%", b"v"), get("/100%"), get("/100%25"), get("/%zz")]),
    Case("quotes in keys", [put("/%22%5C%0A", b"v"), get("/%22%5C%0A")]),
    Case("keys beyond ASCII", [put("/%C3%A9", b"v"), put("/%E9", b"v"), get("/%E9")]),
    Case("empty key", [put("/", b"v"), put("/v1/kv/", b"v"), request("DELETE", "/v1/kv/")]),
    Case("longest key", [put(f"/{'k' * 4096}", b"v"), get(f"/{'k' * 4096}")]),
    Case("key too long", [put(f"/{'k' * 4097}", b"v"), get(f"/{'k' * 4097}"), request("DELETE", f"/{'k' * 4097}")]),
    Case("content type", [put("/k", b"{}", "Content-Type: application/json"), get("/k")]),
    Case(
        "content type that is none",
        [put("/k", b"v", "Content-Type: \xe9"), put("/k", b"v", f"Content-Type: {'x' * 256}")],
    ),
    Case("empty headers", [put("/k", b"v", "Content-Type:", "Idempotency-Key:"), put("/k", b"v", "Content-Type:")]),
    Case("metadata", [put("/k", b"v", "X-Scribe-Meta-Team: red"), get("/k")]),
    Case(
        "create only",
        [
            put("/k", b"v", "If-None-Match: *"),
            put("/k", b"w", "If-None-Match: *"),
            put("/k", b"w", 'If-None-Match: "0"'),
        ],
    ),
    Case("create after a delete", [put("/k", b"v"), request("DELETE", "/k"), put("/k", b"w", "If-None-Match: *")]),
    Case("if-none-match on a delete", [put("/k", b"v"), request("DELETE", "/k", "If-None-Match: *")]),
    Case(
        "not modified",
        [
            put("/k", b"v"),
            get("/k", 'If-None-Match: "0"'),
            get("/k", "If-None-Match: *"),
            get("/k", 'If-None-Match: "9"'),
        ],
    ),
    Case(
        "if-match",
        [
            put("/k", b"v"),
            put("/k", b"w", 'If-Match: "0"'),
            put("/k", b"x", 'If-Match: "0"'),
            get("/k", 'If-Match: "0"'),
        ],
    ),
    Case(
        "a retry", [put("/k", b"v", "Idempotency-Key: one"), put("/k", b"w"), put("/k", b"v", "Idempotency-Key: one")]
    ),
    Case("a retried delete", [put("/k", b"v"), *[request("DELETE", "/k", "Idempotency-Key: two")] * 2]),
    Case("a request id used twice", [put("/k", b"v", "Idempotency-Key: one"), put("/k", b"w", "Idempotency-Key: one")]),
    Case("a request id too long", [put("/k", b"v", f"Idempotency-Key: {'i' * 256}")]),
    Case(
        "headers given twice",
        [
            put("/k", b"v", "Idempotency-Key: a", "Idempotency-Key: b"),
            put("/k", b"v", "Content-Type: a/b", "Content-Type: c/d"),
            put("/k", b"v", "Content-Type:", "Content-Type:"),
            put("/k", b"v", "Content-Type:", "Content-Type: a/b"),
            put("/k", b"v", "If-None-Match: *", "If-None-Match: *"),
            put("/k", b"v", "X-Request-Id: a", "X-Request-Id: b"),
            get("/k", "X-Request-Id:", "X-Request-Id: b"),
        ],
    ),
    Case(
        "range",
        [
            put("/k", b"0123456789"),
            get("/k", "Range: bytes=2-4"),
            get("/k", "Range: bytes=99-"),
            get("/k", "Range: bytes=-3"),
        ],
    ),
    Case(
        "query", [put("/k?dedupe=false", b"v"), get("/k?version=1"), get("/k?versoin=1"), get("/k?"), get("/k?as_of=1")]
    ),
    Case("chunked body", [chunked("/k", b"one ", b"two"), get("/k"), chunked("/k")]),
    Case(
        "read with a body",
        [request("GET", "/k", body=b"body"), put("/k", b"v"), request("GET", "/k", body=b"body"), get("/k")],
    ),
    Case("delete with a body", [put("/k", b"v"), request("DELETE", "/k", body=b"body"), get("/k")]),
    Case("unknown headers", [put("/k", b"v", "X-Forwarded-For: 1.2.3.4"), get("/k", "Cookie: a=b", "DNT: 1")]),
    Case(
        "clients' usual headers",
        [put("/k", b"v", "User-Agent: x", "Accept: */*"), get("/k", "accept-encoding: gzip", "ACCEPT: a/b")],
    ),
    Case(
        "another site's page",
        [put("/k", b"v", "Origin: https://evil.example"), put("/k", b"v", "Origin: http://ledger.example")],
    ),
    Case("keep-alive", [put("/k", b"v", "Connection: keep-alive"), get("/k", "Connection: Keep-Alive")]),
    Case("wrong methods", [request("POST", "/k", body=b"v"), request("PATCH", "/k", body=b"v"), get("/k")]),
    Case("expectation", [put("/k", b"v", "Expect: 100-continue"), get("/k")]),
    Case(
        "digests",
        [
            put("/k", b"v", f"Repr-Digest: sha-256=:{sha256_of(b'v')}:"),
            put("/k", b"w", f"Content-Digest: sha-256=:{sha256_of(b'v')}:"),
            get("/k"),
        ],
    ),
    Case(
        "parts and codings",
        [put("/k", b"v", "Content-Range: bytes 0-0/2"), put("/k", b"v", "Content-Encoding: gzip"), get("/k")],
    ),
    Case("no host", [put("/k", b"v"), get("/k").replace(b"Host: ledger.example\r\n", b""), get("/k")]),
    Case(
        "two hosts of the usual kind", [put("/k", b"v"), get("/k", "Host: ledger.example"), put("/k", b"w", "host: x")]
    ),
    Case("two hosts", [put("/k", b"v"), get("/k", "User-Agent: x", "Host: another.example", "Accept-Charset: utf-8")]),
]
LAST_CASES = [
    Case("close", [put("/k", b"v", "Connection: close")]),
    Case("an expectation that is refused", [put("/k", b"w", "Expect: 100-continue", "If-None-Match: *")]),
    Case("HTTP/1.0", [get("/k").replace(b"HTTP/1.1", b"HTTP/1.0")]),
    Case("HTTP/1.0 that stays", [get("/k", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")]),
]
"""After these the server closes the connection."""

NOT_HTTP = [
    Case("not HTTP", [b"this is not HTTP\r\n\r\n"]),
    Case("two lengths", [b"PUT /k HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nvv"]),
    Case("a length that is none", [b"PUT /k HTTP/1.1\r\nContent-Length: -1\r\n\r\nv"]),
    Case("length and chunks", [b"PUT /k HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
    Case("bytes beyond ASCII in the path", [get("/\xe9")]),
    Case("a control character in the path", [get("/a\x01b")]),
]


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """One node with the lane and one without, over two new ledgers that agree on the time."""
    with (
        serve(tmp_path / "lane", clock=lambda: 1_700_000_000_000) as with_lane,
        serve(tmp_path / "application", clock=lambda: 1_700_000_000_000, lane=False) as without,
    ):
        yield with_lane, without


def conversation(served: Served, requests: list[bytes], *, pipelined: bool, last: bool = False) -> list[bytes]:
    """The answers, without what differs each time."""
    with socket.create_connection((served.host, served.port), timeout=20) as connection:
        if pipelined:
            connection.sendall(b"".join(requests))
        with connection.makefile("rb") as incoming:
            answers = []
            for sent in requests:
                if not pipelined:
                    connection.sendall(sent)
                answers.append(read_answer(incoming, head=sent.startswith(b"HEAD")))
            if last:
                assert incoming.read() == b""
            return answers


def read_answer(incoming: object, *, head: bool) -> bytes:
    lines = [incoming.readline()]  # type: ignore[attr-defined]
    assert lines[0].startswith(b"HTTP/1.1 "), lines
    while lines[-1] != b"\r\n":
        assert lines[-1], "the connection was closed inside of a head"
        lines.append(incoming.readline())  # type: ignore[attr-defined]
    if lines[0].startswith(b"HTTP/1.1 100"):
        return b"".join(lines) + read_answer(incoming, head=head)
    block = b"".join(lines)
    length = re.search(rb"^content-length: (\d+)\r$", block, re.MULTILINE)
    size = 0 if head or length is None or block.startswith(b"HTTP/1.1 304") else int(length[1])
    body = incoming.read(size)  # type: ignore[attr-defined]
    assert len(body) == size
    return VARYING.sub(b"", block + body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lane_and_application_give_the_same_answers(twins: tuple[Served, Served], case: Case) -> None:
    with_lane, without = twins
    assert conversation(with_lane, case.requests, pipelined=False) == conversation(
        without, case.requests, pipelined=False
    )
    assert with_lane.ledger.checkpoint().root == without.ledger.checkpoint().root


@pytest.mark.parametrize("case", LAST_CASES, ids=lambda case: case.name)
def test_lane_and_application_end_a_connection_alike(twins: tuple[Served, Served], case: Case) -> None:
    with_lane, without = twins
    for served in twins:
        conversation(served, [put("/k", b"value")], pipelined=False)
    left, right = (conversation(served, case.requests, pipelined=False, last=True) for served in (with_lane, without))
    assert left == right


@pytest.mark.parametrize("case", NOT_HTTP, ids=lambda case: case.name)
def test_what_is_not_http_gets_the_one_shape_of_error(tmp_path: Path, case: Case) -> None:
    with serve(tmp_path) as served:
        (answer,) = conversation(served, case.requests, pipelined=False, last=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error == {"kind": "invalid", "message": "the request is not valid HTTP", "hint": "", "request_id": ""}


@pytest.mark.parametrize(
    ("target", "allow"),
    [("/k", b"DELETE, GET, HEAD, OPTIONS, PUT"), ("/v1/stats?x=1", b"GET, HEAD, OPTIONS"), ("/v1/none", b"")],
)
@pytest.mark.parametrize("method", ["BREW", "GETX", "pick-up"])
def test_a_method_that_nobody_knows_gets_405(tmp_path: Path, method: str, target: str, allow: bytes) -> None:
    with serve(tmp_path) as served:
        (answer,) = conversation(served, [request(method, target)], pipelined=False, last=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 " if allow else b"HTTP/1.1 404 ")
    assert (b"allow: %b\r\n" % allow in head) == bool(allow)
    assert json.loads(body)["error"]["kind"] == ("method" if allow else "not_found")


def test_a_fragment_in_a_target_is_refused(tmp_path: Path) -> None:
    """Without it the target would be that of another key."""
    targets = ["/issue#1", "/v1/kv/issue#", "/issue?version=1#x", "http://h/issue#1"]
    asked = [request(method, target) for target in targets for method in ("GET", "PUT", "DELETE")]
    with serve(tmp_path) as served:
        _, *refused, kept = conversation(served, [put("/issue", b"v"), *asked, get("/issue")], pipelined=True)
        assert served.ledger.size == 1 and kept.endswith(b"v")
    assert all(answer.startswith(b"HTTP/1.1 400 ") and b"%23" in answer for answer in refused)


def test_a_target_of_any_length_is_too_large_in_the_one_shape(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        for length in (65_530, 65_535, 65_536, 70_000):
            for method in ("GET", "PUT"):
                (answer,) = conversation(served, [request(method, "/" + "k" * (length - 1))], pipelined=False)
                error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
                assert (answer[9:12], error["kind"]) == (b"413", "too_large"), length
                assert error["hint"]


def test_an_answer_that_is_due_goes_out_before_the_connection_ends(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        for target in ("/k", "/v1/kv/k?dedupe=false"):
            (answer,) = conversation(
                served, [put(target, b"v") + b"this is not HTTP\r\n\r\n"], pipelined=False, last=True
            )
            assert answer.startswith(b"HTTP/1.1 201 ")
            assert b"connection: close" in answer


def test_last_modified_is_never_after_the_date(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        for number in range(40):
            with urlopen(Request(f"{served.url}/k{number}", b"v", method="PUT"), timeout=20):
                pass
            with urlopen(f"{served.url}/k{number}", timeout=20) as answer:
                dates = [parsedate_to_datetime(answer.headers[name]) for name in ("last-modified", "date")]
                assert dates == sorted(dates)


@pytest.mark.parametrize("pipelined", [False, True])
def test_everything_on_one_connection(twins: tuple[Served, Served], pipelined: bool) -> None:
    with_lane, without = twins
    requests = [sent for case in CASES for sent in case.requests]
    assert conversation(with_lane, requests, pipelined=pipelined) == conversation(without, requests, pipelined=False)


def leaving(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of the requests that the lane leaves to the application, at once or when it has looked."""
    left: list[bytes] = []
    leave, hand_over = Lane._leave_to_application, LaneRead._hand_over

    def note_and_leave(lane: Lane) -> None:
        left.append(lane.url)
        leave(lane)

    def note_and_hand_over(read: LaneRead) -> None:
        left.append(read.path)
        hand_over(read)

    monkeypatch.setattr(Lane, "_leave_to_application", note_and_leave)
    monkeypatch.setattr(LaneRead, "_hand_over", note_and_hand_over)
    return left


def test_the_lane_answers_plain_requests_itself(twins: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch) -> None:
    left = leaving(monkeypatch)
    plain = [put("/k", b"v"), get("/k"), get("/k"), get("/k"), request("HEAD", "/k"), request("DELETE", "/k")]
    conversation(twins[0], [*plain, get("/k")], pipelined=False)
    assert left == [b"/k"]  # the last: what is not there goes the long way


def ask(served: Served, *packets: bytes, answers: int) -> list[bytes]:
    """The first lines of the answers to packets that arrive one by one."""
    with socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as incoming:
            found: list[bytes] = []
            for packet in packets:
                connection.sendall(packet)
                served.settle()
            while len(found) < answers:
                found.append(read_answer(incoming, head=False).split(b"\r\n")[0])
            return found


def test_bytes_mean_nothing_to_others_if_they_did_not_begin_a_request(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        conversation(served, [put("/a", b"a"), put("/b", b"b"), put("/k", b"k"), get("/k")], pipelined=False)
        two = get("/b") + get("/k")
        half = b"GET /a HTTP/1.1\r\nUser-Agent: "
        assert ask(served, half, two, answers=2) == [b"HTTP/1.1 200 OK"] * 2  # the first half hides a request
        assert ask(served, two, answers=2) == [b"HTTP/1.1 200 OK"] * 2
        body = put("/log", get("/k"))
        begun = b"POST /v1/get?unknown=1 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body)
        ask(served, begun, body, answers=1)
        assert ask(served, body, answers=1) == [b"HTTP/1.1 201 Created"]


def test_what_stands_behind_an_upgrade_is_the_next_request(tmp_path: Path) -> None:
    upgrade = get("/k", "Connection: Upgrade", "Upgrade: h2c")
    hidden = request("DELETE", "/k")
    with serve(tmp_path) as served:
        conversation(served, [put("/k", b"v")], pipelined=False)
        assert ask(served, upgrade + get("/k"), answers=2) == [b"HTTP/1.1 200 OK"] * 2
        whole = put("/notes", hidden)
        head = whole.removesuffix(hidden)
        assert ask(served, upgrade + head, hidden, answers=2) == [b"HTTP/1.1 200 OK", b"HTTP/1.1 201 Created"]
        assert served.ledger.get("notes") == hidden
        assert served.ledger.get("k") == b"v"


def is_cut(connection: socket.socket) -> bool:
    """Waits until the server has ended the connection."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


BROKEN = chunked("/broken", b"a").removesuffix(b"0\r\n\r\n") + b"no size\r\n"


@pytest.mark.parametrize("before", [[], [put("/k", b"v")], [get("/docs")], [get("/docs"), get("/ready")]], ids=len)
def test_a_body_that_cannot_be_read_is_refused_and_costs_the_connection(tmp_path: Path, before: list[bytes]) -> None:
    """What came before it is answered, nobody waits for its end, and nothing of it is stored."""
    with serve(tmp_path / "data") as served, socket.create_connection((served.host, served.port), timeout=20) as client:
        client.sendall(b"".join(before) + BROKEN)
        with client.makefile("rb") as answers:
            got = answers.read()
        assert got.count(b"HTTP/1.1 ") == len(before) + 1
        assert b"the request is not valid HTTP" in got
        while served.connections():
            pass
        assert served.ledger.entry("broken") is None


def test_a_body_that_breaks_off_while_it_is_awaited_is_refused(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served, socket.create_connection((served.host, served.port), timeout=20) as client:
        client.sendall(BROKEN[:-9])
        served.settle()
        client.sendall(BROKEN[-9:])
        with client.makefile("rb") as answers:
            assert answers.read().startswith(b"HTTP/1.1 400")


def test_what_is_refused_unread_is_in_the_books_once(tmp_path: Path) -> None:
    coded = request("PUT", "/k", "Transfer-Encoding: gzip, chunked", length=False) + b"0\r\n\r\n"
    cases = [
        (b"this is not HTTP\r\n\r\n", "-", b"-", 400),
        (request("BREW", "/k"), "-", b"-", 405),
        (coded, "PUT", b"/k", 400),
        (BROKEN, "PUT", b"/broken", 400),
        (get("/k#1"), "GET", b"/k#1", 400),
    ]
    access = MagicMock()
    with serve(tmp_path) as served:
        served.service.access = served.server.config.http.shared.access = access  # type: ignore[union-attr]
        for sent, *_ in cases:
            conversation(served, [sent], pipelined=False)
        served.call(lambda: None)  # what was answered is noted by then
        metrics = served.service.metrics
    assert [call.args[:3] for call in access.note.call_args_list] == [tuple(expected) for _, *expected in cases]
    books = metrics.requests.items()
    counted = {(method, status): stats.count for (method, route, status), stats in books if stats.count}
    assert counted == {("-", 400): 1, ("-", 405): 1, ("PUT", 400): 2, ("GET", 400): 1}
    assert metrics.errors == {"invalid": 4, "method": 1}


def test_a_body_of_another_coding_is_not_that_of_the_request_before(tmp_path: Path) -> None:
    coded = request("PUT", "/k", "Transfer-Encoding: gzip, chunked", length=False) + b"5\r\nother\r\n0\r\n\r\n"
    with serve(tmp_path) as served:
        answers = conversation(
            served, [put("/first", b"value", "X-Scribe-Meta-A: b"), coded], pipelined=True, last=True
        )
        assert [answer[9:12] for answer in answers] == [b"201", b"400"]
        assert served.ledger.get("first") == b"value"


@pytest.mark.parametrize("sent", [put("/k", b"v"), get("/nobody"), get("/docs")], ids=["writes", "misses", "pages"])
def test_of_a_pipeline_that_is_too_long_as_much_is_answered_as_was_taken(tmp_path: Path, sent: bytes) -> None:
    beyond = sent * (MAX_PIPELINED + 2)
    with serve(tmp_path) as served, socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(beyond)
        with connection.makefile("rb") as incoming:
            answers = [read_answer(incoming, head=False) for _ in range(MAX_PIPELINED + 1)]
            assert incoming.read() == b""
        assert [b"connection: close" in answer for answer in answers] == [False] * MAX_PIPELINED + [True]
        assert len({answer[9:12] for answer in answers[1:]}) == 1
        assert conversation(served, [sent] * (MAX_PIPELINED + 1), pipelined=True)


def test_what_follows_a_pipeline_that_is_too_long_is_thrown_away(tmp_path: Path) -> None:
    """However much it is, however long the answers take, and whatever is behind."""
    with serve(tmp_path) as served, socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(get("/v1/watch") + get("/k?as_of=0") * (MAX_PIPELINED + 2))
        with connection.makefile("rb") as incoming:
            while not incoming.readline().startswith(b": the log"):
                pass
            connection.sendall(get("/k") * 10_000 + b"this is not HTTP")
            served.sweep(2 * BODY_SECONDS)
            conversation(served, [put("/k", b"v")], pipelined=False)
            while not incoming.readline().startswith(b"data:"):
                pass
        assert served.call(lambda: len(served._connections()[0].pipeline)) == MAX_PIPELINED


LARGE = bytes(8 << 20)
HALF_CLOSED = [
    [put("/k", b"v")],
    [put("/k?dedupe=false", b"v")],
    [put("/k", b"x" * 300_000)],
    [get("/before")],
    [get("/nobody")],
    [get("/before?proof=true")],
    [get("/v1/stats")],
    [get("/v1/kv")],
    [get("/large")],
    [request("DELETE", "/before")],
    [put("/a", b"v"), put("/b", b"v"), get("/docs"), get("/b")],
    [put("/k", b"v")] * (MAX_PIPELINED + 1),
]


def test_a_client_that_sends_no_more_is_answered(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        conversation(served, [put("/before", b"v")], pipelined=False)
        served.ledger.put_stream("large", [LARGE])
        for requests in HALF_CLOSED:
            with socket.create_connection((served.host, served.port), timeout=20) as connection:
                connection.sendall(b"".join(requests))
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as incoming:
                    got = incoming.read()
            assert got.count(b"HTTP/1.1 ") == len(requests), requests[0]
            if requests == [get("/large")]:
                assert got.endswith(LARGE)
        while served.connections():
            pass


@pytest.mark.parametrize("begun", [b"", put("/k", b"value")[:-2], get("/k")[:-2]], ids=["idle", "body", "head"])
def test_a_client_that_sends_no_more_before_its_request_is_whole_is_gone(tmp_path: Path, begun: bytes) -> None:
    with serve(tmp_path) as served, socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(begun)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
        assert served.ledger.size == 0


@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_sends_no_more_and_leaves_its_answer_is_missed(tmp_path: Path, reads: bool) -> None:
    with serve(tmp_path) as served:
        served.ledger.put_stream("large", [bytes(1 << 20)] * 64)
        with socket.create_connection((served.host, served.port), timeout=20) as connection:
            connection.sendall(get("/large"))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000)
            if not reads:
                served.settle(full=True)
                served.sweep(SLOW_SECONDS + 2)
                assert served.connections() == 0
        while served.connections() or served.call(lambda: len(served.server.server_state.tasks)):
            pass


def test_a_client_that_leaves_its_pipeline_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, left = threading.Event(), threading.Event()

    def find_nothing(key: bytes, **_: object) -> None:
        if key == b"b":
            asked.set()
            assert left.wait(20)

    with serve(tmp_path) as served:
        monkeypatch.setattr(served.ledger, "entry", find_nothing)
        with socket.create_connection((served.host, served.port), timeout=20) as connection:
            connection.sendall(get("/a") + get("/b") + get("/c"))  # after the first, the node looks who is there
            assert asked.wait(20)
        while served.connections():
            pass
        left.set()
        while served.call(lambda: len(served.server.server_state.tasks)):
            pass
        gc.collect()  # tells of a task that failed
    assert not caplog.records


def test_a_watcher_that_leaves_its_pipeline_is_missed_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve(tmp_path) as served:
        with socket.create_connection((served.host, served.port), timeout=20) as connection:
            connection.sendall(get("/v1/watch") + get("/k"))
            assert connection.recv(4096)
        end = time.monotonic() + 10
        while served.service.watchers:
            assert time.monotonic() < end
    assert not caplog.records


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity"])
def test_other_codings_of_a_body_are_refused(tmp_path: Path, coding: str) -> None:
    sent = request("PUT", "/k", f"Transfer-Encoding: {coding}", length=False) + b"1\r\nv\r\n0\r\n\r\n"
    with serve(tmp_path) as served:
        (answer,) = conversation(served, [sent], pipelined=False, last=True)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert served.ledger.size == 0


@pytest.mark.parametrize(
    ("begun", "limit"),
    [
        (b"GET /k HTTP/1.1\r\nHost:", HEADER_SECONDS),
        (b"PUT /k HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", BODY_SECONDS),
    ],
    ids=["head", "body"],
)
def test_a_request_that_does_not_go_on_is_given_up(tmp_path: Path, begun: bytes, limit: int) -> None:
    with serve(tmp_path) as served, socket.create_connection((served.host, served.port), timeout=20) as connection:
        connection.sendall(begun)
        served.settle()
        served.sweep(limit)
        assert served.connections() == 1
        served.sweep(1)
        assert is_cut(connection)
        assert served.connections() == 0


def test_a_reader_that_takes_nothing_is_given_up(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        served.ledger.put_stream("large", [bytes(1 << 20)] * 32)
        with socket.create_connection((served.host, served.port), timeout=20) as connection:
            connection.sendall(get("/large"))
            served.settle(full=True)
            served.sweep(SLOW_SECONDS)
            assert served.connections() == 1
            served.sweep(2)
            assert served.connections() == 0


@pytest.mark.parametrize("lane", [True, False])
def test_a_small_value_above_inline_max_is_kept_apart(tmp_path: Path, lane: bool) -> None:
    with serve(tmp_path, lane=lane, settings={"storage.inline_max": 100}) as served:
        written = ask(served, put("/at", bytes(100)), put("/above", bytes(101)), answers=2)
        assert [line.split()[1] for line in written] == [b"201", b"201"]
        assert served.ledger.stats()["storage_bytes"]["blobs"] == 101

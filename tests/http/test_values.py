"""One key: writes and reads of it, byte for byte, and each way in which they are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from typing import TYPE_CHECKING

import pytest
from tests.http.asking import Answer, ask, get, put
from tests.http.serving import Served, serve
from tests.ledger.opening import START, Clock

from scribe_ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.http

INLINE_MAX = 256 << 10
AT = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("values") / "data", clock=Clock(START)) as running:
        put(running, "/zero")  # so that no index or size in a test is 0 by chance
        yield running


# --- writing ---------------------------------------------------------------------------------------------------


def test_a_put_answers_with_its_receipt(served: Served) -> None:
    answer = put(served, "/receipt", b"v")
    assert answer.status == 201
    receipt = answer.json
    entry = served.ledger.entry("receipt")
    assert entry is not None
    assert receipt == {
        "key": "receipt",
        "index": entry.index,
        "version": 1,
        "timestamp": START,
        "sha256": hashlib.sha256(b"v").hexdigest(),
        "leaf_hash": entry.leaf_hash.hex(),
        "created": True,
    }
    assert answer.headers["etag"] == f'"{entry.index}"'
    assert answer.headers["x-scribe-index"] == str(entry.index)
    assert answer.headers["x-scribe-version"] == "1"
    assert answer.headers["x-scribe-timestamp"] == str(START)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "key", ["json%22%5C", "line%0A", "%00", "%7F", "%FF", "%C3%A4", "%E2%80%A8", "a%20b", "/", "//"]
)
def test_a_receipt_names_any_key_in_valid_json(served: Served, key: str) -> None:
    receipt = put(served, f"/v1/kv/names/{key}").json
    entry = served.ledger.entry_at(receipt["index"])
    named = receipt["key"].encode() if "key" in receipt else base64.b64decode(receipt["key_base64"])
    assert named == entry.key


def test_the_same_content_again_appends_nothing(served: Served) -> None:
    first = put(served, "/same", b"v", content_type="a/b")
    again = put(served, "/same", b"v", content_type="a/b")
    assert (again.status, again.json) == (200, first.json | {"created": False})
    assert put(served, "/same?dedupe=false", b"v", content_type="a/b").status == 201
    assert put(served, "/same", b"v").status == 201  # another content type is other content
    assert put(served, "/same", b"v", x_scribe_meta_a="1").status == 201


def test_a_retry_with_its_request_id_gets_the_first_receipt(served: Served) -> None:
    first = put(served, "/retry", b"1", idempotency_key="abc")
    put(served, "/retry", b"2")
    again = put(served, "/retry", b"1", idempotency_key="abc")
    assert (again.status, again.json) == (200, first.json | {"created": False})
    other = ask(served, "PUT", "/retry", b"3", {"Idempotency-Key": "abc"})
    assert (other.status, other.error["kind"]) == (409, "conflict")


def test_a_delete_is_a_tombstone(served: Served) -> None:
    put(served, "/deleted", b"v")
    answer = ask(served, "DELETE", "/deleted")
    assert (answer.status, answer.json["version"]) == (200, 2)
    gone = get(served, "/deleted")
    assert (gone.status, gone.error["kind"]) == (404, "not_found")
    assert gone.headers["x-scribe-index"] == str(answer.json["index"])
    assert gone.headers["cache-control"] == "no-store"
    assert get(served, "/deleted?version=1").body == b"v"
    assert get(served, "/deleted?version=2").status == 404
    assert ask(served, "DELETE", "/deleted").error["kind"] == "not_found"
    assert ask(served, "DELETE", "/never-there").status == 404


@pytest.mark.parametrize("path", ["/retry-delete", "/v1/kv/retry-delete-too"])
def test_a_delete_may_be_retried(served: Served, path: str) -> None:
    put(served, path)
    first = ask(served, "DELETE", path, headers={"Idempotency-Key": "d"})
    again = ask(served, "DELETE", path, headers={"Idempotency-Key": "d"})
    assert (first.status, again.status) == (200, 200)
    assert again.json == first.json | {"created": False}


@pytest.mark.parametrize(
    ("target", "headers", "status", "kind"),
    [
        ("/v1/kv/", {}, 400, "invalid"),
        ("/" + "k" * 4097, {}, 413, "too_large"),
        ("/bad?dedupe=perhaps", {}, 400, "invalid"),
        ("/bad?if_version=x", {}, 400, "invalid"),
        ("/bad?version=1", {}, 400, "invalid"),
        ("/bad", {"X-Scribe-Meta-a": "\xff"}, 400, "invalid"),
        ("/bad", {"X-Scribe-Meta-": "nameless"}, 400, "invalid"),
        ("/bad", {"X-Scribe-Meta-" + "n" * 129: "v"}, 400, "invalid"),
        ("/bad", {"X-Scribe-Meta-a": "v" * 9000}, 413, "too_large"),
        ("/bad", {"Content-Type": "t/" + "x" * 300}, 413, "too_large"),
        ("/bad", {"Content-Type": "t\xff"}, 400, "invalid"),
        ("/bad", {"Content-Type": "text/plain; x=\xc3\xa4"}, 400, "invalid"),
        ("/bad", {"Idempotency-Key": ""}, 400, "invalid"),
    ],
)
def test_a_put_that_cannot_be_is_refused_and_writes_nothing(
    served: Served, target: str, headers: dict[str, str], status: int, kind: str
) -> None:
    size = served.ledger.size
    answer = ask(served, "PUT", target, b"v", headers)
    assert answer.error["kind"] in {kind, "invalid"}
    assert answer.status == {"invalid": 400, "too_large": 413}[answer.error["kind"]]
    assert (answer.status, answer.error["kind"]) == (status, kind)
    assert served.ledger.size == size


def test_a_metadata_name_twice_is_refused(served: Served) -> None:
    head = b"PUT /twice HTTP/1.1\r\nhost: h\r\nx-scribe-meta-a: 1\r\nX-Scribe-Meta-A: 2\r\ncontent-length: 1\r\n\r\nv"
    assert b" 400 " in talk(served, head).partition(b"\r\n")[0]


# --- reading ---------------------------------------------------------------------------------------------------


def test_a_value_comes_back_with_all_that_was_put(served: Served) -> None:
    value = bytes(range(256))
    index = put(
        served, "/all", value, content_type="image/x; a=b", x_scribe_meta_team="red", x_scribe_meta_note="\xc3\xa4"
    ).json["index"]
    answer = get(served, "/all")
    assert (answer.status, answer.body) == (200, value)
    digest = base64.b64encode(hashlib.sha256(value).digest()).decode()
    expected = {
        "content-type": "image/x; a=b",
        "content-length": "256",
        "etag": f'"{index}"',
        "last-modified": AT,
        "repr-digest": f"sha-256=:{digest}:",
        "x-scribe-index": str(index),
        "x-scribe-version": "1",
        "x-scribe-timestamp": str(START),
        "x-scribe-meta-team": "red",
        "x-scribe-meta-note": "\xc3\xa4",
        "accept-ranges": "bytes",
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    assert {name: answer.headers[name] for name in expected} == expected


def test_a_value_without_a_type_is_bytes(served: Served) -> None:
    put(served, "/typeless", b"<script>")
    assert get(served, "/typeless").headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "text", [" blank at the ends ", "ä ö", "plain", "=", "=?utf-8?b?IHkg?=", "=?utf-8?b?", "a =?b"]
)
def test_metadata_of_the_library_travels_in_a_header(served: Served, text: str) -> None:
    from email.header import decode_header, make_header

    served.ledger.put("described", b"v", metadata={"note": text}, dedupe=False)
    sent = get(served, "/described").headers["x-scribe-meta-note"]
    plain = sent.encode("latin-1").decode()
    assert text == (str(make_header(decode_header(sent))) if sent.startswith("=?") else plain)


@pytest.mark.parametrize("size", [0, 1, INLINE_MAX, INLINE_MAX + 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_value_of_any_size_comes_back_byte_for_byte(served: Served, size: int) -> None:
    value = hashlib.shake_128(b"%d" % size).digest(size)
    receipt = put(served, f"/size/{size}", value).json
    assert receipt["sha256"] == hashlib.sha256(value).hexdigest()
    answer = get(served, f"/size/{size}")
    assert (answer.status, answer.body) == (200, value)
    assert answer.headers["content-length"] == str(size)
    head = ask(served, "HEAD", f"/size/{size}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(size)
    assert head.headers["repr-digest"] == answer.headers["repr-digest"]
    assert put(served, f"/size/{size}", value).status == 200


def test_versions_indexes_and_moments_can_be_read(served: Served) -> None:
    receipts = [put(served, "/past", value).json for value in (b"1", b"2", b"3")]
    put(served, "/past-other")
    for number, receipt in enumerate(receipts, 1):
        value = b"%d" % number
        assert get(served, f"/past?version={number}").body == value
        assert get(served, f"/past?index={receipt['index']}").body == value
        assert get(served, f"/past?as_of={receipt['index'] + 1}").body == value
    assert get(served, f"/past?version=1&as_of={receipts[0]['index'] + 1}").body == b"1"


@pytest.mark.parametrize(
    ("query", "status", "kind"),
    [
        ("version=9", 404, "not_found"),
        ("version=0", 400, "invalid"),
        ("index=0", 404, "not_found"),
        ("index=99999999", 404, "not_found"),
        ("index=18446744073709551615", 404, "not_found"),
        ("as_of=0", 404, "not_found"),
        ("as_of=99999999", 400, "invalid"),
        ("as_of=18446744073709551615", 400, "invalid"),
        ("index=1&version=1", 400, "invalid"),
        ("index=1&as_of=1", 400, "invalid"),
        ("version=2&as_of=2", 404, "not_found"),
        ("consistency=never", 400, "invalid"),
        ("as_off=1", 400, "invalid"),
    ],
)
def test_what_a_key_never_was_is_not_read(served: Served, query: str, status: int, kind: str) -> None:
    put(served, "/asked")
    for method in ("GET", "HEAD"):
        answer = ask(served, method, f"/asked?{query}")
        assert answer.status == status
    assert get(served, f"/asked?{query}").error["kind"] == kind


def test_a_key_that_is_not_where_it_was_asked_for_is_not_said_to_be_nowhere(served: Served) -> None:
    index = put(served, "/late").json["index"]
    put(served, "/other")
    for asked in ("/late?{}", "/late?proof=true&{}"):
        for other in (index + 1, 99_999_999):
            message = get(served, asked.format(f"index={other}")).error["message"]
            assert message == f"entry {other} is not of key 'late'"
        message = get(served, asked.format(f"as_of={index}")).error["message"]
        assert message == f"there is no key 'late' at size {index}"
    message = get(served, f"/v1/history/late?as_of={index}").error["message"]
    assert message == f"there is no key 'late' at size {index}"


@pytest.mark.parametrize("consistency", ["linearizable", "stale"])
def test_both_consistencies_read_what_was_written(served: Served, consistency: str) -> None:
    put(served, "/consistent", consistency.encode())
    assert get(served, f"/consistent?consistency={consistency}").body == consistency.encode()


def test_an_empty_key_is_no_way_to_an_entry_without_a_key(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        served.ledger.configure(deletes="forbid")  # an entry whose key is empty
        answer = get(served, "/v1/kv/?index=0")
        assert (answer.status, answer.error["kind"]) == (400, "invalid")


def test_after_waits_for_the_entry_it_names(tmp_path: Path) -> None:
    import threading

    with serve(tmp_path / "data") as served:
        put(served, "/a", b"old")
        found: list[Answer] = []
        reader = threading.Thread(target=lambda: found.append(get(served, "/a?after=1")))
        reader.start()
        reader.join(0.05)
        assert not found
        served.ledger.put("a", b"new")
        reader.join(10)
        assert found[0].body == b"new"


def test_after_gives_up_at_the_deadline(tmp_path: Path) -> None:
    with serve(tmp_path / "data", settings={"api.read_timeout_secs": 1}) as served:
        put(served, "/a")
        answer = get(served, "/a?after=5")
        assert (answer.status, answer.error["kind"]) == (503, "unavailable")
        assert answer.headers["retry-after"]


# --- bodies ----------------------------------------------------------------------------------------------------


def talk(served: Served, *sent: bytes) -> bytes:
    """Everything that comes back until the server says no more, or has answered once."""
    with socket.create_connection((served.host, served.port), timeout=10) as connection:
        received = b""
        for piece in sent:
            connection.sendall(piece)
        while not is_whole(received):
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
        return received


def is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(separator) and length is not None and len(body) >= int(length[1])


def test_a_chunked_body_is_taken(served: Served) -> None:
    body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
    answer = talk(served, b"PUT /chunked HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert get(served, "/chunked").body == b"hello world"


def test_a_large_chunked_body_is_taken(served: Served) -> None:
    piece = bytes(range(256)) * 256
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    head = b"PUT /chunked-large HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    assert talk(served, head, *[chunk] * 40, b"0\r\n\r\n").startswith(b"HTTP/1.1 201 ")
    assert get(served, "/chunked-large").body == piece * 40


def test_expect_is_answered_before_the_body_is_sent(served: Served) -> None:
    with socket.create_connection((served.host, served.port), timeout=10) as connection:
        connection.sendall(b"PUT /expect HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    assert get(served, "/expect").body == b"body"


@pytest.mark.parametrize("condition", ['if-match: "0"', "if-none-match: *"])
def test_a_condition_that_fails_is_answered_before_the_body_is_sent(served: Served, condition: str) -> None:
    put(served, "/expected", b"1")
    put(served, "/expected", b"2")
    with socket.create_connection((served.host, served.port), timeout=10) as connection, connection.makefile() as lines:
        head = f"PUT /expected HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\nexpect: 100-continue\r\n{condition}\r\n\r\n"
        connection.sendall(head.encode())
        answer = lines.read()  # to the end: where the body would come, nothing else can be told from it
    assert answer.startswith("HTTP/1.1 412 ")
    assert "connection: close\n" in answer


def test_a_retry_that_expects_leave_gets_its_receipt(served: Served) -> None:
    put(served, "/once", b"body", If_None_Match="*", Idempotency_Key="one")
    again = put(served, "/once", b"body", If_None_Match="*", Idempotency_Key="one", Expect="100-continue")
    assert (again.status, again.json["created"]) == (200, False)


# --- what a client says of its value ---------------------------------------------------------------------------


def digest_of(value: bytes) -> str:
    return base64.b64encode(hashlib.sha256(value).digest()).decode()


@pytest.mark.parametrize("value", [b"v", b"v" * 400_000], ids=["small", "large"])
@pytest.mark.parametrize("field", ["Repr-Digest", "Content-Digest"])
def test_a_value_must_have_the_digest_that_its_client_names(tmp_path: Path, value: bytes, field: str) -> None:
    with serve(tmp_path / "data") as served:
        wrong = ask(served, "PUT", "/k", value, {field: f"sha-512=:AAAA:, sha-256=:{digest_of(b'other')}:"})
        assert (wrong.status, wrong.error["kind"]) == (400, "invalid")
        assert field in wrong.error["message"] and digest_of(value) in wrong.error["message"]
        assert served.ledger.size == 0
        assert [path for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file()] == []
        assert list((tmp_path / "data" / "spool").iterdir()) == []
        right = ask(served, "PUT", "/k", value, {field: f"sha-256=:{digest_of(value)}:;x=1, md5=:AAAA:"})
        assert right.status == 201
        assert get(served, "/k").headers["repr-digest"] == f"sha-256=:{digest_of(value)}:"


@pytest.mark.parametrize("field", ["md5=:AAAA:", "xsha-256=:AAAA:", "sha-512=:AAAA:", ""])
def test_digests_of_other_algorithms_are_ignored(served: Served, field: str) -> None:
    assert ask(served, "PUT", "/unchecked", b"v", {"Repr-Digest": field}).status in {200, 201}


@pytest.mark.parametrize("field", ["sha-256=abc", "sha-256=:AAAA:", "sha-256=", f"sha-256={'A' * 43}="])
def test_a_digest_that_is_none_is_refused(served: Served, field: str) -> None:
    answer = ask(served, "PUT", "/unchecked", b"v", {"Repr-Digest": field})
    assert answer.status == 400 and "Repr-Digest" in answer.error["message"]


@pytest.mark.parametrize(
    ("header", "value"), [("Content-Range", "bytes 0-0/1"), ("Content-Encoding", "gzip"), ("Content-Encoding", "br, x")]
)
def test_what_a_put_would_not_give_back_is_refused(served: Served, header: str, value: str) -> None:
    answer = ask(served, "PUT", "/not-whole", b"v", {header: value})
    assert answer.status == 400 and header in answer.error["message"]
    assert get(served, "/not-whole").status == 404


def test_a_body_as_it_is_may_say_so(served: Served) -> None:
    assert ask(served, "PUT", "/identity", b"v", {"Content-Encoding": "identity"}).status == 201


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "x"}, {"X-Scribe-Meta-a": "b"}])
def test_a_body_over_the_limit_is_refused_before_it_is_read(tmp_path: Path, headers: dict[str, str]) -> None:
    with serve(tmp_path / "data", settings={"api.max_value_size": 1000}) as served:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        answer = talk(served, f"PUT /k HTTP/1.1\r\nhost: h\r\n{lines}content-length: 1001\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 413 ")
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert (error["kind"], error["hint"]) == ("too_large", "send less, or raise [api] max_value_size")
        assert put(served, "/k", bytes(1000), **{name.replace("-", "_"): text for name, text in headers.items()})
        chunked = b"PUT /c HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" + bytes(1001) + b"\r\n"
        assert talk(served, chunked).startswith(b"HTTP/1.1 413 ")
        assert served.ledger.size == 1


@pytest.mark.parametrize("length", [100, 400_000, 5_000_000])
def test_a_client_that_leaves_half_way_leaves_nothing_behind(tmp_path: Path, length: int) -> None:
    with serve(tmp_path / "data") as served:
        with socket.create_connection((served.host, served.port), timeout=10) as connection:
            connection.sendall(b"PUT /half HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % length)
            connection.sendall(bytes(length // 2))
        put(served, "/next")  # goes on
        assert served.ledger.size == 1
        assert get(served, "/half").status == 404
    assert list((tmp_path / "data" / "spool").iterdir()) == []
    assert [path for path in (tmp_path / "data" / "objects").rglob("*") if path.is_file()] == []


def test_a_restart_serves_what_was_answered(tmp_path: Path) -> None:
    large = bytes(300_000)
    with serve(tmp_path / "data") as served:
        put(served, "/small", b"v")
        put(served, "/large", large)
    with serve(tmp_path / "data") as served:
        assert get(served, "/small").body == b"v"
        assert get(served, "/large").body == large
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.verify().problems == []


# --- damage ----------------------------------------------------------------------------------------------------


def test_a_large_value_that_was_damaged_is_never_sent_whole(tmp_path: Path) -> None:
    value = hashlib.shake_128(b"x").digest(3 << 20)
    with serve(tmp_path / "data") as served:
        put(served, "/damaged", value)
        (blob,) = (path for path in (tmp_path / "data" / "objects").rglob("*") if path.stat().st_size >= 3 << 20)
        with blob.open("r+b") as file:
            file.seek((2 << 20) + 5)
            file.write(b"\0\1\2\3")
        received = talk(served, b"GET /damaged HTTP/1.1\r\nhost: h\r\n\r\n")
        assert len(received.partition(b"\r\n\r\n")[2]) < len(value)
        assert get(served, "/v1/key").status == 200


def test_every_answer_has_a_request_id_and_takes_the_clients(served: Served) -> None:
    asked: list[Callable[[dict[str, str]], Answer]] = [
        lambda headers: ask(served, "PUT", "/ids", b"v", headers),
        lambda headers: ask(served, "GET", "/ids", headers=headers),
        lambda headers: ask(served, "GET", "/ids?version=1", headers=headers),
        lambda headers: ask(served, "GET", "/no-such-key", headers=headers),
        lambda headers: ask(served, "POST", "/ids", headers=headers),
    ]
    for act in asked:
        assert act({"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
        made = {act({}).headers["x-request-id"] for _ in range(3)}
        assert len(made) == 3
        assert act({"X-Request-Id": "not one"}).headers["x-request-id"] != "not one"

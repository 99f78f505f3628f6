"""Batches over HTTP: all or nothing, a receipt for each operation, and retries that are told what was done."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.http.asking import Answer, ask, get, put
from tests.http.serving import Served, serve
from tests.ledger.opening import START, Clock

from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.http


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "data", clock=Clock(START)) as running:
        put(running, "/zero")
        yield running


def post(served: Served, *operations: Any, **headers: str) -> Answer:
    return send(served, {"operations": operations}, **headers)


def send(served: Served, document: Any, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(served, "POST", "/v1/batch", body, names)


def put_of(key: str, value: str, **options: Any) -> dict[str, Any]:
    return {"op": "put", "key": key, "value": value, **options}


# --- what is written -------------------------------------------------------------------------------------------


def test_a_batch_answers_with_a_receipt_for_each_operation(served: Served) -> None:
    put(served, "/gone")
    answer = post(
        served,
        put_of("a", "1", content_type="text/plain", metadata={"team": "red"}),
        {"op": "put", "key_base64": "/w==", "value_base64": "AAE="},
        {"op": "delete", "key": "gone", "metadata": {"why": "asked to"}},
    )
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    entries = [*served.ledger.log(2)]
    assert [entry.index for entry in entries] == [2, 3, 4]
    keys: list[dict[str, str]] = [{"key": "a"}, {"key_base64": "/w=="}, {"key": "gone"}]
    assert answer.json == {
        "receipts": [
            {
                **key,
                "index": entry.index,
                "version": entry.version,
                "timestamp": START,
                "sha256": entry.sha256.hex(),
                "leaf_hash": entry.leaf_hash.hex(),
                "created": True,
            }
            for key, entry in zip(keys, entries, strict=True)
        ]
    }
    assert entries[0].content_type == "text/plain" and entries[0].metadata == {"team": "red"}
    assert get(served, "/a").body == b"1"
    assert get(served, "/%FF").body == b"\x00\x01"
    assert get(served, "/gone").status == 404


def test_the_same_key_twice_is_two_versions(served: Served) -> None:
    receipts = post(served, put_of("k", "1"), put_of("k", "2"), {"op": "delete", "key": "k"}).json["receipts"]
    assert [receipt["version"] for receipt in receipts] == [1, 2, 3]
    assert get(served, "/k?version=1").body == b"1"
    assert get(served, "/k").status == 404


def test_the_same_content_appends_nothing(served: Served) -> None:
    first = post(served, put_of("a", "1"), put_of("b", "1"))
    again = post(served, put_of("a", "1"), put_of("b", "1"))
    assert (first.status, again.status) == (201, 200)
    assert again.json["receipts"] == [{**receipt, "created": False} for receipt in first.json["receipts"]]
    mixed = post(served, put_of("a", "1"), put_of("b", "2"), put_of("b", "2"))
    assert mixed.status == 201
    assert [receipt["created"] for receipt in mixed.json["receipts"]] == [False, True, False]
    assert post(served, put_of("a", "1", dedupe=False)).json["receipts"][0]["version"] == 2


@pytest.mark.no_cover
def test_a_batch_is_seen_wholly_or_not_at_all(served: Served) -> None:
    stop = threading.Event()
    torn: list[Any] = []

    def look() -> None:
        while not stop.is_set():
            body = json.dumps({"keys": [f"k{number}" for number in range(20)]}).encode()
            entries = ask(served, "POST", "/v1/get", body).json["entries"]
            if len({None if entry is None else entry["version"] for entry in entries}) > 1:
                torn.append(entries)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(60):
            assert post(served, *(put_of(f"k{number}", f"{turn}") for number in range(20))).status == 201
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not torn


def test_large_values_are_kept_as_blobs(served: Served) -> None:
    large = bytes(range(256)) * 2000
    encoded = base64.b64encode(large).decode()
    receipts = post(served, put_of("small", "1"), {"op": "put", "key": "large", "value_base64": encoded}).json
    assert receipts["receipts"][1]["sha256"] == hashlib.sha256(large).hexdigest()
    entry = served.ledger.entry("large")
    assert entry is not None and any(entry.chunk_root)
    assert get(served, "/large").body == large
    assert get(served, "/small").body == b"1"


# --- retries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
def test_a_retry_gets_the_first_receipts(served: Served, plain: bool) -> None:
    def operation(key: str, value: str) -> dict[str, Any]:
        return {"op": "put", "key": key, "value_base64": f"{value}Q=="} if plain else put_of(key, value)

    operations = [operation("a", "M"), operation("b", "M"), operation("a", "N")]
    first = post(served, *operations, idempotency_key="one")
    post(served, put_of("a", "2"), put_of("b", "2"), put_of("c", "2"))
    size = served.ledger.size
    again = post(served, *operations, idempotency_key="one")
    assert (first.status, again.status) == (201, 200)
    assert [{**receipt, "created": False} for receipt in first.json["receipts"]] == again.json["receipts"]
    assert served.ledger.size == size
    assert post(served, *operations, idempotency_key="two").status == 201


def test_operation_i_has_the_request_id_with_its_number(served: Served) -> None:
    first = post(served, put_of("a", "1"), put_of("b", "1", request_id="own"), idempotency_key="K").json["receipts"]
    post(served, put_of("a", "2"), put_of("b", "2"))
    assert put(served, "/a", b"1", idempotency_key="K/0").json == {**first[0], "created": False}
    assert put(served, "/b", b"1", idempotency_key="own").json == {**first[1], "created": False}
    assert put(served, "/b", b"1", idempotency_key="K/1").json["created"]


def test_another_batch_with_the_same_key_is_a_conflict(served: Served) -> None:
    post(served, put_of("a", "1"), put_of("b", "1"), idempotency_key="K")
    size = served.ledger.size
    answer = post(served, put_of("new", "1"), put_of("b", "other"), idempotency_key="K")
    assert (answer.status, answer.error["kind"], answer.error["operation"]) == (409, "conflict", 1)
    assert served.ledger.size == size


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "\xff"])
def test_an_idempotency_key_that_is_none_is_refused(served: Served, key: str) -> None:
    answer = post(served, put_of("a", "1"), idempotency_key=key)
    assert (answer.status, answer.error["kind"]) == (400, "invalid")
    assert served.ledger.size == 1


# --- refusals --------------------------------------------------------------------------------------------------

REFUSED = [
    (put_of("zero", "2", if_absent=True), 412, "precondition"),
    (put_of("zero", "2", if_version=2), 412, "precondition"),
    (put_of("zero", "2", if_index=5), 412, "precondition"),
    ({"op": "delete", "key": "zero", "if_version": 0}, 412, "precondition"),
    ({"op": "delete", "key": "never"}, 404, "not_found"),
    (put_of("", "1"), 400, "invalid"),
    (put_of("k" * 4097, "1"), 413, "too_large"),
    (put_of("b", "1", metadata={"a": "x" * 8193}), 413, "too_large"),
    ({"op": "put", "key": "b", "value_base64": "?"}, 400, "invalid"),
    ({"op": "move", "key": "b"}, 400, "invalid"),
    (17, 400, "invalid"),
]


@pytest.mark.parametrize(("refused", "status", "kind"), REFUSED)
def test_a_refused_operation_refuses_the_batch_and_is_named(
    served: Served, refused: Any, status: int, kind: str
) -> None:
    before = served.ledger.checkpoint()
    answer = post(served, put_of("a", "1"), put_of("a", "2"), refused, put_of("c", "1"))
    assert (answer.status, answer.error["kind"], answer.error["operation"]) == (status, kind, 2)
    alone = post(served, refused)
    assert (alone.status, alone.error["kind"], alone.error["operation"]) == (status, kind, 0)
    assert served.ledger.checkpoint() == before
    assert get(served, "/a").status == 404


def test_conditions_hold_against_what_the_batch_did_before(served: Served) -> None:
    done = post(served, put_of("k", "1", if_absent=True), put_of("k", "2", if_version=1), put_of("k", "3", if_index=2))
    assert [receipt["version"] for receipt in done.json["receipts"]] == [1, 2, 3]
    refused = post(served, {"op": "delete", "key": "k"}, put_of("k", "4", if_version=3))
    assert (refused.status, refused.error["operation"]) == (412, 1)
    assert get(served, "/k").body == b"3"


@pytest.mark.parametrize(
    "document",
    [
        *({}, {"operations": None}, {"operations": {}}, {"operations": []}, {"operations": "x"}, [], None, 7, "text"),
        *({"operations": [put_of("a", "1")], "atomic": True}, {"Operations": [put_of("a", "1")]}),
        *(b"", b"{", b'{"operations": [}', b'{"operations": NaN}', b"\xff", b'{"a": "\xff"}', b'{"key": "\\ud800"}'),
        *(b"[" * 5000, b'{"operations":' + b"[" * 5000, b"\x00", b"{}{}", b"\xef\xbb\xbf{}"),
    ],
    ids=lambda document: repr(document)[:40],
)
def test_a_body_that_is_no_batch_is_refused(served: Served, document: Any) -> None:
    answer = send(served, document)
    assert (answer.status, answer.error["kind"]) == (400, "invalid")
    assert "operation" not in answer.error
    assert served.ledger.size == 1


def test_broken_json_is_told_where(served: Served) -> None:
    message = send(served, b'{"operations":\n  [nonsense]}').error["message"]
    assert "line 2, column 4" in message


# --- limits ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Served]:
    limits = {"api.max_batch_size": 3, "api.max_batch_bytes": 1000, "api.max_value_size": 900}
    with serve(tmp_path / "small", settings=limits) as running:
        yield running


def test_a_batch_has_a_limit_of_operations(small: Served) -> None:
    assert post(small, *[put_of(f"k{number}", "v") for number in range(3)]).status == 201
    answer = post(small, *[put_of(f"x{number}", "v") for number in range(4)])
    assert (answer.status, answer.error["kind"]) == (413, "too_large")
    assert "max_batch_size" in answer.error["hint"]
    assert small.ledger.size == 3


def test_a_batch_has_a_limit_of_bytes(small: Served) -> None:
    assert post(small, put_of("a", "v" * 499), put_of("b", "v" * 499)).status == 201
    answer = post(small, put_of("a", "w" * 499), put_of("b", "w" * 500))
    assert (answer.status, answer.error["kind"]) == (413, "too_large")
    assert "max_batch_bytes" in answer.error["hint"]
    assert post(small, put_of("a", "v" * 901)).error["operation"] == 0
    assert small.ledger.size == 2


def test_a_body_over_the_limit_is_refused_before_it_is_read(small: Served) -> None:
    with socket.create_connection((small.host, small.port), timeout=20) as connection:
        head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
        connection.sendall(head)  # and not one byte of the body
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_say_how_long_it_is_is_refused_when_it_is_too_long(small: Served) -> None:
    with socket.create_connection((small.host, small.port), timeout=20) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


JUNK = {"numbers": b"0,", "arrays": b"[],", "objects": b'{"":0},', "nested": b"[[[[],0],0],0],"}


@pytest.mark.parametrize("piece", JUNK.values(), ids=JUNK.keys())
@pytest.mark.parametrize(("target", "field"), [("/v1/batch", b"operations"), ("/v1/get", b"keys")])
def test_a_body_of_more_parts_than_it_can_need_is_not_read(
    served: Served, monkeypatch: pytest.MonkeyPatch, target: str, field: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(orjson, "loads", None)  # the parser would hold everybody up
    body = b'{"%b":[%b0]}' % (field, piece * (2_000_000 // len(piece)))
    answer = ask(served, "POST", target, body)
    assert (answer.status, answer.error["kind"]) == (413, "too_large")
    assert "parts" in answer.error["message"]


def test_separators_in_texts_are_no_parts(served: Served) -> None:
    text = '[{,"\\' * 100_000
    assert post(served, put_of("text", text), put_of("more", "\\")).status == 201
    assert get(served, "/text").body == text.encode()


def test_an_operation_may_have_as_much_metadata_as_an_entry(tmp_path: Path) -> None:
    metadata = {f"m{number:x}": "" for number in range(1000)}
    with serve(tmp_path / "data", settings={"api.max_batch_size": 1}) as served:
        assert post(served, put_of("rich", "v", metadata=metadata)).status == 201


def test_an_error_says_where_bytes_are_no_utf8(served: Served) -> None:
    answer = send(served, b'{"operations":\n  [{"op": "put", "key": "\xc3\xa9\xff"}]}')
    assert answer.status == 400
    assert "not UTF-8 at line 2, column 27" in answer.error["message"]


def test_the_largest_batch_that_fits_is_taken(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as served:
        value = base64.b64encode(b"v" * 410).decode()
        answer = post(served, *[{"op": "put", "key": f"k{n:08}", "value_base64": value} for n in range(10_000)])
        assert (answer.status, len(answer.json["receipts"])) == (201, 10_000)
        assert served.ledger.size == 10_000


def test_a_node_that_takes_no_writes_takes_no_batches(served: Served) -> None:
    served.service.writes_refused = Unavailable("the disk is full")
    answer = post(served, put_of("a", "1"))
    assert (answer.status, answer.error["kind"]) == (503, "unavailable")
    assert served.ledger.size == 1

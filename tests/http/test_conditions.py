"""Conditional requests and ranges over real sockets, case by case as RFC 9110 has them."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.http.asking import ask, get, put
from tests.http.serving import Served, serve
from tests.ledger.opening import START, Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.http

SECONDS = START // 1000
AT = formatdate(SECONDS, usegmt=True)
BEFORE = formatdate(SECONDS - 1, usegmt=True)
AFTER = formatdate(SECONDS + 1, usegmt=True)
VALUE = b"0123456789"
LARGE = bytes(range(256)) * 8192
"""Two chunks of a megabyte: a value that is streamed."""


class Known(NamedTuple):
    served: Served
    indexes: dict[str, int]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with serve(tmp_path_factory.mktemp("conditions") / "data", clock=Clock(START + 400)) as served:
        put(served, "/earlier")
        small, large, empty = put(served, "/k", VALUE), put(served, "/large", LARGE), put(served, "/empty", b"")
        yield Known(served, {"k": small.json["index"], "large": large.json["index"], "empty": empty.json["index"]})


# --- reads -----------------------------------------------------------------------------------------------------

READS = [
    ({"If-None-Match": '"{}"'}, 304),
    ({"If-None-Match": 'W/"{}"'}, 304),
    ({"If-None-Match": '"x", "{}"'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"99"'}, 200),
    ({"If-None-Match": "{}"}, 200),
    ({"If-Match": '"{}"'}, 200),
    ({"If-Match": '"99","{}"'}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": 'W/"{}"'}, 412),
    ({"If-Match": '"99"'}, 412),
    ({"If-Match": "{}"}, 412),
    ({"If-Modified-Since": AT}, 304),
    ({"If-Modified-Since": AFTER}, 304),
    ({"If-Modified-Since": BEFORE}, 200),
    ({"If-Modified-Since": "yesterday"}, 200),
    ({"If-Modified-Since": "Sat, 99 Nov 9999 99:99:99 +9999"}, 200),
    ({"If-Unmodified-Since": AT}, 200),
    ({"If-Unmodified-Since": BEFORE}, 412),
    ({"If-Unmodified-Since": "yesterday"}, 200),
    ({"If-None-Match": '"99"', "If-Modified-Since": AFTER}, 200),
    ({"If-Match": '"{}"', "If-Unmodified-Since": BEFORE}, 200),
    ({"If-Match": '"{}"', "If-None-Match": '"{}"'}, 304),
]


@pytest.mark.parametrize("key", ["k", "large"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("headers", "status"), READS)
def test_a_read_answers_as_its_conditions_say(
    known: Known, key: str, method: str, headers: dict[str, str], status: int
) -> None:
    index = known.indexes[key]
    sent = {name: value.replace("{}", str(index)) for name, value in headers.items()}
    answer = ask(known.served, method, f"/{key}", headers=sent)
    assert answer.status == status
    if status == 412 and method == "GET":
        assert answer.error["kind"] == "precondition"
    if status == 304:
        assert answer.body == b""
        assert answer.headers["etag"] == f'"{index}"'
        assert answer.headers["last-modified"] == AT
        assert answer.headers["cache-control"] == "no-cache"
        assert "content-type" not in answer.headers


def test_a_condition_does_not_make_an_absent_key_present(known: Known) -> None:
    for headers in ({"If-None-Match": "*"}, {"If-Match": "*"}, {"If-Modified-Since": AFTER}):
        assert ask(known.served, "GET", "/absent", headers=headers).status == 404


def test_a_date_without_a_zone_is_gmt(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        bare = AT.removesuffix(" GMT")
        assert get(known.served, "/k", if_modified_since=bare).status == 304
        assert get(known.served, "/k", if_unmodified_since=bare).status == 200
    finally:
        monkeypatch.undo()
        time.tzset()


# --- ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [("k", VALUE), ("large", LARGE)])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-4", 2, 5),
        ("bytes=3-", 3, None),
        ("bytes=-3", -3, None),
        ("bytes=-99999999", 0, None),
        ("bytes=1-99999999999999999999", 1, None),
        ("BYTES=1-2", 1, 3),
        ("bytes= 1-2 ", 1, 3),
    ],
)
def test_a_range_is_a_part(known: Known, key: str, value: bytes, asked: str, start: int, stop: int | None) -> None:
    answer = get(known.served, f"/{key}", range=asked)
    part = value[start:stop]
    first = start if start >= 0 else len(value) + start
    assert answer.status == 206
    assert answer.body == part
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(value)}"
    assert answer.headers["content-length"] == str(len(part))
    assert answer.headers["etag"] == f'"{known.indexes[key]}"'


def test_a_range_across_chunks_is_whole(known: Known) -> None:
    middle = 1 << 20
    answer = get(known.served, "/large", range=f"bytes={middle - 5}-{middle + 4}")
    assert answer.body == LARGE[middle - 5 : middle + 5]


@pytest.mark.parametrize("key", ["k", "large"])
@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-99999999999", "bytes=-0"])
def test_a_range_outside_the_value_is_416(known: Known, key: str, asked: str) -> None:
    answer = get(known.served, f"/{key}", range=asked)
    assert (answer.status, answer.error["kind"]) == (416, "range")
    size = len(VALUE if key == "k" else LARGE)
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("key", ["k", "large"])
@pytest.mark.parametrize(
    "asked",
    [
        "bytes=-",
        "bytes=4-2",
        "bytes=0-1,3-4",
        "lines=1-2",
        "bytes",
        "bytes=a-b",
        "bytes=0x1-2",
        "bytes=" + "9" * 30 + "-",
    ],
)
def test_what_is_no_single_range_gets_the_whole(known: Known, key: str, asked: str) -> None:
    answer = get(known.served, f"/{key}", range=asked)
    assert answer.status == 200
    assert answer.body == (VALUE if key == "k" else LARGE)


def test_an_empty_value_has_no_parts(known: Known) -> None:
    assert get(known.served, "/empty", range="bytes=0-").status == 416
    last = get(known.served, "/empty", range="bytes=-5")  # its last bytes are there: all none of them
    assert (last.status, last.body) == (200, b"")


@pytest.mark.parametrize("key", ["k", "large"])
def test_head_ignores_a_range(known: Known, key: str) -> None:
    answer = ask(known.served, "HEAD", f"/{key}", headers={"Range": "bytes=1-2"})
    assert answer.status == 200
    assert answer.headers["content-length"] == str(len(VALUE if key == "k" else LARGE))


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"{}"', 206), ('W/"{}"', 200), ('"99"', 200), (AT, 206), (BEFORE, 200), (AFTER, 200), ("nonsense", 200)],
)
def test_if_range_falls_back_to_the_whole(known: Known, condition: str, status: int) -> None:
    condition = condition.replace("{}", str(known.indexes["k"]))
    answer = get(known.served, "/k", range="bytes=1-2", if_range=condition)
    assert answer.status == status
    assert answer.body == (VALUE[1:3] if status == 206 else VALUE)


def test_not_modified_goes_before_a_range(known: Known) -> None:
    answer = get(known.served, "/k", range="bytes=1-2", if_none_match=f'"{known.indexes["k"]}"')
    assert answer.status == 304


# --- writes ----------------------------------------------------------------------------------------------------


def write(known: Known, method: str, target: str, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"another" if method == "PUT" else None
    before = known.served.ledger.size
    answer = ask(known.served, method, target, body, sent)
    if answer.status >= 400:
        kinds = {400: "invalid", 404: "not_found", 409: "conflict", 412: "precondition"}
        assert answer.error["kind"] == kinds[answer.status]
        assert known.served.ledger.size == before
    return answer.status


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"if_match": "*"},
        {"if_match": '"1", "2"'},
        {"if_match": "1"},
        {"if_match": ""},
        {"if_none_match": '"1"'},
        {"if_none_match": ""},
        {"if_modified_since": AT},
        {"if_unmodified_since": AT},
        {"idempotency_key": "  "},
        {"idempotency_key": "x" * 256},
    ],
)
def test_a_condition_that_cannot_guard_a_write_is_refused(known: Known, method: str, headers: dict[str, str]) -> None:
    assert write(known, method, "/k", **headers) == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "tag", ['W/"{}"', '"99"', '"0{}"', '"18446744073709551615"', '"99999999999999999999"', '"x"', '""']
)
def test_an_etag_that_is_not_the_latest_entrys_fails(known: Known, method: str, tag: str) -> None:
    assert write(known, method, "/k", if_match=tag.replace("{}", str(known.indexes["k"]))) == 412


def test_delete_knows_no_create_only(known: Known) -> None:
    assert write(known, "DELETE", "/k", if_none_match="*") == 400


def test_create_only_creates_once(known: Known) -> None:
    assert write(known, "PUT", "/once", if_none_match="*") == 201
    assert write(known, "PUT", "/once", if_none_match="*") == 412
    assert write(known, "PUT", "/once", if_none_match=" * ") == 412
    assert write(known, "DELETE", "/once") == 200
    assert write(known, "PUT", "/once", if_none_match="*") == 201  # a deleted key is absent


def test_a_matching_etag_lets_one_write_through(known: Known) -> None:
    tag = put(known.served, "/guarded", b"1").headers["etag"]
    assert write(known, "PUT", "/guarded", if_match=tag) == 201
    assert write(known, "PUT", "/guarded", if_match=tag) == 412
    assert write(known, "DELETE", "/guarded", if_match=tag) == 412
    latest = get(known.served, "/guarded").headers["etag"]
    assert write(known, "DELETE", "/guarded", if_match=latest) == 200


def test_if_version_counts_versions(known: Known) -> None:
    assert write(known, "PUT", "/counted?if_version=1") == 412
    assert write(known, "PUT", "/counted?if_version=0") == 201
    assert write(known, "PUT", "/counted?if_version=0") == 412
    assert write(known, "DELETE", "/counted?if_version=1") == 200
    assert write(known, "PUT", "/counted?if_version=2") == 201
    assert write(known, "PUT", "/counted?if_version=18446744073709551615") == 412
    assert write(known, "PUT", "/counted?if_version=18446744073709551616") == 400
    assert write(known, "PUT", "/counted?if_version=-1") == 400


def test_two_conditions_at_once_are_refused_or_both_hold(known: Known) -> None:
    tag = put(known.served, "/both", b"1").headers["etag"]
    assert write(known, "PUT", "/both", if_match=tag, if_none_match="*") in {400, 412}
    assert write(known, "PUT", "/both?if_version=7", if_match=tag) in {400, 412}

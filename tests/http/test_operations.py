"""The operations of a batch: each becomes the command that it says, or is refused with its place."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest

from scribe_ledger.config import Config
from scribe_ledger.errors import InvalidRequest, ScribeError, TooLarge
from scribe_ledger.http.operations import read_operations
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.commands import Puts

pytestmark = pytest.mark.http

LIMITS = Config.load(None, environ={}, overrides={}).api
PUT = {"op": "put", "key": "k", "value": "v"}


def read(*operations: Any, request_id: str | None = None, **limits: int) -> list[commands.Command]:
    return list(read_operations(list(operations), request_id, LIMITS.model_copy(update=limits)))


def plain(key: str, value: bytes) -> dict[str, str]:
    return {"op": "put", "key": key, "value_base64": base64.b64encode(value).decode()}


# --- what they mean --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", [None, "id", "ä"])
def test_plain_puts_are_read_all_at_once_and_mean_the_same(request_id: str | None) -> None:
    pairs = [("a", b""), ("ä", b"\x00\xff"), ("b" * 4096, b"v"), ("a", b"again")]
    unit = read_operations([plain(*pair) for pair in pairs], request_id, LIMITS)
    assert isinstance(unit, Puts)
    ids = [None if request_id is None else f"{request_id}/{place}" for place in range(4)]
    assert unit == [commands.put(*pair, request_id=own) for pair, own in zip(pairs, ids, strict=True)]


def test_one_operation_of_another_kind_changes_nothing_for_the_others() -> None:
    puts = [plain(f"k{number}", b"%d" % number) for number in range(3)]
    unit = read(*puts, {"op": "delete", "key": "gone"}, request_id="id")
    assert unit[:3] == read(*puts, request_id="id")
    assert unit[3] == commands.delete("gone", request_id="id/3")


def test_a_put_has_all_options_of_a_put() -> None:
    (command,) = read(
        {
            "op": "put",
            "key_base64": "/w==",
            "value": "ä",
            "content_type": "text/plain",
            "metadata": {"a": "1"},
            "if_absent": True,
            "if_index": 3,
            "if_version": 2,
            "request_id": "own",
            "dedupe": False,
        },
        request_id="id",
    )
    assert command == commands.put(
        b"\xff",
        "ä",
        content_type="text/plain",
        metadata={"a": "1"},
        if_absent=True,
        if_index=3,
        if_version=2,
        request_id="own",
        dedupe=False,
    )


def test_a_delete_has_all_options_of_a_delete() -> None:
    options = {"metadata": {"why": "asked to"}, "if_index": 3, "if_version": 2, "request_id": "own"}
    assert read({"op": "delete", "key": "k", **options}) == [commands.delete("k", **options)]  # type: ignore[arg-type]


def test_null_stands_for_what_is_not_given() -> None:
    assert read({**PUT, "metadata": None, "if_version": None, "if_index": None}) == [commands.put("k", "v")]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert read({**PUT, "if_version": 3.0}) == [commands.put("k", "v", if_version=3)]


# --- what is refused -------------------------------------------------------------------------------------------

WRONG: list[Any] = [
    *(None, 1, "put", [], True),
    *({}, {"op": None, "key": "k"}, {"op": ["put"], "key": "k"}, {**PUT, "op": "PUT"}, {**PUT, "op": "get"}),
    *({**PUT, "valeu": "v"}, {**PUT, "": "v"}, {"op": "delete", "key": "k", "value": "v"}),
    *({"op": "delete", "key": "k", "dedupe": True}, {"op": "delete", "key": "k", "if_absent": True}),
    *({"op": "put", "value": "v"}, {**PUT, "key_base64": "aw=="}, {**PUT, "key": None}, {**PUT, "key": 1}),
    *(
        {**PUT, "key": ""},
        {"op": "put", "key_base64": "", "value": "v"},
        {"op": "put", "key_base64": "a", "value": "v"},
    ),
    *({"op": "put", "key": "k"}, {**PUT, "value_base64": "dg=="}, {**PUT, "value": None}, {**PUT, "value": 1}),
    *(
        {"op": "put", "key": "k", "value_base64": text}
        for text in ("a", "aa", "aa=", "a===", "aa==\n", "é", " aa==", "-_==")
    ),
    *({"op": "put", "key": "k", "value_base64": wrong} for wrong in (None, 1, [1], {"a": 1}, True)),
    *({**PUT, "content_type": wrong} for wrong in (None, 1, "é", "a\n", "x" * 256)),
    *({**PUT, "metadata": wrong} for wrong in (0, "", False, [1], [["a", "b"]], {"a": 1}, {"a": None}, {"A b": "c"})),
    *({**PUT, "metadata": wrong} for wrong in ({"a": "b\n"}, {"": "b"}, {"A": "b", "a": "c"})),
    *({**PUT, "if_version": wrong} for wrong in (-1, 1.5, "1", True, 1e300, [1])),
    *({**PUT, "if_index": wrong} for wrong in (-1, 1.5, "1", False, 1 << 64)),
    *({**PUT, "if_absent": wrong} for wrong in (None, 0, 1, "true")),
    *({**PUT, "dedupe": wrong} for wrong in (None, 0, "false")),
    *({**PUT, "request_id": wrong} for wrong in (None, 1, "", "x" * 256)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_wrong_is_refused_with_its_place(wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^operations\[2\]: ") as refused:
        read(PUT, plain("k", b"v"), wrong, PUT)
    assert refused.value.operation == 2
    assert refused.value.__cause__ is not None


def test_a_value_that_is_not_there_or_there_twice_is_told_so() -> None:
    for wrong, has in (
        ({"op": "put", "key": "k"}, "neither value nor"),
        ({**PUT, "value_base64": ""}, "both value and"),
    ):
        with pytest.raises(InvalidRequest, match=f"it has {has} value_base64"):
            read(wrong)


def test_the_first_that_is_wrong_is_named() -> None:
    for first, second in itertools.permutations([None, {**PUT, "key": ""}, {**PUT, "op": "x"}], 2):
        with pytest.raises(InvalidRequest) as refused:
            read(plain("k", b"v"), first, second)
        assert refused.value.operation == 1


def test_a_request_id_that_grows_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read(PUT, request_id="x" * 254)
    with pytest.raises(InvalidRequest):
        read(plain("k", b"v"), request_id="x" * 254)


# --- limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [{}, {"content_type": "a/b"}])
def test_keys_and_values_together_have_a_limit(other: dict[str, str]) -> None:
    operations = [plain("kk", b"v" * 98), {**plain("kk", b"v" * 98), **other}]
    assert len(read(*operations, max_batch_bytes=200)) == 2
    with pytest.raises(TooLarge, match="200 bytes") as refused:
        read(*operations, max_batch_bytes=199)
    assert refused.value.operation is None


@pytest.mark.parametrize("other", [{}, {"content_type": "a/b"}])
def test_a_value_has_the_limit_of_all_values(other: dict[str, str]) -> None:
    operations = [plain("a", b"v"), {**plain("b", b"v" * 11), **other}]
    assert len(read(*operations, max_value_size=11)) == 2
    with pytest.raises(TooLarge, match=r"^operations\[1\]") as refused:
        read(*operations, max_value_size=10)
    assert refused.value.operation == 1


@pytest.mark.parametrize("make", [lambda key: plain(key, b"v"), lambda key: {"op": "delete", "key": key}])
def test_a_key_too_long_is_refused_with_its_place(make: Any) -> None:
    with pytest.raises(TooLarge) as refused:
        read(make("a"), make("k" * 4097))
    assert refused.value.operation == 1
    assert isinstance(refused.value, ScribeError)

"""Commands: what is checked in the caller's thread, and that the bulk path makes what the single one makes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.commands import Command, Condition
from scribe_ledger.merkle.leaf import encode_tail
from scribe_ledger.model import MAX_KEY_BYTES, Kind
from scribe_ledger.objects.blobs import Blob

pytestmark = pytest.mark.storage

VIEW = memoryview(bytearray(b"xkeyx"))[1:4]


@pytest.mark.parametrize("key", ["key", b"key", bytearray(b"key"), memoryview(b"key"), VIEW])
def test_keys_of_any_form_are_the_same_bytes(key: object) -> None:
    command = commands.put(key, b"")
    assert command.key == b"key"
    assert type(command.key) is bytes
    assert command == commands.delete(key)._replace(kind=Kind.PUT, value=b"", sha256=sha256(b"").digest(), dedupe=True)


@pytest.mark.parametrize("value", ["key", b"key", bytearray(b"key"), memoryview(b"key"), VIEW])
def test_values_of_any_form_are_the_same_bytes(value: object) -> None:
    command = commands.put("k", value)
    assert command.value == b"key"
    assert isinstance(command.value, bytes)
    assert (command.size, command.sha256) == (3, sha256(b"key").digest())


def test_a_changed_buffer_does_not_change_a_command() -> None:
    buffer = bytearray(b"key")
    command = commands.put(buffer, buffer)
    buffer[0] = 0
    assert (command.key, command.value) == (b"key", b"key")


def test_text_is_utf_8() -> None:
    command = commands.put("schlüssel/鍵", "wert/値")
    assert (command.key, command.value) == ("schlüssel/鍵".encode(), "wert/値".encode())


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("", "empty"),
        (b"", "empty"),
        (bytearray(), "empty"),
        ("\ud800", "Unicode"),
        (None, "NoneType"),
        (5, "int"),
        (["key"], "list"),
        (("a", "b"), "tuple"),
    ],
)
def test_what_is_no_key_is_refused(key: object, kind: str) -> None:
    for make in (lambda: commands.put(key, b""), lambda: commands.delete(key), lambda: commands.put_many([(key, b"")])):
        with pytest.raises(InvalidRequest, match=kind):
            make()
    with pytest.raises(InvalidRequest, match=kind):
        commands.put_many([(b"good", b""), (key, b"")])


def test_keys_have_at_most_4096_bytes() -> None:
    longest = b"k" * MAX_KEY_BYTES
    assert commands.put(longest, b"").key == longest
    assert commands.put_many([(longest, b"")])[0].key == longest
    for key in (longest + b"k", "ü" * 2049, "k" * 4097):
        for make in (
            lambda key=key: commands.put(key, b""),
            lambda key=key: commands.delete(key),
            lambda key=key: commands.put_many([("a", b""), (key, b"")]),
        ):
            with pytest.raises(TooLarge, match=r"409[78] bytes"):
                make()


@pytest.mark.parametrize("value", [None, 5, 1.5, ["v"], {"a": 1}, object()])
def test_what_is_no_value_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match=type(value).__name__):
        commands.put("key", value)
    with pytest.raises(InvalidRequest, match=type(value).__name__):
        commands.put_many([("a", b""), ("key", value)])
    with pytest.raises(InvalidRequest, match="Unicode"):
        commands.put("key", "\udfff")


@pytest.mark.parametrize("pairs", [None, 5, [("a",)], [("a", b"", b"")], [("a", b""), ("b",)], [5]])
def test_put_many_takes_pairs(pairs: Any) -> None:
    with pytest.raises(InvalidRequest, match="pairs"):
        commands.put_many(pairs)


def test_put_many_of_nothing_is_nothing() -> None:
    assert commands.put_many([]) == []
    assert commands.put_many(iter(())) == []


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
KEY = TEXT | st.binary(min_size=1, max_size=20) | st.binary(min_size=1, max_size=20).map(bytearray)
VALUE: st.SearchStrategy[object] = TEXT | st.binary(max_size=50) | st.binary(max_size=50).map(bytearray)


ONE_TYPE = st.lists(st.tuples(TEXT, VALUE), max_size=6)
ANY_TYPE = st.lists(st.tuples(KEY, VALUE), max_size=6)
BYTES = st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=6)


@given(ONE_TYPE | ANY_TYPE | BYTES)
def test_the_bulk_path_makes_the_same_commands(pairs: list[tuple[object, object]]) -> None:
    assert commands.put_many(iter(pairs)) == [commands.put(key, value) for key, value in pairs]


def test_a_large_value_stands_for_itself_by_its_digest() -> None:
    blob = Blob(sha256=b"d" * 32, size=1 << 40, chunk_root=b"c" * 32)
    command = commands.put("key", blob)
    assert (command.value, command.size, command.sha256, command.chunk_root) == (None, 1 << 40, b"d" * 32, b"c" * 32)
    assert command.in_blob
    assert commands.with_value(commands.put("key", b""), blob) == command
    assert not commands.put("key", b"").in_blob
    assert not commands.delete("key").in_blob


def test_another_value_changes_only_what_follows_from_it() -> None:
    command = commands.put("key", b"", content_type="text/plain", metadata={"a": "b"}, request_id="r", dedupe=False)
    assert commands.with_value(command, b"value") == commands.put(
        "key", b"value", content_type="text/plain", metadata={"a": "b"}, request_id="r", dedupe=False
    )


# --- content type and metadata ---------------------------------------------------------------------------------


def test_the_tail_is_that_of_the_leaf() -> None:
    command = commands.put("key", b"", content_type="text/plain", metadata={"Team": "red"})
    assert command.tail == encode_tail(b"key", "text/plain", {"team": "red"})
    assert commands.delete("key", metadata={"why": "x"}).tail == encode_tail(b"key", "", {"why": "x"})
    assert commands.put_many([("key", b"")])[0].tail == encode_tail(b"key")


@pytest.mark.parametrize("content_type", [None, 0, b"", b"text/plain", 5, ["text/plain"], "\n", "ü", " a", "a\x7f"])
def test_what_is_no_content_type_is_refused(content_type: Any) -> None:
    with pytest.raises(InvalidRequest, match="content type"):
        commands.put("key", b"", content_type=content_type)


@pytest.mark.parametrize(
    "metadata",
    [[], (), 5, "team", [("team", "red")], {"team"}, {"team": 5}, {5: "red"}, {"": "x"}, {"a b": "x"}, {"a": "\n"}],
)
def test_what_is_no_metadata_is_refused(metadata: Any) -> None:
    with pytest.raises(InvalidRequest, match="metadata"):
        commands.put("key", b"", metadata=metadata)
    with pytest.raises(InvalidRequest, match="metadata"):
        commands.delete("key", metadata=metadata)


def test_metadata_has_at_most_8_kib() -> None:
    room = 8192 - 2 - 4 - len("name")
    assert commands.put("key", b"", metadata={"name": "x" * room})
    for metadata in (
        {"name": "x" * (room + 1)},
        {"name": "ü" * (room // 2 + 1)},
        {f"n{i}": "x" * 40 for i in range(200)},
    ):
        with pytest.raises(TooLarge, match="metadata"):
            commands.put("key", b"", metadata=metadata)


# --- conditions, request ids, numbers --------------------------------------------------------------------------


def test_no_condition_is_none() -> None:
    assert commands.put("key", b"").condition is None
    assert commands.put("key", b"", if_absent=False, if_index=None, if_version=None).condition is None
    assert commands.delete("key", if_index=None, if_version=None).condition is None


def test_conditions_are_kept() -> None:
    assert commands.put("key", b"", if_absent=True).condition == Condition(absent=True)
    assert commands.put("key", b"", if_index=0).condition == Condition(index=0)
    assert commands.put("key", b"", if_version=0).condition == Condition(version=0)
    assert commands.put("key", b"", if_absent=True, if_index=1, if_version=2).condition == Condition(True, 1, 2)
    assert commands.delete("key", if_index=1, if_version=2).condition == Condition(False, 1, 2)


@pytest.mark.parametrize("number", [True, False, 1.0, "1", b"1", [], -1, 1 << 64])
@pytest.mark.parametrize("name", ["if_index", "if_version"])
def test_what_is_no_number_is_no_condition(name: str, number: Any) -> None:
    options: Any = {name: number}
    with pytest.raises(InvalidRequest, match=name):
        commands.put("key", b"", **options)
    with pytest.raises(InvalidRequest, match=name):
        commands.delete("key", **options)


@pytest.mark.parametrize("flag", [None, 0, 1, "yes", b"", []])
def test_flags_are_true_or_false(flag: Any) -> None:
    with pytest.raises(InvalidRequest, match="if_absent"):
        commands.put("key", b"", if_absent=flag)
    with pytest.raises(InvalidRequest, match="dedupe"):
        commands.put("key", b"", dedupe=flag)


def test_numbers_are_bounded_by_what_a_leaf_holds() -> None:
    assert commands.natural(None, "n") is None
    assert commands.natural(0, "n") == 0
    assert commands.natural((1 << 64) - 1, "n") == (1 << 64) - 1
    assert commands.required(3, "n") == 3
    for number, least in ((0, 1), (-1, 0), (1 << 64, 0)):
        with pytest.raises(InvalidRequest, match=f"n is {number}"):
            commands.natural(number, "n", least=least)
    with pytest.raises(InvalidRequest, match="n is missing"):
        commands.required(None, "n")  # type: ignore[arg-type]


def test_request_ids_become_digests_of_sixteen_bytes() -> None:
    digest = commands.put("key", b"", request_id="id").request
    assert digest == sha256(b"id").digest()[:16] == commands.delete("key", request_id=b"id").request
    assert commands.put("key", b"").request == b""
    assert commands.put("key", b"", request_id="i" * 255).request


@pytest.mark.parametrize("request_id", ["", b"", "i" * 256, "ü" * 128, 5, ["id"], bytearray(b"id"), True, "\ud800"])
def test_what_is_no_request_id_is_refused(request_id: Any) -> None:
    with pytest.raises(InvalidRequest):
        commands.put("key", b"", request_id=request_id)
    with pytest.raises(InvalidRequest):
        commands.delete("key", request_id=request_id)


def test_a_config_entry_is_canonical_json_without_a_key() -> None:
    command = commands.configure({"overwrite": "forbid", "deletes": "forbid"})
    assert (command.kind, command.key) == (Kind.CONFIG, b"")
    assert command.value == b'{"deletes":"forbid","overwrite":"forbid"}'
    assert command.tail == encode_tail(b"", "application/json", system=True)


def test_the_queue_is_charged_for_all_that_a_command_holds() -> None:
    def cost(command: Command) -> int:
        return command.queue_bytes

    base = cost(commands.put("k", b""))
    assert cost(commands.put("k", b"x" * 100)) == base + 100
    assert cost(commands.put("k" * 11, b"")) == base + 10
    assert cost(commands.delete("k", metadata={"a": "x" * 100})) > base + 100

"""Units as bytes: whatever is asked survives, and no bytes do more than be refused."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.ledger.programs import encoded, program, segment

from scribe_ledger.errors import ConfigurationError, SerializationError
from scribe_ledger.ledger import commands, wire
from scribe_ledger.ledger.commands import Puts
from scribe_ledger.ledger.manifest import Adopt, Archive, Retire, Retired
from scribe_ledger.objects.blobs import Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.manifest import Change

pytestmark = pytest.mark.storage

UNITS = [unit for seed in range(8) for entry in program(seed) for unit in entry.units if not isinstance(unit, bytes)]
NUMBERS = st.none() | st.integers(0, 2**64 - 1)
PUTS = st.builds(
    commands.put,
    st.binary(min_size=1, max_size=40),
    st.binary(max_size=200)
    | st.builds(
        Blob,
        st.binary(min_size=32, max_size=32),
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
        st.integers(0, 2**64 - 1),
    ),
    content_type=st.sampled_from(["", "text/plain"]),
    metadata=st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.text("xyz", max_size=4)),
    if_absent=st.booleans(),
    if_index=NUMBERS,
    if_version=NUMBERS,
    request_id=st.none() | st.text("ab", min_size=1, max_size=3),
    dedupe=st.booleans(),
)
DELETES = st.builds(
    commands.delete,
    st.binary(min_size=1, max_size=40),
    if_index=NUMBERS,
    if_version=NUMBERS,
    request_id=st.none() | st.text("ab", min_size=1, max_size=3),
)
CONFIGS = st.builds(commands.configure, st.fixed_dictionaries({"overwrite": st.sampled_from(["version", "forbid"])}))


@settings(max_examples=300)
@given(st.lists(PUTS | DELETES | CONFIGS, min_size=1, max_size=6))
def test_every_field_of_a_command_survives(unit: list[Command]) -> None:
    assert list(decoded(wire.encode_unit(unit))) == unit


@pytest.mark.parametrize("request_id", [None, "id"])
@pytest.mark.parametrize("dedupe", [True, False])
def test_plain_puts_survive_as_columns(request_id: str | None, dedupe: bool) -> None:
    unit = [commands.put(f"key {number}", b"v" * number, request_id=request_id, dedupe=dedupe) for number in range(50)]
    back = decoded(wire.encode_unit(unit))
    assert isinstance(back, Puts)
    assert back == unit
    typed = [commands.put("k", b"1", content_type="text/plain"), commands.put("l", b"2")]
    assert isinstance(decoded(wire.encode_unit(typed)), Puts)
    assert decoded(wire.encode_unit(typed)) == typed


def test_what_was_columns_from_the_first_survives() -> None:
    unit = commands.put_many([(f"key {number}", bytes(number)) for number in range(300)])
    assert decoded(wire.encode_unit(unit)) == unit
    assert list(decoded(wire.encode_unit(commands.put_many([("k", "v")])))) == [commands.put("k", "v")]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.binary(max_size=60), st.none() | st.just("id"))))
def test_many_puts_are_decoded_by_columns_as_one_by_one(rows: list[tuple[bytes, bytes, str | None]]) -> None:
    units = [wire.encode_unit([commands.put(key, value, request_id=name)]) for key, value, name in rows]
    singles = wire.decode_singles(units)
    assert (singles is None) == (not rows)
    assert [list(unit) for unit in singles or ()] == [list(decoded(unit)) for unit in units]
    assert commands.keys_of(singles or []) == [key for key, _, _ in rows]


@pytest.mark.parametrize(
    "other",
    [
        wire.encode_unit([commands.put("k", "v", content_type="text/plain")]),
        wire.encode_unit([commands.put("k", "v", dedupe=False)]),
        wire.encode_unit([commands.put("k", "v", if_absent=True)]),
        wire.encode_unit([commands.delete("k")]),
        wire.encode_unit([commands.put("k", "v"), commands.put("l", "v")]),
        wire.encode_unit([commands.put("k", "v")])[:-1],
        wire.encode_unit([commands.put("k", "v")]) + b"x",
        wire.encode_unit([commands.put("k", "v")])[:5],
        wire.encode_unit([commands.put("k", "v")]).replace(b"\0\1k", b"\0\2k"),
        b"",
    ],
)
def test_one_unit_of_another_kind_among_many_is_left_to_the_other_way(other: bytes) -> None:
    plain = wire.encode_unit([commands.put("key", "value")])
    assert wire.decode_singles([plain, other, plain]) is None


def test_a_value_costs_no_digest_on_the_wire() -> None:
    command = commands.put("key", bytes(128), request_id="r")
    assert len(wire.encode_unit([command])) <= len(command.tail) + 128 + 16 + 10


@pytest.mark.parametrize(
    "change",
    [
        Adopt("store"),
        Archive(3, (segment(0, 5), segment(5, 9)), ("a", "b")),
        Retire(("a",), (bytes(32),)),
        Retired((), (b"\xff" * 32,)),
    ],
)
def test_a_change_of_the_manifest_survives(change: Change) -> None:
    unit = wire.encode_change(change)
    assert wire.is_change(unit)
    assert wire.decode(unit) == change
    assert not wire.is_change(wire.encode_unit([commands.put("k", "v")]))


@pytest.mark.parametrize("place", range(0, len(UNITS), 23))
def test_what_is_cut_or_longer_is_refused(place: int) -> None:
    unit = encoded(UNITS[place])
    for stop in {*range(min(len(unit), 64)), *random.Random(place).sample(range(len(unit)), min(len(unit), 40))}:
        with pytest.raises(SerializationError):
            wire.decode(unit[:stop])
    with pytest.raises(SerializationError):
        wire.decode(unit + b"\0")


@settings(max_examples=500)
@given(st.sampled_from(UNITS), st.integers(0, 2**31), st.integers(1, 255), st.integers(0, 80))
def test_flipped_bytes_are_refused_or_are_another_unit(
    unit: Sequence[Command] | Change, at: int, change: int, reach: int
) -> None:
    damaged = bytearray(encoded(unit))
    damaged[at % min(len(damaged), reach + 1)] ^= change
    try:
        found = wire.decode(bytes(damaged))
    except SerializationError:
        return
    assert encoded(found) is not None


@settings(max_examples=300)
@given(st.binary(max_size=60))
@example(b"\x01\x03\0\xff\xff\xff\xff")
@example(b"\x01\x02\0\xff\xff\xff\xff")
def test_garbage_is_refused(garbage: bytes) -> None:
    for lead in (b"", b"\x01\x01", b"\x01\x02\0", b"\x01\x03\0", b"\x01\x04"):
        try:
            wire.decode(lead + garbage)
        except SerializationError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b'{"format": 1, "kind": "adopt", "store_id": 5}',
        b'{"format": 1, "kind": "adopt", "store_id": "\xc3\xa9"}',
        b'{"format": 2, "kind": "adopt", "store_id": "x"}',
        b'{"format": 1, "kind": "retire", "segments": [1], "blobs": []}',
        b'{"format": 1, "kind": "retire", "segments": [], "blobs": ["00"]}',
        b'{"format": 1, "kind": "retire", "segments": [], "blobs": [null]}',
        b'{"format": 1, "kind": "segment", "base_version": "x", "added": [], "replaced": []}',
        b'{"format": 1, "kind": "segment", "base_version": 0, "added": [{}], "replaced": []}',
        b'{"format": 1, "kind": "segment", "base_version": 0, "added": 7, "replaced": []}',
    ],
)
def test_a_malformed_change_is_refused(text: bytes) -> None:
    with pytest.raises(SerializationError):
        wire.decode(b"\x01\x04" + text)


def test_numbers_out_of_range_are_refused() -> None:
    fields = segment(0, 5)._replace(log_bytes=2**64 - 1)
    with pytest.raises(SerializationError, match="out of range"):
        wire.decode(wire.encode_change(Archive(0, (fields,))))
    fields = segment(0, 5)._replace(first_index=-1)
    with pytest.raises(SerializationError, match="out of range"):
        wire.decode(wire.encode_change(Archive(0, (fields,))))


@pytest.mark.parametrize(
    "forged",
    [
        {"value": b"[1]"},
        {"value": b"{" * 3000},
        {"value": b"{"},
        {"tail": commands.put("k", "").tail},
        {"request": bytes(16)},
    ],
)
def test_a_malformed_config_entry_is_refused(forged: dict[str, bytes]) -> None:
    command = commands.configure({"overwrite": "forbid"})._replace(**forged)  # type: ignore[arg-type]
    with pytest.raises(SerializationError):
        wire.decode(wire.encode_unit([command]))


@pytest.mark.parametrize(
    "tail", [b"", b"\0", b"\0\0\0\0\0\0", b"\0\1k", b"\0\1k\0\0\0\1", b"\0\1k\0\1\n\0\0", b"\x10\1" + bytes(4101)]
)
def test_a_malformed_tail_is_refused(tail: bytes) -> None:
    """It would become part of a leaf that nobody can read."""
    with pytest.raises(SerializationError):
        wire.decode(wire.encode_unit([commands.put("k", "v")._replace(tail=tail)]))
    with pytest.raises(SerializationError):
        wire.decode(wire.encode_unit([commands.put("k", "v")._replace(tail=tail), commands.put("l", "w")]))
    with pytest.raises(SerializationError):
        wire.decode(wire.encode_unit([commands.delete("k")._replace(tail=tail)]))


def test_a_newer_version_is_not_mistaken_for_damage() -> None:
    with pytest.raises(wire.NewerUnit, match="version 2"):
        wire.decode(b"\x02" + wire.encode_unit([commands.put("k", "v")])[1:])
    assert orjson.loads(wire.encode_change(Adopt("x"))[2:])["kind"] == "adopt"


def decoded(unit: bytes) -> Sequence[Command]:
    found = wire.decode(unit)
    assert not isinstance(found, Adopt | Archive | Retire | Retired)
    return found


@pytest.mark.parametrize("version", [2, 1 << 31, 1 << 70])
def test_rules_that_this_program_does_not_know_are_refused_before_they_are_agreed_on(version: int) -> None:
    newer = commands.configure({"apply_version": version})
    for unit in ([newer], [command_of(), newer]):
        with pytest.raises(ConfigurationError):
            wire.check_unit(wire.encode_unit(unit))
    wire.check_unit(wire.encode_unit([commands.configure({"apply_version": 1})]))


def test_what_ends_a_member_does_not_pass_the_check() -> None:
    plain = wire.encode_unit([command_of()])
    wire.check_unit(plain)
    for bad in (b"", b"\x02" + plain[1:], b"\x01\x09" + plain[2:], b"\x01\x04{}", b"\x01\x03\x00"):
        with pytest.raises(SerializationError):
            wire.check_unit(bad)


def command_of() -> Command:
    [command] = commands.put_many([(b"key", b"value")])
    return command

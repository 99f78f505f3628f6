"""What is not whole, or leads elsewhere, is noticed before anything of it is written."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.ledger.programs import program, segment, tables

from scribe_ledger.errors import ConfigurationError, VerificationError
from scribe_ledger.ledger import commands, pieces, wire
from scribe_ledger.ledger.growth import Entries, Growth
from scribe_ledger.ledger.manifest import Adopt, Archive
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.proving import prove_copy
from scribe_ledger.ledger.replicated import ReplicatedMachine
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.leaf import Leaf
from scribe_ledger.merkle.tree import EMPTY_EDGE, edge_root, grow
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.machine import State

pytestmark = pytest.mark.storage


def new() -> ReplicatedMachine:
    return ReplicatedMachine.create(MemoryStore(), Policy())


def given(giver: ReplicatedMachine, receiver: ReplicatedMachine) -> list[bytes]:
    return list(giver.export(receiver.describe(), giver.extent.size, giver.position, giver.membership))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_sound_leads_where_taking_it_leads(seed: int) -> None:
    """From anywhere, and from each place where the taking of it may have been cut short."""
    log, dice = program(seed, entries=80), random.Random(seed)
    giver, receiver = new(), new()
    start = dice.choice((0, dice.randrange(len(log) // 2)))
    for entry in log[:start]:
        entry.apply(receiver)
    for entry in log:
        entry.apply(giver)
    all_pieces = given(giver, receiver)
    expected = (giver.position, giver.membership, giver.extent)
    for count in range(1, len(all_pieces)):
        before = tables(receiver._store)
        assert receiver.prove(all_pieces) == expected
        assert tables(receiver._store) == before
        with pytest.raises(VerificationError):
            receiver.take(all_pieces[:count])
        receiver = ReplicatedMachine(receiver._store)
    receiver.take(all_pieces)
    assert receiver.prove(all_pieces) is None, "all of it is there"
    assert prove_copy(receiver._store) == expected
    assert tables(receiver._store) == tables(giver._store)


@pytest.mark.parametrize("seed", range(40))
def test_what_passes_is_taken_and_what_does_not_leaves_no_trace(seed: int) -> None:
    """One bit anywhere. What is let through is what nobody can tell, such as a request id."""
    giver, receiver, dice = new(), new(), random.Random(seed)
    log = program(3, entries=25)
    for entry in log[: dice.randrange(10)]:
        entry.apply(receiver)
    for entry in log:
        entry.apply(giver)
    all_pieces = given(giver, receiver)
    place = dice.randrange(len(all_pieces))
    damaged = bytearray(all_pieces[place])
    damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    all_pieces[place] = bytes(damaged)
    before = tables(receiver._store)
    try:
        outline = receiver.prove(all_pieces)
    except (VerificationError, ConfigurationError):
        assert tables(receiver._store) == before
        log[-1].apply(receiver)
    else:
        receiver.take(all_pieces)
        assert outline == (receiver.position, receiver.membership, receiver.extent)
        assert receiver.extent == giver.extent


@pytest.mark.parametrize("gone", range(9))
def test_a_piece_that_is_missing(gone: int) -> None:
    giver, receiver = new(), new()
    for entry in program(3, entries=60):
        entry.apply(giver)
    all_pieces = given(giver, receiver)
    del all_pieces[gone if gone < 8 else -1]
    with pytest.raises(VerificationError):
        receiver.prove(all_pieces)
    assert receiver.machine.applied.size == 0


# --- a giver with one thing altered ----------------------------------------------------------------------------


def archived() -> ReplicatedMachine:
    """Some entries of which a part is archived: keys with several versions, one deleted, one large value."""
    giver = new()
    for number in range(30):
        giver.apply(number + 1, 1, [unit(commands.put(b"key %d" % (number % 20), b"value %d" % number))], None)
    giver.apply(31, 1, [unit(commands.delete(b"key 3"))], None)
    giver.apply(40, 1, [wire.encode_change(Adopt("a store"))], None)
    giver.apply(41, 1, [wire.encode_change(Archive(0, (segment(0, 10), segment(10, 20))))], None)
    return giver


def unit(command: commands.Command) -> bytes:
    return wire.encode_unit([command])


def alter(store: Store, table: Table, prefix: bytes, change: Callable[[bytes], bytes]) -> None:
    """The first record under the prefix."""
    key, record = next(item for item in store.table(table).scan(prefix) if item[0].startswith(prefix))
    write = store.batch()
    write.put(table, key, change(record))
    store.write(write)
    assert change(record) != record


def last_byte(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


def key_letter(record: bytes) -> bytes:
    return record.replace(b"key ", b"kez ", 1)


def log_bytes(record: bytes) -> bytes:
    fields = orjson.loads(record)
    fields["log_bytes"] += 1
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


STORED: dict[str, tuple[Table, bytes, Callable[[bytes], bytes]]] = {
    "a leaf": (Table.LEAVES, b"", key_letter),
    "a leaf of another form": (Table.LEAVES, b"", lambda record: record[:6] + b"\x09" + record[7:]),
    "a value": (Table.VALUES, b"", last_byte),
    "a live segment": (Table.MANIFEST, b"s", log_bytes),
    "a change of the manifest": (Table.MANIFEST, b"c", lambda record: record.replace(b"a store", b"a stork")),
    "the manifest's head": (Table.MANIFEST, b"m", lambda record: record.replace(b"a store", b"a stork")),
}


@pytest.mark.parametrize("what", STORED)
@pytest.mark.parametrize("has", [0, 25])
def test_something_altered_in_the_givers_store(what: str, has: int) -> None:
    giver, receiver, good = archived(), new(), archived()
    for number in range(has if STORED[what][0] is Table.MANIFEST else 0):
        receiver.apply(number + 1, 1, [unit(commands.put(b"key %d" % (number % 20), b"value %d" % number))], None)
    alter(giver._store, *STORED[what])
    before = tables(receiver._store)
    with pytest.raises(VerificationError):
        receiver.prove(given(giver, receiver))
    assert tables(receiver._store) == before
    receiver.prove(given(good, receiver))
    receiver.take(given(good, receiver))
    assert receiver.extent == good.extent


@pytest.mark.parametrize("what", [*STORED, "a tile"])
def test_something_altered_in_a_copy(what: str) -> None:
    copied = archived()
    for number in range(300):
        copied.apply(number + 50, 1, [unit(commands.put(b"more %d" % number, b"v"))], None)
    assert prove_copy(copied._store) == (copied.position, copied.membership, copied.extent)
    alter(copied._store, *{**STORED, "a tile": (Table.TREE, b"", last_byte)}[what])
    with pytest.raises(VerificationError):
        prove_copy(copied._store)


@pytest.mark.parametrize("lacking", ["values", "leaves"])
def test_a_copy_with_a_gap(lacking: str) -> None:
    copied = archived()
    write = copied._store.batch()
    write.delete(Table.LEAVES if lacking == "leaves" else Table.VALUES, (7).to_bytes(8, "big"))
    copied._store.write(write)
    with pytest.raises(VerificationError):
        prove_copy(copied._store)


def test_a_copy_that_was_being_given_entries_itself() -> None:
    giver, receiver = archived(), new()
    with pytest.raises(VerificationError, match="ends before"):
        receiver.take(given(giver, receiver)[:2])
    with pytest.raises(VerificationError, match="in part"):
        prove_copy(receiver._store)


@pytest.mark.parametrize("counted", range(1, 9))
def test_a_count_of_the_giver_that_is_wrong(counted: int) -> None:
    """timestamp, size, keys, live, bytes of values, of large values and of the log; the position is replaced."""
    giver, receiver = archived(), new()
    all_pieces = given(giver, receiver)
    trailer = pieces.decode_fields(all_pieces[-1][1:])
    state = bytearray.fromhex(trailer["state"])
    state[2 + 8 * counted - 1] ^= 1
    all_pieces[-1] = pieces.encode_fields(pieces.TRAILER, {**trailer, "state": state.hex()})
    if counted == 1:
        assert receiver.prove(all_pieces) is not None
    else:
        with pytest.raises(VerificationError, match="counted"):
            receiver.prove(all_pieces)


@pytest.mark.parametrize(
    ("piece", "fields"),
    [
        (0, {"root": "00" * 32}),
        (0, {"stop": 30}),
        (0, {"stop": 32}),
        (0, {"start": 1}),
        (0, {"manifest_start": 1}),
        (-1, {"manifest_digest": "00" * 32}),
        (-1, {"evicted": 25}),
        (-1, {"evicted": -1}),
        (-1, {"policy": "{}"}),
    ],
)
def test_a_header_or_a_trailer_that_says_something_else(piece: int, fields: dict[str, object]) -> None:
    giver, receiver = archived(), new()
    all_pieces = given(giver, receiver)
    kind, told = all_pieces[piece][:1], pieces.decode_fields(all_pieces[piece][1:])
    assert fields.items() - told.items()
    all_pieces[piece] = pieces.encode_fields(kind, {**told, **fields})
    with pytest.raises(VerificationError):
        receiver.prove(all_pieces)


def test_values_that_were_left_out() -> None:
    """The giver has evicted them, and says that it has not."""
    giver, receiver = archived(), new()
    giver.evict(10)
    all_pieces = given(giver, receiver)
    assert receiver.prove(all_pieces) is not None
    told = pieces.decode_fields(all_pieces[-1][1:])
    all_pieces[-1] = pieces.encode_fields(pieces.TRAILER, {**told, "evicted": 0})
    with pytest.raises(VerificationError, match="did not come"):
        receiver.prove(all_pieces)


# --- a giver whose whole tree is over entries that no ledger writes --------------------------------------------


def leaf_of(index: int, version: int, previous: int | None, key: bytes = b"key") -> bytes:
    value = b"value %d" % index
    leaf = Leaf(Kind.PUT, index, 1, version, previous, len(value), sha256(value).digest(), ZERO_HASH, key, "", {})
    return leaf.encode()


def told(leaves: list[bytes], start: int, before: State) -> list[bytes]:
    """Pieces that agree with themselves: the root is that of these leaves."""
    values = [b"value %d" % index for index in range(start, start + len(leaves))]
    entries = Entries.packed(start, leaves, values, ())
    growth = Growth(before)
    growth.add(entries)
    after, _ = growth.end(live=sum(b"other" in leaf for leaf in leaves) + (start == 0))
    root = edge_root(after.edge).hex()
    numbers = {"start": start, "stop": after.size, "position": 9, "manifest_start": 0, "membership": ""}
    policy = Policy().encode().decode()
    ends = {"state": after.encode().hex(), "policy": policy, "evicted": 0, "manifest_digest": bytes(32).hex()}
    return [
        pieces.encode_fields(pieces.HEADER, {**numbers, "root": root}),
        pieces.encode_groups([pieces.Group(start, entries.leaf_pack, entries.value_pack, ())]),
        pieces.encode_fields(pieces.TRAILER, ends),
    ]


@pytest.mark.parametrize(
    ("leaves", "sound"),
    [
        ([leaf_of(0, 1, None), leaf_of(1, 2, 0), leaf_of(2, 3, 1)], True),
        ([leaf_of(0, 1, None), leaf_of(1, 2, 0), leaf_of(2, 3, 0)], False),
        ([leaf_of(0, 1, None), leaf_of(1, 2, 0), leaf_of(2, 2, 0)], False),
        ([leaf_of(0, 1, None), leaf_of(1, 3, 0)], False),
        ([leaf_of(0, 1, None), leaf_of(1, 1, None, b"other"), leaf_of(2, 2, 0, b"other")], False),
    ],
)
@pytest.mark.parametrize("has", [0, 1])
def test_each_entry_follows_on_the_latest_of_its_key(leaves: list[bytes], sound: bool, has: int) -> None:
    """Those that have a first entry in the store already, and those that are given it."""
    receiver = new()
    if has:
        receiver.apply(1, 1, [unit(commands.put(b"key", b"value 0"))], None)
        assert receiver.machine.applied.edge == grow(EMPTY_EDGE, [hash_leaf(leaves[0])])[0]
    all_pieces = told(leaves[has:], has, receiver.machine.applied)
    if sound:
        assert receiver.prove(all_pieces) is not None
        receiver.take(all_pieces)
        assert receiver.extent.size == 3
        return
    with pytest.raises(VerificationError, match="does not follow"):
        receiver.prove(all_pieces)
    with pytest.raises(VerificationError, match="does not follow"):
        receiver.take(all_pieces)

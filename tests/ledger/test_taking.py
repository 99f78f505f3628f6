"""What one member gives another: the same ledger afterwards, to the last record, and nothing else in between."""

from __future__ import annotations

import random
import threading
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from tests.ledger.programs import program, segment, tables

from scribe_ledger.errors import Conflict, SerializationError, StorageError, Unavailable, VerificationError
from scribe_ledger.ledger import commands, pieces, wire
from scribe_ledger.ledger.manifest import Adopt, Archive
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.replicated import ReplicatedMachine
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.ledger.programs import Record

    from scribe_ledger.ledger.store import Store

pytestmark = pytest.mark.storage

MEMBERS = b"the members"


def new(store: Store | None = None) -> ReplicatedMachine:
    return ReplicatedMachine.create(store or MemoryStore(), Policy())


def given(giver: ReplicatedMachine, receiver: ReplicatedMachine) -> Iterator[bytes]:
    return giver.export(receiver.describe(), giver.extent.size, giver.position, giver.membership)


def run(machine: ReplicatedMachine, log: Sequence[Record]) -> list[list[object]]:
    return [entry.apply(machine) for entry in log]


def after(log: Sequence[Record], machine: ReplicatedMachine) -> list[Record]:
    return [entry for entry in log if entry.position > machine.position]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)


# --- the same ledger -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_receiver_has_the_same_records_and_goes_on_alike(seed: int) -> None:
    """The giver goes on while it gives, and writes to the same keys, until it has forgotten earlier request ids."""
    log, dice = program(seed, entries=90), random.Random(seed)
    start, stop = sorted(dice.sample(range(len(log)), 2))
    start = dice.choice((0, start))
    giver, receiver = new(), new()
    run(receiver, log[:start])
    run(giver, log[:stop])
    if giver.position <= receiver.position:
        return
    expected = tables(giver._store)
    pieces_given = given(giver, receiver)
    first = list(islice(pieces_given, dice.randrange(3)))
    outcomes = run(giver, log[stop:])
    receiver.take([*first, *pieces_given])
    assert tables(receiver._store) == expected
    assert run(receiver, log[stop:]) == outcomes
    assert tables(receiver._store) == tables(giver._store)
    assert (receiver.extent, receiver.membership) == (giver.extent, giver.membership)
    again = ReplicatedMachine(receiver._store)
    assert (again.extent, again.machine.policy) == (giver.extent, giver.machine.policy)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_taken_again_after_a_crash_at_any_piece(seed: int) -> None:
    log, dice = program(seed, entries=60), random.Random(seed)
    giver, store = new(), MemoryStore()
    receiver = new(store)
    run(receiver, log[: seed * 3])
    receiver.flush()
    run(giver, log)
    all_pieces = list(given(giver, receiver))
    for count in range(1, len(all_pieces)):
        before = receiver.position
        with pytest.raises(VerificationError, match="ends before"):
            receiver.take(all_pieces[:count])
        store.crash(keep=dice.randrange(store.unsynced + 1))
        receiver = ReplicatedMachine(store)
        assert (receiver.position, receiver.failure) == (before, None)
    receiver.take(all_pieces)
    receiver.take(all_pieces)  # and once more, though it was taken
    assert tables(store) == tables(giver._store)


def test_nothing_is_applied_to_what_was_taken_in_part() -> None:
    giver, store = new(), MemoryStore()
    receiver = new(store)
    for number in range(20):
        giver.apply(number + 1, 1, [wire.encode_unit([commands.put(f"key {number}", bytes(500))])], None)
    all_pieces = list(given(giver, receiver))

    def broken() -> Iterator[bytes]:
        yield from all_pieces[:3]
        raise Unavailable("the connection is gone")

    with pytest.raises(Unavailable):
        receiver.take(broken())
    assert (receiver.extent.size, receiver.machine.applied.size > 0) == (0, True)
    for machine in (receiver, ReplicatedMachine(store)):
        with pytest.raises(StorageError, match="taken in part"):
            machine.apply(30, 1, [wire.encode_unit([commands.put("k", "v")])], None)
    receiver.take(all_pieces)
    receiver.apply(30, 1, [wire.encode_unit([commands.put("k", "v")])], None)
    assert receiver.extent.size == 21


def test_it_goes_from_one_engine_to_the_other(tmp_path: Path) -> None:
    log = program(5, entries=80)
    stores = RocksStore(tmp_path / "one"), RocksStore(tmp_path / "two")
    giver, receiver = map(new, stores)
    run(giver, log[:70])
    expected = tables(giver._store)
    following = given(giver, receiver)
    first = next(following)
    outcomes = run(giver, log[70:])
    receiver.take([first, *following])
    assert tables(receiver._store) == expected
    assert run(receiver, log[70:]) == outcomes
    for store in stores:
        store.close()


def test_request_ids_are_those_of_the_moment_though_the_giver_forgets_them_meanwhile() -> None:
    giver, receiver = new(), new()
    for number in range(16):
        giver.apply(number + 1, 1, [unit(b"key", b"%d" % number, f"id {number}")], None)
    following = given(giver, receiver)
    retry = [unit(b"key", b"0", "id 0")]
    told = giver.apply(20, 1, retry, None)
    for number in range(16):
        giver.apply(30 + number, 1, [unit(b"key", b"later %d" % number, f"later {number}")], None)
    receiver.take(following)
    assert list(receiver.apply(20, 1, retry, None)[0]) == list(told[0])  # type: ignore[arg-type]
    assert receiver.extent.size == 16


# --- what is archived ------------------------------------------------------------------------------------------


def archived_giver(evicted: int) -> ReplicatedMachine:
    giver = new()
    for number in range(40):
        giver.apply(number + 1, 1, [unit(b"key %d" % number, b"value")], None)
    giver.apply(50, 1, [wire.encode_change(Archive(0, (segment(0, 30),)))], None)
    giver.evict(evicted)
    assert giver.machine.evicted == evicted
    return giver


@pytest.mark.parametrize("has", [0, 10, 20, 25, 40])
def test_what_the_giver_has_evicted_is_archived_for_the_receiver_too(has: int) -> None:
    giver, receiver = archived_giver(20), new()
    for number in range(has):
        receiver.apply(number + 1, 1, [unit(b"key %d" % number, b"value")], None)
    receiver.take(given(giver, receiver))
    assert receiver.machine.evicted == (20 if has < 20 else 0)
    assert tables(receiver._store, values=False) == tables(giver._store, values=False)
    held = [int.from_bytes(name, "big") for name, _ in receiver._store.table(Table.VALUES).scan()]
    assert held == list(range(receiver.machine.evicted, 40))
    assert ReplicatedMachine(receiver._store).machine.evicted == receiver.machine.evicted


def test_what_is_evicted_while_it_is_given_travels_all_the_same() -> None:
    giver, receiver = archived_giver(10), new()
    following = given(giver, receiver)
    first = next(following)
    giver.evict(30)
    receiver.take([first, *following])
    assert receiver.machine.evicted == 10
    assert len(dict(receiver._store.table(Table.VALUES).scan())) == 30


# --- what does not fit -----------------------------------------------------------------------------------------


def test_a_ledger_that_is_no_prefix_is_a_conflict() -> None:
    giver, other = new(), new()
    giver.apply(1, 1, [unit(b"a", b"1")], None)
    other.apply(1, 1, [unit(b"a", b"2")], None)
    with pytest.raises(Conflict, match="other entries"):
        next(given(giver, other))
    other.apply(2, 1, [unit(b"a", b"3")], None)
    with pytest.raises(Conflict, match="more than"):
        next(given(giver, other))
    third = new()
    third.apply(1, 1, [wire.encode_change(Archive(0, ()))], None)
    for machine, name in ((giver, "one"), (third, "two")):
        machine.apply(5, 1, [wire.encode_change(Adopt(name))], None)
    with pytest.raises(Conflict, match="another manifest"):
        next(given(giver, third))


def test_a_giver_that_has_gone_on_says_so() -> None:
    giver, receiver = new(), new()
    giver.apply(1, 1, [unit(b"a", b"1")], None)
    giver.apply(2, 1, [unit(b"b", b"1")], None)
    following = giver.export(receiver.describe(), 1, 1, b"")
    next(following)
    with pytest.raises(Unavailable, match="gone on"):
        next(following)


@pytest.mark.parametrize("have", [b"", b"{}", b"[]", b'{"format": 9}', b'{"format": 1, "size": -1}'])
def test_what_a_member_has_must_be_readable(have: bytes) -> None:
    with pytest.raises(SerializationError):
        new().export(have, 0, 0, b"")


@pytest.mark.parametrize("seed", range(16))
def test_damage_is_found_and_nothing_is_built_on_it(seed: int) -> None:
    """Whatever byte was changed, the receiver has what the giver has, or an error, and then applies nothing."""
    giver, receiver = new(), new()
    run(giver, program(3, entries=25))
    all_pieces = list(given(giver, receiver))
    dice = random.Random(seed)
    place = dice.randrange(len(all_pieces))
    damaged = bytearray(all_pieces[place])
    damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    all_pieces[place] = bytes(damaged)
    try:
        receiver.take(all_pieces)
    except VerificationError:
        assert receiver.extent.size == 0
        if receiver.machine.applied.size:
            with pytest.raises(StorageError):
                receiver.apply(999, 1, [unit(b"k", b"v")], None)
    else:
        assert receiver.extent.root == giver.extent.root


@pytest.mark.parametrize("gone", range(1, 8))
def test_a_missing_piece_is_noticed(gone: int) -> None:
    giver, receiver = new(), new()
    run(giver, program(3, entries=60))
    all_pieces = list(given(giver, receiver))
    assert len(all_pieces) > 8
    with pytest.raises(VerificationError):
        receiver.take([*all_pieces[:gone], *all_pieces[gone + 1 :]])
    with pytest.raises(VerificationError):
        new().take(all_pieces[1:])
    with pytest.raises(VerificationError):
        new().take([])


def unit(key: bytes, value: bytes, request_id: str | None = None) -> bytes:
    return wire.encode_unit([commands.put(key, value, request_id=request_id)])


def test_members_are_told_with_the_position() -> None:
    giver, receiver = new(), new()
    giver.apply(1, 1, [unit(b"a", b"1")], None)
    giver.set_membership(4, MEMBERS)
    receiver.take(giver.export(receiver.describe(), 1, 9, b"as of nine"))
    assert (receiver.position, receiver.membership) == (9, b"as of nine")
    again = ReplicatedMachine(receiver._store)
    assert (again.position, again.membership) == (9, b"as of nine")


@pytest.mark.no_cover
def test_a_member_gives_and_flushes_while_it_goes_on(tmp_path: Path) -> None:
    """The loop applies; a thread gives to one member after the other, and another one flushes and evicts."""
    store = RocksStore(tmp_path / "store")
    giver = new(store)
    log = program(11, entries=400)
    run(giver, log[:50])
    done = threading.Event()
    failures: list[BaseException] = []

    def look_after() -> None:
        try:
            while not done.is_set():
                assert giver.flush() <= giver.position
                giver.evict(giver.extent.size // 2)
        except BaseException as error:  # for the thread that asserts
            failures.append(error)

    def give(following: Iterator[bytes], position: int) -> None:
        try:
            receiver = new()
            receiver.take(following)
            assert receiver.position == position
            run(receiver, after(log, receiver))
            received.append(receiver)
        except BaseException as error:  # for the thread that asserts
            failures.append(error)

    received: list[ReplicatedMachine] = []
    threads = [threading.Thread(target=look_after)]
    threads[0].start()
    empty = new()
    for place, entry in enumerate(log[50:]):
        entry.apply(giver)
        if place % 50 == 0:
            threads.append(threading.Thread(target=give, args=(given(giver, empty), giver.position)))
            threads[-1].start()
    for thread in threads[1:]:
        thread.join()
    done.set()
    threads[0].join()
    assert failures == []
    assert len(received) == 7
    for receiver in received:
        assert receiver.extent == giver.extent
        assert tables(receiver._store, values=False) == tables(store, values=False)
    store.close()


def test_who_is_being_given_entries_gives_none() -> None:
    giver, receiver = new(), new()
    run(giver, program(3, entries=25))

    def nested() -> Iterator[bytes]:
        for piece in given(giver, receiver):
            with pytest.raises(Unavailable, match="being given"):
                receiver.export(giver.describe(), 0, 0, b"")
            yield piece

    receiver.take(nested())
    assert receiver.extent == giver.extent

"""The state machine, alone on a store in memory: the order of judging, atomic units, request ids, determinism."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.model import Model, Op, Refused, configure, delete, put
from tests.ledger.opening import load_machine, new_machine

from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    Overloaded,
    ScribeError,
    StorageError,
    VerificationError,
)
from scribe_ledger.ledger import commands, judging
from scribe_ledger.ledger.machine import EMPTY, STATE_KEY, Machine, create
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.records import index_key, version_key
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle import Nodes, root_of
from scribe_ledger.objects.blobs import Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.model import Receipt

pytestmark = pytest.mark.storage

NOW = 1000


class Bench:
    """A machine on its own store, driven in units."""

    def __init__(self, store: MemoryStore | None = None, **policies: str) -> None:
        self.store = store or MemoryStore()
        self.machine = new_machine(self.store, **policies)

    def apply(self, *units: Sequence[Op], now: int = NOW) -> list[Receipts | ScribeError]:
        """One batch; what each of its units is told."""
        prepared = [[op.command() for op in unit] for unit in units]
        outcomes = self.machine.apply(prepared, position=self.machine.applied.position + 1, timestamp=now)
        self.machine.commit()
        return outcomes

    def do(self, *ops: Op, now: int = NOW) -> list[Receipt]:
        """One unit in a batch of its own, which must succeed."""
        (outcome,) = self.apply(ops, now=now)
        if isinstance(outcome, ScribeError):
            raise outcome
        return list(outcome)

    def one(self, op: Op, now: int = NOW) -> Receipt:
        return self.do(op, now=now)[0]

    def refused(self, *ops: Op) -> str:
        """The kind of error that one unit gets; nothing may have changed."""
        before, tables = self.machine.applied, contents(self.store)
        (outcome,) = self.apply(ops)
        assert isinstance(outcome, ScribeError), outcome
        assert self.machine.applied is before
        assert contents(self.store) == tables
        return outcome.kind

    @property
    def size(self) -> int:
        return self.machine.committed.size

    def reopened(self) -> Machine:
        return load_machine(self.store)


def contents(store: MemoryStore) -> dict[Table, dict[bytes, bytes]]:
    return {table: dict(store.table(table).records) for table in Table}


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- receipts --------------------------------------------------------------------------------------------------


def test_a_receipt_tells_all_that_the_model_tells(bench: Bench) -> None:
    model = Model()
    ops = [
        put(b"k", b"1", metadata={"a": "b"}),
        put(b"k", b"2"),
        delete(b"k"),
        put(b"k", b""),
        configure(deletes="forbid"),
    ]
    for op in ops:
        receipt = bench.one(op)
        model.write([op], NOW)
        item = model.items[-1]
        leaf = item.leaf()
        assert receipt == (item.index, item.version, NOW, leaf.sha256, leaf.hash(), True)
    assert bench.machine.nodes.root() == model.root()


def test_receipts_of_a_unit_are_a_sequence(bench: Bench) -> None:
    (receipts,) = bench.apply([put(b"%d" % number, b"") for number in range(5)])
    assert not isinstance(receipts, ScribeError)
    assert [receipt.index for receipt in receipts] == [0, 1, 2, 3, 4]
    assert receipts[-1].index == 4
    assert [receipt.index for receipt in receipts[1:3]] == [1, 2]
    assert receipts == list(receipts)
    assert receipts != [*receipts][1:]
    with pytest.raises(IndexError):
        receipts[5]


def test_an_empty_batch_and_empty_units_change_nothing(bench: Bench) -> None:
    assert bench.apply() == []
    assert [list(receipts) for receipts in bench.apply([], [])] == [[], []]  # type: ignore[arg-type]
    (first, second, third) = bench.apply([], [put(b"k", b"")], [])
    assert [len(receipts) for receipts in (first, second, third)] == [0, 1, 0]  # type: ignore[arg-type]
    assert bench.size == 1


# --- the order of judging: request id, precondition, same content, policy --------------------------------------


def test_a_request_id_comes_before_the_precondition(bench: Bench) -> None:
    first = bench.one(put(b"k", b"1", if_absent=True, request="r"))
    assert bench.one(put(b"k", b"1", if_absent=True, request="r")) == first._replace(created=False)
    assert bench.refused(put(b"k", b"2", if_version=7, request="r")) == "conflict"


def test_a_request_id_comes_before_same_content(bench: Bench) -> None:
    first = bench.one(put(b"k", b"1", request="r"))
    second = bench.one(put(b"k", b"1", dedupe=False, request="s"))
    assert bench.one(put(b"k", b"1", request="r")) == first._replace(created=False)
    assert bench.one(put(b"k", b"1", request="s")) == second._replace(created=False)
    assert bench.one(put(b"k", b"1", request="new")) == second._replace(created=False)


def test_a_request_id_comes_before_the_policy(bench: Bench) -> None:
    first = bench.one(put(b"k", b"1", request="r"))
    second = bench.one(delete(b"k", request="s"))
    bench.one(configure(overwrite="forbid", deletes="forbid"))
    assert bench.one(put(b"k", b"1", request="r")) == first._replace(created=False)
    assert bench.one(delete(b"k", request="s")) == second._replace(created=False)


def test_a_precondition_comes_before_same_content(bench: Bench) -> None:
    bench.one(put(b"k", b"1"))
    assert bench.refused(put(b"k", b"1", if_absent=True)) == "precondition"
    assert bench.refused(put(b"k", b"1", if_version=2)) == "precondition"
    assert bench.refused(put(b"k", b"1", if_index=1)) == "precondition"
    assert not bench.one(put(b"k", b"1", if_version=1, if_index=0)).created


def test_a_precondition_comes_before_the_policy() -> None:
    bench = Bench(overwrite="forbid", deletes="forbid")
    bench.one(put(b"k", b"1"))
    assert bench.refused(put(b"k", b"2", if_version=2)) == "precondition"
    assert bench.refused(put(b"k", b"2", if_version=1)) == "forbidden"
    assert bench.refused(delete(b"k", if_index=3)) == "precondition"
    assert bench.refused(delete(b"k", if_index=0)) == "forbidden"
    assert bench.refused(delete(b"x", if_index=3)) == "precondition"
    assert bench.refused(delete(b"x", if_version=0)) == "not_found"


def test_same_content_comes_before_the_policy() -> None:
    bench = Bench(overwrite="forbid")
    first = bench.one(put(b"k", b"1"))
    assert bench.one(put(b"k", b"1")) == first._replace(created=False)
    assert bench.refused(put(b"k", b"1", dedupe=False)) == "forbidden"


# --- request ids -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", range(18))
@pytest.mark.parametrize("together", [False, True])
def test_a_retry_is_recognised_among_the_last_sixteen_versions(others: int, *, together: bool, bench: Bench) -> None:
    """Whether the versions in between came in batches of their own, or in the batch of the retry."""
    first = bench.one(put(b"k", b"mine", request="r"))
    between = [put(b"k", b"%d" % number, request=f"other {number}" if number % 2 else "") for number in range(others)]
    retry = put(b"k", b"mine", request="r")
    if together:
        again = bench.do(*between, retry)[-1]
    else:
        for op in between:
            bench.one(op)
        again = bench.one(retry)
    if others <= 15:
        assert again == first._replace(created=False)
    else:
        assert (again.created, again.version) == (True, others + 2)
        assert bench.one(retry) == again._replace(created=False)


def by(unit: Sequence[Op], name: str = "B") -> list[Op]:
    """The operations as those of one batch with a request id."""
    return [replace(op, request=f"{name}/{place}") for place, op in enumerate(unit)]


def many(count: int, *, dedupe: bool = True, among: int = 100) -> list[Op]:
    return [put(b"k", b"%d" % (number % among), dedupe=dedupe) for number in range(count)]


@pytest.mark.parametrize(
    "unit",
    [
        [put(b"old", b"1"), put(b"new", b"1")],
        [put(b"new", b"1"), put(b"old", b"1")],
        [put(b"old", b"1", if_version=1), put(b"new", b"1", if_absent=True)],
        [put(b"old", b"1"), put(b"old", b"2"), put(b"old", b"2"), delete(b"old"), put(b"old", b"1")],
        [put(b"old", b"1"), put(b"other", b"2"), put(b"new", b"1"), put(b"old", b"1"), put(b"other", b"3")],
        many(20),
        many(20, among=2),
        many(40, among=2, dedupe=False),
        [put(b"new", b"1"), *many(18), put(b"old", b"1"), *many(17)],
    ],
)
@pytest.mark.parametrize("between", [0, 1, 2, 3, 18])
def test_a_batch_that_comes_again_takes_effect_once(bench: Bench, unit: list[Op], between: int) -> None:
    """Also where some of it appended nothing, or was pushed out of what a key remembers, and others wrote meanwhile."""
    bench.do(put(b"old", b"1"), put(b"other", b"2"))
    first = bench.do(*by(unit))
    others = [put(b"old", b"50"), put(b"other", b"2", dedupe=False), put(b"k", b"1", dedupe=False)]
    others += [put(b"new", b"%d" % number) for number in range(2, 17)]
    for op in others[:between]:
        bench.one(op)
    size = bench.size
    again = bench.do(*by(unit))
    assert again == [receipt._replace(created=False) for receipt in first]
    assert bench.size == size


def test_a_batch_that_comes_again_in_the_same_commit_takes_effect_once(bench: Bench) -> None:
    bench.one(put(b"old", b"1"))
    unit = by([put(b"old", b"1"), put(b"new", b"1"), *many(20)])
    first, between, again = bench.apply(unit, [put(b"old", b"50")], unit)
    assert not isinstance(first, ScribeError)
    assert not isinstance(between, ScribeError)
    assert again == [receipt._replace(created=False) for receipt in first]
    assert bench.size == 1 + 21 + 1


@pytest.mark.parametrize(
    "other",
    [
        [put(b"old", b"2"), put(b"new", b"1")],
        [put(b"never", b"1"), put(b"new", b"1")],
        [delete(b"old"), put(b"new", b"1")],
        [put(b"old", b"1"), put(b"new", b"2")],
        [put(b"old", b"1"), put(b"new", b"1"), put(b"more", b"1")],
    ],
)
def test_another_batch_under_the_same_id_is_a_conflict(bench: Bench, other: list[Op]) -> None:
    bench.one(put(b"old", b"1"))
    bench.do(*by([put(b"old", b"1"), put(b"new", b"1")]))
    bench.one(put(b"old", b"2"))
    assert bench.refused(*by(other)) == "conflict"


def test_a_retry_in_the_batch_of_its_first_try_gets_the_same_receipt(bench: Bench) -> None:
    ops = [put(b"k", b"1", request="r"), put(b"k", b"2"), put(b"k", b"1", request="r"), put(b"k", b"2")]
    receipts = bench.do(*ops)
    assert [(receipt.index, receipt.created) for receipt in receipts] == [(0, True), (1, True), (0, False), (1, False)]
    assert receipts[2] == receipts[0]._replace(created=False)
    outcomes = bench.apply(
        [put(b"u", b"1", request="r")], [put(b"u", b"1", request="r")], [put(b"u", b"2", request="r")]
    )
    assert [list(outcome)[0].index for outcome in outcomes[:2]] == [2, 2]  # type: ignore[arg-type]  # noqa: RUF015
    assert isinstance(outcomes[2], ScribeError)
    assert outcomes[2].kind == "conflict"


def test_a_retry_in_its_batch_is_not_taken_for_another_key(bench: Bench) -> None:
    """Entries of the same version of other keys stand between."""
    bench.do(put(b"stored", b"1", request="r"), put(b"stored", b"2"))
    receipts = bench.do(
        put(b"other", b"x"),
        put(b"k", b"1", request="r"),
        put(b"another", b"x"),
        put(b"stored", b"3"),
        put(b"k", b"2"),
        put(b"another", b"y"),
        put(b"k", b"1", request="r"),
        put(b"stored", b"1", request="r"),
    )
    assert receipts[6] == receipts[1]._replace(created=False)
    assert (receipts[7].index, receipts[7].created) == (0, False)


@pytest.mark.parametrize(
    "other",
    [
        put(b"k", b"2", request="r"),
        put(b"k", b"1", content_type="text/plain", request="r"),
        put(b"k", b"1", metadata={"a": "b"}, request="r"),
        delete(b"k", request="r"),
    ],
)
@pytest.mark.parametrize("superseded", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_a_request_id_of_another_command_is_a_conflict(
    other: Op, *, superseded: bool, together: bool, bench: Bench
) -> None:
    before = [put(b"k", b"1", request="r"), *([put(b"k", b"3")] if superseded else [])]
    if together:
        outcomes = bench.apply(before, [other])
        assert isinstance(outcomes[1], ScribeError)
        assert outcomes[1].kind == "conflict"
        assert bench.size == len(before)
    else:
        bench.do(*before)
    assert bench.refused(other) == "conflict"


def test_a_request_id_belongs_to_its_key(bench: Bench) -> None:
    assert [bench.one(put(key, b"1", request="r")).created for key in (b"a", b"b", b"a")] == [True, True, False]
    assert [receipt.created for receipt in bench.do(put(b"c", b"1", request="r"), put(b"d", b"2", request="r"))] == [
        True,
        True,
    ]


def test_a_refusal_is_not_remembered(bench: Bench) -> None:
    bench.one(put(b"k", b"1"))
    assert bench.refused(put(b"k", b"2", if_version=7, request="r")) == "precondition"
    assert bench.one(put(b"k", b"3", request="r")).created
    (refused, good) = bench.apply([put(b"k", b"4", request="s"), delete(b"x")], [put(b"k", b"5", request="s")])
    assert isinstance(refused, ScribeError)
    assert not isinstance(good, ScribeError)
    assert (good[0].created, good[0].version) == (True, 3)


def test_a_delete_can_be_retried_after_the_key_is_back(bench: Bench) -> None:
    bench.one(put(b"k", b"1"))
    first = bench.one(delete(b"k", request="r"))
    bench.one(put(b"k", b"2"))
    assert bench.one(delete(b"k", request="r")) == first._replace(created=False)
    assert bench.one(put(b"k", b"2")).version == 3


# --- conditions ------------------------------------------------------------------------------------------------


def test_if_absent_holds_for_a_key_without_a_value(bench: Bench) -> None:
    assert bench.one(put(b"k", b"1", if_absent=True)).version == 1
    assert bench.refused(put(b"k", b"2", if_absent=True)) == "precondition"
    bench.one(delete(b"k"))
    assert bench.one(put(b"k", b"1", if_absent=True)).version == 3


def test_if_version_zero_holds_only_for_a_key_never_written(bench: Bench) -> None:
    assert bench.refused(put(b"k", b"1", if_version=1)) == "precondition"
    assert bench.one(put(b"k", b"1", if_version=0)).version == 1
    assert bench.refused(put(b"k", b"2", if_version=0)) == "precondition"
    bench.one(delete(b"k", if_version=1))
    assert bench.refused(put(b"k", b"2", if_version=0)) == "precondition"
    assert bench.one(put(b"k", b"2", if_version=2)).version == 3


def test_if_index_names_the_latest_entry(bench: Bench) -> None:
    assert bench.refused(put(b"k", b"1", if_index=0)) == "precondition"
    bench.one(put(b"other", b""))
    assert bench.one(put(b"k", b"1")).index == 1
    assert bench.refused(put(b"k", b"2", if_index=0)) == "precondition"
    assert bench.one(put(b"k", b"2", if_index=1)).index == 2
    assert bench.refused(delete(b"k", if_index=1)) == "precondition"
    assert bench.one(delete(b"k", if_index=2)).index == 3


def test_conditions_see_the_batch_they_are_in(bench: Bench) -> None:
    assert (
        bench.do(
            put(b"k", b"1", if_version=0),
            put(b"k", b"2", if_version=1, if_index=0),
            delete(b"k", if_index=1),
            put(b"k", b"3", if_absent=True, if_version=3),
        )[-1].version
        == 4
    )
    outcomes = bench.apply([put(b"n", b"1", if_absent=True)], [put(b"n", b"2", if_absent=True)])
    assert [isinstance(outcome, ScribeError) for outcome in outcomes] == [False, True]


# --- same content ----------------------------------------------------------------------------------------------


def test_same_content_appends_nothing_and_gives_the_first_receipt(bench: Bench) -> None:
    first = bench.one(put(b"k", b"1", content_type="text/plain", metadata={"A": "b"}))
    same = put(b"k", b"1", content_type="text/plain", metadata={"a": "b"})
    assert bench.one(same, now=NOW + 5) == first._replace(created=False)
    assert bench.size == 1
    for other in (put(b"k", b"1"), put(b"k", b"1", content_type="text/plain"), put(b"k", b"1", metadata={"a": "c"})):
        assert bench.one(other).created
    assert bench.one(put(b"k", b"1", metadata={"a": "c"}, dedupe=False)).created


def test_same_content_is_that_of_the_latest_version_only(bench: Bench) -> None:
    bench.do(put(b"k", b"1"), put(b"k", b"2"))
    assert bench.one(put(b"k", b"1")).version == 3
    bench.one(delete(b"k"))
    assert bench.one(put(b"k", b"1")).version == 5
    assert bench.refused(put(b"k", b"1"), delete(b"x")) == "not_found"


def test_same_content_is_compared_by_more_than_the_stored_prefix(bench: Bench) -> None:
    first = put(b"k", b"1").command()
    forged = first._replace(sha256=first.sha256[:8] + bytes(24), value=b"2")
    bench.one(put(b"k", b"1"))
    (receipts,) = bench.machine.apply([[forged]], position=2, timestamp=NOW)
    assert not isinstance(receipts, ScribeError)
    assert receipts[0].created


# --- deletes and policies --------------------------------------------------------------------------------------


def test_there_must_be_something_to_delete(bench: Bench) -> None:
    assert bench.refused(delete(b"k")) == "not_found"
    bench.do(put(b"k", b""), delete(b"k"))
    assert bench.refused(delete(b"k")) == "not_found"


def test_overwrite_forbid_refuses_every_second_version() -> None:
    bench = Bench(overwrite="forbid")
    bench.do(put(b"k", b"1"), put(b"other", b"1"))
    assert bench.refused(put(b"k", b"2")) == "forbidden"
    assert bench.refused(put(b"n", b"1"), put(b"n", b"2")) == "forbidden"
    bench.one(delete(b"k"))
    assert bench.refused(put(b"k", b"1")) == "forbidden"


def test_deletes_forbid_refuses_deletes_and_allows_versions() -> None:
    bench = Bench(deletes="forbid")
    bench.do(put(b"k", b"1"), put(b"k", b"2"))
    assert bench.refused(delete(b"k")) == "forbidden"


def test_a_config_entry_rules_what_follows_it_even_in_its_batch(bench: Bench) -> None:
    outcomes = bench.apply(
        [put(b"k", b"1")],
        [configure(overwrite="forbid")],
        [put(b"k", b"2")],
        [configure(overwrite="version")],
        [put(b"k", b"3")],
    )
    assert [isinstance(outcome, ScribeError) for outcome in outcomes] == [False, False, True, False, False]
    assert bench.machine.policy == Policy()
    assert bench.reopened().policy == Policy()


def test_a_config_entry_in_a_refused_unit_has_no_effect(bench: Bench) -> None:
    bench.one(put(b"k", b"1"))
    outcomes = bench.apply([configure(overwrite="forbid"), delete(b"x")], [put(b"k", b"2")])
    assert [isinstance(outcome, ScribeError) for outcome in outcomes] == [True, False]
    assert bench.machine.policy == bench.reopened().policy == Policy()


def test_a_policy_is_committed_with_its_entry(bench: Bench) -> None:
    machine = bench.machine
    machine.apply([[configure(deletes="forbid").command()]], position=1, timestamp=NOW)
    assert (machine.policy.deletes, machine.committed_policy.deletes) == ("forbid", "tombstone")
    machine.commit()
    assert machine.committed_policy.deletes == "forbid"


def test_an_unknown_policy_is_refused(bench: Bench) -> None:
    assert bench.refused(configure(overwrite="maybe")) == "configuration"
    assert bench.refused(configure(unknown="forbid")) == "configuration"


# --- atomic units ----------------------------------------------------------------------------------------------

REFUSALS = [
    delete(b"missing"),
    put(b"k", b"2", if_version=9),
    put(b"k", b"2", request="used"),
    configure(deletes="maybe"),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refused_unit_leaves_no_trace_and_its_neighbours_succeed(refusal: Op) -> None:
    """What the store holds is what it would hold if the unit had never been there."""
    units: list[list[Op]] = [
        [put(b"a", b"1", request="a"), put(b"k", b"2")],
        [
            put(b"a", b"2", request="b"),
            put(b"n", b"1"),
            delete(b"k"),
            put(b"k", b"3", request="c"),
            configure(overwrite="forbid"),
            put(b"m", b"1"),
            put(b"old", b"2"),
            refusal,
            put(b"z", b"1"),
        ],
        [put(b"a", b"2", request="b"), put(b"n", b"2"), delete(b"old"), put(b"k", b"4", request="c"), put(b"m", b"")],
        [refusal],
        [put(b"a", b"3", if_version=2), put(b"n", b"2", if_version=1), put(b"old", b"3")],
    ]
    tables = []
    for chosen in (units, [units[0], units[2], units[4]]):
        bench = Bench()
        bench.do(put(b"k", b"1", request="used"), put(b"old", b"1"))
        outcomes = bench.apply(*chosen)
        assert [isinstance(outcome, ScribeError) for outcome in outcomes] == [
            unit in (units[1], units[3]) for unit in chosen
        ]
        tables.append((contents(bench.store), bench.machine.applied))
    assert tables[0] == tables[1]


def test_a_unit_is_refused_by_its_first_refusal(bench: Bench) -> None:
    assert bench.refused(put(b"k", b""), delete(b"x"), put(b"k", b"", if_version=5)) == "not_found"
    assert bench.refused(put(b"k", b""), put(b"k", b"", if_version=5), delete(b"x")) == "precondition"


def test_a_failing_store_is_not_a_refusal(bench: Bench) -> None:
    """Another replica would append what this one cannot judge: so the batch fails as a whole."""
    bench.one(put(b"k", b"1", request="r"))
    bench.store.table(Table.LEAVES).set(bytes(8), None)
    before = contents(bench.store)
    with pytest.raises(Corruption):
        bench.apply([put(b"other", b"")], [put(b"k", b"1", request="r")])
    assert contents(bench.store) == before
    assert not bench.machine.torn
    assert bench.one(put(b"other", b"")).index == 1


# --- history ---------------------------------------------------------------------------------------------------


def test_versions_superseded_in_their_own_batch_stand_where_they_are(bench: Bench) -> None:
    """Spots of the history name group, offset and flags as they came out, which judging did not know yet."""
    bench.one(put(b"k", b"stored"))
    ops = [put(b"filler %d" % number, b"x" * 1000) for number in range(20)]
    for number in range(30):
        ops.insert(number * 2 % len(ops), put(b"k", b"%d" % number * (number + 1), dedupe=False))
    ops.insert(33, delete(b"k"))
    model = Model()
    model.write([put(b"k", b"stored")], NOW)
    model.write(ops, NOW)
    bench.do(*ops)
    history = bench.store.table(Table.HISTORY)
    versions = model.history(b"k")
    assert len(history.records) == 2 * (len(versions) - 1)
    for item in versions[1:]:
        spot = bench.machine.spot_of_version(b"k", item.version)
        assert history.get(index_key(b"k", item.index)) == history.get(version_key(b"k", item.version))
        assert (spot.index, spot.version, spot.deleted) == (item.index, item.version, item.deleted)
        assert bench.machine.leaf_at(spot) == item.leaf().encode()
        values = bench.store.table(Table.VALUES).get(spot.group.to_bytes(8, "big"))
        assert values is not None
        assert values[spot.offset : spot.offset + spot.length] == item.value


# --- timestamps and positions ----------------------------------------------------------------------------------


def test_timestamps_never_go_back_though_the_clock_does(bench: Bench) -> None:
    stamps = [bench.one(put(b"%d" % number, b""), now=now).timestamp for number, now in enumerate([50, 40, 0, 51, -7])]
    assert stamps == [50, 50, 50, 51, 51]
    assert bench.reopened().apply([[put(b"late", b"").command()]], position=9, timestamp=3)[0][0].timestamp == 51  # type: ignore[index]


def test_a_batch_that_appends_nothing_leaves_the_clock_alone(bench: Bench) -> None:
    bench.one(put(b"k", b""), now=10)
    bench.one(put(b"k", b""), now=99)
    assert bench.one(put(b"n", b""), now=20).timestamp == 20


def test_the_position_is_kept_with_the_batch(bench: Bench) -> None:
    bench.machine.apply([[put(b"k", b"").command()]], position=77, timestamp=NOW)
    assert bench.machine.applied.position == 77
    assert bench.reopened().applied.position == 77


# --- two views -------------------------------------------------------------------------------------------------


def test_what_is_applied_is_not_committed_yet(bench: Bench) -> None:
    machine = bench.machine
    machine.apply([[put(b"k", b"").command()]], position=1, timestamp=NOW)
    assert (machine.applied.size, machine.committed, machine.nodes.edge.size) == (1, EMPTY, 0)
    machine.apply([[put(b"k", b"2", if_version=1).command()]], position=2, timestamp=NOW)
    assert machine.commit() is machine.applied is machine.committed
    assert machine.nodes.edge.size == 2


def test_an_overloaded_write_changes_nothing_and_can_be_repeated(bench: Bench) -> None:
    bench.do(put(b"k", b"1"), put(b"other", b"1"))
    before, tables = bench.machine.applied, contents(bench.store)
    ops = [put(b"k", b"2", request="r"), put(b"n", b""), configure(deletes="forbid")]
    bench.store.fail_write = Overloaded("busy")
    for _ in range(2):
        with pytest.raises(Overloaded):
            bench.do(*ops)
        assert not bench.machine.torn
        assert bench.machine.applied is before
        assert bench.machine.policy == Policy()
        assert contents(bench.store) == tables
    bench.store.fail_write = None
    assert [receipt.index for receipt in bench.do(*ops)] == [2, 3, 4]
    assert bench.machine.policy.deletes == "forbid"


def test_a_failed_write_leaves_the_machine_torn(bench: Bench) -> None:
    bench.store.fail_write = StorageError("the disk")
    with pytest.raises(StorageError):
        bench.one(put(b"k", b""))
    assert bench.machine.torn
    assert bench.machine.applied is bench.machine.committed is not None


# --- creation and opening --------------------------------------------------------------------------------------


def test_a_creation_that_was_cut_short_can_be_repeated_with_other_policies() -> None:
    store = MemoryStore()
    create(store, Policy("forbid"))
    create(store, Policy(deletes="forbid"))
    assert load_machine(store).policy == Policy(deletes="forbid")


def test_a_store_with_entries_is_not_created_again(bench: Bench) -> None:
    bench.one(put(b"k", b""))
    tables = contents(bench.store)
    with pytest.raises(Corruption, match="entries"):
        create(bench.store, Policy())
    assert contents(bench.store) == tables


def test_a_store_without_its_records_is_refused() -> None:
    with pytest.raises(Corruption, match="policies are missing"):
        load_machine(MemoryStore())
    for damage in (None, b"", b"short", bytes(51)):
        bench = Bench()
        bench.store.table(Table.META).set(STATE_KEY, damage)
        with pytest.raises(Corruption, match="state record"):
            bench.reopened()


def test_newer_formats_and_rules_are_refused(bench: Bench) -> None:
    meta = bench.store.table(Table.META)
    state = meta.records[STATE_KEY]
    meta.set(STATE_KEY, b"\0\2" + state[2:])
    with pytest.raises(ConfigurationError, match="format 2"):
        bench.reopened()
    meta.set(STATE_KEY, state)
    meta.set(b"policy", Policy(apply_version=2).encode())
    with pytest.raises(ConfigurationError, match="rules of version 2"):
        bench.reopened()


def test_missing_last_groups_are_refused_at_opening(bench: Bench) -> None:
    for number in range(5):
        bench.do(*[put(b"%d %d" % (number, place), b"") for place in range(7)])
    leaves = bench.store.table(Table.LEAVES)
    for group, record in list(leaves.records.items()):
        leaves.set(group, None)
        with pytest.raises(Corruption, match="group of entries"):
            bench.reopened()
        leaves.set(group, record)
    assert bench.reopened().applied == bench.machine.applied


SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537]


@pytest.mark.no_cover
def test_state_survives_reopening_at_every_border_of_the_tree(bench: Bench) -> None:
    """One ledger grown through all sizes; opened again at each, it is the same and goes on to the same roots."""
    hashes: list[bytes] = []
    for size in SIZES:
        while len(hashes) < size:
            count = min(size - len(hashes), 8000)
            unit = commands.put_many([(b"%d" % (len(hashes) + number), b"") for number in range(count)])
            (receipts,) = bench.machine.apply([unit], position=bench.machine.applied.position + 1, timestamp=NOW)
            assert not isinstance(receipts, ScribeError)
            hashes += [receipt.leaf_hash for receipt in receipts]
        bench.machine.commit()
        again = bench.reopened()
        assert again.applied == again.committed == bench.machine.applied
        assert again.nodes.root() == bench.machine.nodes.root() == root_of(hashes)
        assert again.applied.edge == bench.machine.applied.edge
        bench.machine = again


# --- large values ----------------------------------------------------------------------------------------------


def large(key: bytes, name: bytes, **options: Any) -> Command:
    return commands.put(key, Blob(sha256=name * 32, size=1 << 30, chunk_root=b"c" * 32), **options)


def test_the_index_of_large_values_names_the_first_entry(bench: Bench) -> None:
    machine = bench.machine
    machine.apply(
        [[put(b"x", b"").command(), large(b"a", b"1"), large(b"b", b"1"), large(b"c", b"2")]], position=1, timestamp=1
    )
    machine.apply([[large(b"d", b"1"), large(b"e", b"3")], [large(b"e", b"2")]], position=2, timestamp=1)
    blobs = bench.store.table(Table.BLOBS).records
    assert {digest[:1]: int.from_bytes(index, "big") for digest, index in blobs.items()} == {b"1": 1, b"2": 3, b"3": 5}
    assert machine.applied.value_bytes == 6 << 30


def test_a_large_value_of_a_refused_unit_is_not_in_the_index(bench: Bench) -> None:
    outcomes = bench.machine.apply(
        [[large(b"a", b"1"), delete(b"x").command()], [large(b"a", b"2")]], position=1, timestamp=1
    )
    assert [isinstance(outcome, ScribeError) for outcome in outcomes] == [True, False]
    assert {digest[:1] for digest in bench.store.table(Table.BLOBS).records} == {b"2"}


def test_the_same_large_value_is_the_same_content(bench: Bench) -> None:
    outcomes = bench.machine.apply(
        [[large(b"a", b"1")], [large(b"a", b"1")], [large(b"a", b"2")]], position=1, timestamp=1
    )
    assert [outcome[0].created for outcome in outcomes] == [True, False, True]  # type: ignore[index]


# --- replaying -------------------------------------------------------------------------------------------------


def test_a_replay_that_differs_in_one_leaf_writes_nothing(bench: Bench) -> None:
    other = Bench()
    unit = [put(b"k", b"1").command(), put(b"n", b"1").command()]
    hashes = [receipt.leaf_hash for receipt in bench.do(put(b"k", b"1"), put(b"n", b"1"))]
    before = contents(other.store)
    with pytest.raises(VerificationError, match="entry 1"):
        other.machine.replay(unit, [NOW, NOW], [hashes[0], bytes(32)], position=1)
    assert contents(other.store) == before
    other.machine.replay(unit, [NOW, NOW], hashes, position=1)
    assert contents(other.store) == contents(bench.store)


# --- against the model, and determinism ------------------------------------------------------------------------

KEYS = [b"a", b"b", b"c", b"dd"]
TEXTS = st.sampled_from(["", "x", "y"])
NUMBERS = st.none() | st.integers(0, 6)
METADATA = st.sampled_from([{}, {"m": "1"}])
OPS = st.one_of(
    st.builds(
        put,
        st.sampled_from(KEYS),
        st.sampled_from([b"", b"1", b"2", b"v" * 5000]),
        content_type=st.sampled_from(["", "text/plain"]),
        metadata=METADATA,
        if_absent=st.sampled_from([False, False, True]),
        if_index=st.sampled_from([None, None, None, 0, 1, 2]),
        if_version=st.sampled_from([None, None, None, 0, 1, 2]),
        request=TEXTS,
        dedupe=st.booleans(),
    ),
    st.builds(put, st.sampled_from(KEYS), st.sampled_from([b"1", b"2"])),
    st.builds(delete, st.sampled_from(KEYS), metadata=METADATA, request=TEXTS),
    st.builds(configure, overwrite=st.sampled_from(["version", "version", "forbid"])),
    st.builds(configure, deletes=st.sampled_from(["tombstone", "forbid"])),
)
BATCHES = st.lists(st.lists(st.lists(OPS, max_size=6), max_size=4), max_size=8)


def expected(model: Model, unit: Sequence[Op], now: int) -> list[tuple[int, bool]] | str:
    try:
        return model.write(unit, now)
    except Refused as refusal:
        return refusal.kind


def told(outcome: Receipts | ScribeError) -> list[tuple[int, bool]] | str:
    if isinstance(outcome, ScribeError):
        return outcome.kind
    return [(receipt.index, receipt.created) for receipt in outcome]


@pytest.mark.no_cover
@settings(max_examples=300)
@given(BATCHES, st.lists(st.integers(0, 5), min_size=8, max_size=8))
def test_the_machine_does_what_the_model_does(batches: list[list[list[Op]]], clock: list[int]) -> None:
    bench, model = Bench(), Model()
    for units, now in zip(batches, clock, strict=False):
        assert [told(outcome) for outcome in bench.apply(*units, now=now)] == [
            expected(model, unit, now) for unit in units
        ]
    state = bench.machine.committed
    assert state.size == model.size
    assert state.keys == len(model.keys())
    assert state.live == len(model.live())
    assert state.value_bytes == sum(len(item.value) for item in model.items)
    assert bench.machine.nodes.root() == model.root()
    assert bench.machine.policy._asdict() == {**model.policies, "apply_version": 1}
    again = bench.reopened()
    assert (again.applied, again.policy) == (bench.machine.applied, bench.machine.policy)


@pytest.mark.no_cover
@settings(max_examples=100)
@given(BATCHES)
def test_two_machines_fed_the_same_have_the_same_tables(batches: list[list[list[Op]]]) -> None:
    """The second is opened again before every batch, so nothing may rest on what is only in memory."""
    first, second = Bench(), Bench()
    for units in batches:
        told_first = [told(outcome) for outcome in first.apply(*units)]
        second.machine = second.reopened()
        assert [told(outcome) for outcome in second.apply(*units)] == told_first
    assert contents(first.store) == contents(second.store)


FRESH = st.lists(
    st.builds(
        put,
        st.binary(min_size=1, max_size=3),
        st.binary(max_size=3) | st.sampled_from([b"v" * 3000, b"v" * 9000]),
        metadata=METADATA,
        request=TEXTS,
        dedupe=st.booleans(),
    ),
    max_size=150,
    unique_by=lambda op: op.key,
)


@pytest.mark.no_cover
@settings(max_examples=100)
@given(FRESH, st.lists(st.integers(1, 40), max_size=12))
def test_the_bulk_path_writes_the_same_bytes_as_the_general_one(ops: list[Op], cuts: list[int]) -> None:
    units: list[list[Op]] = [[]]
    for op in ops:
        if cuts and len(units[-1]) >= cuts[0]:
            cuts = cuts[1:]
            units.append([])
        units[-1].append(op)
    bulk, general = Bench(), Bench()
    outcomes = bulk.apply(*units)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "_all_fresh", lambda *_: False)
        assert general.apply(*units) == outcomes
    assert contents(bulk.store) == contents(general.store)
    assert bulk.machine.applied == general.machine.applied


def test_nodes_of_an_advanced_machine_are_those_of_a_new_one(bench: Bench) -> None:
    """The committed tree is carried from batch to batch, and read in between or not."""
    for number in range(300):
        bench.one(put(b"%d" % number, b""))
        if number % 7 == 0:
            bench.machine.nodes.root()
    fresh: Nodes = bench.reopened().nodes
    for size in range(0, 301, 13):
        assert bench.machine.nodes.root(size) == fresh.root(size)
        if size:
            assert bench.machine.nodes.inclusion(size // 2, size) == fresh.inclusion(size // 2, size)

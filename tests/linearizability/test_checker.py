"""The checker itself: histories known to be good, histories known to be bad, and one that it cannot decide in time."""

from __future__ import annotations

import random

import pytest
from tests.linearizability import Operation, check

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]


def put(value: str, called: float, returned: float | None, version: int | None = None, **options: object) -> Operation:
    outcome = "unknown" if returned is None else "ok"
    fields = {"outcome": outcome, "value": value.encode(), "version": version, **options}
    return Operation("put", b"key", called, returned, **fields)  # type: ignore[arg-type]


def get(value: str | None, called: float, returned: float, version: int | None = None) -> Operation:
    return Operation("get", b"key", called, returned, value=None if value is None else value.encode(), version=version)


def delete(called: float, returned: float | None, version: int | None = None, **options: object) -> Operation:
    outcome = "unknown" if returned is None else "ok"
    return Operation("delete", b"key", called, returned, **{"outcome": outcome, "version": version, **options})  # type: ignore[arg-type]


GOOD = {
    "nothing": [],
    "a read before any write": [get(None, 0, 1)],
    "one after the other": [put("a", 0, 1, 1), get("a", 2, 3, 1), put("b", 4, 5, 2), get("b", 6, 7, 2)],
    "a read beside a write sees the old": [put("a", 0, 1), put("b", 2, 9), get("a", 3, 4)],
    "a read beside a write sees the new": [put("a", 0, 1), put("b", 2, 9), get("b", 3, 4), get("b", 5, 6)],
    "two writes at once, either order": [put("a", 0, 5, 2), put("b", 0, 5, 1), get("a", 6, 7, 2)],
    "a write of unknown outcome that took effect late": [
        put("a", 0, 1),
        put("b", 2, None),
        get("a", 5, 6),
        get("b", 7, 8),
    ],
    "a write of unknown outcome that never took effect": [put("a", 0, 1), put("b", 2, None), get("a", 50, 60)],
    "an unseen write shows in the versions": [put("a", 0, 1, 1), put("b", 2, None), put("c", 5, 6, 3)],
    "tries of one request are one write": [
        put("a", 0, None, request="r"),
        put("a", 2, 3, 1, request="r"),
        put("b", 4, 5, 2),
        get("b", 6, 7, 2),
    ],
    "a try that took effect before the one that was told so": [
        put("a", 0, None, request="r"),
        get("a", 1, 2, 1),
        put("b", 3, 4, 2),
        put("a", 5, 6, 1, request="r"),
    ],
    "a condition that holds": [put("a", 0, 1, 1), put("b", 2, 3, 2, if_version=1), put("c", 4, 5, 3, if_version=2)],
    "a condition that does not": [put("a", 0, 1, 1), put("b", 2, 3, outcome="refused", if_absent=True)],
    "deleted, and put where nothing is": [
        put("a", 0, 1, 1),
        delete(2, 3, 2),
        get(None, 4, 5, 2),
        put("b", 6, 7, 3, if_absent=True),
    ],
    "nothing to delete": [delete(0, 1, outcome="refused")],
    "the same content again is no version": [put("a", 0, 1, 1), put("a", 2, 3, 1), put("b", 4, 5, 2)],
    "the same content again, without that rule": [put("a", 0, 1, 1), put("a", 2, 3, 2, dedupe=False)],
    "a refused try, and an earlier one that then took effect": [
        put("a", 0, 1, 1),
        put("x", 2, None, if_version=2, request="r"),
        put("x", 3, 4, outcome="refused", if_version=2, request="r"),
        put("b", 5, 6, 2),
        get("x", 7, 8, 3),
    ],
}

BAD = {
    "a stale read": [put("a", 0, 1, 1), put("b", 2, 3, 2), get("a", 4, 5, 1)],
    "a stale read, without versions": [put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)],
    "reads that go back": [put("a", 0, 1), put("b", 2, 9), get("b", 3, 4), get("a", 5, 6)],
    "a lost update": [put("a", 0, 1, 1), get(None, 2, 3)],
    "a lost update, by conditions": [put("a", 0, 1, 1), put("b", 2, 5, if_version=1), put("c", 3, 6, if_version=1)],
    "two that both found nothing": [put("a", 0, 5, if_absent=True), put("b", 0, 5, if_absent=True)],
    "reordered writes": [put("a", 0, 1, 2), put("b", 2, 3, 1)],
    "a read of the future": [get("a", 0, 1), put("a", 2, 3)],
    "a value that nobody wrote": [put("a", 0, 1), get("z", 2, 3)],
    "a write of unknown outcome that comes and goes": [
        put("a", 0, 1), put("b", 2, None), get("b", 3, 4), get("a", 5, 6),
    ],
    "a write that takes effect twice": [put("a", 0, None), get("a", 1, 2, 1), put("b", 3, 4, 2), get("a", 5, 6, 3)],
    "one version for two writes": [put("a", 0, 9, 1), put("b", 0, 9, 1)],
    "a version that nobody made": [put("a", 0, 1, 1), put("b", 2, 3, 3)],
    "refused though it held": [put("a", 0, 1, 1), put("b", 2, 3, outcome="refused", if_version=1)],
    "refused without a condition": [put("a", 0, 1, outcome="refused")],
    "a delete that is not seen": [put("a", 0, 1, 1), delete(2, 3, 2), get("a", 4, 5, 1)],
    "deleted twice": [put("a", 0, 1, 1), delete(2, 3), delete(4, 5)],
    "two readers who disagree about the order": [
        put("a", 0, 9), put("b", 0, 9), get("a", 1, 2), get("b", 3, 4), get("a", 5, 6),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_an_order_explains_is_linearizable(name: str) -> None:
    verdict = check(GOOD[name])
    assert verdict, verdict.report


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_no_order_explains_is_not(name: str) -> None:
    verdict = check(BAD[name])
    assert verdict.result == "violated"
    assert verdict.key == b"key"
    assert "none of these can be next" in verdict.report


def test_one_request_that_took_effect_twice_is_found() -> None:
    tries = [put("a", 0, 1, 1, request="r"), put("b", 2, 3, 2), put("a", 4, 5, 3, request="r")]
    verdict = check(tries)
    assert verdict.result == "violated"
    assert "took effect twice" in verdict.report


def test_keys_are_searched_apart_and_the_bad_one_is_named() -> None:
    good = [operation._replace(key=b"a") for operation in GOOD["one after the other"]]
    bad = [operation._replace(key=b"b") for operation in BAD["a stale read"]]
    assert check(good)
    assert check(bad + good).key == b"b"


def simulated(seed: int, operations: int = 150, clients: int = 5) -> list[Operation]:
    """What clients see of a true register, each operation taking effect between its call and its return."""
    dice = random.Random(seed)
    history: list[Operation] = []
    version, value = 0, None
    moments = sorted(dice.uniform(0, operations) for _ in range(operations))
    for number, moment in enumerate(moments):
        called, returned = moment - dice.uniform(0, clients), moment + dice.uniform(0, clients)
        choice = dice.random()
        if choice < 0.4:
            history.append(Operation("get", b"key", called, returned, value=value, version=version))
            continue
        written = b"%d" % number
        unknown, dropped = choice > 0.85, choice > 0.93
        if not dropped:
            version, value = version + 1, written
        told = "unknown" if unknown else "ok"
        seen = None if unknown else version
        history.append(Operation("put", b"key", called, returned, told, written, seen))  # type: ignore[arg-type]
    dice.shuffle(history)
    return history


@pytest.mark.parametrize("seed", range(20))
def test_what_a_true_register_shows_is_linearizable(seed: int) -> None:
    verdict = check(simulated(seed))
    assert verdict, verdict.report
    assert verdict.operations == 150


@pytest.mark.parametrize("seed", range(20))
def test_without_versions_too(seed: int) -> None:
    history = [operation._replace(version=None) for operation in simulated(seed, operations=60)]
    verdict = check(history)
    assert verdict, verdict.report


@pytest.mark.parametrize("seed", range(20))
def test_one_read_that_is_stale_is_found_among_many(seed: int) -> None:
    history = sorted(simulated(seed), key=lambda operation: operation.called)
    writes = [each for each in history if each.kind == "put" and each.outcome == "ok"]
    old, late = writes[3], history[-1].called + 100
    history.append(Operation("get", b"key", late, late + 1, value=old.value, version=old.version))
    assert check(history).result == "violated"


def test_a_search_that_takes_too_long_is_undecided_and_so_a_failure() -> None:
    writes = [put(str(number), 0, 100) for number in range(12)]
    impossible = [*writes, get("nobody's", 101, 102)]
    verdict = check(impossible, states_max=500)
    assert verdict.result == "undecided"
    assert not verdict
    assert check(impossible, seconds_max=0.0).result == "undecided"


def test_many_lost_answers_do_not_make_it_slow() -> None:
    history = [put(f"lost {number}", number, None) for number in range(100)]
    history += [put(f"told {number}", number + 0.1, number + 0.9, 2 * number + 2) for number in range(100)]
    verdict = check(history)
    assert verdict, verdict.report
    assert verdict.states < 5000

"""Slots: as many as the pool bears, each with a rest where that matters."""

from __future__ import annotations

import time

import pytest

from scribe_ledger.objects.slots import Slots

pytestmark = pytest.mark.storage


@pytest.mark.parametrize(("pool_size", "requests"), [(1, 1), (2, 1), (3, 2), (4, 3), (10, 9)])
def test_no_more_are_taken_than_the_pool_can_bear(pool_size: int, requests: int) -> None:
    slots = Slots(pool_size)
    for _ in range(requests):
        slots.take(1)
    with pytest.raises(TimeoutError):
        slots.take(0.01)
    slots.give_back()
    slots.take(1)


def test_a_slot_rests_before_it_is_given_out_again() -> None:
    slots = Slots(1)
    slots.take()
    slots.give_back()
    given_back = time.monotonic()
    slots.take()
    assert time.monotonic() - given_back >= slots.rest_seconds * 0.9


def test_nobody_rests_while_half_of_the_slots_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = Slots(10)
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    for _ in range(100):
        slots.take()
        slots.give_back()
    assert rests == []
    for _ in range(slots.count):
        slots.take()
    assert rests != []

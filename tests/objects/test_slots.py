from __future__ import annotations

import contextlib
import time

import pytest

from scribe_ledger.objects.slots import Slots

pytestmark = pytest.mark.storage


@pytest.mark.parametrize(("pool_size", "requests"), [(1, 1), (2, 2), (3, 3), (4, 3), (10, 9)])
def test_no_more_are_taken_than_the_pool_can_bear(pool_size: int, requests: int) -> None:
    slots = Slots(pool_size)
    with contextlib.ExitStack() as taken:
        for _ in range(requests):
            taken.enter_context(slots.take(1))
        with pytest.raises(TimeoutError), slots.take(0.01):
            pass
    with slots.take(1):
        pass


def test_a_slot_rests_before_it_is_given_out_again() -> None:
    slots = Slots(1)
    with slots.take():
        pass
    given_back = time.monotonic()
    with slots.take():
        assert time.monotonic() - given_back >= slots.rest_seconds * 0.9


def test_a_slot_comes_back_after_an_error() -> None:
    slots = Slots(1)
    with pytest.raises(RuntimeError), slots.take():
        raise RuntimeError
    with slots.take(1):
        pass


def test_waiting_for_a_slot_can_be_given_up() -> None:
    slots = Slots(1)
    with slots.take(), pytest.raises(TimeoutError), slots.take(0.01):
        pass
    with slots.take(1):
        pass

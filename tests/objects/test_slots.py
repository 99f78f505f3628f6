from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scribe_ledger.objects.slots import REST_SECONDS, Slots

pytestmark = pytest.mark.storage


def test_no_more_are_taken_than_there_are() -> None:
    slots, inside, most, lock = Slots(3), 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with slots.take():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(60)))
    assert most == 3


def test_a_slot_rests_before_it_is_given_out_again() -> None:
    slots = Slots(1)
    with slots.take():
        pass
    given_back = time.monotonic()
    with slots.take():
        assert time.monotonic() - given_back >= REST_SECONDS * 0.9


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

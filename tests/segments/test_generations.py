from __future__ import annotations

import pytest

from scribe_ledger.segments.generations import Generations

pytestmark = pytest.mark.storage


def test_what_is_read_again_stays_and_what_is_not_goes() -> None:
    cache: Generations[str, str] = Generations(8)
    for name in ("a", "b", "c", "d"):
        cache.put(name, name.upper(), 1)
    cache.put("e", "E", 1)  # the first four are old now
    assert cache.get("a") == "A"  # and moves up
    for name in ("f", "g", "h"):
        cache.put(name, name.upper(), 1)
    assert cache.get("a") == "A"
    assert [cache.get(name) for name in ("b", "c", "d")] == [None] * 3
    assert cache.used_bytes == len(cache) <= 8


def test_the_books_never_pass_the_capacity_and_end_at_nothing() -> None:
    cache: Generations[int, int] = Generations(100)
    for number in range(1000):
        cache.put(number * 31 % 57, number, number % 50 + 1)
        cache.get(number * 17 % 57)
        assert cache.used_bytes <= 100
    assert len(cache) > 1
    cache.forget(lambda _: True)
    assert (cache.used_bytes, len(cache)) == (0, 0)


def test_a_value_put_again_counts_once() -> None:
    cache: Generations[str, int] = Generations(100)
    for number in range(10):
        cache.put("a", number, 40)
    assert (cache.get("a"), cache.used_bytes) == (9, 40)


def test_what_is_larger_than_a_generation_is_not_kept_and_evicts_nothing() -> None:
    cache: Generations[str, int] = Generations(100)
    cache.put("a", 1, 50)
    cache.put("b", 2, 51)
    assert (cache.get("a"), cache.get("b")) == (1, None)

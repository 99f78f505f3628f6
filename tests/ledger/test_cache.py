"""The cache of latest values: what it keeps and forgets, and that a stale value never stays."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.opening import open_on

from scribe_ledger.ledger import commands
from scribe_ledger.ledger.cache import ENTRY_OVERHEAD_BYTES, EVERY_KEY, ValueCache
from scribe_ledger.ledger.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger import Ledger

pytestmark = pytest.mark.storage


def cache_of(entries: int = 100, size: int = 1 << 20) -> ValueCache[bytes]:
    return ValueCache(capacity_bytes=size, capacity_entries=entries)


def fill(cache: ValueCache[bytes], key: str | bytes, value: bytes, *, unchanged: bool = True) -> None:
    cache.fill(key, key.encode() if isinstance(key, str) else key, value, lambda: unchanged)


def look_up(cache: ValueCache[bytes], key: str | bytes) -> bytes | None:
    value = cache.hit(key)
    return cache.promote(key) if value is None else value


def commit(cache: ValueCache[bytes], *keys: bytes) -> None:
    cache.commit(keys, lambda: None)


def test_a_filled_value_is_hit_under_the_same_form_of_its_key() -> None:
    cache = cache_of()
    fill(cache, "text", b"1")
    fill(cache, b"bytes", b"2")
    assert (cache.hit("text"), cache.hit(b"bytes")) == (b"1", b"2")
    assert (cache.hit(b"text"), cache.hit("bytes")) == (None, None)


def test_a_commit_forgets_both_forms_in_both_generations() -> None:
    for age in range(3):
        cache = cache_of(entries=20)
        fill(cache, "key", b"old")
        fill(cache, b"key", b"old")
        fill(cache, "other", b"other")
        for number in range(9 * age):
            fill(cache, f"{age} {number}", b"")
        commit(cache, b"key")
        assert look_up(cache, "key") is None
        assert look_up(cache, b"key") is None
        if age < 2:
            assert look_up(cache, "other") == b"other"


def test_a_fill_after_a_change_is_refused() -> None:
    cache = cache_of()
    fill(cache, "key", b"stale", unchanged=False)
    assert look_up(cache, "key") is None


def test_publishing_happens_between_fills() -> None:
    cache = cache_of()
    seen: list[bytes | None] = []
    fill(cache, "key", b"old")
    cache.commit([b"key"], lambda: seen.append(cache.hit("key")))
    assert seen == [None]


def test_an_empty_value_is_a_value() -> None:
    cache = cache_of()
    fill(cache, "key", b"")
    assert cache.hit("key") == b""


def test_capacity_bounds_entries_and_bytes() -> None:
    for cache in (cache_of(entries=10), cache_of(entries=10_000, size=10 * (ENTRY_OVERHEAD_BYTES + 110))):
        for number in range(1000):
            fill(cache, f"{number:06}", b"x" * 100)
            assert cache.entries <= 10
            assert cache.used_bytes <= 10 * (ENTRY_OVERHEAD_BYTES + 110)
            assert cache.hit(f"{number:06}") is not None


def test_what_is_asked_for_stays_and_what_is_not_goes() -> None:
    cache = cache_of(entries=20)
    fill(cache, "wanted", b"1")
    fill(cache, "unwanted", b"1")
    for number in range(100):
        fill(cache, f"{number}", b"")
        assert look_up(cache, "wanted") == b"1"
    assert look_up(cache, "unwanted") is None


def test_a_value_too_large_for_its_share_is_not_kept() -> None:
    cache = cache_of(size=8000)
    fill(cache, "key", b"x" * 900)
    assert cache.hit("key") is None
    fill(cache, "key", b"x" * 700)
    assert cache.hit("key") is not None


def test_a_cache_without_room_keeps_nothing() -> None:
    for cache in (cache_of(entries=0), cache_of(size=0)):
        fill(cache, "key", b"value")
        assert look_up(cache, "key") is None
        assert cache.entries == cache.used_bytes == 0


@pytest.mark.parametrize("committed", [True, False])
def test_clear_and_a_commit_of_every_key_empty_both_generations(committed: bool) -> None:
    cache = cache_of(entries=4)
    for number in range(4):
        fill(cache, f"{number}", b"")
    assert cache.entries == 4
    published: list[bool] = []
    if committed:
        cache.commit(EVERY_KEY, lambda: published.append(True))
    else:
        cache.clear()
    assert published == [True] * committed
    assert [look_up(cache, f"{number}") for number in range(4)] == [None] * 4
    assert cache.entries == cache.used_bytes == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 8), st.binary(max_size=30)),
        st.tuples(st.just("get"), st.integers(0, 8), st.just(b"")),
        st.tuples(st.just("commit"), st.integers(0, 8), st.just(b"")),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 12))
def test_the_books_are_exact_and_hits_are_true(steps: list[tuple[str, int, bytes]], entries: int) -> None:
    """Against the only rule there is: a value that was filled last and not committed since, or nothing."""
    cache = cache_of(entries=entries)
    truth: dict[bytes, bytes] = {}
    for step, number, value in steps:
        name = b"%d" % (number // 2)
        key: str | bytes = name.decode() if number % 2 else name
        if step == "fill":
            truth.setdefault(name, value)  # what a reader could have read
            fill(cache, key, truth[name])
            assert cache.hit(key) == truth[name]
        elif step == "get":
            assert look_up(cache, key) in (None, truth.get(name))
        else:
            truth.pop(name, None)
            commit(cache, name)
            assert look_up(cache, key) is None
        young, old = cache._young, cache._old
        cost = [sum(ENTRY_OVERHEAD_BYTES + 1 + len(value) for value in found.values()) for found in (young, old)]
        assert [cache._young_bytes, cache._old_bytes] == cost
        assert cache._texts.keys() == {key.encode() for key in young if isinstance(key, str)}


# --- readers beside a writer -----------------------------------------------------------------------------------


class Halted:
    """Stops its caller at a chosen place until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_on(MemoryStore(), tmp_path) as ledger:
        yield ledger


@pytest.mark.parametrize("halt_before_reading", [True, False])
@pytest.mark.parametrize("key", ["key", b"key"])
def test_a_reader_that_a_commit_overtakes_caches_nothing_stale(
    key: str | bytes, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, halt_before_reading: bool
) -> None:
    """The reader stops before or after its look-up in the store; meanwhile a new value is committed."""
    ledger.put("key", b"old")
    halt, latest_value = Halted(), ledger._reader.latest_value

    def read(name: bytes, size: int) -> bytes | None:
        if halt_before_reading:
            halt()
        value = latest_value(name, size)
        if not halt_before_reading:
            halt()
        return value

    monkeypatch.setattr(ledger._reader, "latest_value", read)
    found: list[bytes | None] = []
    reader = threading.Thread(target=lambda: found.append(ledger.get(key)))
    reader.start()
    assert halt.reached.wait(60)
    ledger.put("key", b"new")
    halt.go_on.set()
    reader.join()
    monkeypatch.undo()
    assert found == [b"old"]  # what was committed when it began
    assert ledger.cached(key) is None
    assert ledger.get(key) == b"new"


def test_a_reader_in_the_middle_of_a_commit_caches_the_old_value_only_until_then(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer stops after it forgot the key and before it publishes: a fill waits for it, and does not happen."""
    ledger.put("key", b"old")
    assert ledger.get("key") == b"old"
    halt, publish = Halted(), ledger._machine.commit

    def commit() -> object:
        halt()
        return publish()

    monkeypatch.setattr(ledger._machine, "commit", commit)
    writer = threading.Thread(target=ledger.put, args=("key", b"new"))
    writer.start()
    assert halt.reached.wait(60)
    found: list[bytes | None] = []
    filling = threading.Event()
    fill = ledger._cache.fill

    def fill_and_tell(key: str | bytes, name: bytes, value: bytes, unchanged: Callable[[], bool]) -> None:
        filling.set()
        fill(key, name, value, unchanged)

    monkeypatch.setattr(ledger._cache, "fill", fill_and_tell)
    reader = threading.Thread(target=lambda: found.append(ledger.get("key")))
    reader.start()
    assert filling.wait(60)
    halt.go_on.set()
    writer.join()
    reader.join()
    assert found == [b"old"]
    assert ledger.cached("key") is None
    assert ledger.get("key") == b"new"


def test_every_write_of_a_round_is_forgotten_by_the_cache(ledger: Ledger) -> None:
    keys = ["a", "b", "c", "d", "e"]
    ledger.put_many([(key, b"old") for key in keys])
    assert ledger.get_many(keys) == [ledger.get(key) for key in keys] == [b"old"] * 5
    units = [
        [commands.put("a", b"new")],
        [commands.put("b", b"new"), commands.delete("c")],
        [commands.put("d", b"new")],
    ]
    assert not any(isinstance(outcome, Exception) for outcome in ledger.write_all(units))
    assert [ledger.cached(key) for key in keys] == [None, None, None, None, b"old"]
    assert [ledger.get(key) for key in keys] == [b"new", b"new", None, b"new", b"old"]


@pytest.mark.no_cover
def test_readers_beside_a_writer_never_go_back(tmp_path: Path) -> None:
    """A small cache that turns all the time. Whoever has seen a version, or begins after its put, sees no older one."""
    with open_on(MemoryStore(), tmp_path, cache_capacity=6) as ledger:
        keys: list[str | bytes] = ["a", b"a", "b", b"b", "c", b"c"]
        ledger.put_many([(key, b"0") for key in "abc"])
        acknowledged = dict.fromkeys("abc", 0)
        stop = threading.Event()
        wrong: list[tuple[str | bytes, int, int]] = []

        def read() -> None:
            last = dict.fromkeys("abc", 0)
            for key in itertools.cycle(keys):
                if stop.is_set():
                    return
                name = key if isinstance(key, str) else key.decode()
                least = max(last[name], acknowledged[name])
                found = int(ledger.get(key) or b"-1")
                if found < least:
                    wrong.append((key, found, least))
                last[name] = found

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(1, 1200):
            name = "abc"[number % 3]
            ledger.put(name, b"%d" % number)
            acknowledged[name] = number
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert [ledger.get(key) for key in keys] == [b"%d" % acknowledged[name] for name in "abc" for _ in range(2)]

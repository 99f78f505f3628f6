"""The cache of latest values, built so that a hit is one dictionary look-up and writes nothing.

Values are kept under the caller's own key object, text or bytes. There are two generations: hits are served from the
young one; a value found only in the old one moves up; when the young one is full it becomes the old one, and what
nobody asked for since is gone. That approximates least-recently-used without any books on a hit.

A value may be filled in only if nothing was committed since it was read: ``fill`` and ``commit`` share a lock, and
``fill`` compares the committed size that its reader saw.
"""

from __future__ import annotations

import threading
from collections.abc import Sized
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_V = TypeVar("_V", bound=Sized)
"""What is kept; its length is the bytes that it takes."""

ENTRY_OVERHEAD_BYTES = 200
"""What a cached value costs beside its bytes and its key's."""


class _EveryKey(tuple[bytes, ...]):
    """Has no keys of its own, and stands for all."""

    __slots__ = ()


EVERY_KEY = _EveryKey()
"""Given to ``commit`` where nobody knows which keys have changed."""


class ValueCache(Generic[_V]):
    def __init__(self, *, capacity_bytes: int, capacity_entries: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._generation_bytes = capacity_bytes // 2
        self._generation_entries = max(capacity_entries // 2, 1) if capacity_entries else 0
        self._lock = threading.Lock()
        self._young: dict[object, _V] = {}
        self._old: dict[object, _V] = {}
        self._texts: dict[bytes, str] = {}
        self._old_texts: dict[bytes, str] = {}
        self._young_bytes = self._old_bytes = 0
        self.hit = self._young.get
        """The value under a key object in the young generation, or None. Bound once: it is all that a hit costs."""

    @property
    def used_bytes(self) -> int:
        return self._young_bytes + self._old_bytes

    @property
    def entries(self) -> int:
        return len(self._young) + len(self._old)

    def promote(self, key: str | bytes) -> _V | None:
        """The value in the old generation, moved up, or None."""
        if not self._old:
            return None
        with self._lock:
            value = self._old.get(key)
            if value is not None:
                name = key.encode() if isinstance(key, str) else key
                self._add(key, name, value)
            return value

    def fill(self, key: str | bytes, name: bytes, value: _V, unchanged: Callable[[], bool]) -> None:
        """Keeps a value that was just read, if ``unchanged()``. ``name`` is the key as bytes."""
        if not self._generation_entries or _cost(name, value) > self._generation_bytes // 4:
            return
        with self._lock:
            if unchanged():
                self._add(key, name, value)

    def commit(self, keys: Iterable[bytes], publish: Callable[[], object]) -> None:
        """Forgets ``keys`` and calls ``publish``, with no fill in between."""
        if keys is EVERY_KEY:
            self._commit_all(publish)
            return
        with self._lock:
            if self._young or self._old:
                written = set(keys)
                self._young_bytes -= _forget(self._young, self._texts, written)
                self._old_bytes -= _forget(self._old, self._old_texts, written)
            publish()

    def clear(self) -> None:
        self._commit_all(lambda: None)

    def _commit_all(self, publish: Callable[[], object]) -> None:
        with self._lock:
            self._young.clear()
            self._texts.clear()
            self._young_bytes = 0
            self._turn()
            publish()

    def _add(self, key: str | bytes, name: bytes, value: _V) -> None:
        cost = _cost(name, value)
        if self._young_bytes + cost > self._generation_bytes or len(self._young) >= self._generation_entries:
            self._turn()
            if not self._generation_entries or cost > self._generation_bytes:
                return
        known = self._young.get(key)
        self._young_bytes += cost if known is None else len(value) - len(known)
        self._young[key] = value
        if isinstance(key, str):
            self._texts[name] = key

    def _turn(self) -> None:
        """The young generation becomes the old. Copied, because ``hit`` is bound to the young dictionary."""
        self._old, self._old_texts, self._old_bytes = self._young.copy(), self._texts.copy(), self._young_bytes
        self._young.clear()
        self._texts.clear()
        self._young_bytes = 0


def _forget(generation: dict[object, _V], texts: dict[bytes, str], written: set[bytes]) -> int:
    """Removes the values of some keys, under both of their forms; how many bytes they took."""
    freed = sum([_cost(name, generation.pop(name)) for name in written & generation.keys()])
    return freed + sum([_cost(name, generation.pop(texts.pop(name))) for name in written & texts.keys()])


def _cost(name: bytes, value: Sized) -> int:
    return len(name) + len(value) + ENTRY_OVERHEAD_BYTES

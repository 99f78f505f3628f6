"""``Generations``: a cache bounded by bytes, whose hits write nothing.

There are two generations, each of at most half of the bytes. What is new is young. When the young generation is full it
becomes the old one, and what was old until then is gone. What is found only in the old generation moves up, so whatever
is read again while young or old stays, and whatever is read once goes with the second turn.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_K = TypeVar("_K", bound="Hashable")
_V = TypeVar("_V")


class Generations(Generic[_K, _V]):
    """Safe for use by several threads at once."""

    def __init__(self, capacity_bytes: int) -> None:
        self._generation_bytes = capacity_bytes // 2
        self._lock = threading.Lock()
        self._young: dict[_K, tuple[_V, int]] = {}
        self._old: dict[_K, tuple[_V, int]] = {}
        self._young_bytes = self._old_bytes = 0

    @property
    def used_bytes(self) -> int:
        return self._young_bytes + self._old_bytes

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: _K) -> _V | None:
        found = self._young.get(key)
        if found is not None:
            return found[0]
        return self._promote(key) if self._old else None

    def put(self, key: _K, value: _V, size: int) -> None:
        """Keeps a value that takes ``size`` bytes, unless that is more than a generation has."""
        with self._lock:
            self._remove(key)
            self._add(key, value, size)

    def forget(self, unwanted: Callable[[_K], bool]) -> None:
        """Removes all whose key is unwanted. It looks at every key."""
        with self._lock:
            for key in [key for key in (*self._young, *self._old) if unwanted(key)]:
                self._remove(key)

    def _promote(self, key: _K) -> _V | None:
        with self._lock:
            found = self._young.get(key)  # another thread may have been here
            if found is None:
                found = self._old.pop(key, None)
                if found is None:
                    return None
                self._old_bytes -= found[1]
                self._add(key, *found)
            return found[0]

    def _add(self, key: _K, value: _V, size: int) -> None:
        if size > self._generation_bytes:
            return
        if self._young_bytes + size > self._generation_bytes:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = (value, size)
        self._young_bytes += size

    def _remove(self, key: _K) -> None:
        if (found := self._young.pop(key, None)) is not None:
            self._young_bytes -= found[1]
        if (found := self._old.pop(key, None)) is not None:
            self._old_bytes -= found[1]

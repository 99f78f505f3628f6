"""``Flights``: who asks for what is being fetched already waits for that, instead of fetching it again."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_K = TypeVar("_K", bound="Hashable")
_V = TypeVar("_V")


class Flights(Generic[_K, _V]):
    """Safe for use by several threads at once. The work is done in the thread of whoever asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[_K, Future[_V]] = {}

    def share(self, key: _K, work: Callable[[], _V]) -> _V:
        with self._lock:
            flight = self._flying.get(key)
            if first := flight is None:
                flight = self._flying[key] = Future()
        if not first:
            return _landed(flight)
        try:
            result = work()
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            with self._lock:
                del self._flying[key]


def _landed(flight: Future[_V]) -> _V:
    error = flight.exception()
    if isinstance(error, ScribeError):
        raise error.again()
    return flight.result()

"""Threads in tests: started together, awaited with a limit, held at a gate."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")

LIMIT_SECONDS = 60
"""For what takes milliseconds: a wait that reaches it has failed."""


def spawn(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
    """Runs a function in a thread of its own, which does not keep the process alive if it hangs."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def wait_until(condition: Callable[[], bool]) -> None:
    """For conditions that nothing signals, such as that a thread has come to wait."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.0005)


class Gate:
    """A hook that holds the first thread that comes until it is opened, and lets the others pass."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()
        self.visitors: list[int] = []
        """The threads that came, by their idents."""

    def __call__(self) -> None:
        self.visitors.append(threading.get_ident())
        if len(self.visitors) == 1:
            self._entered.set()
            assert self._opened.wait(LIMIT_SECONDS), "nobody opened the gate"

    def wait_entered(self) -> None:
        assert self._entered.wait(LIMIT_SECONDS), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()

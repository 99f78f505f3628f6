"""``give_back``: memory that is free goes back to the system after work that took much of it for moments.

Arrow's pool (mimalloc, by default) and the C library's heaps keep what was freed for the next time, which for sealing,
merging and loading may be hours away. Nothing here is needed for a right result, so where the C library has no such
call (it is glibc's own), nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def give_back() -> None:
    """To be called where the work was done: a pool looks first at what is of the thread that asks."""
    arrow = sys.modules.get("pyarrow")
    if arrow is None:
        return
    arrow.default_memory_pool().release_unused()
    _trim()(0)


@cache
def _trim() -> Callable[[int], int]:
    """The call leaves the interpreter to others while it works."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim or (lambda _: 0)

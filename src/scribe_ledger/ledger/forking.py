"""What happens to open ledgers in a forked child: they stay with the parent.

A child has the parent's file descriptors and memory, and none of its threads. Were it to write, two processes would
append to one log; were it to close the engine, it would wait for threads that it does not have; were it only to keep
the descriptor of the lock, nobody could open the folder after the parent has closed it. So in a child every ledger is
closed from the first, without touching what is on disk.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Parental(Protocol):
    def leave_to_parent(self) -> None:
        """Called in a forked child, which has one thread: any lock may be held by one that it does not have."""
        ...


_OPEN: weakref.WeakSet[Parental] = weakref.WeakSet()


def keep_from_children(owner: Parental) -> None:
    """Lets ``owner`` know when it finds itself in a forked child."""
    _OPEN.add(owner)


def never_finalize(thing: object) -> None:
    """Keeps an object for as long as the process lives, through the interpreter's shutdown too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for owner in list(_OPEN):
        owner.leave_to_parent()


os.register_at_fork(after_in_child=_in_child)

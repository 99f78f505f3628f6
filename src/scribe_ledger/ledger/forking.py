"""What happens to open ledgers in a forked child: they stay with the parent.

A child has the parent's file descriptors and memory, and none of its threads. Were it to write, two processes would
append to one log; were it to close the engine, it would wait for threads that it does not have; were it only to keep
the descriptor of the lock, nobody could open the folder after the parent has closed it. So in a child every ledger is
closed from the first, without touching what is on disk.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Protocol


class Parental(Protocol):
    def leave_to_parent(self) -> None:
        """Called in a forked child, which has one thread: any lock may be held by one that it does not have."""
        ...


_OPEN: weakref.WeakSet[Parental] = weakref.WeakSet()
_used = threading.Event()
"""The engine's threads stay when its last user has closed it."""


def keep_from_children(owner: Parental) -> None:
    """Lets ``owner`` know when it finds itself in a forked child."""
    _OPEN.add(owner)
    _used.set()


def never_finalize(thing: object) -> None:
    """Keeps an object for as long as the process lives, through the interpreter's shutdown too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    if _used.is_set():
        for owner in list(_OPEN):
            owner.leave_to_parent()
        _leave_out_exit_handlers()


def _leave_out_exit_handlers() -> None:
    """The engine's library joins its threads when a process exits, and crashes where they never were.

    So once Python has finalized all of its own, the child ends at once, with its status: handlers run in the reverse
    order of their registration. ``multiprocessing`` ends its children like that in any case.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):  # of glibc; other libraries have no handler that is told the status
        library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)


os.register_at_fork(after_in_child=_in_child)

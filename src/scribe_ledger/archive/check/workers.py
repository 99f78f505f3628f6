"""The processes that a check runs in: as many as there are processors, each with the store open for itself.

What goes to them and comes back is small and plain. Work that is handed out is bounded: ``in_order`` keeps a few tasks
ahead of the one whose answer is awaited. One job means this process and no other.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Self, TypeVar

from scribe_ledger.archive.check.looking import Looks
from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scribe_ledger.objects.store import ObjectStore

_Task = TypeVar("_Task")
_Answer = TypeVar("_Answer")

AHEAD = 2
"""Tasks per process that are handed out beyond the one whose answer is awaited."""

_opened: list[Looks] = []
"""In a worker: its own store."""


class Workers:
    """Runs functions of (looks, task). Without ``reopen`` the store cannot travel, and this process does it all."""

    def __init__(self, looks: Looks, reopen: Callable[[], ObjectStore] | None, jobs: int) -> None:
        self._looks = looks
        self.jobs = jobs if reopen is not None else 1
        self._pool: ProcessPoolExecutor | None = None
        if reopen is not None and jobs > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(reopen,))

    def in_order(
        self, work: Callable[[Looks, _Task], _Answer], tasks: Iterable[_Task]
    ) -> Iterator[tuple[_Task, _Answer]]:
        """The answers in the order of the tasks, which are taken one by one as there is room for them."""
        if self._pool is None:
            for task in tasks:
                yield task, work(self._looks, task)
            return
        waiting: deque[tuple[_Task, Future[_Answer]]] = deque()
        for task in tasks:
            waiting.append((task, self._submit(self._pool, work, task)))
            if len(waiting) > AHEAD * self.jobs:
                yield _answer(*waiting.popleft())
        while waiting:
            yield _answer(*waiting.popleft())

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _submit(pool: ProcessPoolExecutor, work: Callable[[Looks, _Task], _Answer], task: _Task) -> Future[_Answer]:
        try:
            return pool.submit(_run, work, task)
        except BrokenProcessPool as error:
            raise _died() from error


def _answer(task: _Task, future: Future[_Answer]) -> tuple[_Task, _Answer]:
    try:
        return task, future.result()
    except BrokenProcessPool as error:
        raise _died() from error


def _died() -> StorageError:
    return StorageError("a process of the check was killed", hint="there may be too little memory: try --jobs 1")


def _start(reopen: Callable[[], ObjectStore]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and ends the others
    _opened.append(Looks(reopen()))


def _run(work: Callable[[Looks, _Task], _Answer], task: _Task) -> _Answer:
    return work(_opened[0], task)

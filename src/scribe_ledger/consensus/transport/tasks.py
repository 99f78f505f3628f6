"""``Tasks``: what runs beside the transport, so that nothing of it outlives ``close`` and no failure goes unseen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

AGAIN_SECONDS = 0.5
"""A task that goes on though it was cancelled is told again."""


class Tasks:
    """A set of running coroutines."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel(self, seconds: float) -> int:
        """Ends them all, and waits until they have. How many had not when the time was over."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while self._running and clock() < until:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=AGAIN_SECONDS)  # one that was begun meanwhile is ended too
        return len(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "the transport of the cluster has a fault", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

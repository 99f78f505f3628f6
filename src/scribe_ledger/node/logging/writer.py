"""``LogWriter``: a bounded queue of lines, and the one thread that writes them.

Whoever logs only appends to a deque. The thread looks every ``PAUSE_SECONDS``, at once for warnings and errors, and
takes ``CHUNK_LINES`` at a time so that it never keeps the interpreter from the event loop for long. When the queue is
full, lines are dropped and counted; requests before all others, so that a storm of them hides no error.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.node.logging.levels import LEAST_LEVEL_WRITTEN_AT_ONCE, LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.node.logging.lines import Access, Event
    from scribe_ledger.node.logging.sinks import Sink

MAX_LINES = 30_000
MAX_ACCESS_LINES = 20_000
"""Requests find the queue full at this length; the rest is for other lines."""
PAUSE_SECONDS = 0.1
CHUNK_LINES = 100
CLOSE_SECONDS = 2.0
"""How long the end of a node waits for lines that nobody takes, as from a terminal that was stopped."""


class Output(NamedTuple):
    """A sink, and the form its lines have."""

    sink: Sink
    render: Callable[[Sequence[Event | Access]], bytes]


class LogWriter:
    """Takes lines from any thread, and never makes one wait."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.lines: deque[Event | Access] = deque()
        self.dropped = 0
        self._said_dropped = 0
        self._counting = threading.Lock()
        self._outputs = outputs
        self._failed: set[int] = set()
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scribe-log", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        if len(self.lines) >= MAX_LINES:
            self.drop(1)
            return
        self.lines.append(event)
        if LEVELS[event["level"]] >= LEAST_LEVEL_WRITTEN_AT_ONCE:
            self._wake.set()

    def drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count

    def close(self) -> None:
        """Writes what is queued, if that is possible in ``CLOSE_SECONDS``. Idempotent."""
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(PAUSE_SECONDS)
            self._wake.clear()
            closing = self._closing
            self._write_queued()
        for output in self._outputs:
            output.sink.close()

    def _write_queued(self) -> None:
        lines = self.lines
        while lines:
            self._write([lines.popleft() for _ in range(min(len(lines), CHUNK_LINES))])
        if self.dropped > self._said_dropped:
            lost, self._said_dropped = self.dropped - self._said_dropped, self.dropped
            self._write([_event("warn", "log lines were lost", lines=lost)])

    def _write(self, chunk: list[Event | Access]) -> None:
        for place, output in enumerate(self._outputs):
            try:
                output.sink.write(output.render(chunk))
                self._failed.discard(place)
            except Exception as error:  # noqa: BLE001  # this thread must go on; nobody else could say it
                self.drop(len(chunk))
                if place not in self._failed:
                    self._failed.add(place)
                    _complain(error)


def _complain(error: Exception) -> None:
    """The log itself is in trouble: standard error is all that is left, and it may be gone too."""
    try:
        os.write(2, f"scribe-node: log lines are lost: {error!r}\n".encode("ascii", "backslashreplace"))
    except OSError:
        return


def _event(level: str, event: str, **fields: object) -> Event:
    return {"timestamp": time.time(), "level": level, "logger": "scribe.log", "event": event, **fields}

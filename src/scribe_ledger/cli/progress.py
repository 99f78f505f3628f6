"""A line on stderr that says how far long work is. It appears on a terminal only, and is gone when the work is done."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Self

from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL_SECONDS = 0.1
BAR_WIDTH = 30


class Progress:
    """``Progress.update`` may be called as often as the caller likes; few calls draw."""

    def __init__(self, what: str, unit: str, *, output: str = "") -> None:
        """``output`` is where the work's own output goes; on the same terminal it would be disturbed."""
        self._what = what
        self._unit = unit
        self._visible = sys.stderr.isatty() and not (output == "-" and sys.stdout.isatty())
        self._due = time.monotonic() + INTERVAL_SECONDS

    def update(self, done: int, total: int | None = None) -> None:
        if not self._visible or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + INTERVAL_SECONDS
        sys.stderr.write("\r\x1b[K" + self._line(done, total))
        sys.stderr.flush()

    def _line(self, done: int, total: int | None) -> str:
        if not total:
            return f"{self._what}  {done:,} {self._unit}"
        share = min(done / total, 1.0)
        filled = round(share * BAR_WIDTH)
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        return f"{self._what}  {bar}  {share:4.0%}  {done:,} of {total:,} {self._unit}"

    def through(self, file: IO[bytes], total: int | None = None) -> Iterator[bytes]:
        """The pieces of a file, counted as they pass."""
        done = 0
        while piece := file.read(CHUNK_BYTES):
            done += len(piece)
            self.update(done, total)
            yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

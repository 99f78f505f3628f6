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

    @property
    def visible(self) -> bool:
        """Whether anybody sees it."""
        return self._visible

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
        counted = Counted(file, self, total)
        while piece := counted.read(CHUNK_BYTES):
            yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Counted:
    """A file whose bytes are counted as they are read. It can be rewound if the file can."""

    def __init__(self, file: IO[bytes], progress: Progress, total: int | None = None) -> None:
        self._file = file
        self._progress = progress
        self._total = total
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._done += len(piece or b"")
        self._progress.update(self._done, self._total)
        return piece

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        self._done = 0
        return self._file.seek(offset, whence)

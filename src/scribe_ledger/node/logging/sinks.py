"""Where rendered lines go: the console's descriptor, or a file that starts anew when it is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

_MODE = 0o640


class Sink(Protocol):
    """Takes whole lines. Used by one thread."""

    def write(self, data: bytes) -> None:
        """Raises OSError where it cannot; the lines are lost then."""
        ...

    def close(self) -> None: ...


class Console:
    """A descriptor that is somebody else's to close, such as standard error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        _write_all(self._descriptor, data)

    def close(self) -> None:
        pass


class RotatingFile:
    """A file of at most ``rotate_bytes``. When it is full it becomes ``.1``, the one before ``.2``, up to ``keep``.

    Lines are never cut in two: one that is longer than the limit has a file of its own.
    """

    def __init__(self, path: str | os.PathLike[str], *, rotate_bytes: int, keep: int) -> None:
        self._path = Path(path)
        self._limit = rotate_bytes
        self._keep = keep
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, data: bytes) -> None:
        while data:
            cut = self._fitting(data)
            if cut == 0:
                self._rotate()
                continue
            _write_all(self._descriptor, data[:cut])
            self._size += cut
            data = data[cut:]

    def close(self) -> None:
        os.close(self._descriptor)

    def _fitting(self, data: bytes) -> int:
        """How many bytes, up to an end of line, the present file still takes; 0 where it is full."""
        room = self._limit - self._size
        if not self._limit or len(data) <= room:
            return len(data)
        fitting = data.rfind(b"\n", 0, max(room, 0)) + 1
        return fitting if fitting or self._size else data.find(b"\n") + 1 or len(data)

    def _rotate(self) -> None:
        if self._keep:
            for number in range(self._keep - 1, 0, -1):
                if self._old(number).exists():
                    self._old(number).replace(self._old(number + 1))
            self._path.replace(self._old(1))
        else:
            self._path.unlink(missing_ok=True)
        full = self._descriptor
        self._open()
        os.close(full)

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        self._size = os.fstat(self._descriptor).st_size


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

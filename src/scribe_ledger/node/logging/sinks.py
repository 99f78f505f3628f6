"""Where rendered lines go: the console's descriptor, or a file that starts anew when it is full."""

from __future__ import annotations

import os
from contextlib import suppress
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
        self._end = _End(descriptor)

    def write(self, data: bytes) -> None:
        self._end.write(data)

    def close(self) -> None:
        pass


class RotatingFile:
    """A file of at most ``rotate_bytes``. When it is full it becomes ``.1``, the one before ``.2``, up to ``keep``.

    Lines are never cut in two: one that is longer than the limit has a file of its own. A file that somebody moved or
    removed, or its folder, is made anew for the next lines, so other programs may rotate it too.
    """

    def __init__(self, path: str | os.PathLike[str], *, rotate_bytes: int, keep: int) -> None:
        self._path = Path(path)
        self._limit = rotate_bytes
        self._keep = keep
        self._open()

    def write(self, data: bytes) -> None:
        self._find()
        while data:
            cut = self._fitting(data)
            if cut == 0:
                self._rotate()
                continue
            self._end.write(data[:cut])
            self._size += cut
            data = data[cut:]

    def close(self) -> None:
        os.close(self._end.descriptor)

    def _find(self) -> None:
        """Others may have changed the file since: what bears its name now is written to, and has the size it has."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._open_anew()
            return
        if not os.path.samestat(found, os.fstat(self._end.descriptor)):
            self._open_anew()
            return
        self._size = found.st_size + self._end.torn

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
                _move(self._old(number), self._old(number + 1))
            _move(self._path, self._old(1))
        else:
            self._path.unlink(missing_ok=True)
        self._open_anew()

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _open_anew(self) -> None:
        before = self._end.descriptor
        self._open()
        os.close(before)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        size = os.fstat(descriptor).st_size
        self._end = _End(descriptor, torn=size > 0 and _ends_torn(self._path))
        self._size = size + self._end.torn


class _End:
    """The end of what a descriptor has. A line that a failure left torn is ended before the next one begins."""

    def __init__(self, descriptor: int, *, torn: bool = False) -> None:
        self.descriptor = descriptor
        self.torn = torn

    def write(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self.torn else data)
        while rest:
            written = os.write(self.descriptor, rest)
            self.torn = rest[written - 1] != ord("\n")
            rest = rest[written:]


def _move(path: Path, to: Path) -> None:
    """Nothing, where somebody else was there first."""
    with suppress(FileNotFoundError):
        path.replace(to)


def _ends_torn(path: Path) -> bool:
    """Whether the process before was stopped, or its disk full, in the middle of a line."""
    if not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"

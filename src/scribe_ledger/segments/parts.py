"""``Part``: one range of an object, posing as the whole file to the Parquet reader."""

from __future__ import annotations

import io


class Part:
    """Bytes ``start`` to ``start + len(data)`` of a file of ``size`` bytes. A read of anything else fails."""

    closed = False

    def __init__(self, start: int, data: bytes, size: int) -> None:
        self._start = start
        self._data = memoryview(data)
        self._size = size
        self._position = 0

    def read(self, count: int = -1) -> memoryview:
        begin = self._position - self._start
        if count < 0 or begin < 0 or begin + count > len(self._data):
            raise OSError(f"bytes {self._position} to {self._position + count} are outside of what it should need")
        self._position += count
        return self._data[begin : begin + count]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """There is nothing to write."""

    def close(self) -> None:
        """There is nothing to let go."""

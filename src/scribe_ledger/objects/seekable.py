"""``SeekableFile``: a file of known size that is read by position; whoever inherits it says how bytes are got."""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class SeekableFile(io.RawIOBase):
    """A read gets all the bytes that were asked for and exist. Not for two threads at once."""

    size: int
    _position = 0

    @abstractmethod
    def _read_at(self, start: int, stop: int) -> bytes:
        """All bytes from ``start`` to before ``stop``, of which there is at least one. The position is not its own."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        if whence not in bases or bases[whence] + offset < 0:
            raise ValueError(f"cannot seek to {offset} from {whence} in {self.size} bytes")
        self._position = bases[whence] + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        stop = self.size if size is None or size < 0 else min(self._position + size, self.size)
        if stop <= self._position:
            return b""
        piece = self._read_at(self._position, stop)
        self._position += len(piece)
        return piece

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("this file was closed")

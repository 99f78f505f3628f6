"""A remote object as a seekable binary file without a buffer: each read is one ranged request.

Who reads many small pieces puts a buffer before it. Whether the bytes are the right ones is the reader's question.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from scribe_ledger.objects.store import ObjectStore


class RemoteFile(io.RawIOBase):
    """Not for two threads at once. Closing it frees nothing: no socket is held between reads."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        super().__init__()
        self._store = store
        self._path = path
        self._position = 0
        self.size = size

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
            raise ValueError(f"cannot seek to {offset} from {whence} in an object of {self.size} bytes")
        self._position = bases[whence] + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        stop = self.size if size is None or size < 0 else min(self._position + size, self.size)
        if stop <= self._position:
            return b""
        piece = self._store.get_range(self._path, self._position, stop)
        if piece is None:
            raise StorageError(f"{self._store.place(self._path)} was removed while it was read")
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

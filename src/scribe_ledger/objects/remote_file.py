"""A remote object as a seekable binary file without a buffer: each read is one ranged request.

Who reads many small pieces puts a buffer before it. Whether the bytes are the right ones is the reader's question, and
so is it to read once more what is wrong or not there: a read that fails moves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.objects.seekable import SeekableFile

if TYPE_CHECKING:
    from scribe_ledger.objects.store import ObjectStore


class RemoteFile(SeekableFile):
    """Closing it frees nothing: no socket is held between reads."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        super().__init__()
        self._store = store
        self._path = path
        self.size = size

    def _read_at(self, start: int, stop: int) -> bytes:
        piece = self._store.get_range(self._path, start, stop)
        if piece is None:
            raise Corruption(
                f"{self._store.place(self._path)} was removed while it was read", hint="restore the object from a copy"
            )
        return piece

"""A value as a file that is read over the network, in constant memory."""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import InvalidRequest, VerificationError
from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import WriteableBuffer

    from scribe_ledger.client.connection import Stream
    from scribe_ledger.model import Entry


class CheckedPieces:
    """Hashes a value as it passes, and keeps the last piece back until all of it is right.

    So whoever got every byte got the right bytes; who stops before the end has what the node sent.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._hash = sha256()
        self._size = 0
        self._held = b""

    def take(self, piece: bytes) -> bytes:
        """The piece before this one."""
        self._size += len(piece)
        if self._size > self._entry.size:
            raise self._wrong()
        self._hash.update(piece)
        before, self._held = self._held, piece
        return before

    def finish(self) -> bytes:
        """The last piece, now that the value is known to be right."""
        if self._size != self._entry.size or self._hash.digest() != self._entry.sha256:
            raise self._wrong()
        return self._held

    def _wrong(self) -> VerificationError:
        return VerificationError(f"the value that came is not that of entry {self._entry.index}")


class RemoteValue(io.RawIOBase):
    """A large value. It is read from its beginning; seeking back reads it again, so that every read is checked."""

    def __init__(self, entry: Entry, open_stream: Callable[[Entry], Stream]) -> None:
        super().__init__()
        self._entry = entry
        self._open_stream = open_stream
        self._stream: Stream | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._read_to = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.size}[whence]
        if base + offset < 0:
            raise InvalidRequest(f"there is nothing before the beginning: {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if self._at >= self._entry.size or not target:
            return 0
        if self._stream is None or self._at < self._read_to:
            self._restart()
        while True:
            skipped = min(self._at - self._read_to, len(self._rest))
            self._rest = self._rest[skipped:]
            self._read_to += skipped
            if self._rest:
                break
            self._rest = memoryview(next(self._pieces))
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._read_to += count
        self._at += count
        return count

    def close(self) -> None:
        self._end_stream()
        super().close()

    def _restart(self) -> None:
        self._end_stream()
        self._stream = self._open_stream(self._entry)
        self._pieces = checked(self._entry, self._stream)
        self._rest = memoryview(b"")
        self._read_to = 0

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def checked(entry: Entry, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a value, the last only when all were right."""
    check = CheckedPieces(entry)
    for piece in pieces:
        if before := check.take(piece):
            yield before
    if last := check.finish():
        yield last


def buffered(entry: Entry, open_stream: Callable[[Entry], Stream]) -> io.BufferedReader:
    return io.BufferedReader(RemoteValue(entry, open_stream), CHUNK_BYTES)

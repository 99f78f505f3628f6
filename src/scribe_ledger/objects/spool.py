"""Receiving a value of unknown size in constant memory: small ones stay in memory, large ones go to a file.

A value is pushed in pieces, so that the caller decides where it waits: a thread over a file, or an event loop over a
request. While pieces arrive, the value and its chunks are hashed. Nothing here is durable yet, and nothing is left
behind: whoever does not hand the spooled value on closes it, and the file is gone.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.beside import WORTH_CHUNKS, Beside
from scribe_ledger.objects.chunk_file import ChunkDigests
from scribe_ledger.objects.temporary import TemporaryFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO


class Blob(NamedTuple):
    """What a leaf says of a large value, and all that is needed to read it."""

    sha256: bytes
    size: int
    chunk_root: bytes
    begun: int = 0
    """The version of the ledger's manifest when its upload began: nothing that was removed since counts as stored."""


class SpooledBlob:
    """A large value, complete and hashed, in a temporary file that goes with it."""

    def __init__(self, file: TemporaryFile, digests: ChunkDigests) -> None:
        self._file = file
        self.digests = digests
        self.blob = Blob(digests.sha256, digests.size, digests.root())

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        """Remove the file, unless the value was kept. Closing twice is allowed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Spooler:
    """Takes the pieces of one value; ``finish`` answers the value itself, or the file that holds it.

    Use it as a context manager: leaving it unfinished, for whatever reason, removes the file. Not for two threads at
    once.
    """

    def __init__(self, folder: Path, *, inline_max: int) -> None:
        """``inline_max`` is the size up to which a value stays in memory."""
        self._folder = folder
        self._inline_max = inline_max
        self._buffer = bytearray()
        self._file: TemporaryFile | None = None
        self._value_hash = sha256()
        self._digests = bytearray()
        self._beside = Beside()
        self.size = 0
        """How many bytes were received; a caller with a limit looks here."""

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, however many."""
        view = memoryview(piece).cast("B")
        for start in range(0, len(view), CHUNK_BYTES):
            part = view[start : start + CHUNK_BYTES]
            self.size += len(part)
            if not self._buffer and len(part) == CHUNK_BYTES and self.size > self._inline_max:
                self._spool_chunk(self._open(), part)  # copying it first would cost more than hashing it
                continue
            self._buffer += part
            if self.size > self._inline_max:
                self._spool_whole_chunks()

    def finish(self) -> bytes | SpooledBlob:
        """The value, if it has at most ``inline_max`` bytes; otherwise the spooled file, which is the caller's now."""
        if self.size <= self._inline_max:
            return bytes(self._buffer)
        return self.finish_spooled()

    def finish_spooled(self) -> SpooledBlob:
        """The spooled file, however small the value."""
        self._spool_whole_chunks()
        file = self._open()
        if self._buffer:
            self._spool_chunk(file, bytes(self._buffer))
        digests = ChunkDigests(sha256=self._value_hash.digest(), size=self.size, digests=bytes(self._digests))
        spooled = SpooledBlob(file, digests)
        self._file = None
        self._beside.close()
        return spooled

    def close(self) -> None:
        """Forget the value, unless ``finish`` handed it over. Closing twice is allowed."""
        self._buffer.clear()
        self._beside.close()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> TemporaryFile:
        if self._file is None:
            self._file = TemporaryFile(self._folder)
        return self._file

    def _spool_whole_chunks(self) -> None:
        while len(self._buffer) >= CHUNK_BYTES:
            self._spool_chunk(self._open(), bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]

    def _spool_chunk(self, file: TemporaryFile, chunk: bytes | memoryview) -> None:
        if len(self._digests) < WORTH_CHUNKS * sha256().digest_size:
            self._value_hash.update(chunk)
            self._digests += sha256(chunk).digest()
            file.write(chunk)
            return
        hashing = self._beside.start(self._value_hash.update, chunk)
        try:
            digest = sha256(chunk).digest()
            file.write(chunk)
        finally:
            hashing.result()
        self._digests += digest


def pieces_of(reader: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a stream or of an iterable, none larger than the giver made it."""
    if isinstance(reader, (bytes, bytearray, memoryview, str)):
        raise InvalidRequest("a value is streamed from a binary file or from an iterable of bytes")
    if not hasattr(reader, "read"):
        yield from reader
        return
    while piece := reader.read(CHUNK_BYTES):
        yield piece
    if piece is None:
        # A non-blocking file that has nothing yet: taking this for the end would store half a value.
        raise InvalidRequest("the stream of the value does not block until bytes are there; give one that does")

"""Reading a blob without trusting the store: no byte leaves before its chunk was checked.

The size, digest and chunk root come from a leaf; the bytes and the chunk digests come from the store. A read that goes
through the whole value from its beginning also checks the value's own digest, and the last chunk is withheld until
that holds. A range read cannot check it, and need not: the chunk root is in the same leaf. A chunk that is wrong or not
there is read once more.
"""

from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, RangeNotSatisfiable, counted
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.beside import WORTH_CHUNKS, Beside
from scribe_ledger.objects.durable import read_up_to, storage_errors
from scribe_ledger.objects.rereading import twice
from scribe_ledger.objects.seekable import SeekableFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash as Hash
    from typing import BinaryIO

    from scribe_ledger.objects.chunk_file import ChunkDigests


class BlobReader(SeekableFile):
    """A large value as a seekable binary file that raises Corruption instead of returning an altered byte.

    It holds one chunk in memory, and moves forward only if a read succeeds.
    """

    def __init__(self, file: BinaryIO, digests: ChunkDigests, *, place: str) -> None:
        """``digests`` are checked already; ``file`` belongs to the reader from now on."""
        super().__init__()
        self._file = file
        self._digests = digests
        self._place = place
        self._chunk = b""
        self._chunk_number = -1
        self._value_hash = sha256()
        self._beside = Beside()
        self._hashed_chunks = 0
        self.size = digests.size
        if not digests:
            self._check_value_digest(self._value_hash)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``, in checked pieces of at most one chunk."""
        end = self.size if stop is None else min(stop, self.size)
        if not 0 <= start <= end:
            raise RangeNotSatisfiable(
                f"the value has {counted(self.size, 'byte', 'bytes')}, there are none from {start} to {stop}"
            )
        return self._pieces(start, end)

    def _read_at(self, start: int, stop: int) -> bytes:
        if stop - start <= CHUNK_BYTES - start % CHUNK_BYTES:
            return self._piece(start, stop - start)
        buffer = io.BytesIO()  # it gives its buffer away, where joining the parts would hold the value twice
        for part in self._pieces(start, stop):
            buffer.write(part)
        return buffer.getvalue()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._beside.close()
        super().close()

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            piece = self._piece(start, end - start)
            yield piece
            start += len(piece)

    def _piece(self, position: int, wanted: int) -> bytes:
        """At most ``wanted`` bytes, up to the end of the chunk that holds ``position``."""
        number, offset = divmod(position, CHUNK_BYTES)
        if number != self._chunk_number:
            self._chunk = twice(lambda: self._checked_chunk(number))
            self._chunk_number = number
        return self._chunk[offset : offset + wanted]

    def _checked_chunk(self, number: int) -> bytes:
        chunk = self._read_chunk(number)
        total = None
        if number == self._hashed_chunks:
            total = self._value_hash.copy()
        if self._digest_beside(chunk, total) != self._digests[number]:
            raise Corruption(
                f"chunk {number} of the value {self._digests.sha256.hex()} is not what was written: {self._place}",
                hint="restore the object from a copy",
            )
        if total is not None:
            if self._hashed_chunks + 1 == len(self._digests):
                self._check_value_digest(total)
            self._value_hash = total
            self._hashed_chunks += 1
        return chunk

    def _digest_beside(self, chunk: bytes, total: Hash | None) -> bytes:
        """The chunk's digest, with the chunk added to ``total`` meanwhile."""
        if total is None:
            return sha256(chunk).digest()
        if len(self._digests) <= WORTH_CHUNKS:
            total.update(chunk)
            return sha256(chunk).digest()
        hashing = self._beside.start(total.update, chunk)
        try:
            return sha256(chunk).digest()
        finally:
            hashing.result()

    def _check_value_digest(self, total: Hash) -> None:
        if total.digest() != self._digests.sha256:
            raise Corruption(
                f"the value {self._digests.sha256.hex()} has the digest {total.hexdigest()}, though each of its chunks "
                f"holds: {self._place}",
                hint="the entry names a digest and a chunk root of different values",
            )

    def _read_chunk(self, number: int) -> bytes:
        start = number * CHUNK_BYTES
        with storage_errors(f"read chunk {number} of", self._place):
            self._file.seek(start)
            return read_up_to(self._file, min(CHUNK_BYTES, self.size - start))

"""Large values, each stored once under its SHA-256, in constant memory whatever their size.

A value is spooled and hashed first, then named: the file of its chunk digests, then the value itself, each durable
before the next, so that whoever sees a blob can also check it. What is in the store is never believed: not when it is
read (see ``reader``), and not when the same value comes again, unless a committed entry refers to it already.

It does not know which values are wanted: the ledger says so, through ``is_referenced``; who archives removes the rest.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.chunk_file import ChunkDigests, decode_chunk_digests, encoded_size
from scribe_ledger.objects.durable import make_root, storage_errors
from scribe_ledger.objects.identity import check_is
from scribe_ledger.objects.paths import blob_path, chunk_digests_path
from scribe_ledger.objects.reader import BlobReader
from scribe_ledger.objects.rereading import twice
from scribe_ledger.objects.spool import Blob, SpooledBlob, Spooler, pieces_of
from scribe_ledger.objects.temporary import remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from scribe_ledger.objects.store import ObjectStore

__all__ = ["Blob", "BlobReader", "BlobStore", "SpooledBlob", "Spooler"]


class BlobStore:
    """The large values of one ledger. Safe for use by several threads at once, and several over one object store.

    ``spool`` holds the values that are on their way in; a value moves without being copied if the objects are a folder
    on the same filesystem. Opening creates the spool and removes what a crash left in it.
    """

    def __init__(self, objects: ObjectStore, spool: Path, *, store_id: Callable[[], str] = str) -> None:
        """``store_id``: of the store that the values were put in, empty while there is none."""
        self._objects = objects
        self._store_id = store_id
        self._spool = spool
        with storage_errors("open the spool in", spool):
            make_root(spool)
        self.clean_spool()

    # --- writing -------------------------------------------------------------------------------------------------

    def store(
        self, reader: BinaryIO | Iterable[bytes], *, is_referenced: Callable[[bytes], bool] | None = None
    ) -> Blob:
        """Store a value of any size, durable on return. See ``keep`` for ``is_referenced``."""
        with self.begin(inline_max=0) as spooler:
            for piece in pieces_of(reader):
                spooler.write(piece)
            with spooler.finish_spooled() as spooled:
                return self.keep(spooled, is_referenced=is_referenced)

    def begin(self, inline_max: int) -> Spooler:
        """Receive a value in pieces, as they arrive; ``keep`` what its ``finish`` answers, unless that is bytes."""
        return Spooler(self._spool, inline_max=inline_max)

    def spool(self, reader: BinaryIO | Iterable[bytes], inline_max: int) -> bytes | SpooledBlob:
        """Read a value to its end: the bytes, if there are at most ``inline_max``, otherwise a spooled file.

        Close the spooled file, also after ``keep``; it is a context manager.
        """
        with self.begin(inline_max) as spooler:
            for piece in pieces_of(reader):
                spooler.write(piece)
            return spooler.finish()

    def keep(self, spooled: SpooledBlob, *, is_referenced: Callable[[bytes], bool] | None = None) -> Blob:
        """Move a spooled value under its digest, durable on return.

        A blob that is there already is reused only if ``is_referenced`` says that a committed entry refers to it, and
        its size and chunk digests are those of this value. Any other is replaced, in one step: it may be about to be
        retired, may be damaged, or may not be durable yet.
        """
        blob = spooled.blob
        if is_referenced is not None and is_referenced(blob.sha256) and self._seems_intact(spooled.digests):
            return blob
        self._objects.put_bytes(chunk_digests_path(blob.sha256), spooled.digests.encode(), replace=True)
        self._objects.put_file(blob_path(blob.sha256), spooled.path, replace=True)
        return blob

    def clean_spool(self) -> int:
        """Remove what killed processes left in the spool, and nothing that is in use; how many files there were."""
        return remove_abandoned(self._spool)

    # --- reading: the arguments are those of the entry, and everything is checked against them ----------------------

    def open(self, sha256: bytes, size: int, chunk_root: bytes) -> BlobReader:
        """The value as a seekable file that checks each chunk before a byte of it leaves.

        Raises Corruption if the blob or its chunk digests are missing, or are not those of this entry; Unavailable if
        they are missing since this is another store.
        """
        return twice(lambda: self._open(sha256, size, chunk_root))

    def read(self, sha256: bytes, size: int, chunk_root: bytes) -> bytes:
        """The whole value, in memory."""
        with self.open(sha256, size, chunk_root) as reader:
            return reader.read()

    def iter_chunks(
        self, sha256: bytes, size: int, chunk_root: bytes, *, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop`` in checked pieces.

        A missing blob and a range outside of the value are reported by the call itself, before an answer has begun.
        """
        reader = self.open(sha256, size, chunk_root)
        try:
            return _drain(reader, reader.chunks(start, stop))
        except BaseException:
            reader.close()
            raise

    def check(self, sha256: bytes, size: int, chunk_root: bytes) -> None:
        """Read and check every byte; raises Corruption that names the first thing wrong."""
        for _ in self.iter_chunks(sha256, size, chunk_root):
            pass

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _open(self, sha256: bytes, size: int, chunk_root: bytes) -> BlobReader:
        digests = self._chunk_digests(sha256, size, chunk_root)
        path = blob_path(sha256)
        file = self._objects.open(path)
        if file is None:
            raise self._missing("the value", path, sha256)
        try:
            self._check_size(file, sha256, size)
            return BlobReader(file, digests, place=self._objects.place(path))
        except BaseException:
            file.close()
            raise

    def _seems_intact(self, digests: ChunkDigests) -> bool:
        found = self._objects.stat(blob_path(digests.sha256))
        if found is None or found.size != digests.size:
            return False
        return self._read_chunk_digests(digests.sha256, digests.size) == digests.encode()

    def _read_chunk_digests(self, sha256: bytes, size: int) -> bytes | None:
        """The file of chunk digests; never more than one byte beyond what a value of this size needs."""
        return self._objects.get_range(chunk_digests_path(sha256), 0, encoded_size(size) + 1)

    def _chunk_digests(self, sha256: bytes, size: int, chunk_root: bytes) -> ChunkDigests:
        path = chunk_digests_path(sha256)
        place = f"the file of chunk digests {self._objects.place(path)}"
        content = self._read_chunk_digests(sha256, size)
        if content is None:
            raise self._missing("the file of chunk digests", path, sha256)
        digests = decode_chunk_digests(content, place=place)
        if Blob(digests.sha256, digests.size, digests.root()) != Blob(sha256, size, chunk_root):
            raise Corruption(
                f"{place} is not that of the entry: it is for {digests.sha256.hex()} of {digests.size} bytes",
                hint="restore the object from a copy",
            )
        return digests

    def _check_size(self, file: BinaryIO, sha256: bytes, size: int) -> None:
        place = self._objects.place(blob_path(sha256))
        with storage_errors("read", place):
            found = file.seek(0, io.SEEK_END)
        if found != size:
            chunk = min(found, size) // CHUNK_BYTES
            raise Corruption(
                f"the value {sha256.hex()} has {found} bytes instead of {size}, wrong from chunk {chunk} on: {place}",
                hint="restore the object from a copy",
            )

    def _missing(self, what: str, path: str, sha256: bytes) -> Corruption:
        check_is(self._objects, self._store_id())
        return Corruption(
            f"{what} {self._objects.place(path)} is missing, though the ledger holds an entry for the value"
            f" {sha256.hex()}",
            hint="is this the ledger's store? Else name that: --object-store, or [storage] object_store. Restore the"
            " object from a copy, or put the same value again",
        )


def _drain(reader: BlobReader, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with reader:
        yield from pieces

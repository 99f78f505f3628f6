"""The chunk digests of a large value: the file beside a blob that lets any part of the blob be checked by itself.

The file, version 1, big-endian::

    magic "SLCHUNKS" · version u16 · hash algorithm u16 (1 = SHA-256) · chunk size u32 · value size u64
    · value SHA-256 32 · SHA-256 of each chunk, 32 bytes each · SHA-256 of all bytes before it 32

A chunk is 1 MiB, the last one what is left; an empty value has none. The file is not trusted: its digests count only
if their RFC 6962 root is the chunk root in the entry's leaf. In every version the last 32 bytes are the checksum, so
that damage and a later version can be told apart.
"""

from __future__ import annotations

import struct
from hashlib import sha256 as new_sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, StorageError
from scribe_ledger.merkle.chunks import chunk_root
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC = b"SLCHUNKS"
_VERSION = 1
_SHA256_ALGORITHM = 1
_HEADER = struct.Struct(">8sHHIQ32s")


class ChunkDigests:
    """The digests of a value's chunks, held as one run of bytes: 32 KiB for a value of 1 GiB."""

    __slots__ = ("_digests", "sha256", "size")

    def __init__(self, *, sha256: bytes, size: int, digests: bytes) -> None:
        self.sha256 = sha256
        self.size = size
        self._digests = digests

    def __len__(self) -> int:
        return len(self._digests) // HASH_BYTES

    def __getitem__(self, chunk: int) -> bytes:
        return self._digests[chunk * HASH_BYTES : (chunk + 1) * HASH_BYTES]

    def root(self) -> bytes:
        return chunk_root(_split(self._digests))

    def encode(self) -> bytes:
        header = _HEADER.pack(_MAGIC, _VERSION, _SHA256_ALGORITHM, CHUNK_BYTES, self.size, self.sha256)
        return header + self._digests + new_sha256(header + self._digests).digest()


def chunk_count(size: int) -> int:
    """Into how many chunks a value of this size falls."""
    return -(-size // CHUNK_BYTES)


def encoded_size(size: int) -> int:
    """The size of the file of chunk digests, version 1, of a value of this size."""
    return _HEADER.size + HASH_BYTES * chunk_count(size) + HASH_BYTES


def decode_chunk_digests(content: bytes, *, place: str) -> ChunkDigests:
    """Read a file of chunk digests. ``place`` names it in errors.

    The answer is well-formed, no more: compare its digest, size and root with those of an entry.
    """
    body, checksum = content[:-HASH_BYTES], content[-HASH_BYTES:]
    if not content.startswith(_MAGIC) or len(body) < _HEADER.size or new_sha256(body).digest() != checksum:
        raise Corruption(f"{place} is damaged: its checksum does not hold")
    _, version, algorithm, chunk_bytes, size, sha256 = _HEADER.unpack_from(body)
    if (version, algorithm, chunk_bytes) != (_VERSION, _SHA256_ALGORITHM, CHUNK_BYTES):
        raise StorageError(
            f"{place} has format {version} with hash {algorithm} and chunks of {chunk_bytes} bytes",
            hint="it was written by a later version of Scribe Ledger: read it with that version",
        )
    digests = body[_HEADER.size :]
    if len(digests) != HASH_BYTES * chunk_count(size):
        raise Corruption(f"{place} has {len(digests)} bytes of digests for a value of {size} bytes")
    return ChunkDigests(sha256=sha256, size=size, digests=digests)


def _split(digests: bytes) -> Sequence[bytes]:
    return [digests[at : at + HASH_BYTES] for at in range(0, len(digests), HASH_BYTES)]

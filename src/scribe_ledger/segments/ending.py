"""The end of a segment: the Parquet metadata, and before it 32 bytes that are its SHA-256.

Parquet has checksums for pages and none for its footer, and Arrow ends the process over some footers whose bytes have
changed. So no footer is parsed here whose digest does not match. Other readers find the footer from the end of the file
and never see the digest.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.objects.durable import storage_errors
from scribe_ledger.segments.faults import broken

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"PAR1"
_TRAILER_BYTES = 8
"""The length of the metadata, little-endian, and the magic."""


def with_digest(ending: bytes) -> bytes:
    """The last bytes of a Parquet file, with the digest put before the metadata in them."""
    cut = len(ending) - _TRAILER_BYTES - int.from_bytes(ending[-_TRAILER_BYTES:-4], "little")
    return ending[:cut] + sha256(ending[cut:]).digest() + ending[cut:]


def ending_bytes(path: str, size: int, tail: bytes) -> int:
    """How long the end of an object of ``size`` bytes is, digest included; ``tail`` has at least its last bytes."""
    if len(tail) < _TRAILER_BYTES or tail[-4:] != MAGIC:
        raise broken(path, "it does not end as a Parquet file does")
    length = HASH_BYTES + int.from_bytes(tail[-_TRAILER_BYTES:-4], "little") + _TRAILER_BYTES
    if length > size - len(MAGIC):
        raise broken(path, "its footer is longer than the object")
    return length


def checked_metadata(path: str, ending: bytes) -> bytes:
    """The metadata with its length and magic, if it matches the digest before it."""
    digest, metadata = ending[:HASH_BYTES], ending[HASH_BYTES:]
    if sha256(metadata).digest() != digest:
        raise broken(path, "its footer does not match its checksum")
    return metadata


def check_ending(place: str, file: Path | bytes) -> None:
    """The same for a whole segment that is at hand."""
    size = len(file) if isinstance(file, bytes) else _size(file)
    length = ending_bytes(place, size, _last(file, _TRAILER_BYTES))
    checked_metadata(place, _last(file, length))


def _size(path: Path) -> int:
    with storage_errors("look up", path):
        return path.stat().st_size


def _last(file: Path | bytes, count: int) -> bytes:
    if isinstance(file, bytes):
        return file[-count:]
    with storage_errors("read", file), file.open("rb") as opened:
        opened.seek(max(_size(file) - count, 0))
        return opened.read(count)

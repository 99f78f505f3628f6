"""The frames of the log's files: what a segment begins with, and one record around each write.

A record is aligned to eight bytes and begins and ends with bytes that are not zero; nowhere in it are 512 zeros in a
row, because a content that has some is masked. So zeros that fill a record's part of a sector mean that the disk never
wrote that sector: a crash, not damage. The header names the record's sequence, and the sequence that was known to be
durable when it was written: what is broken before that was acknowledged. All sums begin with the segment's salt, so no
value of a user can pass for a record.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

VERSION = 1
SECTOR_BYTES = 512
ALIGNMENT = 8

_SEGMENT = struct.Struct(">8sIIQI")
_SEGMENT_MAGIC = b"SCRBRAFT"
SEGMENT_HEADER_BYTES = 64

_HEADER = struct.Struct(">IIQQBBHI")
_TRAILER = struct.Struct(">II")
HEADER_BYTES = _HEADER.size
TRAILER_BYTES = _TRAILER.size
_BEGIN, _END = 0x5C21BE1D, 0xD1EB125C
BEGIN = _BEGIN.to_bytes(4, "big")
_ZERO_SECTOR = bytes(SECTOR_BYTES)

WRITE, CARRY = 1, 2
"""Kinds of records: a write, and what the segments before this one said of the hard state and the truncation."""
_MASKS = [bytes(byte ^ mask for byte in range(256)) for mask in range(256)]


class Head(NamedTuple):
    """A record's header that holds."""

    length: int
    sequence: int
    durable: int
    """All records up to this one were durable when this one was written."""
    kind: int
    mask: int

    @property
    def total(self) -> int:
        """The bytes of the whole record."""
        return record_bytes(self.length)


def record_bytes(length: int) -> int:
    """What a content of this length takes, with all around it."""
    return HEADER_BYTES + length + -length % ALIGNMENT + TRAILER_BYTES


def record(salt: int, kind: int, sequence: int, durable: int, content: bytes) -> bytes:
    padding = bytes(-len(content) % ALIGNMENT)
    body, mask = content + padding, 0
    while _ZERO_SECTOR in body and mask < 255:
        mask += 1
        body = content.translate(_MASKS[mask]) + padding
    head = _HEADER.pack(_BEGIN, len(content), sequence, durable, kind, mask, 0, 0)[:-4]
    head += zlib.crc32(head, salt).to_bytes(4, "big")
    return b"".join((head, body, _TRAILER.pack(_END, zlib.crc32(body, zlib.crc32(head, salt)))))


def read_head(salt: int, data: memoryview, offset: int) -> Head | None:
    """The header at this place, if one is there and whole."""
    if offset + HEADER_BYTES > len(data):
        return None
    begin, length, sequence, durable, kind, mask, reserved, checksum = _HEADER.unpack_from(data, offset)
    if begin != _BEGIN or reserved or checksum != zlib.crc32(data[offset : offset + HEADER_BYTES - 4], salt):
        return None
    return Head(length, sequence, durable, kind, mask)


def read_content(salt: int, data: memoryview, offset: int, head: Head) -> bytes | None:
    """What the record of this header holds, if it is whole."""
    end = offset + head.total
    if end > len(data):
        return None
    mark, checksum = _TRAILER.unpack_from(data, end - TRAILER_BYTES)
    if mark != _END or checksum != zlib.crc32(data[offset : end - TRAILER_BYTES], salt):
        return None
    start = offset + HEADER_BYTES
    content = bytes(data[start : start + head.length])
    return content.translate(_MASKS[head.mask]) if head.mask else content


def misses_a_sector(data: memoryview, offset: int, length: int) -> bool:
    """Whether one of the sectors that these bytes lie in was never written."""
    end = offset + length
    if end > len(data):
        return True
    while offset < end:
        stop = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if not any(data[offset:stop]):
            return True
        offset = stop
    return False


def segment_header(first: int, salt: int) -> bytes:
    head = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, salt, first, 0)[:-4]
    return (head + zlib.crc32(head).to_bytes(4, "big")).ljust(SEGMENT_HEADER_BYTES, b"\0")


def read_segment_header(data: memoryview) -> tuple[int, int, int] | None:
    """Version, first sequence and salt; None if this is no header of any version."""
    if len(data) < SEGMENT_HEADER_BYTES or any(data[_SEGMENT.size : SEGMENT_HEADER_BYTES]):
        return None
    magic, version, salt, first, checksum = _SEGMENT.unpack_from(data)
    if magic != _SEGMENT_MAGIC or checksum != zlib.crc32(data[: _SEGMENT.size - 4]):
        return None
    return version, first, salt

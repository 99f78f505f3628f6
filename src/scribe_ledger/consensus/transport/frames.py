"""Frames: ``length u32 · crc32 u32 · body``, big-endian. ``FrameReader`` takes them out of what a socket gives.

A frame within one read is a view of it; one that spans reads is copied once, into a buffer of its own that is made when
its length is known and allowed. Nothing is reused, so who gets a frame may keep it.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from scribe_ledger.consensus.transport.contract import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEAD = Struct(">II")
MAX_FRAME_BYTES = (16 << 20) + (64 << 10)
"""Of the body. The engine's largest message, and a little."""
_HTTP_REQUESTS = frozenset({b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"PRI "})
MAX_GREETING_BYTES = 1024
"""Of a body before the other end has proven anything."""


def encode_frames(bodies: Iterable[bytes | memoryview]) -> bytes:
    """Many frames in one piece, which is written with one call."""
    pieces: list[bytes | memoryview] = []
    for body in bodies:
        if not 0 < len(body) <= MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {len(body)} bytes; the limit is {MAX_FRAME_BYTES}")
        pieces += (HEAD.pack(len(body), crc32(body)), body)
    return b"".join(pieces)


def encode_frame(kind: int, body: bytes | memoryview = b"") -> bytes:
    """One frame whose body begins with ``kind``."""
    first = bytes((kind,))
    return b"".join((HEAD.pack(1 + len(body), crc32(body, crc32(first))), first, body))


class FrameReader:
    """Incremental. After an error it is of no use any more: nobody knows where the next frame would begin."""

    def __init__(self, limit: int = MAX_FRAME_BYTES) -> None:
        self.limit = limit
        self._head = b""
        self._checksum = 0
        self._body: bytearray | None = None
        self._filled = 0

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._head) or self._body is not None

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The frames that are whole now. ``Refused`` comes after the good ones before it."""
        view, offset, end = memoryview(data), 0, len(data)
        while offset < end:
            if self._body is not None:
                offset = self._fill(self._body, view, offset)
                if self._filled == len(self._body):
                    frame, self._body = memoryview(self._body).toreadonly(), None
                    yield _checked(frame, self._checksum)
                continue
            if self._head or end - offset < HEAD.size:
                offset, whole = self._fill_head(view, offset)
                if not whole:
                    return
                length, checksum = HEAD.unpack(self._head)
                self._head = b""
            else:
                length, checksum = HEAD.unpack_from(view, offset)
                offset += HEAD.size
            if not 0 < length <= self.limit:
                raise _misread(length, self.limit)
            if length <= end - offset:
                frame = view[offset : offset + length]
                offset += length
                yield _checked(frame, checksum)
            else:
                self._body, self._filled, self._checksum = bytearray(length), 0, checksum

    def _fill_head(self, view: memoryview, offset: int) -> tuple[int, bool]:
        missing = HEAD.size - len(self._head)
        self._head += view[offset : offset + missing]
        return offset + missing, len(self._head) == HEAD.size

    def _fill(self, body: bytearray, view: memoryview, offset: int) -> int:
        piece = view[offset : offset + len(body) - self._filled]
        body[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)
        return offset + len(piece)


def _checked(frame: memoryview, checksum: int) -> memoryview:
    if crc32(frame) != checksum:
        raise Refused("a frame does not match its checksum", reason=Reason.CHECKSUM)
    return frame


def _misread(length: int, limit: int) -> Refused:
    """What other protocols begin with reads as a length above every limit; their users are told what they speak."""
    start = length.to_bytes(4)
    if start == b"HTTP":
        return Refused("that is an HTTP port, and not a Raft port", reason=Reason.GARBAGE)
    if start in _HTTP_REQUESTS:
        return Refused("an HTTP request at the Raft port", hint="ask the HTTP port", reason=Reason.GARBAGE)
    if start.startswith(b"\x16\x03"):
        hint = "set cluster.tls_cert, tls_key and tls_ca on all members, or on none"
        return Refused("the other node speaks TLS, and this one does not", hint=hint, reason=Reason.TLS)
    reason = Reason.OVERSIZED if length else Reason.GARBAGE
    return Refused(f"a frame of {length} bytes; the limit is {limit}", reason=reason)

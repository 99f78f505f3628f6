"""The pieces in which a snapshot travels: one message of a stream each.

::

    kind u8 · CRC-32 of what follows u32 · body

    1 header   the description (JSON)
    2 data     codec u8 · file u32 · offset u64 · length u32 · content: part of a file, compressed or as it is
    3 wait     nothing: the sender is still preparing
    4 end      nothing: every file was sent

Numbers are big-endian. Files come in the order of the description, and each without a gap. Compressed with zstd at its
fastest level, where that makes a piece smaller: it takes a third of a second for 100 MB, zlib seven times as long.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from scribe_ledger.consensus.snapshots.description import Description
from scribe_ledger.errors import NetworkError, SerializationError

PIECE_BYTES = 1 << 20
HEADER, DATA, WAIT, END = 1, 2, 3, 4
PLAIN, ZSTD = 0, 1
_FRAME = struct.Struct(">BI")
_DATA = struct.Struct(">BIQI")


class Data(NamedTuple):
    """Part of a file."""

    file: int
    """Its number in the description."""
    offset: int
    content: bytes


class Wait(NamedTuple):
    """The sender is still preparing."""


class End(NamedTuple):
    """All was sent."""


Piece = Description | Data | Wait | End


def encode_piece(piece: Piece) -> bytes:
    if isinstance(piece, Description):
        return _frame(HEADER, piece.encode())
    if isinstance(piece, Data):
        codec, content = _compress(piece.content)
        return _frame(DATA, _DATA.pack(codec, piece.file, piece.offset, len(piece.content)) + content)
    return _frame(WAIT if isinstance(piece, Wait) else END, b"")


def decode_piece(message: bytes | memoryview) -> Piece:
    """``NetworkError`` for what is not as it was sent: asked again, it may arrive whole."""
    view = memoryview(message)
    try:
        kind, checksum = _FRAME.unpack_from(view)
        body = view[_FRAME.size :]
        if zlib.crc32(body) != checksum:
            raise ValueError("its checksum is another")
        if kind == HEADER:
            return Description.decode(bytes(body))
        if kind == DATA:
            return _decode_data(body)
        if kind in (WAIT, END):
            return Wait() if kind == WAIT else End()
        raise ValueError(f"its kind is {kind}")
    except (struct.error, ValueError, OSError) as error:
        raise NetworkError(f"a piece of a snapshot did not arrive as it was sent: {error}") from error
    except SerializationError as error:
        raise NetworkError(error.message, hint=error.hint) from error


def _frame(kind: int, body: bytes) -> bytes:
    return _FRAME.pack(kind, zlib.crc32(body)) + body


def _decode_data(body: memoryview) -> Data:
    codec, file, offset, length = _DATA.unpack_from(body)
    content = bytes(body[_DATA.size :])
    if length > PIECE_BYTES:
        raise ValueError(f"it holds {length} bytes")
    if codec == ZSTD:
        content = _decompress(content, length)
    elif codec != PLAIN:
        raise ValueError(f"its codec is {codec}")
    if len(content) != length:
        raise ValueError("its length is another")
    return Data(file, offset, content)


def _compress(content: bytes) -> tuple[int, bytes]:
    import pyarrow as pa

    compressed = pa.Codec("zstd", compression_level=1).compress(content, asbytes=True)
    return (ZSTD, compressed) if len(compressed) < len(content) else (PLAIN, content)


def _decompress(content: bytes, length: int) -> bytes:
    import pyarrow as pa

    found: bytes = pa.Codec("zstd").decompress(content, length, asbytes=True)
    return found

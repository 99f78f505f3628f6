"""What the records of Raft's log hold: writes, what a new segment carries over, and the mark of a cut, as bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.store import LogWrite

if TYPE_CHECKING:
    from scribe_ledger.consensus.log.store import Entry

_FLAGS = struct.Struct(">B")
_HARD_STATE = struct.Struct(">QQQ")
_PLACE = struct.Struct(">QQ")
_ENTRIES = struct.Struct(">IQ")
_ENTRY = struct.Struct(">QBII")
_HAS_HARD_STATE, _HAS_PLACE = 1, 2


def encode_write(write: LogWrite) -> bytes:
    """Entries without a gap, as the engine gives them; ``ValueError`` if there is one."""
    parts = [_FLAGS.pack(_HAS_HARD_STATE * (write.hard_state is not None) | _HAS_PLACE * (write.reset is not None))]
    if write.hard_state is not None:
        parts.append(_HARD_STATE.pack(*write.hard_state))
    if write.reset is not None:
        parts.append(_PLACE.pack(*write.reset))
    first = write.entries[0][0] if write.entries else 0
    parts.append(_ENTRIES.pack(len(write.entries), first))
    for number, (index, term, kind, data, context) in enumerate(write.entries):
        if index != first + number:
            raise ValueError(f"entry {index} where {first + number} was expected")
        parts += (_ENTRY.pack(term, kind, len(data), len(context)), data, context)
    return b"".join(parts)


def decode_write(content: bytes) -> LogWrite:
    """``ValueError`` for what ``encode_write`` never makes."""
    try:
        write, offset = _decode(content)
    except struct.error as error:
        raise ValueError("a record that ends too early") from error
    if offset != len(content):
        raise ValueError("a record of another length than its content")
    return write


def _decode(content: bytes) -> tuple[LogWrite, int]:
    (flags,) = _FLAGS.unpack_from(content)
    offset = _FLAGS.size
    hard_state = reset = None
    if flags & _HAS_HARD_STATE:
        hard_state = _HARD_STATE.unpack_from(content, offset)
        offset += _HARD_STATE.size
    if flags & _HAS_PLACE:
        reset = _PLACE.unpack_from(content, offset)
        offset += _PLACE.size
    count, first = _ENTRIES.unpack_from(content, offset)
    offset += _ENTRIES.size
    entries: list[Entry] = []
    for index in range(first, first + count):
        term, kind, data_bytes, context_bytes = _ENTRY.unpack_from(content, offset)
        middle = offset + _ENTRY.size + data_bytes
        entries.append(
            (index, term, kind, content[middle - data_bytes : middle], content[middle : middle + context_bytes])
        )
        offset = middle + context_bytes
    return LogWrite(entries, hard_state, reset), offset

"""A look at the engine's log files before the engine reads them: the write-ahead logs and the manifest.

The engine checks the sum of every record, but it finds records by their lengths and types, and believes those first. A
flipped bit in the length of a record in a log's last block looks to it like a write that a crash cut short: it drops
that record and all that follow, synced or not, and says nothing. One in a record's type can make it skip a file, or
never return. So the chain of records is walked here, and what breaks it is told apart:

- A tail that a crash left (a record that the file is too short for, or zeros up to the end) is cut off. Then only
  damage can break a log that is not the last one.
- Anything else is refused with the file and the place. That includes a last record that is whole but for its sum:
  nobody can tell whether it was acknowledged.

The format: blocks of 32 KiB; in them records of a masked CRC-32C of type and data (u32), the data's length (u16), the
type (u8) and the data, all little-endian. A batch is one ``FULL`` record, or ``FIRST``, ``MIDDLE`` …, ``LAST``.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NoReturn

from scribe_ledger.errors import Corruption
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_BYTES = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = range(1, 5)
_MASK_DELTA = 0xA282EAD8
_READ_BLOCKS = 64


def check_engine_logs(folder: Path) -> None:
    """Cuts the torn tail off the last write-ahead log; raises Corruption for any other break in a chain of records."""
    with storage_errors("check the logs of the storage engine in", folder):
        if not (folder / "CURRENT").exists():
            return  # not created yet
        manifest = folder / (folder / "CURRENT").read_text().strip()
        if manifest.is_file():
            _Walk(manifest).run()
        logs = sorted((file for file in folder.glob("*.log") if file.stem.isdigit()), key=lambda file: int(file.stem))
        filled = [file for file in logs if file.stat().st_size]
        for file in filled:
            torn_at = _Walk(file).run()
            if torn_at is not None:
                if file is not filled[-1]:
                    _refuse(file, torn_at, "it ends in the middle of a record, and there are later logs")
                _cut(file, torn_at)


class _Walk:
    """One walk along the records of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._batch_at: int | None = None
        """Where the batch begins whose last record is not seen yet."""

    def run(self) -> int | None:
        """Where a torn tail begins; None if the file ends with a whole batch."""
        at = 0
        with self._path.open("rb") as file:
            while blocks := file.read(_READ_BLOCKS * BLOCK_BYTES):
                for start in range(0, len(blocks), BLOCK_BYTES):
                    torn_at = self._walk_block(at + start, blocks[start : start + BLOCK_BYTES])
                    if torn_at is not None:
                        return torn_at
                at += len(blocks)
        return self._batch_at

    def _walk_block(self, at: int, block: bytes) -> int | None:
        """Walks a block that begins at ``at``; gives the place where the tail is torn, if it is."""
        place, end = 0, len(block)
        while end - place >= _HEADER.size:
            crc, length, kind = _HEADER.unpack_from(block, place)
            following = place + _HEADER.size + length
            if following > end or not _FULL <= kind <= _LAST:
                return self._break(at, place, following, block, crc)
            if kind == _FIRST:
                self._batch_at = at + place
            elif kind != _MIDDLE:
                self._batch_at = None
            place = following
        if at + end == self._size and place < end < BLOCK_BYTES:
            return self._torn(at + place)
        return None

    def _break(self, at: int, place: int, following: int, block: bytes, crc: int) -> int:
        """Tells a torn tail from damage, at the record that breaks the chain."""
        kind = block[place + _HEADER.size - 1]
        if not any(block[place:]) and self._is_zero_from(at + len(block)):
            return self._torn(at + place)
        if not _FULL <= kind <= _LAST:
            _refuse(self._path, at + place, f"a record has the type {kind}")
        if following > BLOCK_BYTES:
            _refuse(self._path, at + place, "a record is longer than its block")
        if _is_whole_with_other_length(block[place + _HEADER.size - 1 :], crc):
            _refuse(self._path, at + place, "the length of a record was changed")
        return self._torn(at + place)

    def _torn(self, at: int) -> int:
        return at if self._batch_at is None else self._batch_at

    def _is_zero_from(self, at: int) -> bool:
        with self._path.open("rb") as file:
            file.seek(at)
            return not any(any(rest) for rest in iter(lambda: file.read(BLOCK_BYTES), b""))


def _is_whole_with_other_length(kind_and_data: bytes, masked_crc: int) -> bool:
    """Whether some beginning of these bytes has the sum that the header gives for the whole record."""
    rotated = (masked_crc - _MASK_DELTA) & 0xFFFFFFFF
    wanted = ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF ^ 0xFFFFFFFF
    crc = 0xFFFFFFFF
    for byte in kind_and_data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
        if crc == wanted:
            return True
    return False


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()


def _cut(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse(path: Path, at: int, what: str) -> NoReturn:
    raise Corruption(
        f"{path} is damaged at byte {at}: {what}",
        hint="restore this folder from a copy; opening it as it is would lose entries",
    )

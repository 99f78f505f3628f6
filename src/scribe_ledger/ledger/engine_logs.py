"""A look at the engine's log files before the engine reads them: the write-ahead logs and the manifest.

The engine checks the sum of every record, but it finds records by their lengths and types, and believes those first. A
flipped bit in the length of a record in a log's last block looks to it like a write that a crash cut short: it drops
that record and all that follow, synced or not, and says nothing. One in a record's type can make it skip a file, or
never return. So the chain of records is walked here, and what breaks it is told apart:

- What a crash leaves of the last batch is cut off: a record that the file is too short for, zeros up to the end, or a
  page that was never written and reads as zeros. Then only damage can break a log that is not the last one.
- Anything else is refused with the file and the place. That includes a last record that is whole but for its sum:
  nobody can tell whether it was acknowledged. So is a page of zeros that a later batch follows: a batch is written
  when the one before it is durable.

The format: blocks of 32 KiB; in them records of a masked CRC-32C of type and data (u32), the data's length (u16), the
type (u8) and the data, all little-endian. A batch is one ``FULL`` record, or ``FIRST``, ``MIDDLE`` …, ``LAST``.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from scribe_ledger.errors import Corruption
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES = 32768
PAGE_BYTES = 4096
SECTOR_BYTES = 512
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = range(1, 5)
_BEGINS_A_BATCH = (_FULL, _FIRST)
_MASK_DELTA = 0xA282EAD8
_READ_BLOCKS = 64
_ZERO_PAGE = bytes(PAGE_BYTES)


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


class _Break(NamedTuple):
    """The first record that is not one."""

    block_at: int
    block: bytes
    place: int
    """In the block."""

    @property
    def at(self) -> int:
        return self.block_at + self.place


class _Walk:
    """One walk along the records of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._batch_at = 0
        """Where the last batch begins that was met."""
        self._in_batch = False
        """Whether its end is still to come."""
        self._record_at = -1
        """Where the last record begins."""

    def run(self) -> int | None:
        """Where a torn tail begins; None if the file ends with a whole batch."""
        for at, block in self._blocks(0):
            found = self._walk_block(at, block)
            if found is not None:
                return self._judge(found)
        if self._has_unwritten_page():
            return self._batch_at
        if self._in_batch and not self._ends_with_a_whole_record():
            _refuse(self._path, self._record_at, "a record's type was changed")  # it may have ended its batch
        return self._batch_at if self._in_batch else None

    def _blocks(self, start: int) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            file.seek(start)
            while blocks := file.read(_READ_BLOCKS * BLOCK_BYTES):
                for place in range(0, len(blocks), BLOCK_BYTES):
                    yield start + place, blocks[place : place + BLOCK_BYTES]
                start += len(blocks)

    def _walk_block(self, at: int, block: bytes) -> _Break | None:
        place, end = 0, len(block)
        while end - place >= _HEADER.size:
            _, length, kind = _HEADER.unpack_from(block, place)
            following = place + _HEADER.size + length
            if following > end or not _FULL <= kind <= _LAST:
                return _Break(at, block, place)
            if (kind in _BEGINS_A_BATCH) == self._in_batch:
                _refuse(self._path, at + place, f"a record has the type {kind}, which cannot stand here")
            if kind in _BEGINS_A_BATCH:
                self._batch_at = at + place
            self._in_batch = kind in {_FIRST, _MIDDLE}
            self._record_at = at + place
            place = following
        return _Break(at, block, place) if place < end < BLOCK_BYTES else None

    # --- torn or damaged ---------------------------------------------------------------------------------------

    def _judge(self, found: _Break) -> int:
        """Where the torn tail begins, if that is what breaks the chain."""
        rest = found.block[found.place :]
        if len(rest) < _HEADER.size or self._is_zero_from(found):
            return self._torn(found)
        _, length, kind = _HEADER.unpack_from(rest)
        if self._is_in_unwritten_page(found):
            if self._batch_begins_after(found):
                _refuse(self._path, found.at, "a page of it is gone, and later writes follow")
            return self._torn(found)
        if not _FULL <= kind <= _LAST:
            _refuse(self._path, found.at, f"a record has the type {kind}")
        if found.place + _HEADER.size + length > BLOCK_BYTES:
            _refuse(self._path, found.at, "a record is longer than its block")
        if _is_whole_with_other_length(rest):
            _refuse(self._path, found.at, "the length of a record was changed")
        return self._torn(found)

    def _torn(self, found: _Break) -> int:
        """The batch before the break goes along if it is not finished, or reaches into a page that is gone."""
        last = self._record_at - found.block_at
        reaches_in = self._is_in_unwritten_page(found) and last >= 0 and not _is_whole(found.block, last)
        return self._batch_at if self._in_batch or reaches_in else found.at

    def _is_zero_from(self, found: _Break) -> bool:
        later = self._blocks(found.block_at + len(found.block))
        return not any(found.block[found.place :]) and not any(any(block) for _, block in later)

    @staticmethod
    def _is_in_unwritten_page(found: _Break) -> bool:
        return _is_unwritten(found.block, found.place - found.place % PAGE_BYTES)

    def _batch_begins_after(self, found: _Break) -> bool:
        """Whether a record that begins a batch stands at any later place."""
        later = self._blocks(found.block_at + BLOCK_BYTES)
        return _batch_begins_in(found.block, found.place) or any(_batch_begins_in(block, 0) for _, block in later)

    def _ends_with_a_whole_record(self) -> bool:
        at, block = next(self._blocks(self._record_at - self._record_at % BLOCK_BYTES))
        return _is_whole(block, self._record_at - at)

    def _has_unwritten_page(self) -> bool:
        """Whether a page of the last batch was never written: it is zero, and the sum of its record is wrong."""
        for at, block in self._blocks(self._batch_at - self._batch_at % BLOCK_BYTES):
            unwritten = [page for page in range(0, len(block), PAGE_BYTES) if _is_unwritten(block, page)]
            place = max(self._batch_at - at, 0)
            while unwritten and len(block) - place >= _HEADER.size:
                following = place + _HEADER.size + _HEADER.unpack_from(block, place)[1]
                touched = any(page < following and place < page + PAGE_BYTES for page in unwritten)
                if touched and not _is_whole(block, place):
                    return True
                place = following
        return False


def _is_unwritten(block: bytes, page: int) -> bool:
    """Whether a page is all zero. The last one of a file may be shorter, but not so short that it means nothing."""
    content = block[page : page + PAGE_BYTES]
    return len(content) >= SECTOR_BYTES and content == _ZERO_PAGE[: len(content)]


def _batch_begins_in(block: bytes, place: int) -> bool:
    """Whether a record from this place on begins a batch. Where the chain is broken, any place may be a record's."""
    while len(block) - place >= _HEADER.size:
        _, length, kind = _HEADER.unpack_from(block, place)
        following = place + _HEADER.size + length
        if following > len(block) or not _FULL <= kind <= _LAST:
            places = range(place + 1, len(block) - _HEADER.size)
            return any(block[at + _HEADER.size - 1] in _BEGINS_A_BATCH and _is_whole(block, at) for at in places)
        if kind in _BEGINS_A_BATCH:
            return True
        place = following
    return False


# --- sums ------------------------------------------------------------------------------------------------------


def _is_whole(block: bytes, place: int) -> bool:
    """Whether a record stands at this place, by its sum."""
    masked, length, _ = _HEADER.unpack_from(block, place)
    start = place + _HEADER.size
    if start + length > len(block):
        return False
    return _crc(block[start - 1 : start + length]) == _unmasked(masked)


def _is_whole_with_other_length(record: bytes) -> bool:
    """Whether some beginning of these bytes has the sum that the header gives for the whole record."""
    wanted = _unmasked(_HEADER.unpack_from(record)[0]) ^ 0xFFFFFFFF
    crc = 0xFFFFFFFF
    for byte in record[_HEADER.size - 1 :]:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
        if crc == wanted:
            return True
    return False


def _unmasked(masked: int) -> int:
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


def _crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


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

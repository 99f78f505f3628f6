"""A data folder's own record of the large values that it uploaded: what it may remove, should no entry come of them.

Several folders may share a store: a copy, a restored ledger, the one that it was taken from. Each knows its own entries
only, so none may conclude from them that a value is unwanted which another uploaded. What is recorded here was begun in
this folder; nothing else is its to remove.

One small file that is appended to before an upload begins. It is not synced, and may be lost or end in the middle of a
record: whatever it forgets becomes an orphan, which does no harm. It names its own inode and filesystem, so that a copy
of it, by whatever means files are copied, is nobody's record and counts as empty. Safe for several threads; the lock on
the data folder keeps other processes away.
"""

from __future__ import annotations

import os
import threading
from struct import Struct
from typing import TYPE_CHECKING
from zlib import crc32

from scribe_ledger.objects.durable import storage_errors, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

MAX_RECORDS = 1 << 18
"""Some 12 MB. What comes when the file is full is not recorded."""

_MAGIC = b"uploads1"
_HEADER = Struct(">8sQQ")
"""The magic, and the inode and filesystem of the file itself."""
_RECORD = Struct(">32sQI")
"""Digest, milliseconds since 1970, and the CRC-32 of both."""
_CHECKED = _RECORD.size - 4


class Uploads:
    """The record in one file, which is made when there is something to record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._oldest = 0
        """No record is older, so that nothing has to be read as long as none can be due."""

    def note(self, digest: bytes, time: int) -> None:
        """Records that an upload is about to begin."""
        with self._lock, storage_errors("write to", self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _append(descriptor, digest, time)
            finally:
                os.close(descriptor)
            self._oldest = min(self._oldest, time)

    def due(self, latest: int) -> list[bytes]:
        """The values whose last upload began at ``latest`` or before, oldest first."""
        with self._lock:
            if latest < self._oldest:
                return []
            last = self._last()
            self._oldest = min(last.values(), default=latest + 1)
            return sorted((digest for digest, time in last.items() if time <= latest), key=last.__getitem__)

    def digests(self) -> frozenset[bytes]:
        """All that is recorded."""
        with self._lock:
            return frozenset(digest for digest, _ in self._read())

    def forget(self, digests: Iterable[bytes], latest: int) -> None:
        """Drops the records of these values that are not younger than ``latest``."""
        settled = frozenset(digests)
        if settled:
            with self._lock:
                self._keep(lambda digest, time: digest not in settled or time > latest)

    def _last(self) -> dict[bytes, int]:
        """When the last upload of each value began."""
        last: dict[bytes, int] = {}
        for digest, time in self._read():
            last[digest] = max(time, last.get(digest, 0))
        return last

    def _read(self) -> Iterator[tuple[bytes, int]]:
        """What is whole."""
        with storage_errors("read", self._path):
            if not self._path.exists():
                return
            with self._path.open("rb") as file:
                if file.read(_HEADER.size) != _header(file.fileno()):
                    return
                content = file.read(MAX_RECORDS * _RECORD.size)
        for start in range(0, len(content) - _RECORD.size + 1, _RECORD.size):
            digest, time, checksum = _RECORD.unpack_from(content, start)
            if crc32(content[start : start + _CHECKED]) == checksum:
                yield digest, time

    def _keep(self, wanted: Callable[[bytes, int], bool]) -> None:
        """Writes the file again, with the records that are wanted."""
        kept = b"".join(_record(digest, time) for digest, time in self._read() if wanted(digest, time))
        new = self._path.with_name(f"{self._path.name}.new")
        with storage_errors("write", new):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                write_all(descriptor, _header(descriptor) + kept)
            finally:
                os.close(descriptor)
            new.replace(self._path)


def _append(descriptor: int, digest: bytes, time: int) -> None:
    """After the last whole record, or as the first of a file that is not our own."""
    header = _header(descriptor)
    if os.pread(descriptor, _HEADER.size, 0) != header:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, header)
    records = (os.fstat(descriptor).st_size - _HEADER.size) // _RECORD.size
    if records < MAX_RECORDS:
        os.lseek(descriptor, _HEADER.size + records * _RECORD.size, os.SEEK_SET)
        write_all(descriptor, _record(digest, time))


def _record(digest: bytes, time: int) -> bytes:
    checked = digest + time.to_bytes(8, "big")
    return checked + crc32(checked).to_bytes(4, "big")


def _header(descriptor: int) -> bytes:
    """Of the file as it should be where it is: a copy has another inode, or is on another filesystem."""
    return _HEADER.pack(_MAGIC, os.fstat(descriptor).st_ino, os.fstatvfs(descriptor).f_fsid & 0xFFFFFFFFFFFFFFFF)

"""The segment that is written: where its records go, and how far ahead it is filled with zeros.

A sync of a file that grows also has to write where its blocks are; into zeros that are there already it writes the data
alone. So zeros go ahead of the records, some at a time, and whatever lies after the last record is zeros.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from scribe_ledger.consensus.log import frames
from scribe_ledger.objects.durable import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

ZEROS_BYTES = 1 << 20
TEMPORARY = "segment.new"


class OpenSegment:
    """Raises ``OSError``: its owner names the operation, and writes nothing more."""

    def __init__(self, path: Path, salt: int, end: int, zeros: int) -> None:
        self.path = path
        self.salt = salt
        self.end = end
        self._zeros = bytes(zeros)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size

    @classmethod
    def create(cls, folder: Path, first: int, carried: bytes, zeros: int) -> OpenSegment:
        """A new segment with its first record, durable, with its name, when this returns."""
        salt = int.from_bytes(os.urandom(4), "big")
        start = frames.segment_header(first, salt) + frames.record(salt, frames.CARRY, first, first - 1, carried)
        temporary, path = folder / TEMPORARY, folder / f"{first:020}.log"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _write_at(descriptor, start.ljust(zeros, b"\0"), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
        sync_directory(folder)
        return cls(path, salt, len(start), zeros)

    def append(self, data: bytes) -> None:
        end = self.end + len(data)
        if end > self.size:
            _write_at(self._descriptor, data + self._zeros, self.end)
            self.size = end + len(self._zeros)
        else:
            _write_at(self._descriptor, data, self.end)
        self.end = end

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def drop_after_end(self) -> None:
        """Forgets what a crash left there, durably: a later record must not end in it."""
        os.ftruncate(self._descriptor, self.end)
        os.fsync(self._descriptor)
        self.size = self.end

    def close(self) -> None:
        os.close(self._descriptor)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written

"""Files that live no longer than their owner.

A temporary file is removed when it is closed, however that comes about. If its process is killed the file stays, but
the lock that the process held on it does not, and ``remove_abandoned`` takes away exactly the files that nobody holds.
So it is safe at any moment, also in a folder that several processes or nodes share, and needs no clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING, Self

from scribe_ledger.objects.durable import storage_errors, write_all

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".partial"


class TemporaryFile:
    """A new file under a random name, open for writing, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        with storage_errors("create a temporary file in", folder):
            self.path, self._descriptor = _create_locked(folder)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with storage_errors("write to", self.path):
            write_all(self._descriptor, data)

    def begin_sync(self) -> None:
        """Set the bytes on their way to the disk, so that a ``sync`` later waits less. It promises nothing."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        with storage_errors("sync", self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Remove the file, unless it was moved away. Closing twice is allowed."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            with storage_errors("remove", self.path):
                self.path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_abandoned(folder: Path) -> int:
    """Remove the temporary files in a folder whose owners are gone; how many there were."""
    with storage_errors("clean", folder):
        return sum(_remove_if_abandoned(path) for path in sorted(folder.glob(f"*{_SUFFIX}")))


def _create_locked(folder: Path) -> tuple[Path, int]:
    while True:
        path = folder / (secrets.token_hex(16) + _SUFFIX)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if _lock(descriptor) and os.fstat(descriptor).st_nlink > 0:
                return path, descriptor
        except BaseException:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        # A cleaner came between the creation and the lock, and has removed the file or is about to.
        os.close(descriptor)


def _remove_if_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if not _lock(descriptor):
            return False
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

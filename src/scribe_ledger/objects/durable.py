"""The system calls that durability rests on, each with the error that an operator can act on.

A file is durable when its bytes were synced, the folder that names it was synced after the name appeared, and the
same holds for every folder above it that is new. A sync that failed is never retried: the kernel may have dropped the
pages that it could not write, and a second sync would report success.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from scribe_ledger.errors import StorageError
from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_HINTS = {
    errno.ENOSPC: "free space on that disk, then try again",
    errno.EDQUOT: "the quota of that disk is used up: raise it or free space, then try again",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EACCES: "give the user that runs the ledger read and write access",
    errno.EROFS: "the filesystem is mounted read-only: look in the system log for the reason",
    errno.EIO: "the disk reports an error: look in the system log before writing on",
}
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


@contextlib.contextmanager
def storage_errors(operation: str, path: Path | str) -> Iterator[None]:
    """Turn what the system reports into a StorageError that names the operation and the path, its cause kept."""
    try:
        yield
    except OSError as cause:
        reason = cause.strerror or type(cause).__name__
        raise StorageError(f"cannot {operation} {path}: {reason}", hint=_HINTS.get(cause.errno or 0, "")) from cause


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte, also where the system takes fewer at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """The next ``size`` bytes, or what there is of them. A size that is a lie costs no memory."""
    pieces = []
    while size > 0 and (piece := file.read(min(size, CHUNK_BYTES))):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def sync_directory(directory: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_root(directory: Path) -> None:
    """Create a folder with those above it, durably, for its owner only."""
    if not directory.parent.is_dir():
        make_root(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    # An older process may have made the folder and died before the sync. A mount point's parent may be closed to us,
    # but then the operator made the folder.
    with contextlib.suppress(PermissionError):
        sync_directory(directory.parent)


def link_new(source: Path, target: Path) -> bool:
    """Give a file a second name, in one step, unless that name is taken; whether it was given."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as cause:
        if cause.errno in _NO_HARD_LINKS:
            raise StorageError(
                f"cannot create {target}: the filesystem has no hard links",
                hint="keep the ledger's folders on ext4, xfs, btrfs, zfs or apfs",
            ) from cause
        raise
    return True

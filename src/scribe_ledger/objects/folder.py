"""A folder as an object store: whole objects under relative paths, durable when a put returns.

An object appears complete or not at all, because it is written under a temporary name and then named in one step. It
never changes afterwards; ``replace=True`` puts a whole new object in its place, and whoever has the old one open reads
the old one to its end. What an object means, and whether it may be trusted, is decided above.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.durable import link_new, make_root, storage_errors, sync_directory
from scribe_ledger.objects.paths import checked_path
from scribe_ledger.objects.temporary import TemporaryFile, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_PARTIAL = ".partial"


class ObjectStat(NamedTuple):
    """What the store knows of an object without reading it."""

    size: int
    modified: float
    """Seconds since 1970, by the clock of the machine that holds the store."""


class FolderStore:
    """Objects as files under ``root``. Safe for use by several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._partial = root / _PARTIAL
        self._named: set[Path] = {root}
        """Folders whose own name is known to be durable."""
        with storage_errors("open the object store in", root):
            make_root(root)
            self._partial.mkdir(mode=0o700, exist_ok=True)
        remove_abandoned(self._partial)

    def put_file(self, path: str, source: Path, *, replace: bool = False) -> bool:
        """Store a finished file; durable on return.

        Without ``replace`` an object that exists stays as it is and the answer is False; it is durable all the same.
        The source may be gone afterwards (it is moved where it can be), and what is left of it is the caller's.
        """
        target = self._locate(path)
        with storage_errors("store", target):
            _sync_file(source)
            try:
                return self._name(source, target, replace=replace)
            except OSError as cause:
                if cause.errno != errno.EXDEV:
                    raise
        with TemporaryFile(self._partial) as copy, storage_errors("store", target):
            with source.open("rb", buffering=0) as file:
                while piece := file.read(CHUNK_BYTES):
                    copy.write(piece)
            copy.sync()
            return self._name(copy.path, target, replace=replace)

    def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool:
        """Like ``put_file``, for an object small enough to be at hand."""
        target = self._locate(path)
        with TemporaryFile(self._partial) as file, storage_errors("store", target):
            file.write(content)
            file.sync()
            return self._name(file.path, target, replace=replace)

    def open(self, path: str) -> BinaryIO | None:
        """The object, open for unbuffered reading; None if there is none."""
        target = self._locate(path)
        with storage_errors("open", target):
            try:
                return target.open("rb", buffering=0)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def stat(self, path: str) -> ObjectStat | None:
        """Size and time of the object; None if there is none."""
        target = self._locate(path)
        with storage_errors("look up", target):
            try:
                found = target.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectStat(found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str) -> Iterator[str]:
        """The paths of all objects under a folder, in order. It scans, one folder in memory at a time."""
        return _walk(self._locate(prefix), prefix)

    def delete(self, path: str) -> bool:
        """Remove an object, durably; whether there was one."""
        target = self._locate(path)
        with storage_errors("delete", target):
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return False
            sync_directory(target.parent)
        return True

    def _locate(self, path: str) -> Path:
        return self.root / checked_path(path)

    def _name(self, source: Path, target: Path, *, replace: bool) -> bool:
        self._make_directory(target.parent)
        if replace:
            source.replace(target)
            created = True
        else:
            created = link_new(source, target)
        # Also where the name was taken: whoever gave it may not have come to this line yet.
        sync_directory(target.parent)
        return created

    def _make_directory(self, directory: Path) -> None:
        if directory in self._named:
            return
        self._make_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        # Also where it existed: another thread or process may have made it a moment ago.
        sync_directory(directory.parent)
        self._named.add(directory)


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    with storage_errors("list", directory):
        try:
            with os.scandir(directory) as found:
                names = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in found)
        except FileNotFoundError:
            return
    for name in names:
        if name.endswith("/"):
            yield from _walk(directory / name, f"{prefix}/{name[:-1]}")
        else:
            yield f"{prefix}/{name}"


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

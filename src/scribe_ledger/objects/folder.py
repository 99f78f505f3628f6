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
from typing import TYPE_CHECKING

from scribe_ledger.errors import StorageError, Unavailable
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.durable import link_new, make_root, read_up_to, storage_errors, sync_directory
from scribe_ledger.objects.paths import checked_path
from scribe_ledger.objects.store import ListedObject, ObjectStat, check_range
from scribe_ledger.objects.temporary import TemporaryFile, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

_PARTIAL = ".partial"


class FolderStore:
    """Objects as files under ``root``. Safe for use by several threads and processes at once.

    Opening creates the folder; with ``create=False`` one that is missing is an error and nothing is made. With ``late``
    opening writes nothing: a folder that is missing is an empty store until the first write, which creates it.
    """

    is_local = True
    late_secs = 0.0

    def __init__(self, root: Path, *, create: bool = True, late: bool = False) -> None:
        self.root = root
        self._partial = root / _PARTIAL
        self._named: set[Path] = {root}
        """Folders whose own name is known to be durable."""
        self._opened: tuple[int, int] | None = None
        if create and late and (root.is_dir() or not root.exists()):
            return
        if create:
            self._make_partial()
            remove_abandoned(self._partial)
        elif not root.is_dir():
            raise StorageError(f"there is no object store in {root}: no such folder", hint="check the path for a typo")
        with storage_errors("open the object store in", root):
            self._opened = _identity(root)

    @property
    def url(self) -> str:
        return self.root.absolute().as_uri()

    def place(self, path: str) -> str:
        return str(self.root / path) if path else str(self.root)

    def put_file(self, path: str, source: Path, *, replace: bool = False) -> bool:
        """Store a finished file; durable on return.

        Without ``replace`` an object that exists stays as it is and the answer is False; it is durable all the same.
        The source may be gone afterwards (it is moved where it can be), and what is left of it is the caller's.
        """
        target = self._locate(path)
        self._check_root()
        with storage_errors("store", target):
            _sync_file(source)
            try:
                return self._name(source, target, replace=replace)
            except OSError as cause:
                if cause.errno != errno.EXDEV:
                    raise
        with self._temporary() as copy, storage_errors("store", target):
            with source.open("rb", buffering=0) as file:
                while piece := file.read(CHUNK_BYTES):
                    copy.write(piece)
            copy.sync()
            return self._name(copy.path, target, replace=replace)

    def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool:
        """Like ``put_file``, for an object small enough to be at hand."""
        target = self._locate(path)
        with self._temporary() as file, storage_errors("store", target):
            file.write(content)
            file.sync()
            return self._name(file.path, target, replace=replace)

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> list[str]:
        """``put_bytes`` for many small objects; the paths where one existed already. Each has a file open meanwhile.

        One after the other each would wait for a commit of the filesystem's journal. Here the bytes of all are on their
        way before the first is waited for, and each folder is synced once.
        """
        targets = [self._locate(path) for path, _ in objects]
        with contextlib.ExitStack() as opened:
            files = [opened.enter_context(self._temporary()) for _ in objects]
            for file, (_, content) in zip(files, objects, strict=True):
                file.write(content)
                file.begin_sync()
            for file in files:
                file.sync()
            with storage_errors("store objects in", self.root):
                for parent in {target.parent for target in targets}:
                    self._make_directory(parent)
                created = [link_new(file.path, target) for file, target in zip(files, targets, strict=True)]
                for parent in {target.parent for target in targets}:
                    sync_directory(parent)
        return [path for (path, _), new in zip(objects, created, strict=True) if not new]

    def get(self, path: str) -> bytes | None:
        """All bytes of the object; None if there is none."""
        file = self.open(path)
        if file is None:
            return None
        with file, storage_errors("read", self.root / path):
            return file.read()

    def get_range(self, path: str, start: int, stop: int) -> bytes | None:
        """The bytes from ``start`` to before ``stop``, or what there is of them; None if there is no object."""
        check_range(start, stop)
        file = self.open(path)
        if file is None:
            return None
        with file, storage_errors("read", self.root / path):
            file.seek(start)
            return read_up_to(file, stop - start)

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

    def list(self, prefix: str, *, after: str = "") -> Iterator[ListedObject]:
        """All objects under a folder (all of the store for ``""``), in order, one folder in memory at a time."""
        found = _walk(self._locate(prefix), f"{prefix}/") if prefix else _walk(self.root, "", hidden=_PARTIAL)
        return (listed for listed in found if listed.path > after) if after else found

    def delete(self, path: str) -> int:
        """Remove an object, durably, if there is one; asked for once."""
        target = self._locate(path)
        with storage_errors("delete", target):
            try:
                target.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return 1
            sync_directory(target.parent)
        return 1

    def check(self) -> None:
        """Raises unless a file can be written."""
        self._temporary().close()

    def close(self) -> None:
        """Nothing is held open."""

    def _temporary(self) -> TemporaryFile:
        """A file to begin with."""
        self._check_root()
        with storage_errors("write to the object store in", self.root):
            if not self._partial.is_dir():
                self._partial.mkdir(mode=0o700, exist_ok=True)
        return TemporaryFile(self._partial)

    def _check_root(self) -> None:
        """What is written goes to the folder that was opened: never to one that stands where a mount has gone.

        Like a remote store that does not answer it comes back, with all that is in it: ``Unavailable``.
        """
        if self._opened is None:
            self._open_late()
        with storage_errors("write to the object store in", self.root):
            if not self.root.is_dir():
                raise Unavailable(f"{self.root} is not there any more", hint="mount it, or put the folder back")
            if _identity(self.root) != self._opened:
                raise Unavailable(
                    f"{self.root} is not the folder that was opened there", hint="mount it again, then start again"
                )

    def _open_late(self) -> None:
        self._make_partial()
        remove_abandoned(self._partial)
        with storage_errors("open the object store in", self.root):
            self._opened = _identity(self.root)

    def _make_partial(self) -> None:
        with storage_errors("open the object store in", self.root):
            make_root(self.root)
            self._partial.mkdir(mode=0o700, exist_ok=True)

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


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _walk(directory: Path, prefix: str, *, hidden: str = "") -> Iterator[ListedObject]:
    """``prefix`` is empty or ends in a slash, and so do the names of folders: then their order is that of paths."""
    with storage_errors("list", directory):
        try:
            with os.scandir(directory) as scanned:
                found = sorted((_listed_name(entry), entry) for entry in scanned if entry.name != hidden)
        except (FileNotFoundError, NotADirectoryError):
            return
    for name, entry in found:
        if name.endswith("/"):
            yield from _walk(directory / entry.name, prefix + name)
            continue
        with storage_errors("look up", directory / name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # deleted meanwhile
                continue
        yield ListedObject(prefix + name, status.st_size, status.st_mtime)


def _listed_name(entry: os.DirEntry[str]) -> str:
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

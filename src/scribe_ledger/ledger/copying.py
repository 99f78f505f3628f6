"""Snapshots: a consistent copy of a data folder that opens as a ledger."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from scribe_ledger.errors import StorageError
from scribe_ledger.ledger.folder import CLUSTER, HEAD, IDENTITY, KEY, OBJECTS, SECRET_MODE, STORE
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory
from scribe_ledger.objects.paths import CHECKPOINT, MANIFEST, parse_checkpoint_path

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.ledger.store import Store


_REPLACED = {CHECKPOINT, MANIFEST}
"""Copies for people, which the archiver makes again."""


def copy_ledger(source: Path, store: Store, target: Path, *, published: int) -> Path:
    """Copies key, head, store and blobs, and the identity last, so that a copy cut short is not taken for a ledger.

    The head is copied before the store: the store then holds at least what the head has signed. Of the checkpoints only
    those up to ``published`` go with it: an archiver may publish meanwhile what the copied log does not have.
    """
    with storage_errors("copy the ledger to", target):
        if target.resolve().is_relative_to(source.resolve()):
            raise StorageError(f"{target} lies inside of the ledger", hint="name a folder elsewhere for the copy")
        if target.exists() and any(target.iterdir()):
            raise StorageError(f"{target} is not empty", hint="name a new folder for the copy")
        make_root(target)
        _copy_file(source / HEAD, target / HEAD)
        if (source / KEY).exists():  # a restored ledger has none
            _copy_file(source / KEY, target / KEY, mode=SECRET_MODE)
        store.checkpoint(target / STORE)
        if (source / OBJECTS).is_dir():
            _copy_objects(source / OBJECTS, target / OBJECTS, published)
        if (source / CLUSTER).exists():  # a copy must not go on by itself either
            _copy_file(source / CLUSTER, target / CLUSTER)
        _copy_file(source / IDENTITY, target / IDENTITY)
        sync_directory(target)
    return target


def _copy_objects(source: Path, target: Path, published: int) -> None:
    """Objects never change, so a copy on the same filesystem shares their bytes. Bottom up: names are synced last."""
    for folder, _, names in os.walk(source, topdown=False):
        copied = target / os.path.relpath(folder, source)
        copied.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), source)  # noqa: PTH118
            if path in _REPLACED or (parse_checkpoint_path(path) or 0) > published:
                continue
            _link_or_copy(os.path.join(folder, name), os.path.join(copied, name))  # noqa: PTH118
        sync_directory(copied)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        return  # a temporary file that was renamed since the folder was listed
    except OSError:
        _copy_file(source, target)


def _copy_file(source: str | Path, target: str | Path, *, mode: int = 0o644) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(source, "rb") as original, os.fdopen(descriptor, "wb") as copy:  # noqa: PTH123
        if mode == SECRET_MODE:
            os.fchmod(descriptor, mode)  # whatever the umask
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(descriptor)

"""What the parts of snapshots do with files: describe, write durably, remove."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.consensus.snapshots.description import Description, File
from scribe_ledger.errors import Corruption, SerializationError
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

META = "meta.json"


def describe_file(path: Path) -> File:
    """Reads the whole file."""
    digest, size = sha256(), 0
    with storage_errors("read", path), path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
    return File(path.name, size, digest.digest())


def read_description(path: Path) -> Description:
    """Of this node's own disk."""
    with storage_errors("read", path):
        text = path.read_bytes()
    try:
        return Description.decode(text)
    except SerializationError as error:
        raise Corruption(f"{path}: {error.message}", hint=error.hint) from error


def write_durably(path: Path, content: bytes) -> None:
    """Writes or replaces a small file in one step that survives power loss."""
    fresh = path.with_name(path.name + ".new")
    with storage_errors("write", path):
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        sync_directory(path.parent)


def remove_tree(folder: Path) -> None:
    """Removes a folder with all that is in it, if it is there."""
    with storage_errors("remove", folder):
        if folder.exists():
            shutil.rmtree(folder)

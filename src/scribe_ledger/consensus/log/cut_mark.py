"""The mark of a cut: the last entry that the log does not need any more. A small file, replaced in one step."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.segments import damage, newer
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

NAME = "cut"
TEMPORARY = "cut.new"
_MARK = struct.Struct(">8sIQQI")
_MAGIC = b"SCRBRCUT"
_VERSION = 1


def write_mark(folder: Path, index: int, term: int) -> None:
    """Durable when it returns."""
    head = _MARK.pack(_MAGIC, _VERSION, index, term, 0)[:-4]
    with storage_errors("write", folder / NAME):
        with (folder / TEMPORARY).open("wb") as file:
            file.write(head + zlib.crc32(head).to_bytes(4, "big"))
            file.flush()
            os.fsync(file.fileno())
        (folder / TEMPORARY).replace(folder / NAME)
        sync_directory(folder)


def read_mark(folder: Path) -> tuple[int, int]:
    """Index and term; (0, 0) if nothing was ever cut."""
    path = folder / NAME
    with storage_errors("read", path):
        if not path.exists():
            return 0, 0
        data = path.read_bytes()
    if len(data) != _MARK.size or not data.startswith(_MAGIC) or zlib.crc32(data[:-4]).to_bytes(4, "big") != data[-4:]:
        raise damage(path, 0, "it is no mark of a cut")
    _, version, index, term, _ = _MARK.unpack(data)
    if version > _VERSION:
        raise newer(path, version, _VERSION)
    return index, term

"""Small logs on disk, and what a crash or a bad disk makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.replay import Replay
from scribe_ledger.consensus.log.store import Contents, LogWrite

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT_BYTES = 4096


def writes(count: int, length: int = 20) -> list[LogWrite]:
    """Each with an entry and a hard state that names it."""
    return [LogWrite([(n, 1, 0, b"%d" % n * length, b"")], (1, 1, n - 1)) for n in range(1, count + 1)]


def contents_after(given: list[LogWrite]) -> Contents:
    replay = Replay()
    for write in given:
        replay.take(write)
    return replay.contents()


def open_log(folder: Path, segment_bytes: int = SEGMENT_BYTES) -> tuple[FileLog, Contents]:
    log = FileLog(folder, segment_bytes=segment_bytes)
    return log, log.load()


def load(folder: Path, segment_bytes: int = SEGMENT_BYTES) -> Contents:
    log, contents = open_log(folder, segment_bytes)
    log.close()
    return contents


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))

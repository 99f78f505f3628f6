"""One segment of Raft's log, read: its records, and what the place means where they end.

What a crash leaves of writes that were never synced is told apart from damage:

- Zeros up to the end of the file: nothing was written there.
- A later record says that this place was durable: damage.
- A record that the file is too short for, or with a sector that was never written: a crash. It is dropped with all
  that follows, which no later record calls durable.
- Anything else is refused: nobody can tell whether it was acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.log import frames
from scribe_ledger.errors import ConfigurationError, Corruption
from scribe_ledger.objects.durable import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Record(NamedTuple):
    offset: int
    kind: int
    content: bytes


class Segment:
    """The file, all in memory while it is read: a segment is small. Call ``records`` to the end before the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors("read", path):
            self._data = memoryview(path.read_bytes())
        self.size = len(self._data)
        header = frames.read_segment_header(self._data)
        if header is None:
            raise damage(path, 0, "it has no header of a segment")
        version, self.first, self.salt = header
        if version > frames.VERSION:
            raise newer(path, version, frames.VERSION)
        if path.stem != f"{self.first:020}":
            raise damage(path, 0, f"it begins with record {self.first}")
        self.next = self.first
        """The sequence that would come after the last record."""
        self.end = frames.SEGMENT_HEADER_BYTES
        """Where the last record ends."""

    def records(self) -> Iterator[Record]:
        while (head := frames.read_head(self.salt, self._data, self.end)) is not None and head.sequence == self.next:
            content = frames.read_content(self.salt, self._data, self.end, head)
            if content is None:
                return
            offset = self.end
            self.end += head.total
            self.next += 1
            yield Record(offset, head.kind, content)

    def torn(self) -> bool:
        """Whether a crash left something after the last record; raises Corruption if it cannot have been a crash."""
        if not any(self._data[self.end :]):
            return False
        later = self._later_that_knows()
        if later is not None:
            raise damage(self.path, self.end, f"a record is broken, and that at byte {later} says it was synced")
        head = frames.read_head(self.salt, self._data, self.end)
        length = frames.HEADER_BYTES if head is None else head.total
        if (head is None or head.sequence == self.next) and frames.misses_a_sector(self._data, self.end, length):
            return True
        raise damage(self.path, self.end, "the last record is broken, but not as a crash does it")

    def _later_that_knows(self) -> int | None:
        """A place after the end with the header of a record that was written when this place was durable."""
        data = self._data.obj
        assert isinstance(data, bytes)
        at = data.find(frames.BEGIN, self.end)
        while at >= 0:
            head = frames.read_head(self.salt, self._data, at)
            if head is not None and head.sequence > head.durable >= self.next:
                return at
            at = data.find(frames.BEGIN, at + 1)
        return None


def damage(path: Path, offset: int, what: str) -> Corruption:
    return Corruption(
        f"Raft's log {path} is damaged at byte {offset}: {what}",
        hint="this member may have forgotten what it acknowledged: replace it by an empty one (scribe cluster replace)",
    )


def newer(path: Path, version: int, known: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} has format {version}, this program reads up to {known}", hint="use a newer scribe-ledger"
    )

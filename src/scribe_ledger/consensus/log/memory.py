"""``MemoryLog``: Raft's log without a disk, for the simulator, which decides what a crash leaves of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.replay import Edges, Replay

if TYPE_CHECKING:
    from scribe_ledger.consensus.log.store import Contents, LogWrite


class MemoryLog:
    """Keeps ``LogStore``. What is durable outlives ``crash``; nothing outlives the object."""

    def __init__(self) -> None:
        self._durable = Replay()
        self._unsynced: list[LogWrite] = []
        self._edges = Edges(self._durable.contents())

    def load(self) -> Contents:
        """Also after a crash."""
        contents = self._durable.contents()
        self._edges = Edges(contents)
        return contents

    def write(self, write: LogWrite) -> None:
        self._edges.check(write)
        self._edges.take(write)
        self._unsynced.append(write._replace(entries=tuple(write.entries)))

    def sync(self) -> None:
        for write in self._unsynced:
            self._durable.take(write)
        self._unsynced.clear()

    def cut(self, index: int, term: int) -> None:
        self._durable.cut(index, term)
        self._edges.cut(index, term)

    @property
    def unsynced(self) -> int:
        """The writes that a crash may lose."""
        return len(self._unsynced)

    def crash(self, keep: int = 0) -> None:
        """Loses all unsynced writes but the first ones. ``load`` is called next."""
        del self._unsynced[keep:]
        self.sync()

    @property
    def disk_bytes(self) -> int:
        entries = self._durable.contents().entries
        return sum(len(data) + len(context) for _, _, _, data, context in entries)

    def close(self) -> None:
        """Leaves what is durable."""
        self._unsynced.clear()

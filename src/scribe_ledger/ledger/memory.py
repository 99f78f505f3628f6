"""A store in memory that can crash: ``crash()`` drops what was not synced, or any suffix of it.

It keeps the store's whole contract, so that tests and the simulator run the production state machine on it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

from scribe_ledger.errors import LedgerClosed, StorageError
from scribe_ledger.ledger.store import Store, Table, TableReader, TableView, WriteBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path


class MemoryView(TableView):
    def __init__(self, records: dict[bytes, bytes]) -> None:
        self._records = records

    def get(self, key: bytes, /) -> bytes | None:
        return self._records.get(key)

    def close(self) -> None:
        self._records = {}


class MemoryTable(TableReader):
    def __init__(self, lock: threading.RLock) -> None:
        self.records: dict[bytes, bytes] = {}
        self._sorted: list[bytes] = []
        self._lock = lock
        self.closed = False

    def set(self, key: bytes, value: bytes | None) -> None:
        """None removes the record."""
        if value is None:
            if self.records.pop(key, None) is not None:
                self._sorted.pop(bisect_left(self._sorted, key))
        else:
            if key not in self.records:
                insort(self._sorted, key)
            self.records[key] = value

    def between(self, start: bytes, stop: bytes) -> list[bytes]:
        """The keys from ``start`` to before ``stop``."""
        return self._sorted[bisect_left(self._sorted, start) : bisect_left(self._sorted, stop)]

    def get(self, key: bytes, /) -> bytes | None:
        with self._lock:
            self.check_open()
            return self.records.get(key)

    def get_many(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        with self._lock:
            self.check_open()
            return [self.records.get(key) for key in keys]

    def scan(self, start: bytes | None = None, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        with self._lock:
            self.check_open()
            if reverse:
                end = len(self._sorted) if start is None else bisect_right(self._sorted, start)
                keys = self._sorted[:end][::-1]
            else:
                keys = self._sorted[0 if start is None else bisect_left(self._sorted, start) :]
            return self._walk([(key, self.records[key]) for key in keys])

    def _walk(self, found: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for record in found:
            self.check_open()
            yield record

    def seek(self, start: bytes, /, *, reverse: bool = False) -> tuple[bytes, bytes] | None:
        with self._lock:
            self.check_open()
            at = bisect_right(self._sorted, start) - 1 if reverse else bisect_left(self._sorted, start)
            if not 0 <= at < len(self._sorted):
                return None
            return self._sorted[at], self.records[self._sorted[at]]

    def pin(self) -> MemoryView:
        with self._lock:
            self.check_open()
            return MemoryView(self.records.copy())

    def check_open(self) -> None:
        if self.closed:
            raise LedgerClosed("the store is closed")


class MemoryBatch(WriteBatch):
    """Changes in their order: a record, its removal, or (with an end) the removal of a range."""

    def __init__(self) -> None:
        self.changes: list[tuple[Table, bytes, bytes | None, bytes | None]] = []

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.changes.append((table, key, value, None))

    def put_many(self, table: Table, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        self.changes.extend((table, key, value, None) for key, value in zip(keys, values, strict=True))

    def delete(self, table: Table, key: bytes) -> None:
        self.changes.append((table, key, None, None))

    def delete_range(self, table: Table, start: bytes, stop: bytes) -> None:
        self.changes.append((table, start, None, stop))


class MemoryStore(Store):
    """``fail_sync`` and ``fail_write`` make the next call raise what they are set to, as a failing disk would."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tables = {table: MemoryTable(self._lock) for table in Table}
        self._undo: list[list[tuple[Table, bytes, bytes | None]]] = []
        self.fail_sync: Exception | None = None
        self.fail_write: Exception | None = None
        self.on_sync: Callable[[], None] | None = None

    def table(self, table: Table) -> MemoryTable:
        return self._tables[table]

    def batch(self) -> MemoryBatch:
        return MemoryBatch()

    def write(self, batch: WriteBatch) -> None:
        if not isinstance(batch, MemoryBatch):
            raise StorageError("a batch of another store was given to the memory store")
        with self._lock:
            self._check_open()
            if self.fail_write is not None:
                raise self.fail_write
            undo: list[tuple[Table, bytes, bytes | None]] = []
            for name, start, value, stop in batch.changes:
                table = self._tables[name]
                for key in [start] if stop is None else table.between(start, stop):
                    undo.append((name, key, table.get(key)))
                    table.set(key, value)
            self._undo.append(undo)

    def sync(self) -> None:
        written = len(self._undo)  # what is written while a sync runs, it need not cover
        if self.on_sync is not None:
            self.on_sync()
        with self._lock:
            self._check_open()
            if self.fail_sync is not None:
                raise self.fail_sync
            del self._undo[:written]

    @property
    def unsynced(self) -> int:
        """How many written batches a crash may still lose."""
        return len(self._undo)

    def crash(self, keep: int = 0) -> None:
        """Loses all unsynced batches but the first ``keep``, and leaves the store as a restart would find it."""
        with self._lock:
            while len(self._undo) > keep:
                for table, key, value in reversed(self._undo.pop()):
                    self._tables[table].set(key, value)
            self._undo.clear()
            self.fail_sync = self.fail_write = None
            self._set_closed(False)

    def checkpoint(self, path: Path) -> None:
        raise StorageError(f"a store in memory cannot be copied to {path}")

    def disk_bytes(self) -> int:
        with self._lock:
            self._check_open()
            return sum(len(k) + len(v) for table in self._tables.values() for k, v in table.records.items())

    def reclaim(self, table: Table, stop: bytes) -> None:
        """What was removed takes no room."""

    def close(self) -> None:
        with self._lock:
            self._set_closed(True)

    def _check_open(self) -> None:
        self._tables[Table.META].check_open()

    def _set_closed(self, closed: bool) -> None:
        for table in self._tables.values():
            table.closed = closed

"""What the ledger stands beside: RocksDB itself with the same bytes, and a file that grows.

The raw store has one column, with memtables, log and block cache of sizes like the ledger's. It is called as a Python
program would call it: its cost includes the binding's.
"""

from __future__ import annotations

import os
from time import sleep
from typing import TYPE_CHECKING, Any, Self

import rocksdict

from scribe_ledger.errors import StorageError
from scribe_ledger.ledger.rocks import RocksStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger import Ledger
    from scribe_ledger.bench.workload import RawPairs
    from scribe_ledger.ledger.store import Table

ROCKSDB = "raw RocksDB"
MEMTABLE_BYTES = 16 << 20
MEMTABLES = 4
WAL_BYTES = 128 << 20
BLOCK_CACHE_BYTES = 48 << 20
_BUSY = ("rocksdb.mem-table-flush-pending", "rocksdb.compaction-pending", "rocksdb.num-running-compactions")


class RawRocks:
    """Key to value, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._db = rocksdict.Rdict(str(path), _options())
        self.get: Callable[[bytes], bytes | None] = self._db.get

    def put_batch(self, pairs: RawPairs) -> None:
        """One batch, durable on return."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in pairs:
            put(key, value)
        self._db.write(batch)
        self._db.flush_wal(True)

    def put(self, key: bytes, value: bytes) -> None:
        """One pair, durable on return."""
        self._db.put(key, value)
        self._db.flush_wal(True)

    def settle(self) -> int:
        """Writes memtables out, waits for compaction; the bytes of its table files."""
        return settle(self._db)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GrowingFile:
    """Appends to a file that grows, and syncs its data each time: what the disk asks of anybody."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def column(ledger: Ledger, table: Table) -> Any:
    """One table of an open ledger as the binding's own object: reads through it are raw reads of the same store."""
    store = ledger._store
    if not isinstance(store, RocksStore):
        raise StorageError("the benchmark compares with RocksDB, and this ledger is on another store")
    return store.table(table)._column


def settle(column: Any) -> int:
    """Writes a column's memtable out and waits until nothing is being compacted; the bytes of its table files."""
    column.flush()
    while any(column.property_int_value(name) for name in _BUSY):
        sleep(0.05)
    return int(column.property_int_value("rocksdb.total-sst-files-size") or 0)


def _options() -> rocksdict.Options:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(MEMTABLE_BYTES)
    options.set_max_write_buffer_number(MEMTABLES)
    options.set_max_total_wal_size(WAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    return options

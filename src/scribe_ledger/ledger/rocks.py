"""The hot store on RocksDB.

What is set here, and why:

- ``tolerate_corrupted_tail_records``: the default recovery silently drops every synced write after a flipped byte in
  the write-ahead log; this one refuses, and still opens a log with a torn tail. What it does not see, ``engine_logs``
  does.
- Writes go unsynced with ``no_slowdown`` and are followed by ``flush_wal``: the binding holds the interpreter through
  a write, so a stall or a sync inside it would stop every other thread.
- Whole-key Bloom filters in memtables and blocks: the commonest look-up of a ledger is of a key that is not there.
- Filters and indexes stay on the heap: about 2 bytes a key, and a look-up that costs the same at any size. In the block
  cache they pushed each other out, and a read at a million keys took 90 µs instead of 6.
- The block cache is lock-free, and holds what random reads of a million small entries touch. Full tiles stay out of it:
  the tile source above keeps those it uses.
- Hashes do not compress; leaves, values and key records do.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

import rocksdict
from rocksdict import DBCompressionType, DBRecoveryMode, Options, Rdict

from scribe_ledger.errors import OPEN_AGAIN, LedgerClosed, Overloaded, ScribeError, StorageError
from scribe_ledger.ledger.engine_logs import check_engine_logs
from scribe_ledger.ledger.forking import keep_from_children, never_finalize
from scribe_ledger.ledger.store import DamagedBlock, Store, Table, TableReader, TableView, WriteBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

MEMTABLE_BYTES = {Table.KEYS: 8 << 20}
"""A small memtable of keys stays in the processor's caches, where inserting at random places is twice as fast."""
DEFAULT_MEMTABLE_BYTES = 16 << 20
ALL_MEMTABLES_BYTES = 64 << 20
BLOCK_BYTES = 4096
"""Small, so that a read at a random place fetches one group or tile and not its neighbours too."""
RESTART_INTERVAL = 4
"""Entries between two places at which a search may enter a block of a searched table: fewer to walk over than in 16."""
INDEX_RESTART_INTERVAL = 8
"""The same for the indexes of all tables, where it is 1 by default: a third of the memory, and fewer cache misses."""
BLOCK_CACHE_BYTES = 320 << 20
WAL_BYTES = 64 << 20
MAX_OPEN_FILES = 512
FLUSH_SECONDS = 10.0
MARGIN_BYTES = 16 << 20
"""What opening needs beside the size of the logs: filters and indexes of tables, and what other parts write."""
_UNCOMPRESSED = frozenset({Table.TREE, Table.BLOBS})
_SEARCHED_BY_KEY = frozenset({Table.KEYS, Table.HISTORY, Table.BLOBS})
_ENGINE_ERRORS = (Exception,)
"""The binding raises plain ``Exception`` with the engine's status as text; ``_raise`` sorts it."""


class RocksTable(TableReader):
    def __init__(self, column: Rdict) -> None:
        self._column = column
        self._get: Callable[..., Any] = column.get
        self._scans: weakref.WeakSet[_Walk | _View] = weakref.WeakSet()
        self._cursors_lock = threading.Lock()
        """Held while a cursor is made, so that ``close`` misses none."""

    def get(self, key: bytes, /) -> bytes | None:
        try:
            value: bytes | None = self._get(key)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)
        return value

    def get_many(self, keys: Sequence[bytes], /) -> list[bytes | None]:
        try:
            values: list[bytes | None] = self._get(keys if isinstance(keys, list) else list(keys)) or []
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)
        return values

    def seek(self, start: bytes, /, *, reverse: bool = False) -> tuple[bytes, bytes] | None:
        try:
            with self._cursors_lock:
                cursor = self._column.iter()
                try:
                    (cursor.seek_for_prev if reverse else cursor.seek)(start)
                    if cursor.valid():
                        return cursor.key(), cursor.value()
                    cursor.status()
                finally:
                    del cursor
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)
        return None

    def scan(self, start: bytes | None = None, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        try:
            with self._cursors_lock:
                cursor = self._column.iter()
                if start is None:
                    (cursor.seek_to_last if reverse else cursor.seek_to_first)()
                else:
                    (cursor.seek_for_prev if reverse else cursor.seek)(start)
                walk = _Walk(cursor, reverse=reverse)
                self._scans.add(walk)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)
        return walk

    def pin(self) -> _View:
        try:
            with self._cursors_lock:
                view = _View(self._column.iter())
                self._scans.add(view)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)
        return view

    def close(self) -> Exception | None:
        """Breaks off the scans under way: the engine stays open as long as one of its cursors lives."""
        self._get = _refuse
        with self._cursors_lock:
            for walk in list(self._scans):
                walk.close()
            failure = _close(self._column)
            self._column = _closed()
        return failure


class _Walk:
    """One scan. It owns its cursor, so that ``close`` can take it away in the middle, from another thread."""

    def __init__(self, cursor: rocksdict.RdictIter, *, reverse: bool) -> None:
        self._records = _records(cursor, reverse=reverse)
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self

    def __next__(self) -> tuple[bytes, bytes]:
        with self._lock:
            if self._closed:
                raise LedgerClosed("the ledger was closed while it was read")
            return next(self._records)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._records.close()


class _View(TableView):
    """A cursor that only ever looks for one key: it sees the table as it was when it was made."""

    def __init__(self, cursor: rocksdict.RdictIter) -> None:
        self._cursor: rocksdict.RdictIter | None = cursor
        self._lock = threading.Lock()

    def get(self, key: bytes, /) -> bytes | None:
        with self._lock:
            cursor = self._cursor
            if cursor is None:
                raise LedgerClosed("the ledger was closed while it was read")
            try:
                cursor.seek(key)
                if cursor.valid():
                    return cursor.value() if cursor.key() == key else None
                cursor.status()
            except _ENGINE_ERRORS as error:
                raise_engine_error(error)
            return None

    def close(self) -> None:
        with self._lock:
            self._cursor = None


def _records(cursor: rocksdict.RdictIter, *, reverse: bool) -> Generator[tuple[bytes, bytes]]:
    step = cursor.prev if reverse else cursor.next
    try:
        while cursor.valid():
            yield cursor.key(), cursor.value()
            step()
        cursor.status()
    except _ENGINE_ERRORS as error:
        raise_engine_error(error)


class _Handles(dict[Table, rocksdict.ColumnFamily]):
    """What batches name their tables by. A closed store has none."""

    def __missing__(self, table: Table) -> NoReturn:
        raise LedgerClosed("the ledger is closed")


class RocksBatch(WriteBatch):
    def __init__(self, handles: _Handles) -> None:
        self.raw = rocksdict.WriteBatch(True)
        self._put = self.raw.put
        self._handles = handles

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._put(key, value, self._handles[table])

    def put_many(self, table: Table, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        put, handle = self._put, self._handles[table]
        for key, value in zip(keys, values, strict=True):
            put(key, value, handle)

    def delete(self, table: Table, key: bytes) -> None:
        self.raw.delete(key, self._handles[table])

    def delete_range(self, table: Table, start: bytes, stop: bytes) -> None:
        self.raw.delete_range(start, stop, self._handles[table])


class RocksStore(Store):
    """Opens or creates a RocksDB database in ``path``, one column family a table."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """``read_only`` leaves every file as it is."""
        self._closed = False
        cache = rocksdict.Cache.new_hyper_clock_cache(BLOCK_CACHE_BYTES, 0)
        columns = {table.value: _column_options(table, cache) for table in Table}
        check_engine_logs(path)
        try:
            access = rocksdict.AccessType.read_only(False) if read_only else rocksdict.AccessType.read_write()
            self._db = Rdict(str(path), _database_options(cache), columns, access)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error, opening=path)
        self._tables = {table: RocksTable(self._column(table)) for table in Table}
        self._handles = _Handles({table: self._db.get_column_family_handle(table.value) for table in Table})
        self._write_options = rocksdict.WriteOptions()
        self._write_options.no_slowdown = True
        keep_from_children(self)

    def _column(self, table: Table) -> Rdict:
        column = self._db.get_column_family(table.value)
        if table is Table.TREE:
            options = rocksdict.ReadOptions()
            options.fill_cache(False)  # type: ignore[call-arg]  # the binding's stub lacks its argument
            column.set_read_options(options)
        return column

    def table(self, table: Table) -> RocksTable:
        return self._tables[table]

    def batch(self) -> RocksBatch:
        return RocksBatch(self._handles)

    def write(self, batch: WriteBatch) -> None:
        if not isinstance(batch, RocksBatch):
            raise StorageError("a batch of another store was given to RocksDB")
        try:
            self._db.write(batch.raw, self._write_options)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)

    def sync(self) -> None:
        self._check_open()
        try:
            self._db.flush_wal(True)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)

    def checkpoint(self, path: Path) -> None:
        self._check_open()
        try:
            self._flush_memtables()
            rocksdict.Checkpoint(self._db).create_checkpoint(str(path))
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)

    def _flush_memtables(self) -> None:
        """The binding holds the interpreter through a checkpoint, so what that would have to write is written before.

        What cannot be written in time is left to the checkpoint, which then takes longer.
        """
        columns = [self._db.get_column_family(table.value) for table in Table]
        for column in columns:
            column.flush(wait=False)
        until = time.monotonic() + FLUSH_SECONDS
        while any(column.property_int_value("rocksdb.num-immutable-mem-table") for column in columns):
            if time.monotonic() > until:
                return
            time.sleep(0.002)

    def disk_bytes(self) -> int:
        self._check_open()
        try:
            return sum(int(live["size"]) for live in self._db.live_files()) + sum(
                self._db.get_column_family(table.value).property_int_value("rocksdb.cur-size-all-mem-tables") or 0
                for table in Table
            )
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)

    def reclaim(self, table: Table, stop: bytes) -> None:
        """A range that was removed lies in files until they are merged, which may be minutes after."""
        self._check_open()
        try:
            self._db.get_column_family(table.value).compact_range(b"", stop)
        except _ENGINE_ERRORS as error:
            raise_engine_error(error)

    def leave_to_parent(self) -> None:
        """In a forked child: the engine's end would wait for threads that only the parent has."""
        self._closed = True
        never_finalize(self)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        failures = [failure for table in self._tables.values() if (failure := table.close()) is not None]
        self._handles.clear()  # a handle, too, keeps the engine open
        failure = _close(self._db)
        self._db = _closed()
        if failures or failure is not None:
            raise_engine_error(failure or failures[0])

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerClosed("the ledger is closed")


def _refuse(_: object) -> NoReturn:
    raise LedgerClosed("the ledger is closed")


class _Closed:
    """Stands where the engine stood. An engine whose closing failed ends when nobody refers to it any more."""

    def __getattr__(self, _: str) -> NoReturn:
        raise LedgerClosed("the ledger is closed")


def _closed() -> Rdict:
    return cast("Rdict", _Closed())


def _close(database: Rdict) -> Exception | None:
    """Waits for calls of other threads that are inside the engine: they are short, and no new ones begin.

    Gives what the engine had to say, such as that a full disk takes nothing more; what was synced is safe all the same.
    """
    while True:
        try:
            database.close()
        except RuntimeError as error:
            if "borrowed" not in str(error):
                raise
            time.sleep(0.001)
        except _ENGINE_ERRORS as error:
            return error.with_traceback(None)
        else:
            return None


def raise_engine_error(error: Exception, *, opening: Path | None = None) -> NoReturn:
    """Sorts the engine's one exception class by its status text, and keeps it as the cause."""
    if isinstance(error, ScribeError):
        raise error
    if isinstance(error, rocksdict.DbClosedError) or "mutably borrowed" in str(error):  # closed, or just being closed
        raise LedgerClosed("the ledger is closed") from error
    text = str(error)
    where = f" in {opening}" if opening is not None else ""
    if "Write stall" in text or text.startswith("Operation aborted") or "Result incomplete" in text:
        raise Overloaded("the storage engine is catching up", hint="retry after a moment") from error
    if text.startswith("Corruption") or "checksum" in text.lower():
        raise DamagedBlock(
            f"the storage engine found bytes{where} that are not what was written: {text}",
            hint="run `scribe fsck`; restore this folder from a copy",
        ) from error
    if "No space left" in text:
        hint = f"free space, {OPEN_AGAIN}" if opening is None else _room_to_open(opening)
        raise StorageError(f"the disk is full{where}: {text}", hint=hint) from error
    if "Read-only file system" in text or "Permission denied" in text:
        raise StorageError(f"the folder cannot be written{where}: {text}", hint="check owner and mount") from error
    raise StorageError(f"the storage engine failed{where}: {text}") from error


def _room_to_open(path: Path) -> str:
    """Opening writes what the logs hold as tables, and only then removes the logs."""
    with suppress(OSError):
        needed = sum(log.stat().st_size for log in path.glob("*.log")) + MARGIN_BYTES
        return (
            f"make about {needed >> 20} MiB of room on this disk, or make it larger, {OPEN_AGAIN}:"
            f" nothing that was acknowledged is lost. Remove nothing below {path.parent}: all of it is the ledger's"
        )
    return f"free space, {OPEN_AGAIN}"


def _database_options(cache: rocksdict.Cache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_paranoid_checks(True)
    options.set_db_write_buffer_size(ALL_MEMTABLES_BYTES)
    options.set_max_total_wal_size(WAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_max_open_files(MAX_OPEN_FILES)
    options.set_bytes_per_sync(1 << 20)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 << 20)
    options.set_stats_dump_period_sec(0)
    options.set_block_based_table_factory(_block_options(cache, searched_by_key=False))
    return options


def _column_options(table: Table, cache: rocksdict.Cache) -> Options:
    options = Options(raw_mode=True)
    options.set_write_buffer_size(MEMTABLE_BYTES.get(table, DEFAULT_MEMTABLE_BYTES))
    options.set_max_write_buffer_number(4)
    options.set_target_file_size_base(32 << 20)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_compression_type(DBCompressionType.none() if table in _UNCOMPRESSED else DBCompressionType.lz4())
    options.set_block_based_table_factory(_block_options(cache, searched_by_key=table in _SEARCHED_BY_KEY))
    if table in _SEARCHED_BY_KEY:
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(0.1)
    return options


def _block_options(cache: rocksdict.Cache, *, searched_by_key: bool) -> rocksdict.BlockBasedOptions:
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_format_version(5)
    blocks.set_cache_index_and_filter_blocks(False)
    blocks.set_block_size(BLOCK_BYTES)
    blocks.set_index_block_restart_interval(INDEX_RESTART_INTERVAL)
    if searched_by_key:
        blocks.set_bloom_filter(10, False)
        blocks.set_block_restart_interval(RESTART_INTERVAL)
    return blocks

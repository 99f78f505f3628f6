"""The contract of a hot store: an ordered, transactional key-value engine with an explicit sync.

Two implementations keep it, and one suite tests both: ``rocks.RocksStore`` for real use and ``memory.MemoryStore``,
which can lose what was not synced on command. The contract, beyond the signatures:

- ``write`` is atomic over all tables and visible to every later read, but *not durable*: after a crash a prefix of
  the written batches is there, in order, and at least all that were written before the last ``sync`` returned.
- ``sync`` makes everything written so far durable before it returns, and lets other threads run meanwhile.
- Reads may run in any thread beside one writer. A ``scan`` sees the table as it was when the scan began.
- Bytes that are not what was written raise ``DamagedBlock``; the disk's refusals raise ``StorageError``; an engine that
  would have to stall raises ``Overloaded`` and has written nothing; a closed store raises ``LedgerClosed``.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


class Table(enum.StrEnum):
    """The separate key spaces of a store. The values are names on disk."""

    LEAVES = "leaves"
    """group (u64 of its first index) → the leaves of a run of entries"""
    VALUES = "values"
    """group → the inline values of the same run; archived groups may be dropped while their leaves stay"""
    KEYS = "keys"
    """key → its latest version"""
    HISTORY = "history"
    """key and version, key and inverted index → an earlier version"""
    TREE = "tree"
    """level and index → all nodes of a full tile"""
    BLOBS = "blobs"
    """digest of a large value → the first entry that refers to it"""
    META = "meta"
    """the state record, the ledger's policies, and what this machine alone knows"""
    MANIFEST = "manifest"
    """what is archived, and how that came about; see ``manifest``"""


class DamagedBlock(Corruption):
    """Bytes of the engine's own files are not what was written: all records of one block are lost to reads."""


class TableReader(Protocol):
    """Reads of one table."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes], /) -> list[bytes | None]: ...

    def seek(self, start: bytes, /, *, reverse: bool = False) -> tuple[bytes, bytes] | None:
        """The first record at or after ``start``; in reverse the last one at or before it."""
        ...

    def scan(self, start: bytes | None = None, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Records from the first key ≥ ``start`` upwards; in reverse from the last key ≤ ``start`` downwards."""
        ...

    def pin(self) -> TableView:
        """The table as it is now, for look-ups later. Slower than those of now."""
        ...


class TableView(Protocol):
    """A table as it was at one moment. It holds room on the disk until it is closed, or dropped."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def close(self) -> None: ...


class WriteBatch(Protocol):
    """Collects what one atomic write changes. Of two changes of one key the later wins."""

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def put_many(self, table: Table, keys: Iterable[bytes], values: Iterable[bytes]) -> None: ...

    def delete(self, table: Table, key: bytes) -> None:
        """Removes a record, or does nothing where there is none."""
        ...

    def delete_range(self, table: Table, start: bytes, stop: bytes) -> None:
        """Removes all records from ``start`` to before ``stop``, at a cost that does not depend on how many."""
        ...


class Store(Protocol):
    """A hot store; see the module for its obligations."""

    def table(self, table: Table) -> TableReader: ...

    def batch(self) -> WriteBatch: ...

    def write(self, batch: WriteBatch) -> None: ...

    def sync(self) -> None: ...

    def checkpoint(self, path: Path) -> None:
        """A consistent copy of everything written so far, in a folder that must not exist yet."""
        ...

    def disk_bytes(self) -> int: ...

    def reclaim(self, table: Table, stop: bytes) -> None:
        """Gives the room of removed records below ``stop`` back to the disk, soon else. Others go on meanwhile."""
        ...

    def close(self) -> None:
        """Releases the engine. What was synced stays; what was not may be lost. Idempotent."""
        ...

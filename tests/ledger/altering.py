"""Ledgers that are altered behind their back."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from scribe_ledger.ledger import records
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from pathlib import Path

LAST_OF_TIMESTAMP = 19
"""Its place in a leaf."""


def alter_last_entry(store: Path) -> None:
    """It was written a moment later than everywhere else: a ledger that is sound, but another one."""
    with closing(RocksStore(store)) as opened:
        found = opened.table(Table.LEAVES).seek(b"\xff" * 8, reverse=True)
        assert found is not None
        *leaves, last = records.unpack(found[1])
        leaves.append(_flipped(last, LAST_OF_TIMESTAMP))
        _put(opened, Table.LEAVES, found[0], records.pack(leaves, [*map(len, leaves)]))


def alter_first_hash(store: Path) -> None:
    """In the first full tile of the tree. What lies above it there is the same."""
    with closing(RocksStore(store)) as opened:
        key = records.tile_key(0, 0)
        tile = opened.table(Table.TREE).get(key)
        assert tile is not None
        _put(opened, Table.TREE, key, _flipped(tile, 0))


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _put(opened: RocksStore, table: Table, key: bytes, value: bytes) -> None:
    batch = opened.batch()
    batch.put(table, key, value)
    opened.write(batch)
    opened.sync()

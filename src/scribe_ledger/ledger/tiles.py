"""Full tiles from the store, the most recently used kept expanded in memory."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.records import tile_key
from scribe_ledger.ledger.store import Store, Table

if TYPE_CHECKING:
    from collections.abc import Callable

CACHED_TILES = 4096
"""Of 16 KiB each: all of a ledger of a million entries, in 64 MiB, if proofs are asked of all of it."""


class TileSource:
    """``fetch`` gives all nodes of a full tile. A full tile never changes, so nothing is ever forgotten on a write."""

    def __init__(self, store: Store) -> None:
        self._get = store.table(Table.TREE).get
        self.fetch: Callable[[int, int], bytes] = lru_cache(maxsize=CACHED_TILES)(self._read)

    def _read(self, level: int, index: int) -> bytes:
        nodes = self._get(tile_key(level, index))
        if nodes is None:
            raise Corruption(f"tile {index} of level {level} is missing", hint="run `scribe fsck`")
        return nodes

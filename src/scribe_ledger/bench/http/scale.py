"""How much one run measures, and the ledgers that nodes are given to serve."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from scribe_ledger import Ledger
from scribe_ledger.bench import engines, workload
from scribe_ledger.bench.workload import Sizes
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from pathlib import Path

DRAWN_KEYS = 200_000
"""Keys of a large ledger that reads go round in: twice what a node's cache holds."""


@dataclass(frozen=True)
class Scale(Sizes):
    """A *pass* is one load of one server; a figure is the median of its passes."""

    small_entries: int = workload.SMALL_LEDGER
    """In the ledger that the large one is compared with."""
    cached: int = workload.CACHED_KEYS
    """Entries in a ledger whose answers a node keeps in its cache."""
    passes: int = 3
    pass_seconds: int = 2
    singles: int = 1_000
    """Puts of one connection, one after another, in a pass."""
    gets: int = 2_000
    """Reads by our own client in a pass."""
    starts: int = 3
    unsettled: int = 100_000
    """Entries written before a node is killed, for the log that it must replay."""
    large_bytes: int = 1 << 30
    """The last pass has twice as many."""
    idle: int = 1_000


FULL = Scale()
QUICK = Scale(
    entries=20_000,
    small_entries=2_000,
    cached=2_000,
    passes=1,
    pass_seconds=1,
    singles=100,
    gets=100,
    starts=1,
    unsettled=1_000,
    large_bytes=32 << 20,
    idle=100,
)


def fill(folder: Path, entries: int) -> str:
    """Writes a ledger with the workload's first keys; its public key."""
    with Ledger.open(folder) as ledger:
        for pairs in workload.batches(0, workload.batches_in(entries)):
            ledger.put_many(pairs)
        return ledger.public_key


def settle(folder: Path) -> None:
    """Opens a ledger until its engine has written all memtables out and compacts nothing."""
    with Ledger.open(folder, create=False) as ledger:
        for table in Table:
            engines.settle(engines.column(ledger, table))


def drawn_keys(entries: int, most: int = DRAWN_KEYS) -> list[str]:
    """Keys of such a ledger, each once, in random order."""
    keys = workload.keys_of(entries)
    return Random(1).sample(keys, min(most, len(keys)))

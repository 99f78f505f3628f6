"""Opening ledgers for tests: on a store in memory that outlives them, with a clock that is set by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger import Ledger
from scribe_ledger.ledger.machine import EMPTY, Machine, create
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.tiles import TileSource

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.ledger.store import Store

START = 1_700_000_000_000


class Clock:
    """Milliseconds, moved by the test."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def open_on(store: Store, path: Path, **options: Any) -> Ledger:
    """A ledger whose folder is real and whose hot store is the one given. A memory store is brought back first."""
    if isinstance(store, MemoryStore):
        reopen(store)
    options.setdefault("clock", Clock())
    return Ledger.open(path, open_store=lambda _: store, **options)


def reopen(store: MemoryStore) -> None:
    """What a restart of the process alone does: everything that was written is there."""
    store.crash(keep=store.unsynced)


def new_machine(store: Store | None = None, **policies: str) -> Machine:
    """A state machine over an empty store."""
    store = MemoryStore() if store is None else store
    create(store, Policy().changed(policies))
    machine = load_machine(store)
    assert machine.committed == EMPTY
    return machine


def load_machine(store: Store) -> Machine:
    return Machine(store, TileSource(store).fetch)

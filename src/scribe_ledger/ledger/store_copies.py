"""``StoreCopies``: copies of an open store for snapshots of a cluster, and how they are read before anybody uses them.

It keeps the protocol of ``consensus.snapshots.copies`` without knowing it. A copy is the store alone: no key, no head.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, SerializationError
from scribe_ledger.ledger.folder import HEAD, KEY, Head
from scribe_ledger.ledger.machine import MEMBERSHIP_KEY, Machine
from scribe_ledger.ledger.proving import Outline, prove_copy
from scribe_ledger.ledger.rocks import RocksStore
from scribe_ledger.ledger.store import Table
from scribe_ledger.ledger.tiles import TileSource
from scribe_ledger.merkle.note import Signer
from scribe_ledger.model import Extent
from scribe_ledger.objects.durable import storage_errors, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.ledger.store import Store

_ENGINE_LEFTOVERS = ("LOG*", "LOCK")
"""What the engine writes beside the data when it opens a store, and makes again."""


class StoreCopies:
    """Over the store of an open ledger; only ``make`` needs it."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    def make(self, folder: Path) -> None:
        """A consistent copy of what is applied, durable on return, while others write. The folder must not exist."""
        assert self._store is not None
        self._store.checkpoint(folder)
        _sync_files(folder)

    def read(self, folder: Path) -> Outline:
        """Opens a copy and changes nothing in it. The root is computed from the tree that is there."""
        with closing(RocksStore(folder, read_only=True)) as store:
            machine = Machine(store, TileSource(store).fetch)
            state = machine.committed
            root = machine.nodes.root(state.size)
            extent = Extent(state.size, root, state.manifest.version, state.manifest.digest)
            return Outline(state.position, machine.membership, extent)

    def prove(self, folder: Path) -> Outline:
        """The same of a copy that another member made: the root is computed from its log, which is all read."""
        with closing(RocksStore(folder, read_only=True)) as store:
            return prove_copy(store)

    def set_membership(self, folder: Path, record: bytes) -> None:
        """Writes the record into a copy; nothing else changes, not even the position. Durable on return."""
        store = RocksStore(folder)
        try:
            write = store.batch()
            write.put(Table.META, MEMBERSHIP_KEY, record)
            store.write(write)
            store.sync()
        finally:
            store.close()
        with storage_errors("clean", folder):
            for pattern in _ENGINE_LEFTOVERS:
                for path in folder.glob(pattern):
                    path.unlink()
        _sync_files(folder)

    def signed_size(self, data_dir: Path) -> int:
        """How many entries the last checkpoint covers that left this folder."""
        with storage_errors("read", data_dir / KEY):
            text = (data_dir / KEY).read_text().strip()
        try:
            verifier = Signer.parse(text).verifier
        except SerializationError as error:
            raise Corruption(f"{data_dir / KEY} does not hold a ledger key: {error.message}") from error
        head = Head(data_dir / HEAD, verifier)
        try:
            return head.checkpoint.size
        finally:
            head.close()


def _sync_files(folder: Path) -> None:
    with storage_errors("sync", folder):
        for path in folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(folder)

"""The seam to the ledger's store, for full snapshots: ``ledger/store_copies.py`` keeps it. All of it may take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.consensus.statemachine import Outline

STORE = "store"
"""The folder of the store within a data folder, and within a snapshot."""


class Copies(Protocol):
    """Copies of the store are flat folders of files, which open as a store."""

    def make(self, folder: Path) -> None:
        """A consistent copy of what is applied, durable on return, while others write. The folder must not exist."""
        ...

    def read(self, folder: Path) -> Outline:
        """What a copy of this member's own store holds. Its root is computed from the tree in it."""
        ...

    def prove(self, folder: Path) -> Outline:
        """What another member's copy holds, with its root computed from all of its entries.

        Changes nothing in it. ``VerificationError`` or ``StorageError`` if it holds no sound ledger.
        """
        ...

    def set_membership(self, folder: Path, record: bytes) -> None:
        """Writes the record into a copy; nothing else, not even the position, changes. Durable on return."""
        ...

    def signed_size(self, data_dir: Path) -> int:
        """How many entries the last checkpoint covers that left this folder; 0 if none did."""
        ...

"""How far a store's ledger goes: the head that a restore leads to, and that a promotion begins from.

A log that ends too early looks whole. So the listing of checkpoints is not believed alone: whatever else of the store
reaches further names a checkpoint that must be looked for. ``checkpoint`` is held against it in ``objects.epochs``,
``manifest.json`` and the names of segments here. None of them is an authority: what counts is the signed object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.archive.covering import read_directory
from scribe_ledger.errors import Corruption
from scribe_ledger.objects.epochs import look_again, newest_checkpoint, read_checkpoint, unlisted
from scribe_ledger.objects.paths import checkpoint_path

if TYPE_CHECKING:
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ObjectStore


def newest_head(store: ObjectStore, lineage: Lineage) -> Checkpoint | None:
    """The largest head that the present key has published; None if nothing was archived yet.

    Corruption that names the checkpoint if one is missing, and ``Unlisted`` if the listing alone lacks it. It lists all
    segments and checkpoints, and reads at most two objects more than ``newest_checkpoint``, and ``manifest.json``.
    """
    return look_again(lambda: _newest_head(store, lineage))


def _newest_head(store: ObjectStore, lineage: Lineage) -> Checkpoint | None:
    directory = read_directory(store)  # before the checkpoints are listed, which must then have what this reaches
    newest = newest_checkpoint(store, lineage)
    last = max((candidate.stop for candidate in directory.candidates), default=0)
    for size in {directory.archived_size, last}:
        if not size or (newest is not None and size <= newest.size):
            continue
        found = read_checkpoint(store, lineage, size)
        if found is not None and found.origin == lineage.key.name:
            raise unlisted(store, found, newest)
        # A segment may have been left without one; and in a later epoch an old node may have written the manifest.
        if found is None and size == directory.archived_size and not lineage.handovers:
            raise Corruption(
                f"{store.place(checkpoint_path(size))} is missing: the manifest that was published after it reaches"
                " that far",
                hint="restore the object from a copy of the store",
            )
    return newest

"""Promotion: a restored ledger begins its next epoch, under a new origin and a key of its own, and takes writes again.

Why a new origin: the lost machine may have signed heads of entries that the store never saw. Under the old name the
restored log would contradict them, and whoever holds one could not tell that from fraud.

The order makes every moment safe to be killed in. The new key is on disk before the store names it; a head for either
key is on disk before the identity says which counts; and the object that begins an epoch is create-only, so of two
promotions one wins. The same call again goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.archive.heads import newest_head
from scribe_ledger.errors import ConfigurationError, Conflict
from scribe_ledger.ledger.folder import HEAD, KEY, DataFolder, Head
from scribe_ledger.merkle.handover import Handover, next_origin, sign_handover
from scribe_ledger.objects.epochs import Superseded, put_handover, required_lineage

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.ledger.folder import Identity
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.note import Signer, Verifier
    from scribe_ledger.objects.store import ObjectStore


def promote(store: ObjectStore, path: Path, *, old_key: Signer | None = None) -> Handover:
    """Makes a restored folder one that takes writes. ``old_key`` vouches for the new key, if somebody has it.

    Raises ``Superseded`` where somebody else was promoted, or the store has more than this folder.
    """
    folder = DataFolder(path, create=False)
    try:
        identity = folder.load_identity()
        if not identity.read_only:
            raise Conflict(f"the ledger in {path} takes writes already, as {identity.origin!r}")
        before = folder.verifier_of(identity)
        if old_key is not None and old_key.verifier != before:
            raise ConfigurationError(
                f"the old key is {old_key.verifier}, and the ledger was restored under {before}",
                hint="give the private key of the epoch that ends, or leave it out",
            )
        head = _head_of(folder, before)
        new = folder.create_key(next_origin(identity.origin, identity.epoch))
        try:
            handover = _begin(store, identity, head, before, new, old_key)
        except Superseded:
            (path / KEY).unlink()  # it never signed anything that anybody saw
            raise
        folder.write_head(head, handover.first)
        promoted = identity._replace(origin=new.name, epoch=handover.epoch, read_only=False, public_key="")
        folder.save_identity(promoted)
        return handover
    finally:
        folder.close()


def _begin(
    store: ObjectStore, identity: Identity, head: Checkpoint, before: Verifier, new: Signer, old: Signer | None
) -> Handover:
    """The handover to the next epoch, which is in the store; or the one of an earlier attempt with the same key."""
    lineage = required_lineage(store)
    if lineage.identity.ledger_id != identity.ledger_id:
        raise ConfigurationError(
            f"{store.url} is the store of {lineage.identity.origin!r}, not of {identity.origin!r}",
            hint="name the store that the folder was restored from",
        )
    if lineage.epoch == identity.epoch + 1 and lineage.key == new.verifier:
        return lineage.handovers[-1]
    if (lineage.epoch, lineage.key) != (identity.epoch, before):
        raise Superseded(
            f"epoch {lineage.epoch} of this ledger was begun by somebody else: {lineage.key.name!r}",
            hint="serve the ledger that was promoted, and remove this folder",
        )
    newest = newest_head(store, lineage)
    if newest is None or (newest.size, newest.root) != (head.size, head.root):
        reached = 0 if newest is None else newest.size
        raise Superseded(
            f"{store.url} has {reached} entries, and this folder was restored to {head.size}: somebody went on writing",
            hint="make sure that the old node is stopped, then restore into a new folder",
        )
    handover = sign_handover(identity.ledger_id, identity.epoch + 1, head, after=before, new=new, old=old)
    put_handover(store, handover)
    return handover


def _head_of(folder: DataFolder, verifier: Verifier) -> Checkpoint:
    head = Head(folder.path / HEAD, verifier)
    head.close()
    return head.checkpoint

"""Whether this ledger may still write: its store says so, to everybody who comes back.

A node that was lost and replaced, or a folder that is an older copy, finds here what went on without it. Asked before
the first write of a library, when a node starts, and before each pass of the archiver; whoever gets ``Superseded``
refuses writes from then on. Reads go on. It takes signatures to say so: a newer epoch, or a checkpoint with a key of
this ledger. ``scribe.json`` bears none, so what only that file says is a store that cannot be used, and no more.

It reads three small objects and lists the checkpoints from this ledger's archived end on, so its cost does not grow.
No listing is believed for what it lacks: the next epoch is asked for by its name, and a listing of checkpoints without
one that is there is ``Unavailable``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ConfigurationError, Corruption, Unavailable, counted
from scribe_ledger.objects.epochs import Lineage, Superseded, Unlisted, lineage_of, newest_checkpoint
from scribe_ledger.objects.identity import read_identity
from scribe_ledger.objects.paths import IDENTITY, epoch_path
from scribe_ledger.objects.rereading import twice

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.objects.identity import StoreIdentity
    from scribe_ledger.objects.store import ObjectStore

__all__ = ["Standing", "Superseded", "check_standing"]


class Standing(NamedTuple):
    """What a ledger says of itself."""

    ledger_id: str
    epoch: int
    public_key: str
    size: Callable[[], int]
    """Asked after the store was: the ledger may grow, and be published, meanwhile."""
    store_id: str
    """Of the store that it adopted; empty before that."""
    archived_size: int
    root: Callable[[int], bytes]
    """The root of its tree at a size."""
    is_member: bool = False
    """Of a cluster: then others may have archived what this copy of the ledger has yet to receive."""


def check_standing(store: ObjectStore, ours: Standing) -> None:
    """Raises ``Superseded`` if the store proves that this ledger went on elsewhere, or further.

    An unused store is fine for a ledger that has used none. Another ledger's, or another one than before, is
    ``ConfigurationError``; one that is empty may not be mounted just now: ``Unavailable``.
    """
    twice(lambda: _check(store, ours))


def _check(store: ObjectStore, ours: Standing) -> None:
    identity = read_identity(store)
    if identity is None:
        if ours.store_id:
            raise Unavailable(
                f"{store.place(IDENTITY)} is missing: this is not the object store that this ledger's objects are in,"
                f" {ours.store_id}",
                hint="mount it again, or copy all of its objects back",
            )
        return
    _check_identity(store, ours, identity)
    lineage = lineage_of(store, identity)
    _check_epoch(store, ours, lineage)
    try:
        newest = newest_checkpoint(store, lineage, since=ours.archived_size)
    except Unlisted as error:
        if error.newest is not None:
            _check_head(store, ours, error.newest)
        raise
    if newest is not None:
        _check_head(store, ours, newest)


def _check_identity(store: ObjectStore, ours: Standing, found: StoreIdentity) -> None:
    place = store.place(IDENTITY)
    if found.ledger_id != ours.ledger_id:
        raise ConfigurationError(
            f"{place} says that the store is that of {found.origin!r} (ledger {found.ledger_id}), not of this ledger,"
            f" {ours.ledger_id}",
            hint="bring the object back from a copy if it was altered; else give every ledger a bucket, or a prefix of"
            " one, of its own",
        )
    if ours.store_id not in ("", found.store_id):
        raise ConfigurationError(
            f"{place} says that this is the store {found.store_id}, and this ledger's objects are in {ours.store_id}",
            hint="bring the object back from a copy if it was altered; else name the store that was used before, or"
            " copy all of its objects to this one",
        )
    if ours.epoch == 0 and found.vkey != ours.public_key:
        raise ConfigurationError(
            f"{place} has the key {found.vkey}, and this ledger {ours.public_key}",
            hint="bring the object back from a copy",
        )


def _check_epoch(store: ObjectStore, ours: Standing, lineage: Lineage) -> None:
    epoch = ours.epoch
    if lineage.epoch < epoch:
        raise Corruption(
            f"{store.place(epoch_path(epoch))} is missing: this ledger began that epoch",
            hint="restore the object from a copy of the store",
        )
    if lineage.epoch > epoch:
        handover = lineage.handovers[epoch]
        raise Superseded(
            f"this ledger goes on elsewhere since epoch {epoch + 1}, under {handover.key.name!r}: it was restored from"
            f" the store at {counted(handover.head.size)}",
            hint="read from this folder what was not archived, and write it to the new ledger; serve a fresh folder",
        )
    if str(lineage.key) != ours.public_key:
        raise Superseded(
            f"{store.url} has the key {lineage.key} for epoch {epoch}, and this ledger {ours.public_key}",
            hint="somebody else was promoted: serve that ledger",
        )


def _check_head(store: ObjectStore, ours: Standing, newest: Checkpoint) -> None:
    size = ours.size()
    if newest.size > size and ours.is_member:
        raise Unavailable(
            f"this member has {counted(size)}, and its cluster has archived {newest.size}",
            hint="retry when it has caught up",
        )
    if newest.size > size:
        raise Superseded(
            f"this ledger has {counted(size)}, and signed {newest.size} that are in {store.url}: this folder is an"
            " older copy",
            hint="find the newer folder, or restore one from the store with `scribe restore`; this one must not write",
        )
    if ours.root(newest.size) != newest.root:
        raise Superseded(
            f"this ledger's root at {counted(newest.size)} is not the one that it signed in {store.url}: the log was"
            " forked",
            hint="keep both; find out which folder wrote what before any of them writes again",
        )

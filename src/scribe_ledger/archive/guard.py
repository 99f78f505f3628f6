"""Whether this ledger may still write: its store says so, to every node that comes back.

A node that was lost and replaced, or a folder that is an older copy, finds here what went on without it. Called before
each pass of the archiver and when a node starts; whoever gets ``Superseded`` refuses writes from then on. Reads go on.

It reads three small objects and lists the checkpoints from this ledger's archived end on, so its cost does not grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.archive.epochs import Lineage, Superseded, newest_checkpoint, read_lineage
from scribe_ledger.errors import Corruption
from scribe_ledger.objects.paths import epoch_path

if TYPE_CHECKING:
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint

__all__ = ["Superseded", "check_store"]


def check_store(ledger: ServedLedger) -> None:
    """Raises ``Superseded`` if the store holds more than this ledger, or another one. An unused store is fine."""
    lineage = read_lineage(ledger.objects)
    if lineage is None:
        return
    _check_ledger(ledger, lineage)
    _check_epoch(ledger, lineage)
    newest = newest_checkpoint(ledger.objects, lineage, beyond=max(ledger.manifest.archived_size - 1, 0))
    if newest is not None:
        _check_head(ledger, newest)


def _check_ledger(ledger: ServedLedger, lineage: Lineage) -> None:
    found = lineage.identity
    if found.ledger_id != ledger.ledger_id:
        raise Superseded(
            f"{ledger.objects.url} is the store of {found.origin!r} (ledger {found.ledger_id}), not of this ledger,"
            f" {ledger.ledger_id}",
            hint="give every ledger a bucket, or a prefix of one, of its own",
        )


def _check_epoch(ledger: ServedLedger, lineage: Lineage) -> None:
    ours = ledger.identity.epoch
    if lineage.epoch < ours:
        raise Corruption(
            f"{ledger.objects.place(epoch_path(ours))} is missing: this ledger began that epoch",
            hint="restore the object from a copy of the store",
        )
    if lineage.epoch > ours:
        handover = lineage.handovers[ours]
        raise Superseded(
            f"this ledger goes on elsewhere since epoch {ours + 1}, under {lineage.key.name!r}: it was restored from"
            f" the store at {handover.head.size} entries",
            hint="read from this folder what was not archived, and write it to the new ledger; serve a fresh folder",
        )
    if str(lineage.key) != ledger.public_key:
        raise Superseded(
            f"{ledger.objects.url} has the key {lineage.key} for epoch {ours}, and this ledger {ledger.public_key}",
            hint="somebody else was promoted: serve that ledger",
        )


def _check_head(ledger: ServedLedger, newest: Checkpoint) -> None:
    url = ledger.objects.url
    if newest.size > ledger.size:
        raise Superseded(
            f"this ledger has {ledger.size} entries, and signed {newest.size} that are in {url}: this folder is an"
            " older copy",
            hint="find the newer folder, or restore one from the store with `scribe restore`; this one must not write",
        )
    if ledger.root(newest.size) != newest.root:
        raise Superseded(
            f"this ledger's root at {newest.size} entries is not the one that it signed in {url}: the log was forked",
            hint="keep both; find out which folder wrote what before any of them writes again",
        )

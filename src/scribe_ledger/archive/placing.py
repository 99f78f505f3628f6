"""Placing tiles and bundles in the store, and what becomes of one that is there with other bytes.

A published checkpoint makes what lies below it nobody's to change: other bytes there are a fork. What reaches beyond
the newest checkpoint of this ledger is nobody's authority. It was left by an archiver that was ended before its
checkpoint, of a node that was lost: the ledger that goes on without those entries has others there, and replaces it.
Before it does, the store is asked once more whose it is and how far it is published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, parse_tile_path
from scribe_ledger.objects.epochs import newest_checkpoint, required_lineage
from scribe_ledger.objects.many import put_many
from scribe_ledger.objects.paths import checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.store import ObjectStore


def put_tiles(ledger: ServedLedger, objects: Sequence[tuple[str, bytes]]) -> None:
    """Stores tiles and bundles of this ledger. The guard must have passed."""
    store = ledger.objects
    taken = put_many(store, objects)
    contents = dict(objects) if taken else {}
    others = [path for path in taken if _differs(store, path, contents[path])]
    if not others:
        return
    covered = _published_size(ledger)
    for path in others:
        if end_of(path) <= covered:
            raise fork(store, path)
    for path in others:
        store.put_bytes(path, contents[path], replace=True)


def end_of(path: str) -> int:
    """The size of the smallest log that has the tile, or bundle, of that path."""
    tile = parse_tile_path(path)
    return (tile.index * TILE_WIDTH + tile.width) << TILE_HEIGHT * (tile.level or 0)


def fork(store: ObjectStore, path: str) -> Corruption:
    return Corruption(
        f"the object {store.place(path)} was made from another log than this one: the log has forked, or the object was"
        " altered",
        hint="nothing more is archived; run `scribe fsck` on the store before anything else",
    )


def _differs(store: ObjectStore, path: str, content: bytes) -> bool:
    return store.get(path) != content and store.get(path) != content  # read twice: a network may err


def _published_size(ledger: ServedLedger) -> int:
    """How far this very log is published, by the signatures in the store; an error where it is not this ledger's."""
    store = ledger.objects
    ledger.check_store()
    newest = newest_checkpoint(store, required_lineage(store))
    if newest is None:
        return 0
    if newest.size > ledger.size or ledger.root(newest.size) != newest.root:
        raise fork(store, checkpoint_path(newest.size))
    return newest.size

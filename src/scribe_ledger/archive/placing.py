"""Placing tiles and bundles in the store, and what becomes of one that is there with other bytes.

A published checkpoint makes what lies below it nobody's to change: other bytes there are a fork. What reaches beyond
the newest checkpoint of this ledger is nobody's authority. It was left by an archiver that was ended before its
checkpoint, of a node that was lost: the ledger that goes on without those entries has others there, and replaces it.
Before it does, the store is asked once more whose it is and how far it is published; and since a listing of checkpoints
may lack one, by the name of each that may be there: whoever published had put a segment that ends at that size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, parse_tile_path
from scribe_ledger.objects.epochs import newest_checkpoint, read_checkpoint, required_lineage
from scribe_ledger.objects.failures import Failure, Kind
from scribe_ledger.objects.many import put_many
from scribe_ledger.objects.paths import SEGMENTS, before_segments_from, checkpoint_path, range_of_segment_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint
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
        _replace(store, path, contents[path], len(others))


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
    lineage = required_lineage(store)
    newest = newest_checkpoint(store, lineage)
    reached = 0 if newest is None else _size_of_ours(ledger, newest)
    for stop in _ends_of_segments(ledger, reached):
        found = read_checkpoint(store, lineage, stop)
        if found is not None and found.origin == lineage.key.name:
            reached = max(reached, _size_of_ours(ledger, found))
    return reached


def _size_of_ours(ledger: ServedLedger, checkpoint: Checkpoint) -> int:
    size = checkpoint.size
    if size > ledger.size or ledger.root(size) != checkpoint.root:
        raise fork(ledger.objects, checkpoint_path(size))
    return size


def _ends_of_segments(ledger: ServedLedger, beyond: int) -> set[int]:
    """Where the store's segments end behind what is published: this ledger's last one, and those of lost nodes.

    It is this ledger's own that shows the listing to be one.
    """
    store, ours = ledger.objects, ledger.manifest.segments[-1]
    listed = [found.path for found in store.list(SEGMENTS, after=before_segments_from(min(beyond, ours.first_index)))]
    if ours.path not in listed:
        raise Unavailable(
            f"{store.place(ours.path)} is this ledger's, and the store's listing lacks it",
            hint="nothing is replaced after such a listing; try again, and see with `scribe fsck` whether it is there",
        )
    ranges = [found for path in listed if (found := range_of_segment_path(path)) is not None]
    return {last + 1 for _, last, _ in ranges if last >= beyond}


def _replace(store: ObjectStore, path: str, content: bytes, count: int) -> None:
    try:
        store.put_bytes(path, content, replace=True)
    except Unavailable as error:
        cause = error.__cause__
        if not isinstance(cause, Failure) or cause.kind is not Kind.REFUSED:
            raise
        more = f", and {count - 1} more beside it" if count > 1 else ""
        raise Unavailable(
            f"a node that was lost left {store.place(path)}{more}: no checkpoint covers it, and the store does not let"
            f" it be replaced ({cause})",
            hint="delete it by hand, or let this node put objects under tile/ without If-None-Match for one pass",
        ) from cause

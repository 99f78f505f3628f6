"""Objects that nothing names: found by listing the whole store, and on request removed.

An orphan does no harm but takes room; a killed process leaves some. It is removed only if it is older than the grace
period, and only by what is certain:

- A segment: with the ledger at hand, if its manifest does not know it. Without it, if ``manifest.json`` lists others
  for its entries and is younger: what came after that copy may be live by now. Its grace period begins when those
  others were written, since it may have been live until then. Never one that the archiver may make again, by sealing
  what is not archived or by merging what is live: it would have the same name, and a request to delete it may be late.
- A large value, or its chunk digests alone: only with the ledger at hand, which alone knows the entries that are not
  archived, and only if that folder uploaded it: the entries of another folder on the same store it does not know.
  Through ``retire`` and ``retired``, so that no put in between loses its value. Where a request to delete it may be
  late, and where the removal was begun before, the archiver says ``retired``: see ``retiring``.
- Partial tiles of a size that has no checkpoint, and never had one as far as is known.
- Never what has a path that is not ours, nothing else, and nothing at all from a store that has faults: what is not
  live may be what restores what is.

Parts of uploads that were broken off are not objects: a folder removes them itself when it is opened, and for a bucket
there is a lifecycle rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.looking import Looks
from scribe_ledger.archive.check.rows import check_rows
from scribe_ledger.errors import Conflict, SerializationError
from scribe_ledger.ledger.manifest import Retire, Retired
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, parse_tile_path
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from scribe_ledger.archive.check.plan import Directory, Plan
    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.store import ListedObject, ObjectStore
    from scribe_ledger.segments.segment import Segment

_FOREIGN = "no object of a ledger has this path: it is left alone"
_SINGLE = {paths.IDENTITY, paths.CHECKPOINT, paths.MANIFEST}


class Known(NamedTuple):
    """What the rest of the check found to be in use."""

    plan: Plan
    directory: Directory | None
    """Of the ledger, if it is at hand, else ``manifest.json``."""
    directory_written: float
    """When the directory was last written, in seconds since 1970: a ledger's is always of now."""
    published: set[int]
    """The sizes that the store has, or should have, a checkpoint of."""
    blobs: set[bytes]
    ledger: ServedLedger | None


class _Stray(NamedTuple):
    listed: ListedObject
    what: str
    removable: bool
    since: float = 0.0
    """It may have been in use until then, whatever its age."""
    blob: bytes = b""
    """The digest, if it is a large value or its chunk digests."""


def check_strays(store: ObjectStore, known: Known, report: Report, *, now: float, grace: float, repair: bool) -> None:
    """Warns of every orphan, and of what is wrong with a segment that is one. With ``repair`` removes those that are
    older than ``grace`` seconds."""
    strays = _Strays(store, known)
    gone: set[str] = set()
    for listed in store.list(""):
        report.counts.objects += 1
        report.counts.stored_bytes += listed.size
        stray = strays.look_at(listed)
        if stray is None or listed.path in gone:
            continue
        due = repair and stray.removable and max(listed.modified, stray.since) + grace <= now
        removed = _remove(store, known.ledger, stray) if due else []
        if removed:
            gone.update(removed)
            report.removed += removed
        else:
            report.warn(listed.path, stray.what + _damage(store, listed.path, report.ledger_id))


class _Strays:
    def __init__(self, store: ObjectStore, known: Known) -> None:
        self._store = store
        self._known = known
        self._published = max(known.published, default=0)
        self._partial = {
            (level, size >> TILE_HEIGHT * level)
            for size in known.published
            for level in range(-(-size.bit_length() // TILE_HEIGHT))
        }
        ledger = known.ledger
        self._replaced = set() if ledger is None else {each.segment.path for each in ledger.replaced_segments()}
        self._being_removed = frozenset() if ledger is None else frozenset(ledger.removals())
        self._uploaded = frozenset() if ledger is None else ledger.uploads.digests()

    def look_at(self, listed: ListedObject) -> _Stray | None:
        """The object as an orphan, if it is one."""
        path = listed.path
        if path in _SINGLE or path in self._known.plan.live or _is_kept(path):
            return None
        if (named := paths.range_of_segment_path(path)) is not None:
            return self._segment(listed, named[0], named[1] + 1)
        if path.startswith(f"{paths.BLOBS}/"):
            return self._value(listed)
        if path.startswith(f"{paths.TILES}/"):
            return self._tile(listed)
        return _Stray(listed, _FOREIGN, removable=False)

    def _segment(self, listed: ListedObject, first: int, stop: int) -> _Stray | None:
        directory = self._known.directory
        if listed.path in self._replaced:
            return None  # it goes by itself, when the ledger's own grace period is over
        if directory is None or stop > directory.archived_size:
            what = "its entries are in no manifest: it may be an orphan, or about to be published"
            return _Stray(listed, what, removable=False)
        within = [segment for segment in directory.segments if segment.first_index < stop and segment.stop > first]
        if len(within) > 1 and (within[0].first_index, within[-1].stop) == (first, stop):
            what = "not live, but the archiver may make the same one of the segments that are: it stays until then"
            return _Stray(listed, what, removable=False)
        if self._known.ledger is not None:
            return _Stray(listed, "an orphan: the manifest does not know it", removable=True)
        what = f"not live: {paths.MANIFEST} lists others for its entries"
        removable = listed.modified < self._known.directory_written
        return _Stray(listed, what, removable, self._written(within))

    def _written(self, segments: list[Segment]) -> float:
        """When the youngest of them was."""
        found = [self._store.stat(segment.path) for segment in segments]
        return max((stat.modified for stat in found if stat is not None), default=0.0)

    def _value(self, listed: ListedObject) -> _Stray | None:
        blob = paths.digest_of_blob_path(listed.path)
        digest = blob or paths.digest_of_chunk_digests_path(listed.path)
        if digest is None:
            return _Stray(listed, _FOREIGN, removable=False)
        if self._refers_to(digest):
            return None
        if self._known.ledger is None:
            what = "no archived entry refers to it; whether another does, the ledger says: give its folder"
            return _Stray(listed, what, removable=False)
        if digest in self._being_removed:
            return None  # the archiver finishes that
        if digest not in self._uploaded:
            what = "no entry refers to it; this folder did not upload it, so another's entry may"
            return _Stray(listed, what, removable=False)
        return _Stray(listed, "an orphan: no entry refers to it", removable=True, blob=digest)

    def _refers_to(self, digest: bytes) -> bool:
        ledger = self._known.ledger
        return digest in self._known.blobs or (ledger is not None and ledger.refers_to_blob(digest))

    def _tile(self, listed: ListedObject) -> _Stray | None:
        try:
            tile = parse_tile_path(listed.path)
        except SerializationError:
            return _Stray(listed, _FOREIGN, removable=False)
        level = tile.level or 0
        hashes = tile.index * TILE_WIDTH + tile.width
        if hashes << TILE_HEIGHT * level > self._published:
            return _Stray(listed, "it is of entries that are not published yet", removable=False)
        if tile.width == TILE_WIDTH or (level, hashes) in self._partial:
            return None
        return _Stray(listed, "an orphan: a partial tile of a size that has no checkpoint", removable=True)


def _damage(store: ObjectStore, path: str, ledger_id: str) -> str:
    """What is wrong with a segment, for whoever thinks of using it; nothing of any other object."""
    if paths.range_of_segment_path(path) is None or store.stat(path) is None:  # or it was retired since it was listed
        return ""
    findings = check_rows(Looks(store), path, ledger_id).findings
    return f"; and damaged or foreign: {findings[0].what}" if findings else ""


def _is_kept(path: str) -> bool:
    """Small, and what a store is judged by: whether one is wrong is said elsewhere."""
    return paths.parse_checkpoint_path(path) is not None or paths.parse_epoch_path(path) is not None


def _remove(store: ObjectStore, ledger: ServedLedger | None, stray: _Stray) -> list[str]:
    """What is gone now: nothing if somebody wrote the object again since it was listed."""
    path = stray.listed.path
    found = store.stat(path)
    if found is None or (found.size, found.modified) != (stray.listed.size, stray.listed.modified):
        return []
    if stray.blob:
        assert ledger is not None
        return _retire(store, ledger, path, stray.blob)
    store.delete(path)
    return [path]


def _retire(store: ObjectStore, ledger: ServedLedger, path: str, digest: bytes) -> list[str]:
    """From the first step to the last no put of this value is accepted; see ``retiring``."""
    try:
        ledger.change_manifest(Retire(blobs=(digest,)))
    except Conflict:  # an entry refers to it by now
        return []
    removed = list(dict.fromkeys((path, paths.chunk_digests_path(digest))))
    if max([store.delete(each) for each in removed]) == 1:
        ledger.change_manifest(Retired(blobs=(digest,)))
    return removed

"""The check of a store: everything that is reachable, every checksum and root, and what nothing reaches.

The signed checkpoints are the judges. A tree is grown from what segments, tiles and bundles say, range by range, and
held against every checkpoint; so of two objects that contradict each other the wrong one is named. Segments are
independent, so processes share them; only leaf hashes come back. Memory is bounded by the segments that are being
looked at, beside 32 bytes for each large value and a little for each checkpoint and segment.

With the ledger at hand its manifest says what is live, and its roots must be those of the checkpoints. Nothing is
changed, unless a repair of orphans is asked for; see ``strays``.
"""

from __future__ import annotations

import os
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from scribe_ledger.archive.check.blobs import check_blobs
from scribe_ledger.archive.check.folder import check_heads_are, check_owner_is, check_policies_are
from scribe_ledger.archive.check.looking import Looks
from scribe_ledger.archive.check.plan import Directory, check_directory, plan, read_directory
from scribe_ledger.archive.check.ranges import check_range
from scribe_ledger.archive.check.report import Finding, Report
from scribe_ledger.archive.check.signed import check_checkpoints, check_ends, check_owner, look_beyond
from scribe_ledger.archive.check.strays import Known, check_strays
from scribe_ledger.archive.check.tiles import check_tiles
from scribe_ledger.archive.check.tree import SignedTree
from scribe_ledger.archive.check.workers import Workers
from scribe_ledger.archive.footers import outvoted_by_segments
from scribe_ledger.errors import Corruption, SerializationError, counted
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.store import ListedObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scribe_ledger.archive.check.blobs import BlobRef
    from scribe_ledger.archive.check.plan import Plan
    from scribe_ledger.archive.check.ranges import RangeFound, RangeTask
    from scribe_ledger.archive.check.signed import Heads
    from scribe_ledger.archive.check.tree import Signed
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ObjectStore

_T = TypeVar("_T")

__all__ = ["DEFAULT_GRACE_SECS", "Finding", "Report", "check_store_contents"]

DEFAULT_GRACE_SECS = 86_400
TILES_AT_ONCE = 64
BLOBS_AT_ONCE = 16
WORTH_PROCESSES = 16 << 20
"""Bytes of segments from which on processes are started where nobody said how many."""


def check_store_contents(
    store: ObjectStore,
    *,
    ledger: ServedLedger | None = None,
    public_key: str = "",
    jobs: int = 0,
    reopen: Callable[[], ObjectStore] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    repair: bool = False,
    grace: float = DEFAULT_GRACE_SECS,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Checks everything in a store. ``progress(done, total)`` counts entries.

    ``reopen`` opens the store again in another process, and must survive the journey; a folder needs none. ``jobs`` is
    how many processes share the work, 0 for as many as are worth it. Raises where the store cannot be asked.
    """
    begun = time.monotonic()
    report = Report(store.url)
    if reopen is None and isinstance(store, FolderStore):
        reopen = partial(FolderStore, store.root, create=False)
    _StoreCheck(store, ledger, report, progress).run(public_key, jobs, reopen, now=clock(), grace=grace, repair=repair)
    report.seconds = time.monotonic() - begun
    return report


class _StoreCheck:
    def __init__(
        self, store: ObjectStore, ledger: ServedLedger | None, report: Report, progress: Callable[[int, int], None]
    ) -> None:
        self._store = store
        self._looks = Looks(store)
        self._ledger = ledger
        self._report = report
        self._progress = progress
        self._blobs: set[bytes] = set()
        self._changed_policies: set[str] = set()
        self._timestamp = 0
        self._said: dict[str, tuple[str, object]] = {}

    def run(
        self,
        public_key: str,
        jobs: int,
        reopen: Callable[[], ObjectStore] | None,
        *,
        now: float,
        grace: float,
        repair: bool,
    ) -> None:
        report = self._report
        lineage = check_owner(self._looks, report, public_key)
        if self._ledger is not None and lineage is not None:
            check_owner_is(self._ledger, lineage, report)
        heads = check_checkpoints(self._looks, lineage, report)
        directory = self._directory(read_directory(self._store, report), lineage, heads)
        segments = self._segments(directory)
        look_beyond(segments, heads)
        ends = check_ends(self._ends(directory), heads)
        checkpoints = heads.signed
        if self._ledger is not None:
            check_heads_are(self._ledger, checkpoints, report)
        planned = plan(segments, directory, heads.published, self._ledger_id(lineage, segments), report)
        with Workers(self._looks, reopen, jobs or _jobs_worth(segments)) as workers:
            tree = self._check_ranges(workers, planned, checkpoints, directory)
        self._conclude(tree, checkpoints)
        if self._ledger is not None and lineage is not None and report.ok:  # else entries that tell may be missing
            check_policies_are(self._ledger, lineage, self._changed_policies, planned.stop, report)
        owner = None if self._ledger is None or self._ledger.identity.read_only else self._ledger
        known = Known(
            planned,
            directory,
            now if owner is not None else self._written(paths.MANIFEST),
            {signed.size for signed in checkpoints} | ends,
            self._blobs,
            owner,
        )
        if repair and not report.ok:
            report.warn("repair", "nothing was removed, because the store has faults")
        check_strays(self._store, known, report, now=now, grace=grace, repair=repair and report.ok)

    # --- directories ----------------------------------------------------------------------------------------------

    def _directory(self, copy: Directory | None, lineage: Lineage | None, heads: Heads) -> Directory | None:
        """What is live by the best word at hand; the copy in the store is looked at in any case."""
        if copy is not None and not self._holds(copy, lineage, heads):
            copy = None
        elif copy is None and heads.published:
            self._report.warn(paths.MANIFEST, "missing or unreadable: queries of the archive need it")
        if self._ledger is None:
            return copy
        manifest = self._ledger.manifest
        own = Directory("the manifest", manifest.version, manifest.store_id, manifest.archived_size, manifest.segments)
        if copy is not None and copy.segments != own.segments:
            if self._ledger.identity.read_only:
                return self._since_restored(copy, own)
            self._compare(copy, own)
        return own if check_directory(own, self._report) else copy

    def _holds(self, copy: Directory, lineage: Lineage | None, heads: Heads) -> bool:
        """Whether ``manifest.json`` can be gone by."""
        report = self._report
        if lineage is not None and copy.store_id != lineage.identity.store_id:
            report.fault(paths.MANIFEST, f"it is of the store {copy.store_id!r}, and {paths.IDENTITY} says another")
        if not check_directory(copy, report):
            return False
        if copy.archived_size > heads.published:
            late = lineage is None or lineage.handovers  # an old node may have written it then
            heads.look_at(copy.archived_size, "" if late else f"{paths.MANIFEST}, which follows on it, reaches there")
        if copy.archived_size < heads.published:
            what = f"{counted(copy.archived_size)}, and {heads.published} are published"
            report.warn(paths.MANIFEST, f"it is behind: {what}")
        return True

    def _compare(self, copy: Directory, own: Directory) -> None:
        """Holds the copy against the manifest of the ledger that writes it."""
        if copy.version > own.version:
            self._report.fault(paths.MANIFEST, f"it has version {copy.version}, and the ledger only {own.version}")
        elif copy.version == own.version or _name_others(copy, own):
            self._report.fault(paths.MANIFEST, f"it is not what the ledger says of version {copy.version}")
        else:
            self._report.warn(paths.MANIFEST, f"it is behind: version {copy.version} of {own.version}")

    def _since_restored(self, copy: Directory, own: Directory) -> Directory:
        """A ledger that was restored, and only reads, counts its versions anew. Others may have merged and removed the
        segments that it knows; then the copy says what is live."""
        if _name_others(copy, own):
            self._report.fault(paths.MANIFEST, "it is not what the ledger says")
        return copy if copy.archived_size >= own.archived_size else own

    def _segments(self, directory: Directory | None) -> list[ListedObject]:
        """All that are listed, and of those that a manifest names also what the listing left out."""
        listed = [*self._store.list(paths.SEGMENTS)]
        there = {each.path for each in listed}
        named = () if directory is None else [each.path for each in directory.segments if each.path not in there]
        found = [(path, self._store.stat(path)) for path in named]
        return listed + [ListedObject(path, stat.size, stat.modified) for path, stat in found if stat is not None]

    def _ledger_id(self, lineage: Lineage | None, segments: list[ListedObject]) -> str:
        """What every segment must name; where they all name another than ``scribe.json``, that is what is wrong."""
        named = "" if lineage is None else outvoted_by_segments(self._store, lineage, segments)
        if named:
            what = f"it says that the ledger is {self._report.ledger_id}, and all segments are of {named}"
            self._report.fault(paths.IDENTITY, what)
        return named or self._report.ledger_id

    def _ends(self, directory: Directory | None) -> set[int]:
        """Where segments end, and with the ledger at hand those that were merged, whose checkpoints stay."""
        ends = {segment.stop for segment in directory.segments} if directory is not None else set()
        try:
            return ends if self._ledger is None else ends.union(self._ledger.sealed_ends())
        except (Corruption, SerializationError) as error:
            self._report.fault("the manifest", error.message)
            return ends

    # --- ranges ---------------------------------------------------------------------------------------------------

    def _check_ranges(
        self, workers: Workers, planned: Plan, checkpoints: list[Signed], directory: Directory | None
    ) -> SignedTree:
        tree = SignedTree(checkpoints)
        said = {segment.path: segment for segment in directory.segments} if directory is not None else {}
        blobs: list[BlobRef] = []
        for task, found in workers.in_order(check_range, planned.tasks):
            self._take(task, found)
            if found.rows is not None and task.path in said and found.rows.segment != said[task.path]:
                assert directory is not None
                self._report.fault(directory.place, f"what it says of {task.path} is not what is in it")
            tree.add(task.first, found)
            self._note_all(tree.findings)
            if found.rows is not None:
                blobs += [blob for blob in found.rows.blobs if blob.sha256 not in self._blobs]
                self._blobs.update(blob.sha256 for blob in found.rows.blobs)
            blobs = self._check_blobs(workers, blobs, least=BLOBS_AT_ONCE * workers.jobs)
            self._check_tiles(workers, tree, least=TILES_AT_ONCE * workers.jobs)
            self._progress(task.stop, planned.stop)
        tree.finish()
        self._note_all(tree.findings)
        self._check_blobs(workers, blobs, least=1)
        self._check_tiles(workers, tree, least=1)
        return tree

    def _take(self, task: RangeTask, found: RangeFound) -> None:
        counts = self._report.counts
        counts.entries += task.stop - task.first if found.rows is not None else 0
        counts.segments += task.path != ""
        counts.tiles += found.tiles
        self._note_all([*found.findings])
        if found.rows is None:
            return
        if found.rows.first_timestamp < self._timestamp:
            self._report.fault(task.path, f"entry {task.first} has a timestamp before that of the entry before it")
        self._timestamp = found.rows.last_timestamp
        self._changed_policies |= found.rows.changed_policies

    def _check_blobs(self, workers: Workers, blobs: list[BlobRef], least: int) -> list[BlobRef]:
        """What is left to look at: few are not worth the while yet."""
        if len(blobs) < least:
            return blobs
        self._report.counts.blobs += len(blobs)
        for _, findings in workers.in_order(check_blobs, _batches(blobs, BLOBS_AT_ONCE)):
            self._note_all(findings)
        return []

    def _check_tiles(self, workers: Workers, tree: SignedTree, least: int) -> None:
        if len(tree.tiles) < least:
            return
        self._report.counts.tiles += len(tree.tiles)
        for _, findings in workers.in_order(check_tiles, _batches(tree.tiles, TILES_AT_ONCE)):
            self._note_all(findings)
        tree.tiles.clear()

    def _note_all(self, findings: list[Finding]) -> None:
        for finding in findings:
            self._report.fault(*finding)
        findings.clear()

    # --- the end --------------------------------------------------------------------------------------------------

    def _conclude(self, tree: SignedTree, checkpoints: Iterable[Signed]) -> None:
        report = self._report
        if tree.good is not None:
            report.size, report.root = tree.good.size, tree.good.root
        if tree.lost_at is not None:
            report.fault(f"entry {tree.lost_at}", "nothing in the store says what it is: no root beyond is known")
        elif not list(checkpoints) and (self._ledger is None or self._ledger.manifest.archived_size):
            report.warn(paths.CHECKPOINTS, "there is none: nothing was published here")

    def _written(self, path: str) -> float:
        found = self._store.stat(path)
        return 0.0 if found is None else found.modified


def _name_others(copy: Directory, own: Directory) -> bool:
    """Whether they say different things of one segment."""
    known = {segment.segment_id: segment for segment in own.segments}
    return any(known.get(segment.segment_id, segment) != segment for segment in copy.segments)


def _jobs_worth(segments: list[ListedObject]) -> int:
    """One where starting processes would take longer than what they do."""
    worth = sum(listed.size for listed in segments) >= WORTH_PROCESSES and len(segments) > 1
    return (os.cpu_count() or 1) if worth else 1


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    following = iter(items)
    while batch := list(islice(following, size)):
        yield batch

"""Compaction: runs of small neighbouring segments become one.

Small segments come from ledgers that write little: they are sealed by age. Merging all of them again and again would
write everything over and over. So a run is merged only if it has ``MIN_RUN`` segments or more, together not larger than
``segment_size``, and none of them is larger than the others together. Each merge then at least doubles the segment that
an entry is in, so an entry is written again at most log2(segment_size / the smallest segment) times, and the small
segments that wait for company are at most some dozens, whatever the age of the ledger.

The merged file is checked entry by entry, against itself and against this ledger's tree, and the object read back
whole, before the manifest names it: what it replaces will be deleted, and may be the only copy by then.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from scribe_ledger.archive.holding import leaf_hashes
from scribe_ledger.archive.room import check_room_to_merge
from scribe_ledger.archive.uploading import check_stored, upload
from scribe_ledger.errors import Conflict
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.segments.checking import check_segment
from scribe_ledger.segments.comparing import check_leaves
from scribe_ledger.segments.merging import merge
from scribe_ledger.segments.scanning import download, open_segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.archive.work import Work
    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import SealedSegment

MIN_RUN = 8
MAX_RUN = 256
"""More in one go would only hold more open at once; the merged ones are merged in their turn."""


def compact(work: Work) -> int:
    """Merges until no run is worth it; how many segments were replaced."""
    replaced = 0
    while run := find_run(work.ledger.manifest.segments, work.settings.segment_size):
        replaced += len(run) if _merge(work, run) else 0
    return replaced


def find_run(segments: Sequence[Segment], segment_size: int) -> Sequence[Segment]:
    """The first run that is worth merging, as long as it can be; empty if there is none."""
    start = total = 0
    for stop, segment in enumerate(segments):
        total += segment.log_bytes
        while total > segment_size or stop + 1 - start > MAX_RUN:
            # The longest run from ``start`` ends here. One that begins later is looked for when it ends in its turn.
            if found := _worth_merging(segments[start:stop]):
                return found
            total -= segments[start].log_bytes
            start += 1
    return _worth_merging(segments[start:])


def _worth_merging(run: Sequence[Segment]) -> Sequence[Segment]:
    """The run, or the part beside one that is too large for it, or nothing."""
    while len(run) >= MIN_RUN:
        sizes = [segment.log_bytes for segment in run]
        largest = max(sizes)
        if 2 * largest <= sum(sizes):
            return run
        place = sizes.index(largest)
        if found := _worth_merging(run[:place]):
            return found
        run = run[place + 1 :]
    return ()


def _merge(work: Work, run: Sequence[Segment]) -> bool:
    """False if somebody else has replaced some of them meanwhile."""
    ledger = work.ledger
    version = ledger.manifest.version
    check_room_to_merge(work, 2 * sum(segment.size for segment in run))  # what is merged, and what it becomes
    work.guard()
    with _merged(work, run) as merged:
        check_segment(merged.path, merged.segment, ledger_id=ledger.ledger_id)
        _check_is_of_log(work, merged)
        work.reached("merge")
        upload(ledger.objects, merged)
        work.reached("upload-merged")
        check_stored(ledger.objects, merged.segment, work.pace)
        replaced = tuple(segment.segment_id for segment in run)
        try:
            ledger.change_manifest(Archive(version, (merged.segment,), replaced))
        except Conflict:
            if set(replaced) <= {segment.segment_id for segment in ledger.manifest.segments}:
                raise
            return False
        work.reached("compact")
    return True


def _check_is_of_log(work: Work, merged: SealedSegment) -> None:
    """Its leaves are those of this ledger's tree; its values match its leaves, as ``check_segment`` has seen."""
    segment = merged.segment
    with open_segment(merged.path, segment) as opened:
        check_leaves(opened, leaf_hashes(work.ledger, segment.first_index, segment.stop))
    work.pace()


def _merged(work: Work, run: Sequence[Segment]) -> SealedSegment:
    """The segment that has the rows of all of them, every object held against its digest."""
    ledger, settings = work.ledger, work.settings
    with ExitStack() as opened:
        files = []
        for segment in run:
            files.append((opened.enter_context(download(ledger.objects, segment, ledger.spool)).path, segment))
            work.pace()
        return merge(
            files,
            ledger_id=ledger.ledger_id,
            folder=ledger.spool,
            compression=settings.compression,
            level=settings.compression_level,
            pace=work.pace,
        )

"""Which segments hold the log: a cover of it, taken from the best directory at hand, and the names of segments.

The ledger's own manifest is the authority where it is at hand, ``manifest.json`` a copy that may be behind. Without
either the names of the segments are a directory. Orphans may overlap what is live, and be longer: see ``ways``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.archive.check.ranges import RangeTask
from scribe_ledger.archive.check.ways import cheapest_way
from scribe_ledger.errors import ScribeError, counted
from scribe_ledger.objects import paths
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.objects.store import ListedObject, ObjectStore


class Directory(NamedTuple):
    """What a manifest says is live."""

    place: str
    """For messages: ``manifest.json``, or the manifest of the ledger."""
    version: int
    store_id: str
    archived_size: int
    segments: tuple[Segment, ...]


class Plan(NamedTuple):
    """The ranges to look at, in order, from 0 on without a gap."""

    tasks: list[RangeTask]
    live: set[str]
    """The paths of the segments that hold the log."""

    @property
    def stop(self) -> int:
        return self.tasks[-1].stop if self.tasks else 0


def read_directory(store: ObjectStore, report: Report) -> Directory | None:
    """``manifest.json``, if it is there and can be read."""
    content = _settled(store, paths.MANIFEST)
    if content is None:
        return None
    try:
        fields = orjson.loads(content)
        return Directory(
            paths.MANIFEST,
            int(fields["version"]),
            str(fields["store_id"]),
            int(fields["archived_size"]),
            tuple(Segment.from_json(each) for each in fields["segments"]),
        )
    except (ValueError, KeyError, TypeError, ScribeError) as error:
        report.fault(paths.MANIFEST, f"it cannot be read: {error}")
        return None


def check_directory(directory: Directory, report: Report) -> bool:
    """Whether a manifest agrees with itself: neighbours from 0 to the archived end, each under its own name."""
    following = 0
    for segment in directory.segments:
        named = (segment.first_index, segment.last_index, segment.sha256)
        if segment.first_index != following or segment.count != segment.stop - following:
            report.fault(directory.place, f"its segment {segment.segment_id} does not follow on the one before it")
            return False
        if (
            paths.range_of_segment_path(segment.path) != named
            or paths.segment_id_of_path(segment.path) != segment.segment_id
        ):
            report.fault(directory.place, f"its segment {segment.segment_id} has another range or digest than its name")
            return False
        following = segment.stop
    if following != directory.archived_size:
        report.fault(directory.place, f"it says {counted(directory.archived_size)}, its segments have {following}")
        return False
    return True


def plan(
    listed: Iterable[ListedObject], directory: Directory | None, published: int, ledger_id: str, report: Report
) -> Plan:
    """A cover of the ``published`` entries and of what the directory says beyond; gaps are faults."""
    names = {
        each.path: (found[0], found[1] + 1)
        for each in listed
        if (found := paths.range_of_segment_path(each.path)) is not None
    }
    said = {segment.path for segment in directory.segments} if directory is not None else set()
    end = max(published, directory.archived_size if directory is not None else 0)
    tasks = [RangeTask(*step, ledger_id, published) for step in cheapest_way(names, said, end)]
    _name_missing(directory, names.keys(), [(task.first, task.stop) for task in tasks if not task.path], report)
    return Plan(tasks, {task.path for task in tasks if task.path})


def _settled(store: ObjectStore, path: str) -> bytes | None:
    """An object that has neither digest nor signature: what a network has altered shows only beside another reading."""
    first, second = store.get(path), store.get(path)
    return first if first == second else store.get(path)


def _name_missing(
    directory: Directory | None, there: Iterable[str], gaps: list[tuple[int, int]], report: Report
) -> None:
    """A segment that is gone is named by its own path where a manifest knows it, else by its entries."""
    there = set(there)
    gone = [segment for segment in directory.segments if segment.path not in there] if directory is not None else []
    for segment in gone:
        if any(start < segment.stop and segment.first_index < stop for start, stop in gaps):
            report.fault(segment.path, "missing")
        elif directory is not None and directory.place == paths.MANIFEST:
            report.fault(directory.place, f"it names {segment.path}, which is not there: others have its entries")
        else:
            report.fault(segment.path, "missing, though other segments have its entries")
    for start, stop in gaps:
        if not any(start < segment.stop and segment.first_index < stop for segment in gone):
            report.fault(f"entries {start} to {stop - 1}", "no segment has them")

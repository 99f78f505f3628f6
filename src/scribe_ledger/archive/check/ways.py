"""The best way through segments that may overlap, from the first entry of the log to the last, from their ranges alone.

The whole way is weighed: the fewest entries left out, then the fewest in segments that the directory does not name,
then the fewest segments. ``covering`` weighs it much the same for a restore, which can do with no gap.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class _Way(NamedTuple):
    """How to come to an entry from 0. Of two the lesser is the better, by the fields in their order."""

    left_out: int
    unnamed: int
    """Entries in segments that the directory does not name."""
    segments: int
    before: int
    """Where the last step began."""
    path: str
    """The segment of the last step, or empty: nothing has these entries."""


def cheapest_way(names: Mapping[str, tuple[int, int]], said: Collection[str], end: int) -> list[tuple[int, int, str]]:
    """First entry, stop and segment of each step from 0 to the end, or, if that must be, beyond it."""
    by_start: dict[int, list[str]] = {}
    for path, (first, _) in names.items():
        by_start.setdefault(first, []).append(path)
    starts = sorted(by_start)
    ways = {0: _Way(0, 0, 0, 0, "")}
    waiting = [0]  # steps lead upwards only: what comes out of the heap cannot be bettered any more
    while waiting and (at := heappop(waiting)) < end:
        here, place = ways[at], bisect_right(starts, at)
        following = min(starts[place], end) if place < len(starts) else end
        steps = [(following, here._replace(left_out=here.left_out + following - at, before=at, path=""))]
        for path in by_start.get(at, ()):
            stop = names[path][1]
            unnamed = here.unnamed + (0 if path in said else stop - at)
            steps.append((stop, _Way(here.left_out, unnamed, here.segments + 1, at, path)))
        for stop, way in steps:
            if stop not in ways:
                heappush(waiting, stop)
            if stop not in ways or way < ways[stop]:
                ways[stop] = way
    return _retraced(ways, min((stop for stop in ways if stop >= end), key=ways.__getitem__))


def _retraced(ways: Mapping[int, _Way], at: int) -> list[tuple[int, int, str]]:
    """The steps to there, with neighbouring gaps as one."""
    steps: list[tuple[int, int, str]] = []
    while at > 0:
        before, path = ways[at].before, ways[at].path
        stop = steps.pop()[1] if steps and not path and not steps[-1][2] else at
        steps.append((before, stop, path))
        at = before
    return steps[::-1]

"""``Metrics``: what a node counts while it works. Plain numbers, no locks, no objects made for a request.

Requests are counted in the event loop, commits in the thread that commits; each number has one writer. A scrape reads
them as they stand, so figures of one scrape may be a request apart from each other. ``exposition`` writes them out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Entries in one commit; the sequencer takes no more than the last at once, but one atomic batch may be larger."""


class Histogram:
    """How often values fell under each bound, and their sum. The last count is of those above every bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, part: float) -> float | None:
        """An estimate from the counts, as Prometheus' ``histogram_quantile`` makes it; None where there are none.

        It is exact to the bucket and assumes an even spread inside; above the last bound it is that bound.
        """
        counts = list(self.counts)
        rank = part * sum(counts)
        if not any(counts):
            return None
        below, lower = 0, 0.0
        for bound, count in zip(self.bounds, counts, strict=False):
            if count and below + count >= rank:
                return lower + (bound - lower) * max(rank - below, 0) / count
            below += count
            lower = bound
        return self.bounds[-1]


class RequestStats(Histogram):
    """The durations of requests with one method, route and status. Keep the object, and call ``observe``."""

    __slots__ = ()


class Metrics:
    """Everything that is counted. One for a node."""

    def __init__(self, latency_buckets: Sequence[float]) -> None:
        self._buckets = tuple(latency_buckets)
        self.requests: dict[tuple[str, str, int], RequestStats] = {}
        self.errors: Counter[str] = Counter()
        """By kind; whoever answers an error adds to it."""
        self.cache_hits = self.cache_misses = 0
        self.commit_entries = Histogram(BATCH_BUCKETS)
        self.commit_seconds = Histogram(self._buckets)
        self.connections: Callable[[], int] = int
        """Set by the node: how many connections are open."""
        self.log_lines_dropped: Callable[[], int] = int
        """Set by the node: how many log lines were lost because they came too fast."""

    def request(self, method: str, route: str, status: int) -> RequestStats:
        """Where such requests are counted. ``route`` is the template, such as ``/v1/kv/{key}``, never a path."""
        stats = self.requests.get((method, route, status))
        if stats is None:
            stats = self.requests[method, route, status] = RequestStats(self._buckets)
        return stats

    def answered(self) -> float:
        """Another number once anybody was answered. Any thread may ask, and often."""
        return sum([stats.total for stats in list(self.requests.values())])

    def commit(self, entries: int, sync_seconds: float) -> None:
        """One batch was made durable. Called by the thread that commits."""
        self.commit_entries.observe(entries)
        self.commit_seconds.observe(sync_seconds)

    def by_route(self) -> Iterator[tuple[str, RequestStats]]:
        """The durations by method and route, whatever the status; the first, ``all``, is of all together."""
        routes = {"all": RequestStats(self._buckets)}
        for (method, route, _), stats in sorted(self.requests.items()):
            for name in ("all", f"{method} {route}"):
                merged = routes.setdefault(name, RequestStats(self._buckets))
                merged.counts = [sum(pair) for pair in zip(merged.counts, stats.counts, strict=True)]
                merged.total += stats.total
        yield from routes.items()

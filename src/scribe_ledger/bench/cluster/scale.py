"""How much one run measures."""

from __future__ import annotations

from dataclasses import dataclass

from scribe_ledger.bench import workload
from scribe_ledger.bench.workload import Sizes


@dataclass(frozen=True)
class Scale(Sizes):
    """A *pass* is one load; a figure is the median of its passes. ``entries`` is what a new node must catch up."""

    cached: int = workload.CACHED_KEYS
    """Entries that reads go round in."""
    passes: int = 3
    pass_seconds: int = 2
    singles: int = 1_000
    """Puts of one connection, one after another."""
    starts: int = 3
    kills: int = 20
    harm_seconds: int = 10
    """How long the foreground is measured before a node joins."""


FULL = Scale()
QUICK = Scale(entries=20_000, cached=2_000, passes=1, pass_seconds=1, singles=100, starts=1, kills=5, harm_seconds=2)

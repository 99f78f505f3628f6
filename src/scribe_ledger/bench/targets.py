"""The lines of the table: what each is called, and what is asked of it on the reference machine of two cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scribe_ledger.bench.workload import THREADS


@dataclass(frozen=True)
class Line:
    """One line. ``judged`` says whether target and goal are of the figure or of its ratio to what stands beside it."""

    name: str
    title: str
    unit: str
    target: float | None = None
    goal: float | None = None
    judged: Literal["figure", "ratio"] = "figure"
    at_most: bool = False

    @property
    def row(self) -> str:
        """The row of ``--only``: several lines may come of one measurement."""
        return self.name.partition(".")[0]

    def reached(self, value: float | None, asked: float | None) -> bool | None:
        """None where nothing is asked or nothing was measured."""
        if value is None or asked is None:
            return None
        return value <= asked if self.at_most else value >= asked


LINES = (
    Line("writes", "batched writes, 500 a batch, each batch synced", "entries/s", 140_000, 200_000),
    Line("reads", "reads of cached keys, one thread", "reads/s", 1_800_000, 2_500_000),
    Line("uncached", "reads from the store, cache off, random keys", "reads/s", 0.6, 0.8, "ratio"),
    Line("mixed", "mixed, half batched writes, half cached reads", "ops/s", 270_000, 400_000),
    Line("puts.one", "single durable puts, one thread", "puts/s", 0.7, 0.85, "ratio"),
    Line("puts.many", f"single durable puts, {THREADS} threads", "puts/s", 18_000, 30_000),
    Line("proofs.made", "inclusion proofs made, random keys", "proofs/s", 6_000),
    Line("proofs.made.growth", "  the same, in a large ledger beside a small one", "proofs/s", 0.75, None, "ratio"),
    Line("proofs.checked", "inclusion proofs checked under one checkpoint", "proofs/s", 20_000),
    Line("proofs.checked.growth", "  the same, of a large ledger beside a small one", "proofs/s", 0.75, None, "ratio"),
    Line("versions.version", "version= of a key with many versions", "reads/s", 0.7, None, "ratio"),
    Line("versions.as_of", "as_of= of a key with many versions", "reads/s", 0.7, None, "ratio"),
    Line("growth", "growth: the last quarter of the writes", "entries/s", 0.8, 0.95, "ratio"),
    Line("memory", "memory after writing the large ledger", "MiB", 350, 250, at_most=True),
    Line("memory.open", "opening the large ledger", "s", 1.0, 0.3, at_most=True),
    Line("disk", "on disk beyond the value", "bytes/entry"),
)

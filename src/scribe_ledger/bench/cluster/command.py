"""``scribe bench cluster``: measures three nodes of one cluster on this machine, beside the bare engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.bench.cluster.rows import ROWS, Run
from scribe_ledger.bench.cluster.scale import FULL, QUICK, Scale
from scribe_ledger.bench.cluster.targets import LINES
from scribe_ledger.bench.command import Benchmark, Outcome, measure_rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

DISK_BYTES_PER_ENTRY = 4000
"""Of the large ledger: a copy for each of four nodes, and what a snapshot keeps."""
DISK_BYTES = 4 << 30
"""Of all other rows."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return CLUSTER.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    return measure_rows(ROWS, Run(work, scale, options.profile).part, LINES, options.only)


CLUSTER = Benchmark(
    name="cluster",
    about="Measures three nodes of one cluster on this machine, in one run. Takes about six minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + DISK_BYTES,
    measure=_measure,
)

"""``scribe bench archive``: measures the cold tier, in a folder and on a real S3 server."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.archive.rows import ROWS, Run
from scribe_ledger.bench.archive.scale import FULL, QUICK, Scale
from scribe_ledger.bench.archive.targets import LINES
from scribe_ledger.bench.command import Benchmark, Outcome, measure_row, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

DISK_BYTES_PER_ENTRY = 2000
"""Of the large ledger: the ledger, its objects, a bucket with its segments, and a restored copy."""
DISK_BYTES = 2 << 30
"""Of all other rows."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return ARCHIVE.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    """All wanted rows of one run. A row that cannot be measured, or goes wrong, does not keep others from it."""
    outcome = Outcome()
    with Run(work, scale, options.profile) as run:
        for name, parts in ROWS.items():
            if name in options.only:
                started = perf_counter()
                wanted = [line.name for line in LINES if line.row == name]
                measure_row(outcome, wanted, [partial(part, run) for part in parts])
                say(f"{name}: {perf_counter() - started:.1f} s")
    return outcome


ARCHIVE = Benchmark(
    name="archive",
    about="Measures the cold tier in a folder and on a real S3 server, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + DISK_BYTES,
    measure=_measure,
)

"""``scribe bench archive``: measures the cold tier, in a folder and on a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.bench.archive.rows import ROWS, Run
from scribe_ledger.bench.archive.scale import FULL, QUICK, Scale
from scribe_ledger.bench.archive.targets import LINES
from scribe_ledger.bench.command import Benchmark, Outcome, measure_rows

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
    with Run(work, scale, options.profile) as run:
        return measure_rows(ROWS, lambda part: part(run), LINES, options.only)


ARCHIVE = Benchmark(
    name="archive",
    about="Measures the cold tier in a folder and on a real S3 server, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + DISK_BYTES,
    measure=_measure,
)

"""``scribe bench http``: measures a node under load from other processes, beside a server that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.bench.command import Benchmark, Outcome, measure_rows
from scribe_ledger.bench.http.rows import ROWS, Run
from scribe_ledger.bench.http.scale import FULL, QUICK, Scale
from scribe_ledger.bench.http.targets import LINES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

DISK_BYTES_PER_ENTRY = 1000
"""Of the large ledger. Beside it a row needs six times a large value at most, and puts need less than that."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return HTTP.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    run = Run(work, scale, options.profile)
    try:
        return measure_rows(ROWS, run.part, LINES, options.only)
    finally:
        run.clean()


HTTP = Benchmark(
    name="http",
    about="Measures a node under load from other processes, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + 6 * scale.large_bytes,
    measure=_measure,
)

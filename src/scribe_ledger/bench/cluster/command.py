"""``scribe bench cluster``: measures three nodes of one cluster on this machine, beside the bare engine."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.cluster.rows import ROWS, Run
from scribe_ledger.bench.cluster.scale import FULL, QUICK, Scale
from scribe_ledger.bench.cluster.targets import LINES
from scribe_ledger.bench.command import Benchmark, Outcome, measure_row, say
from scribe_ledger.bench.http.servers import check_platform

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from scribe_ledger.bench.cluster.rows import Part
    from scribe_ledger.bench.timing import Measured

DISK_BYTES_PER_ENTRY = 4000
"""Of the large ledger: a copy for each of four nodes, and what a snapshot keeps."""
DISK_BYTES = 4 << 30
"""Of all other rows."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return CLUSTER.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    """All wanted rows of one run. A row that cannot be measured, or goes wrong, does not keep others from it."""
    run, outcome = Run(work, scale, options.profile), Outcome()
    for name, parts in ROWS.items():
        if name in options.only:
            started = perf_counter()
            wanted = [line.name for line in LINES if line.row == name]
            measure_row(outcome, wanted, [partial(_measured, run, part) for part in parts])
            say(f"{name}: {perf_counter() - started:.1f} s")
    return outcome


def _measured(run: Run, part: Part) -> dict[str, Measured]:
    check_platform()
    return run.part(part)


CLUSTER = Benchmark(
    name="cluster",
    about="Measures three nodes of one cluster on this machine, in one run. Takes about six minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + DISK_BYTES,
    measure=_measure,
)

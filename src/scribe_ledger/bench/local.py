"""``scribe bench local``: measures the embedded ledger beside the raw engine."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.command import Benchmark, Outcome, say
from scribe_ledger.bench.rows import ROWS, Run
from scribe_ledger.bench.targets import LINES
from scribe_ledger.bench.workload import FULL, QUICK, Scale

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

DISK_BYTES_PER_ENTRY = 2500
"""What a run may need at once, per entry of ``--entries``: growth writes four times as many."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return LOCAL.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    """All wanted rows of one run. One that fails ends it."""
    run, outcome = Run(work, scale, options.profile), Outcome()
    try:
        for name, row in ROWS.items():
            if name in options.only:
                started = perf_counter()
                outcome.lines.update(row(run))
                say(f"{name}: {perf_counter() - started:.1f} s")
    finally:
        run.clean()
    return outcome


LOCAL = Benchmark(
    name="local",
    about="Measures the embedded ledger beside the raw engine, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY,
    measure=_measure,
)

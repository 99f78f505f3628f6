"""``scribe bench http``: measures a node under load from other processes, beside a server that does nothing."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.command import Benchmark, Outcome, measure_row, say
from scribe_ledger.bench.http.rows import ROWS, Run
from scribe_ledger.bench.http.scale import FULL, QUICK, Scale
from scribe_ledger.bench.http.servers import check_platform
from scribe_ledger.bench.http.targets import LINES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from scribe_ledger.bench.http.rows import Part
    from scribe_ledger.bench.timing import Measured

DISK_BYTES_PER_ENTRY = 1000
"""Of the large ledger. Beside it a row needs six times a large value at most, and puts need less than that."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    return HTTP.main(argv)


def _measure(work: Path, scale: Scale, options: argparse.Namespace) -> Outcome:
    """All wanted rows of one run. A row that cannot be measured, or goes wrong, does not keep others from it."""
    run, outcome = Run(work, scale, options.profile), Outcome()
    try:
        for name in ROWS:
            if name in options.only:
                started = perf_counter()
                wanted = [line.name for line in LINES if line.row == name]
                measure_row(outcome, wanted, [partial(_measured, run, part) for part in ROWS[name]])
                say(f"{name}: {perf_counter() - started:.1f} s")
    finally:
        run.clean()
    return outcome


def _measured(run: Run, part: Part) -> dict[str, Measured]:
    check_platform()
    return run.part(part)


HTTP = Benchmark(
    name="http",
    about="Measures a node under load from other processes, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + 6 * scale.large_bytes,
    measure=_measure,
)

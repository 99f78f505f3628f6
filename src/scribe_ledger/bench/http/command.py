"""``scribe bench http``: measures a node under load from other processes, beside a server that does nothing."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.command import Benchmark, Outcome, say
from scribe_ledger.bench.http.rows import ROWS, Run
from scribe_ledger.bench.http.scale import FULL, QUICK, Scale
from scribe_ledger.bench.http.servers import NotMeasurable, check_platform
from scribe_ledger.bench.http.targets import LINES
from scribe_ledger.errors import ScribeError

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
    """All wanted rows of one run. A row that cannot be measured, or goes wrong, does not keep others from it."""
    run, outcome = Run(work, scale, options.profile), Outcome()
    try:
        for name in ROWS:
            if name in options.only:
                started = perf_counter()
                _measure_row(run, name, outcome)
                say(f"{name}: {perf_counter() - started:.1f} s")
    finally:
        run.clean()
    return outcome


def _measure_row(run: Run, name: str, outcome: Outcome) -> None:
    """The lines of a row, each measured or with the reason why not."""
    left = [line.name for line in LINES if line.row == name]
    reasons: dict[str, bool] = {}
    for part in ROWS[name]:
        try:
            check_platform()
            lines = run.part(part)
        except (ScribeError, OSError) as error:
            reasons[str(error)] = isinstance(error, NotMeasurable)
        else:
            outcome.lines.update(lines)
            left = [line for line in left if line not in lines]
    (outcome.missing if all(reasons.values()) else outcome.failed).update(dict.fromkeys(left, "; ".join(reasons)))


HTTP = Benchmark(
    name="http",
    about="Measures a node under load from other processes, in one run. Takes about five minutes.",
    lines=LINES,
    full=FULL,
    quick=QUICK,
    disk_bytes=lambda scale: scale.entries * DISK_BYTES_PER_ENTRY + 6 * scale.large_bytes,
    measure=_measure,
)

"""``scribe bench local``: measures the embedded ledger beside the raw engine, prints a table and writes JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench import host, report
from scribe_ledger.bench.rows import ROWS, Run
from scribe_ledger.bench.targets import LINES
from scribe_ledger.bench.workload import BATCH, FULL, KEY_BYTES, QUICK, VALUE_BYTES
from scribe_ledger.errors import KINDS, InvalidRequest, ScribeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.bench.workload import Scale

RESULTS = "bench-results"
DISK_BYTES_PER_ENTRY = 2500
"""What a run may need at once, per entry of ``--entries``: growth writes four times as many."""
BUSY = 0.7
"""A load average above this when nothing of ours runs yet means that something else does."""


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark; 0 when it ran to its end, whether or not every target was met."""
    options = _parser().parse_args(argv)
    try:
        return _bench(options)
    except ScribeError as error:
        _say(f"error: {error}")
        return KINDS[error.kind].exit_code


def _bench(options: argparse.Namespace) -> int:
    scale = QUICK if options.quick else FULL
    scale = replace(scale, entries=options.entries) if options.entries else scale
    started, clock = datetime.now(UTC), perf_counter()
    with _folder(options.dir, scale, quick=options.quick) as work:
        before = host.pulse(work)
        facts = host.facts(work)
        _describe(facts, before)
        runs = [_measure(Run(work, scale, options.profile), options.only) for _ in range(options.repeat)]
        after = host.pulse(work)
    judged = report.lines(runs, judging=scale.entries >= FULL.entries and not options.quick)
    result = {
        "format": report.FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(perf_counter() - clock, 1),
        "quick": options.quick,
        "workload": {"key_bytes": KEY_BYTES, "value_bytes": VALUE_BYTES, "batch": BATCH, **asdict(scale)},
        "host": {**facts, "before": before, "after": after},
        "lines": judged,
    }
    print(report.table(judged))  # what was asked for goes to stdout, all else to stderr
    print()
    print(report.details(judged))
    path = options.json or Path(RESULTS) / f"local-{started:%Y%m%dT%H%M%SZ}.json"
    _write(path, result)
    _say(f"\n{result['seconds']:.0f} s; written to {path}")
    return 0


def _measure(run: Run, only: Sequence[str]) -> dict[str, Measured]:
    """All wanted rows of one run."""
    lines: dict[str, Measured] = {}
    try:
        for name, row in ROWS.items():
            if name in only:
                started = perf_counter()
                lines.update(row(run))
                _say(f"{name}: {perf_counter() - started:.1f} s")
    finally:
        run.clean()
    return lines


@contextmanager
def _folder(parent: Path, scale: Scale, *, quick: bool) -> Iterator[Path]:
    """A folder for this run alone, on a real disk; gone afterwards."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        kind, free = host.filesystem(parent), host.free_bytes(parent)
        work = Path(mkdtemp(prefix="scribe-bench-", dir=parent))
    except OSError as error:
        raise InvalidRequest(f"the benchmark cannot write in {parent}: {error}", hint="name a folder: --dir") from error
    try:
        if kind in host.IN_MEMORY:
            if not quick:
                raise InvalidRequest(
                    f"{parent} is in memory ({kind}), where a sync costs nothing and shows nothing",
                    hint="name a folder on a disk: --dir; or only try things out: --quick",
                )
            _say(f"warning: {parent} is in memory ({kind}): these figures say nothing about durable writes")
        needed = scale.entries * DISK_BYTES_PER_ENTRY
        if free < needed:
            raise InvalidRequest(
                f"{parent} has {free >> 20} MiB free, and a run may need {needed >> 20}",
                hint="name another folder: --dir; or write less: --entries",
            )
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _describe(facts: dict[str, Any], pulse: dict[str, float]) -> None:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    _say(f"{facts['cpu']}, {facts['usable_cores']} cores, {facts['memory_mib']} MiB; {facts['kernel']}")
    _say(f"{facts['python']}; {packages}")
    _say(f"{facts['filesystem']}, fdatasync {pulse['fdatasync_us']:.0f} µs")
    if pulse["load_average"] > BUSY:
        _say(f"warning: load average {pulse['load_average']}: other work is running, and figures will be lower")


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scribe bench local",
        description="Measures the embedded ledger beside the raw engine, in one run. Takes about five minutes.",
        allow_abbrev=False,
    )
    parser.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="where to write; a real disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where the result goes; {RESULTS}/ by default")
    parser.add_argument("--only", type=_rows, default=list(ROWS), metavar="ROW[,ROW]", help=", ".join(_names()))
    parser.add_argument("--entries", type=_positive, metavar="N", help=f"in the large ledger; {FULL.entries}")
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="runs; each line is its median run's")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; judges nothing")
    parser.add_argument("--profile", action="store_true", help="add the functions in which the time goes")
    return parser


def _names() -> list[str]:
    """The rows in the order of the table."""
    return list(dict.fromkeys(line.row for line in LINES))


def _rows(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ROWS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is no row; rows: {', '.join(_names())}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number

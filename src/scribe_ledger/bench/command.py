"""What the commands of the benchmark share: options, a folder for the run, the machine's description, table and file.

A ``Benchmark`` says what is measured; this module says how a run of any of them begins, ends and is written down.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scribe_ledger.bench import host, report
from scribe_ledger.bench.workload import BATCH, KEY_BYTES, VALUE_BYTES, Sizes
from scribe_ledger.errors import KINDS, InvalidRequest, ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scribe_ledger.bench.targets import Line
    from scribe_ledger.bench.timing import Measured

RESULTS = "bench-results"
BUSY = 0.7
"""A load average above this when nothing of ours runs yet means that something else does."""
FAILED = 3
"""The exit code of a run that could not measure a row for a reason of its own."""

P = TypeVar("P")
S = TypeVar("S", bound=Sizes)


@dataclass
class Outcome:
    """What one run measured, and why not the rest: lines by name."""

    lines: dict[str, Measured] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Rows that this machine cannot measure, and what it lacks."""
    failed: dict[str, str] = field(default_factory=dict)
    """Rows that went wrong."""

    @property
    def not_measured(self) -> dict[str, str]:
        return {**self.missing, **self.failed}


class NotMeasurable(Unavailable):
    """This machine lacks what a row needs."""


def measure_row(outcome: Outcome, lines: Sequence[str], parts: Sequence[Callable[[], dict[str, Measured]]]) -> None:
    """The lines of a row, each measured by one of its parts or with the reason why not."""
    left = list(lines)
    reasons: dict[str, bool] = {}
    for part in parts:
        try:
            found = part()
        except (ScribeError, OSError) as error:
            reasons[str(error)] = isinstance(error, NotMeasurable)
        else:
            outcome.lines.update(found)
            left = [line for line in left if line not in found]
    (outcome.missing if all(reasons.values()) else outcome.failed).update(dict.fromkeys(left, "; ".join(reasons)))


def measure_rows(
    rows: Mapping[str, Sequence[P]],
    measure: Callable[[P], dict[str, Measured]],
    lines: Sequence[Line],
    only: Sequence[str],
) -> Outcome:
    """The wanted rows of one run, part by part. A row that goes wrong does not keep others from being measured."""
    outcome = Outcome()
    for name, parts in rows.items():
        if name in only:
            started = perf_counter()
            wanted = [line.name for line in lines if line.row == name]
            measure_row(outcome, wanted, [partial(measure, part) for part in parts])
            say(f"{name}: {perf_counter() - started:.1f} s")
    return outcome


@dataclass(frozen=True)
class Benchmark(Generic[S]):
    """One command of the benchmark."""

    name: str
    about: str
    lines: tuple[Line, ...]
    full: S
    quick: S
    disk_bytes: Callable[[S], int]
    """What a run may need at once."""
    measure: Callable[[Path, S, argparse.Namespace], Outcome]
    """Runs the wanted rows once, in a folder."""

    @property
    def rows(self) -> list[str]:
        """The rows in the order of the table."""
        return list(dict.fromkeys(line.row for line in self.lines))

    def main(self, argv: Sequence[str]) -> int:
        """0 when it ran to its end, whether or not every target was met."""
        options = self._parser().parse_args(argv)
        try:
            return self._run(options)
        except ScribeError as error:
            say(f"error: {error}")
            return KINDS[error.kind].exit_code

    def _run(self, options: argparse.Namespace) -> int:
        scale = self.quick if options.quick else self.full
        scale = replace(scale, entries=options.entries) if options.entries else scale
        started, clock = datetime.now(UTC), perf_counter()
        with _folder(options.dir, self.disk_bytes(scale), quick=options.quick) as work:
            before = host.pulse(work)
            facts = host.facts(work)
            _describe(facts, before)
            runs = [self.measure(work, scale, options) for _ in range(options.repeat)]
            after = host.pulse(work)
        judged = report.lines(
            [run.lines for run in runs],
            self.lines,
            judging=scale.entries >= self.full.entries and not options.quick,
        )
        not_measured = {name: why for run in runs for name, why in run.not_measured.items()}
        result = {
            "format": report.FORMAT,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(perf_counter() - clock, 1),
            "quick": options.quick,
            "workload": {"key_bytes": KEY_BYTES, "value_bytes": VALUE_BYTES, "batch": BATCH, **asdict(scale)},
            "host": {**facts, "before": before, "after": after},
            "lines": judged,
            "not_measured": not_measured,
        }
        self._show(judged, not_measured)
        path = options.json or Path(RESULTS) / f"{self.name}-{started:%Y%m%dT%H%M%SZ}.json"
        _write(path, result)
        say(f"\n{result['seconds']:.0f} s; written to {path}")
        return FAILED if any(run.failed for run in runs) else 0

    def _show(self, judged: Sequence[dict[str, Any]], not_measured: dict[str, str]) -> None:
        """What was asked for goes to stdout, all else to stderr."""
        print(report.table(judged))
        for why in dict.fromkeys(not_measured.values()):
            print(f"not measured: {', '.join(name for name, said in not_measured.items() if said == why)}: {why}")
        print()
        print(report.details(judged))

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"scribe bench {self.name}", description=self.about, allow_abbrev=False)
        add = parser.add_argument
        add("--dir", type=Path, default=Path(), metavar="DIR", help="where to write; a real disk")
        add("--json", type=Path, metavar="FILE", help=f"where the result goes; {RESULTS}/ by default")
        add("--only", type=self._rows, default=self.rows, metavar="ROW[,ROW]", help=", ".join(self.rows))
        add("--entries", type=_positive, metavar="N", help=f"in the large ledger; {self.full.entries}")
        add("--repeat", type=_positive, default=1, metavar="N", help="runs; each line is its median run's")
        add("--quick", action="store_true", help="small sizes, to see that it works; judges nothing")
        add("--profile", action="store_true", help="add the functions in which the time goes")
        return parser

    def _rows(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in self.rows]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'} is no row; rows: {', '.join(self.rows)}"
            )
        return names


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _folder(parent: Path, needed: int, *, quick: bool) -> Iterator[Path]:
    """A folder for this run alone, on a real disk; gone afterwards."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        kind, free = host.filesystem(parent), host.free_bytes(parent)
        work = Path(mkdtemp(prefix="scribe-bench-", dir=parent)).absolute()
    except OSError as error:
        raise InvalidRequest(f"the benchmark cannot write in {parent}: {error}", hint="name a folder: --dir") from error
    try:
        if kind in host.IN_MEMORY:
            if not quick:
                raise InvalidRequest(
                    f"{parent} is in memory ({kind}), where a sync costs nothing and shows nothing",
                    hint="name a folder on a disk: --dir; or only try things out: --quick",
                )
            say(f"warning: {parent} is in memory ({kind}): these figures say nothing about durable writes")
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
    say(f"{facts['cpu']}, {facts['usable_cores']} cores, {facts['memory_mib']} MiB; {facts['kernel']}")
    say(f"{facts['python']}; {packages}")
    say(f"{facts['filesystem']}, fdatasync {pulse['fdatasync_us']:.0f} µs")
    if pulse["load_average"] > BUSY:
        say(f"warning: load average {pulse['load_average']}: other work is running, and figures will be lower")


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number

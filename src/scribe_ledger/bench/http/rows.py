"""The rows of ``--only``: what measures each, in a folder of its own that is gone afterwards.

The large ledger is written once a run, by a job of the local benchmark in a process of its own, and served to every
row that needs it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scribe_ledger.bench import rows as local
from scribe_ledger.bench import workload
from scribe_ledger.bench.http import large, latency, proving, reading, starting, writing
from scribe_ledger.bench.http.scale import settle
from scribe_ledger.bench.http.servers import check_platform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.timing import Measured


@dataclass
class Run:
    """One run: its folder, its sizes, and the large ledger once somebody asks for it."""

    work: Path
    scale: Scale
    profile: bool = False
    _settled: bool = field(default=False, init=False)

    @property
    def big(self) -> Path:
        """The folder of the large ledger, as its last process left it."""
        folder = self.work / workload.BIG
        if not folder.exists():
            local.Run(self.work, workload.Scale(entries=self.scale.entries)).job("build")
        return folder

    @property
    def settled(self) -> Path:
        """The same, with nothing left for the engine to do: reads would share the processor with its compaction."""
        folder = self.big
        if not self._settled:
            settle(folder)
            self._settled = True
        return folder

    def part(self, measure: Part) -> dict[str, Measured]:
        """Runs one part of a row."""
        check_platform()
        folder = self.work / "row"
        folder.mkdir()
        try:
            return measure(self, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        shutil.rmtree(self.work / workload.BIG, ignore_errors=True)
        self._settled = False


if TYPE_CHECKING:
    from typing import TypeAlias

    Part: TypeAlias = Callable[[Run, Path], dict[str, Measured]]

ROWS: dict[str, tuple[Part, ...]] = {
    "start": (lambda run, folder: starting.start(folder, run.big, run.scale),),
    "uncached": (lambda run, folder: reading.uncached(folder, run.settled, run.scale),),
    "verified": (
        lambda run, folder: proving.served(folder, run.settled, run.scale),
        lambda run, folder: proving.checked(folder, run.settled, run.scale, profile=run.profile),
    ),
    "put": (lambda run, folder: writing.put(folder, run.scale),),
    "get": (lambda run, folder: reading.get(folder, run.scale),),
    "batch": (lambda run, folder: writing.batch(folder, run.scale),),
    "latency": (
        lambda run, folder: latency.paced(folder, run.scale),
        lambda run, folder: latency.one_by_one(folder, run.scale),
    ),
    "large": (lambda run, folder: large.large(folder, run.scale),),
    "idle": (lambda run, folder: starting.idle(folder, run.scale),),
}
"""In the order in which they run: the start comes before anything else has read the large ledger.

The parts of a row need different things, so that one may be measured where another cannot be.
"""

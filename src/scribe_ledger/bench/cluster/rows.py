"""The rows of ``--only``: what measures each, in a folder of its own that is gone afterwards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scribe_ledger.bench.cluster import joining, reading, starting, writing
from scribe_ledger.bench.http.servers import check_platform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.cluster.scale import Scale
    from scribe_ledger.bench.timing import Measured


@dataclass
class Run:
    """One run: its folder and its sizes."""

    work: Path
    scale: Scale
    profile: bool = False

    def part(self, measure: Part) -> dict[str, Measured]:
        """Runs one part of a row."""
        check_platform()
        folder = self.work / "row"
        folder.mkdir()
        try:
            return measure(self, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if TYPE_CHECKING:
    from typing import TypeAlias

    Part: TypeAlias = Callable[[Run, Path], dict[str, Measured]]

ROWS: dict[str, tuple[Part, ...]] = {
    "start": (lambda run, folder: starting.start(folder, run.scale),),
    "put": (lambda run, folder: writing.put(folder, run.scale, profile=run.profile),),
    "batch": (lambda run, folder: writing.batch(folder, run.scale, profile=run.profile),),
    "get": (lambda run, folder: reading.get(folder, run.scale),),
    "stale": (lambda run, folder: reading.stale(folder, run.scale),),
    "one": (lambda run, folder: writing.one_by_one(folder, run.scale),),
    "kill": (lambda run, folder: starting.kill(folder, run.scale),),
    "join": (lambda run, folder: joining.join(folder, run.scale),),
}
"""In the order in which they run. The parts of a row need different things, so that one may be measured where another
cannot be."""

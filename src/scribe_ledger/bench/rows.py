"""The rows of ``--only``: which jobs each needs, and how their answers become lines.

A job runs in a process of its own, so that neither memory nor caches of one disturb another. The large ledger is
written once a run and read by every job that needs it, and so are the same pairs in the raw engine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.engines import ROCKSDB
from scribe_ledger.bench.workload import KEPT
from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.timing import Measured
    from scribe_ledger.bench.workload import Scale


def run_worker(module: str, order: dict[str, Any]) -> dict[str, Measured]:
    """Gives an order to a worker, in a process of its own."""
    done = subprocess.run(  # noqa: S603 - the modules are ours
        [sys.executable, "-m", module], input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StorageError(f"the job {order['job']!r} of the benchmark failed:\n{done.stderr.strip()}")
    lines: dict[str, Measured] = json.loads(done.stdout)
    return lines


@dataclass
class Run:
    """One run: its folder, its sizes, and what it has built there."""

    work: Path
    scale: Scale
    profile: bool = False
    _built: set[str] = field(default_factory=set, init=False)

    def job(self, name: str) -> dict[str, Measured]:
        """Runs a job in a new process, in the run's folder."""
        order = {"job": name, "work": str(self.work), "scale": asdict(self.scale), "profile": self.profile}
        return run_worker("scribe_ledger.bench.worker", order)

    def build(self, job: str) -> dict[str, Measured]:
        """Writes the large ledger, or the same pairs into the raw engine, for the jobs that read them."""
        lines = self.job(job)
        self._built.add(job)
        return lines

    def reading(self, job: str, *needed: str) -> dict[str, Measured]:
        """Runs a job on what the needed builds have written."""
        for build in needed:
            if build not in self._built:
                self.build(build)
        return self.job(job)

    def clean(self) -> None:
        for name in KEPT:
            shutil.rmtree(self.work / name, ignore_errors=True)
        self._built.clear()


def _memory(run: Run) -> dict[str, Measured]:
    """The large ledger and the raw engine's, each written in one new process and opened in another."""
    lines = {**run.build("build"), **run.job("reopen")}
    engine = {**run.build("build_engine"), **run.job("reopen_engine")}
    for name, line in lines.items():
        line["beside"] = {ROCKSDB: engine[name]["figure"]}
    return lines


def _growth(run: Run) -> dict[str, Measured]:
    lines = run.job("growth")
    engine = run.job("growth_of_engine")["growth.engine"]
    (first,) = engine["beside"].values()
    lines["growth"].setdefault("details", {})["raw_engine"] = {
        "entries_per_second": engine["figure"],
        "ratio": engine["figure"] / first,
        "parts": engine.get("blocks", {}).get("parts", []),
    }
    return lines


ROWS: dict[str, Callable[[Run], dict[str, Measured]]] = {
    "memory": _memory,
    "disk": lambda run: run.reading("disk", "build", "build_engine"),
    "uncached": lambda run: run.reading("stored", "build", "build_engine"),
    "proofs": lambda run: run.reading("proofs", "build"),
    "reads": lambda run: run.job("cached"),
    "writes": lambda run: run.job("batched"),
    "mixed": lambda run: run.job("mixed"),
    "puts": lambda run: run.job("single"),
    "versions": lambda run: run.job("versions"),
    "growth": _growth,
}
"""In the order in which they run: opening comes before anything else has touched the large ledger."""

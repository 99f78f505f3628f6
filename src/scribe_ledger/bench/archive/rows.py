"""The rows of ``--only``: which jobs each needs, each run in a process and a folder of its own.

The large ledger is written, archived and evicted once a run, by jobs that are rows themselves; the S3 server is started
once, when the first row asks for it.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

from scribe_ledger.bench import rows as local
from scribe_ledger.bench import workload
from scribe_ledger.bench.archive.s3 import S3, serving
from scribe_ledger.bench.archive.scale import LEDGER, STORE
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.archive.scale import Scale
    from scribe_ledger.bench.timing import Measured

_WORKER = "scribe_ledger.bench.archive.worker"


@dataclass
class Run:
    """One run: its folder, its sizes, and what it has built there. As a context manager it cleans up."""

    work: Path
    scale: Scale
    profile: bool = False
    _failure: ScribeError | OSError | None = field(default=None, init=False)
    """Why there is no large ledger: every row that needs it says so."""
    _archived: dict[str, Measured] = field(default_factory=dict, init=False)
    _s3: S3 | None = field(default=None, init=False)
    _opened: ExitStack = field(default_factory=ExitStack, init=False)

    def job(self, name: str, *, s3: S3 | None = None) -> dict[str, Measured]:
        """Runs a job that needs nothing built."""
        folder = self.work / "job"
        folder.mkdir()
        order = {"job": name, "work": str(self.work), "folder": str(folder), "profile": self.profile}
        try:
            return local.run_worker(_WORKER, {**order, "scale": asdict(self.scale), "s3": s3})
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def archived(self, *lines: str) -> dict[str, Measured]:
        """What writing, archiving and evicting the large ledger showed; done when somebody first asks."""
        if self._failure is not None:
            raise self._failure
        if not self._archived:
            try:
                self._build()
            except (ScribeError, OSError) as error:
                self._failure = error
                raise
        return {name: self._archived[name] for name in lines}

    def _build(self) -> None:
        local.Run(self.work, workload.Scale(entries=self.scale.entries)).job("build")
        (self.work / workload.BIG).rename(self.work / LEDGER)
        self._archived = self.job("archive")
        evicted = self.job("evict")["evicted"]
        self._archived["bytes"]["details"] |= evicted["details"]

    def reading(self, job: str) -> dict[str, Measured]:
        """Runs a job on the archived ledger."""
        self.archived()
        return self.job(job)

    @property
    def s3(self) -> S3:
        if self._s3 is None:
            self._s3 = self._opened.enter_context(serving(self.work / "s3"))
        return self._s3

    def cold_s3(self) -> dict[str, Measured]:
        s3 = self.s3
        self.archived()
        return self.job("cold_s3", s3=s3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
        for name in (LEDGER, STORE, workload.BIG, "s3"):
            shutil.rmtree(self.work / name, ignore_errors=True)


if TYPE_CHECKING:
    from typing import TypeAlias

    Part: TypeAlias = Callable[[Run], dict[str, Measured]]

ROWS: dict[str, tuple[Part, ...]] = {
    "seal": (lambda run: run.archived("seal", "seal.published"),),
    "bytes": (lambda run: run.archived("bytes"),),
    "restore": (lambda run: run.reading("restore"),),
    "fsck": (lambda run: run.reading("fsck"),),
    "cold": (lambda run: run.reading("cold_folder"), Run.cold_s3),
    "again": (lambda run: run.reading("again"),),
    "foreground": (lambda run: run.job("foreground"),),
    "segments": (lambda run: run.job("segments"),),
    "objects": (lambda run: run.job("objects", s3=run.s3),),
}
"""In the order in which they run. The parts of a row need different things, so that one may be measured where another
cannot be."""

"""How much one run measures, and what every job is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scribe_ledger.bench.workload import Sizes

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.archive.s3 import S3

WRITERS = 4
"""Threads that put while the archiver runs."""
OBJECT_BYTES = {"1k": 1 << 10, "10k": 10 << 10, "100k": 100 << 10, "1m": 1 << 20}
OPERATIONS = ("put", "get", "delete", "list")
FEW_SEGMENTS = 10
LEDGER, STORE = "archived", "store"
"""The large ledger, and the folder with its objects: what later jobs of a run read."""


@dataclass(frozen=True)
class Scale(Sizes):
    """A *block* is what is timed at once; a figure is the median of its blocks."""

    segment_bytes: int = 64 << 20
    """Leaves and values that make a segment of the large ledger."""
    blocks: int = 5
    foreground_seconds: float = 6
    """How long the writers put in a block."""
    foreground_segment_bytes: int = 2 << 20
    """So small that some are sealed in each block."""
    cold_reads: int = 300
    first_reads: int = 50
    """With a cold footer."""
    cached_reads: int = 50_000
    """In a block."""
    requests: int = 10
    """In a block, of each operation on objects of each size."""
    request_blocks: int = 31
    listed: int = 200
    """Objects in a listing."""
    many_segments: int = 1000
    segment_entries: int = 200
    """In each of the small segments."""


FULL = Scale()
QUICK = Scale(
    entries=20_000,
    segment_bytes=1 << 20,
    blocks=2,
    foreground_seconds=2,
    foreground_segment_bytes=256 << 10,
    cold_reads=50,
    first_reads=10,
    cached_reads=5_000,
    requests=5,
    request_blocks=2,
    listed=20,
    many_segments=50,
    segment_entries=50,
)


@dataclass(frozen=True)
class Task:
    """What a job works on."""

    work: Path
    """Of the run, with the large ledger and its objects."""
    folder: Path
    """Of this job alone; gone afterwards."""
    scale: Scale
    profile: bool = False
    s3: S3 | None = None

    @property
    def ledger(self) -> Path:
        return self.work / LEDGER

    @property
    def store(self) -> Path:
        return self.work / STORE

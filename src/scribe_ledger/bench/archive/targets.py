"""The lines of the table: what each is called, and what is asked of it on the reference machine of two cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.bench.archive.scale import OBJECT_BYTES, OPERATIONS, WRITERS
from scribe_ledger.bench.targets import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_WHILE_ARCHIVING = 0.8
"""Of the rate of puts without archiving."""
LEAST_OF_OBSTORE = 0.9
MOST_BY_SEGMENTS = 1.1
"""Times the cost at few segments: none at all, and what two medians of the same thing may differ by."""
MOST_BEHIND = 4
"""Segments that wait. With more the archiver no longer gives way to writers, so it did not keep up."""
_SIZES = {"1k": "1 KiB", "10k": "10 KiB", "100k": "100 KiB", "1m": "1 MiB"}


def _cold(name: str, where: str, milliseconds: float) -> Iterator[Line]:
    yield Line(f"cold.{name}", f"cold read from {where}, p50", "ms", milliseconds, at_most=True)
    yield Line(f"cold.{name}.requests", "  requests of one read, at most", "requests", 2, at_most=True)
    yield Line(f"cold.{name}.first", "  the same with a cold footer", "requests", 3, at_most=True)


LINES = (
    Line("seal", "128-byte values sealed and put into a folder", "entries/s", 150_000),
    Line("seal.published", "  the same with all tiles published", "entries/s"),
    Line("foreground", f"puts of {WRITERS} threads while archived", "puts/s", LEAST_WHILE_ARCHIVING, judged="ratio"),
    Line("foreground.behind", "  segments that wait after a block, at most", "segments", MOST_BEHIND, at_most=True),
    *_cold("folder", "a folder", 3),
    *_cold("s3", "an S3 server", 6),
    Line("again", "reads of a row group that is cached", "reads/s", 100_000),
    *(
        Line(f"objects.{size}.{operation}", f"S3 {operation}, {_SIZES[size]}", "/s", LEAST_OF_OBSTORE, judged="ratio")
        for size in OBJECT_BYTES
        for operation in OPERATIONS
    ),
    Line("restore", "restore of a million entries", "s", 30, at_most=True),
    Line("restore.memory", "  memory of the process, at most", "MiB", 500, at_most=True),
    Line("fsck", "check of a million archived entries", "s", 30, at_most=True),
    Line("bytes", "in the bucket", "bytes/entry"),
    Line(
        "segments",
        "cold read at many segments, p50",
        "ms",
        MOST_BY_SEGMENTS,
        judged="ratio",
        at_most=True,
    ),
)

"""Runs one job in this process: its order comes as JSON on stdin, its lines go as JSON to stdout."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.archive.s3 import S3
from scribe_ledger.bench.archive.scale import Scale, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.bench.timing import Measured

JOBS = {
    "archive": "sealing",
    "evict": "footprint",
    "foreground": "foreground",
    "cold_folder": "cold",
    "cold_s3": "cold",
    "again": "cached",
    "objects": "requests",
    "restore": "recovering",
    "fsck": "recovering",
    "segments": "many_segments",
}
"""Job to module: only what the job needs is loaded, because one of them measures memory."""


def run(order: dict[str, Any]) -> dict[str, Measured]:
    name = order["job"]
    job: Callable[[Task], dict[str, Measured]]
    job = getattr(import_module(f"scribe_ledger.bench.archive.{JOBS[name]}"), name)
    s3 = S3(*order["s3"]) if order["s3"] else None
    return job(Task(Path(order["work"]), Path(order["folder"]), Scale(**order["scale"]), order["profile"], s3))


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)

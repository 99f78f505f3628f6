"""Runs one job in this process: its order comes as JSON on stdin, its lines go as JSON to stdout."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.workload import KEPT, Scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.bench.timing import Measured

JOBS = {
    "build": "footprint",
    "build_engine": "footprint",
    "reopen": "footprint",
    "reopen_engine": "footprint",
    "disk": "footprint",
    "batched": "writing",
    "mixed": "writing",
    "single": "writing",
    "growth": "writing",
    "growth_of_engine": "writing",
    "cached": "reading",
    "stored": "reading",
    "versions": "reading",
    "proofs": "proving",
}
"""Job to module: only what the job needs is loaded, because some of them measure memory."""


def run(order: dict[str, Any]) -> dict[str, Measured]:
    name, work = order["job"], Path(order["work"])
    job: Callable[..., dict[str, Measured]]
    job = getattr(import_module(f"scribe_ledger.bench.{JOBS[name]}"), name)
    before = {child.name for child in work.iterdir()}
    try:
        return job(work, Scale(**order["scale"]), profile=order["profile"])
    finally:
        for child in work.iterdir():
            if child.name not in before | KEPT:
                shutil.rmtree(child) if child.is_dir() else child.unlink()


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)

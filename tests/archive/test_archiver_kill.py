"""Archivers killed with SIGKILL at each step, over a folder and over a real S3 server, and what the next one finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.archive.archiver import STEPS

if TYPE_CHECKING:
    from tests.s3_server import S3Server

pytestmark = pytest.mark.storage

KILLED = Path(__file__).parent / "killing" / "killed.py"
ROOT = Path(__file__).parents[2]
ARCHIVING, CARE = STEPS[:7], STEPS[7:]


def run(root: Path, mode: str, *steps: str, url: str = "", options: dict[str, Any] | None = None) -> dict[str, int]:
    arguments = {"mode": mode, "root": str(root), "url": url, "options": options or {}, "steps": steps}
    done = subprocess.run(
        [sys.executable, str(KILLED), json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    reached: dict[str, int] = json.loads(done.stdout)
    return reached


@pytest.mark.parametrize("steps", [ARCHIVING, CARE], ids=["archiving", "care"])
def test_an_archiver_killed_at_a_step_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, steps: tuple[str, ...]
) -> None:
    reached = run(tmp_path, "each", *steps)
    assert set(reached) == set(STEPS)


def test_archivers_killed_one_after_the_other_come_to_the_same_ledger(tmp_path: Path) -> None:
    run(tmp_path, "loop")


@pytest.mark.s3
def test_archivers_killed_over_a_bucket_come_to_the_same_ledger(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    run(tmp_path, "loop", url=bucket.url, options=asdict(bucket.options()))


@pytest.mark.soak
@pytest.mark.parametrize("steps", [STEPS[at : at + 2] for at in range(0, len(STEPS), 2)], ids="-".join)
def test_an_archiver_killed_at_any_time_that_a_step_is_reached(tmp_path: Path, steps: tuple[str, ...]) -> None:
    run(tmp_path, "every", *steps)


@pytest.mark.soak
@pytest.mark.s3
def test_an_archiver_killed_at_each_step_over_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    run(tmp_path, "each", *STEPS, url=bucket.url, options=asdict(bucket.options()))

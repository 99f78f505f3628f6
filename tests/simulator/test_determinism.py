"""One seed is one run, to the last byte: in any process, whatever its hashes of strings are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.consensus

ROOT = Path(__file__).parents[2]


def digests(hash_seed: str) -> list[str]:
    """Of all frames, writes, answers and crashes of some runs."""
    command = [sys.executable, "-m", "tests.simulator", "--seed", "3", "--seeds", "3", "--harsh", "--digest"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    first, second = digests("1"), digests("2")
    assert first == second
    assert len(set(first)) == 3, "other seeds give other runs"

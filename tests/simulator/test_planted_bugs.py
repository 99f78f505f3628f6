"""The simulator can fail: every bug that is planted is found, by the checks that the storms are held against.

The first seeds are ones that find it, so that this is fast. Where the production code changes its messages other seeds
do; so the search goes on for as many as make it all but certain.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from tests.simulator.planted import PLANTS
from tests.simulator.running import run
from tests.simulator.world import Violation

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]  # which costs three times the run itself

SEEDS_MAX = 80
ROOT = Path(__file__).parents[2]

# Whether harsh, seeds known to find it, what the check says. With how many of seeds 0 to 59 (0 to 39 where they are 40)
# have found it: docs/design/0014-simulator.md.
FOUND_BY = {
    "vote not persisted": (True, [0], "which it never gave|a crash would take that back"),
    "acknowledged before sync": (True, [0], "acknowledges entry|a crash would take that back"),
    "persistence reported early": (True, [0], "acknowledges entry|a crash would take that back"),
    "read without quorum": (False, [3, 9, 14, 39], "is violated"),
    "snapshot forgets its index": (True, [0], "failed"),
    "applied twice": (False, [2, 6, 7, 8, 10], "one root per size|took effect twice"),
    "snapshot carries the vote": (False, [0, 1, 3], "which it never gave|has voted"),
    "bundle taken again in its term": (True, [2, 12, 14, 17, 18], "took effect twice|is violated|the history"),
    "bundle sent again too early": (True, [2, 14, 33, 50], "took effect twice|is violated|the history"),
}


def test_every_plant_is_asked_for() -> None:
    assert set(FOUND_BY) == set(PLANTS) - {""}


def first_found(plant: str, harsh: bool, known: list[int]) -> tuple[int, str]:
    for seed in chain(known, range(SEEDS_MAX)):
        try:
            run(seed, harsh=harsh, plant=plant)
        except Violation as violation:
            return seed, str(violation)
    pytest.fail(f"no seed up to {SEEDS_MAX} finds: {plant}")


@pytest.mark.parametrize("plant", FOUND_BY)
def test_a_planted_bug_is_found(plant: str) -> None:
    harsh, known, why = FOUND_BY[plant]
    seed, told = first_found(plant, harsh, known)
    assert re.search(why, told)
    assert f"python -m tests.simulator --seed {seed}" in told


def test_the_command_that_a_failure_prints_shows_it_again() -> None:
    with pytest.raises(Violation) as found:
        run(0, harsh=True, plant="acknowledged before sync")
    command = str(found.value).rsplit("the same run again: ", 1)[1]
    arguments = ["-m", "tests.simulator", "--seed", "0", "--harsh", "--plant", "acknowledged before sync"]
    assert command == "python -m tests.simulator --seed 0 --harsh --plant 'acknowledged before sync'"
    again = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert str(found.value).splitlines()[0] in again.stdout

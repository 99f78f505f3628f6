"""Sealing, merging and restoring take no more memory for a large archive than for a small one, and give it back.
Reading the log takes no more for many readers than for one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.archive.memory_of import VALUE_BYTES

from scribe_ledger.objects.paths import SEGMENTS

pytestmark = [pytest.mark.storage, pytest.mark.no_cover]

PROGRAM = Path(__file__).with_name("memory_of.py")
FEW, MANY = 6000, 24_000
TASKS = ("seal", "merge", "restore")


class Memory(NamedTuple):
    most: int
    """At any moment."""
    kept: int
    """After the task, beyond what there was before."""


def run(task: str, folder: Path, number: int = 0) -> Memory:
    command = [sys.executable, str(PROGRAM), task, str(folder), str(number)]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=PROGRAM.parents[2])
    most, kept = map(int, ended.stdout.split())
    return Memory(most, kept)


def measure(folder: Path, entries: int) -> dict[str, int]:
    """The most that each task takes, each in a process of its own."""
    run("write", folder, entries)
    objects = folder / "ledger" / "objects" / SEGMENTS
    memory, segments = {}, {}
    for task in TASKS:
        memory[task] = run(task, folder).most
        segments[task] = len(list(objects.iterdir()))
    assert segments["merge"] > segments["seal"] > 8, "there was something to do"
    assert (folder / "restored" / "ledger.json").exists()
    return memory


def test_memory_does_not_grow_with_what_is_archived(tmp_path: Path) -> None:
    few, many = measure(tmp_path / "few", FEW), measure(tmp_path / "many", MANY)
    grown = {task: many[task] - few[task] for task in TASKS}
    values = (MANY - FEW) * VALUE_BYTES
    assert all(bytes_more < values / 2 for bytes_more in grown.values()), (few, many)


def test_archiving_gives_its_memory_back_and_readers_of_one_segment_share_theirs(tmp_path: Path) -> None:
    entries = 6000
    values = entries * VALUE_BYTES
    run("write", tmp_path / "one", entries)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    returned, hoarded = run("give back", tmp_path / "one").kept, run("keep", tmp_path / "other").kept
    assert returned < hoarded - values / 2, (returned, hoarded)
    one, eight = run("log", tmp_path / "one", 1).most, run("log", tmp_path / "one", 8).most
    assert eight - one < 4 * values, f"seven more of their own would take {7 * values}: {one}, {eight}"

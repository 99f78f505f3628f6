"""Sealing, merging and restoring take no more memory for a large archive than for a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.archive.memory_of import VALUE_BYTES

from scribe_ledger.objects.paths import SEGMENTS

pytestmark = [pytest.mark.storage, pytest.mark.no_cover]

PROGRAM = Path(__file__).with_name("memory_of.py")
FEW, MANY = 6000, 24_000
TASKS = ("seal", "merge", "restore")


def most_memory(task: str, folder: Path, entries: int = 0) -> int:
    command = [sys.executable, str(PROGRAM), task, str(folder), str(entries)]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=PROGRAM.parents[2])
    return int(ended.stdout)


def measure(folder: Path, entries: int) -> dict[str, int]:
    """The most that each task takes, each in a process of its own."""
    most_memory("write", folder, entries)
    objects = folder / "ledger" / "objects" / SEGMENTS
    memory, segments = {}, {}
    for task in TASKS:
        memory[task] = most_memory(task, folder)
        segments[task] = len(list(objects.iterdir()))
    assert segments["merge"] > segments["seal"] > 8, "there was something to do"
    assert (folder / "restored" / "ledger.json").exists()
    return memory


def test_memory_does_not_grow_with_what_is_archived(tmp_path: Path) -> None:
    few, many = measure(tmp_path / "few", FEW), measure(tmp_path / "many", MANY)
    grown = {task: many[task] - few[task] for task in TASKS}
    values = (MANY - FEW) * VALUE_BYTES
    assert all(bytes_more < values / 2 for bytes_more in grown.values()), (few, many)

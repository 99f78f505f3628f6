"""Processes that are killed with SIGKILL, and what the next one finds."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.ledger.write_storm import BATCH_ENTRIES, INLINE_MAX

from scribe_ledger import Ledger, verify
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.storage

STORM = Path(__file__).with_name("write_storm.py")
CREATION = Path(__file__).with_name("kill_in_creation.py")
KINDS = {"put": Kind.PUT, "delete": Kind.DELETE}


class Storms:
    """One ledger that lives through many storms, and all that was ever acknowledged of it."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._acknowledged: list[Any] = []
        self._signed: list[Checkpoint] = []
        with Ledger.open(folder) as ledger:
            self._key = ledger.public_key

    def rage(self, run: int) -> int:
        """One storm, killed after some acknowledgements; how many there were."""
        enough = self._chance.randrange(1, 1500)
        seen: list[Any] = []
        with subprocess.Popen([sys.executable, STORM, self._folder, str(run)], stdout=subprocess.PIPE) as storm:
            assert storm.stdout is not None
            for line in storm.stdout:
                seen.append(json.loads(line))
                if len(seen) == enough:
                    storm.send_signal(signal.SIGKILL)  # what is in the pipe by then was acknowledged too
        assert storm.returncode == -signal.SIGKILL, seen[-1:]
        assert not [what for what in seen if what[0] == "failed"]
        self._signed += [Checkpoint.parse(what[1]) for what in seen if what[0] == "checkpoint"]
        self._acknowledged += [what for what in seen if what[0] in KINDS]
        return len(seen)

    def check(self) -> None:
        with Ledger.open(self._folder, inline_max=INLINE_MAX) as ledger:
            entries = {entry.index: entry for entry in ledger.log()}
            assert sorted(entries) == list(range(ledger.size))
            for done, key, index, version, sha256, leaf_hash in self._acknowledged:
                entry = entries[index]
                assert (entry.kind, entry.key, entry.version) == (KINDS[done], key.encode(), version)
                assert (entry.sha256.hex(), entry.leaf_hash.hex()) == (sha256, leaf_hash)
            _check_batches_are_whole(entries)
            report = ledger.verify()
            assert report.ok, report.problems[:5]
            self._check_checkpoints(ledger)

    def _check_checkpoints(self, ledger: Ledger) -> None:
        now = ledger.checkpoint()
        for old in self._signed[-20:] + self._chance.sample(self._signed, min(20, len(self._signed))):
            assert old.size <= now.size
            proof = ledger.prove_consistency(old.size, now.size)
            verify.consistency(proof, old, now, public_key=self._key)
        self._signed.append(now)


def _check_batches_are_whole(entries: dict[int, Any]) -> None:
    parts = Counter(entry.key.rsplit(b"/", 1)[0] for entry in entries.values() if entry.key.startswith(b"batch/"))
    assert set(parts.values()) <= {BATCH_ENTRIES}


def survive(folder: Path, *, rounds: int, seed: int) -> None:
    storms = Storms(folder, seed=seed)
    seen = 0
    for run in range(rounds):
        seen += storms.rage(run)
        storms.check()
    assert seen > rounds


def test_a_kill_in_a_write_storm_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    survive(tmp_path / "ledger", rounds=3, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills_in_write_storms_lose_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    survive(tmp_path / "ledger", rounds=10, seed=seed)


def create_and_kill(folder: Path, *, stride: int, times: int) -> tuple[int, int]:
    command = [sys.executable, str(CREATION), str(folder), str(stride), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    steps, ledgers = map(int, done.stdout.split())
    return steps, ledgers


def test_a_creation_killed_at_any_step_can_be_repeated(tmp_path: Path) -> None:
    steps, ledgers = create_and_kill(tmp_path, stride=3, times=3)
    assert steps > 40
    assert 0 < ledgers < steps, "some steps come before the folder is a ledger, and some after"


@pytest.mark.soak
def test_a_creation_killed_at_any_time_can_be_repeated(tmp_path: Path) -> None:
    create_and_kill(tmp_path, stride=1, times=300)

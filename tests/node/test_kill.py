"""A node that is killed, or told to stop, under load: every write that was answered with 201 is there afterwards."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.node.load import Acknowledged, Connection, Writers
from tests.running import start_node

from scribe_ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.http, pytest.mark.no_cover]

CONNECTIONS = 64


def check(folder: Path, acknowledged: list[Acknowledged]) -> None:
    """All of it, from the ledger itself: nothing between it and the disk may help."""
    with Ledger.open(folder) as ledger:
        entries = {entry.index: (entry.key.decode(), entry.version) for entry in ledger.log()}
        assert sorted(entries) == list(range(len(entries)))
        assert [done for done in acknowledged if entries.get(done.index) != (done.key, done.version)] == []
        assert [done for done in acknowledged if ledger.get(done.key) != done.value] == []
        report = ledger.verify()
        assert report.ok, report.problems[:5]


def survive(folder: Path, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[Acknowledged] = []
    for number in range(rounds):
        node = start_node(folder, "-l", "warn")
        with node:
            for done in chance.sample(acknowledged, min(50, len(acknowledged))):
                with Connection(node.port) as connection:
                    assert connection.request("GET", f"/{done.key}") == (200, done.value)
            writers = Writers(node.port, CONNECTIONS, f"{seed}-{number}")
            writers.wait_for(chance.randrange(CONNECTIONS, 4000))
            node.kill()
            writers.join()
        assert writers.refused == []
        acknowledged += writers.acknowledged
        check(folder, acknowledged)
    assert len(acknowledged) > rounds * CONNECTIONS


def test_a_kill_under_load_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    survive(tmp_path / "data", rounds=3, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills_under_load_lose_nothing_that_was_answered(tmp_path: Path, seed: int) -> None:
    survive(tmp_path / "data", rounds=15, seed=seed)


def test_a_stop_under_load_answers_what_it_accepted(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data", "-l", "warn")
    with node:
        writers = Writers(node.port, CONNECTIONS, "stop")
        writers.wait_for(2000)
        assert node.stop() == 0
        writers.join()
        assert node.log == ""
    check(tmp_path / "data", writers.acknowledged)
    with Ledger.open(tmp_path / "data") as ledger:
        unanswered = ledger.size - len(writers.acknowledged)
    assert unanswered == 0, "what was committed on the way down was answered too"

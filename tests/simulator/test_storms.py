"""Seeded runs of the cluster in bad weather: 208 of them in each run of the suite, thousands in the soak."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.simulator.running import run
from tests.simulator.simulation import Simulation
from tests.simulator.weather import HARSH

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]  # which costs three times the run itself


def _runs(seeds: range, *, harsh: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        counts += run(seed, harsh=harsh)
    return counts


@pytest.mark.parametrize("first", range(0, 104, 13))
def test_mild_storms_break_no_promise(first: int) -> None:
    counts = _runs(range(first, first + 13), harsh=False)
    for what in ("acknowledged", "reads", "unknown", "refused", "crashes", "leaders", "snapshots"):
        assert counts[what] > 0, f"these runs try nothing: {counts}"


@pytest.mark.parametrize("first", range(0, 104, 13))
def test_harsh_storms_break_no_promise(first: int) -> None:
    counts = _runs(range(first, first + 13), harsh=True)
    for what in ("acknowledged", "reads", "unknown", "refused", "crashes", "leaders", "snapshots"):
        assert counts[what] > 0, f"these runs try nothing: {counts}"


def test_members_that_must_not_lead_do_not_and_storms_break_no_promise() -> None:
    counts: Counter[str] = Counter()
    for seed in range(500, 515):
        simulation = Simulation(seed, HARSH._replace(bar_every=1.5))
        simulation.run()
        counts += simulation.counts
    for what in ("acknowledged", "barred", "leaders", "snapshots"):
        assert counts[what] > 0, f"these runs try nothing: {counts}"


@pytest.mark.soak
@pytest.mark.parametrize("harsh", [False, True])
@pytest.mark.parametrize("first", range(1000, 5000, 100))
def test_thousands_of_storms_break_no_promise(first: int, harsh: bool) -> None:
    _runs(range(first, first + 100), harsh=harsh)

"""Runs of the simulator as tests want them: a failure names the command that shows the same run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.planted import PLANTS
from tests.simulator.simulation import Simulation
from tests.simulator.weather import HARSH, MILD
from tests.simulator.world import Violation

if TYPE_CHECKING:
    from collections import Counter


def replay_command(seed: int, *, harsh: bool, plant: str = "") -> str:
    flags = " --harsh" * harsh + f" --plant {plant!r}" * bool(plant)
    return f"python -m tests.simulator --seed {seed}{flags}"


def run(seed: int, *, harsh: bool, plant: str = "") -> Counter[str]:
    """One run, and what happened in it. A ``Violation`` says how to see it again."""
    simulation = Simulation(seed, HARSH if harsh else MILD, PLANTS[plant])
    try:
        simulation.run()
    except Exception as error:
        last = "\n".join(simulation.world.lines)
        command = replay_command(seed, harsh=harsh, plant=plant)
        raise Violation(f"{error}\n\nat the end:\n{last}\n\nthe same run again: {command}") from error
    return simulation.counts

"""``python -m tests.simulator --seed N [--harsh]``: runs one seed again and prints all that happens."""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.simulator.planted import PLANTS
from tests.simulator.simulation import Simulation
from tests.simulator.weather import HARSH, MILD
from tests.simulator.world import Violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from that one on: a line for each")
    parser.add_argument("--harsh", action="store_true", help="30 %% loss, frequent crashes of leaders")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="", help="a bug on purpose")
    parser.add_argument("--digest", action="store_true", help="print nothing but the digest of all that happened")
    parser.add_argument("--outcomes", action="store_true", help="look at outcomes only, not at the disks")
    chosen = parser.parse_args()
    failures = 0
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        show = print if chosen.seeds == 1 and not chosen.digest else None
        weather = HARSH if chosen.harsh else MILD
        simulation = Simulation(seed, weather, PLANTS[chosen.plant], show=show, watches_disks=not chosen.outcomes)
        end = "held"
        try:
            simulation.run()
        except Violation as violation:
            failures += 1
            end = f"VIOLATION {violation}"
            if show:
                traceback.print_exc()
        if chosen.digest:
            print(simulation.world.digest.hexdigest())
        else:
            print(f"seed {seed}: {end} {dict(simulation.counts)} {simulation.world.events} events")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

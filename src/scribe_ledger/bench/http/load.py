"""Rates by wrk: one thread in a process of its own, so many connections, each with one request at a time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.bench.command import NotMeasurable
from scribe_ledger.bench.timing import alternate, measured
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.http.scripts import Script
    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

NODE, LANE = "node", "empty lane"
_SUMMARY = re.compile(r"^\{.*\}$", re.MULTILINE)


class Passed(NamedTuple):
    """One pass."""

    per_second: float
    requests: int
    p50_us: float
    p99_us: float
    cpu_us: float
    """Processor time of the server for one request."""


def find_wrk() -> str:
    path = shutil.which("wrk")
    if path is None:
        raise NotMeasurable("wrk is not on the PATH", hint="`apt install wrk`, or https://github.com/wg/wrk")
    return path


def run_wrk(server: Server, connections: int, script: Script, seconds: int) -> Passed:
    """Loads the server for so long. One request that is refused or gets lost is an error, not a figure."""
    used = server.cpu_seconds()
    done = subprocess.run(  # noqa: S603 - the script is ours
        [find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script()), server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    used = server.cpu_seconds() - used
    found = _SUMMARY.search(done.stdout)
    if done.returncode or found is None:
        raise Unavailable(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    said: dict[str, Any] = json.loads(found[0])
    requests = said["requests"]
    if said["errors"] or not requests:
        raise Unavailable(f"of {requests} requests that wrk sent, {said['errors']} were refused or lost")
    return Passed(requests / said["seconds"], requests, said["p50_us"], said["p99_us"], used / requests * 1e6)


class Loads:
    """Loads that are compared: they run in turns, pass by pass. The first is the figure, the others stand beside it."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._measures: dict[str, Callable[[object], float]] = {}
        self.passes: dict[str, list[Passed]] = {}

    def add(self, name: str, server: Server, connections: int, script: Script, *, each: int = 1) -> None:
        """A load by wrk. ``each`` is how many entries or keys a request stands for."""
        passes = self.passes[name] = []

        def run(_: object) -> float:
            passes.append(run_wrk(server, connections, script, self._scale.pass_seconds))
            return passes[-1].per_second * each

        self._measures[name] = run

    def add_measure(self, name: str, measure: Callable[[], float]) -> None:
        """Anything else in the same unit."""
        self._measures[name] = lambda _: measure()

    def run(self, **details: Any) -> Measured:
        blocks = alternate(self._scale.passes, lambda block: block, self._measures)
        return measured(blocks, next(iter(blocks)), **details, **self._details())

    def requests(self, name: str) -> int:
        """How many were answered in all passes of a load."""
        return sum(passed.requests for passed in self.passes[name])

    def _details(self) -> dict[str, dict[str, float]]:
        """Processor time of the server for one request, and how long an answer took under this load."""
        return {
            "cpu_us_per_request": self._medians("cpu_us"),
            "p50_us": self._medians("p50_us"),
            "p99_us": self._medians("p99_us"),
        }

    def _medians(self, field: str) -> dict[str, float]:
        return {
            name: round(median(getattr(passed, field) for passed in passes), 1) for name, passes in self.passes.items()
        }


def beside(line: Measured, name: str) -> Measured:
    """The same figure as a line of its own, for its ratio to one of those that stand beside it."""
    blocks = {which: line["blocks"][which] for which in (NODE, name)}
    return {"figure": line["figure"], "beside": {name: line["beside"][name]}, "blocks": blocks}


def apart(line: Measured, name: str, *, rest: str) -> Measured:
    """Takes out of a line what stands beside its figure, for a line of its own that has the figure beside it."""
    return {
        "figure": line["beside"].pop(name),
        "beside": {rest: line["figure"]},
        "blocks": {name: line["blocks"].pop(name), rest: line["blocks"][NODE]},
    }

"""Rates by wrk, in a process of its own: a thread a server, so many connections, each with one request at a time."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from scribe_ledger.bench.command import NotMeasurable
from scribe_ledger.bench.timing import alternate, measured
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.bench.http.scripts import Script
    from scribe_ledger.bench.timing import Measured

NODE, LANE = "node", "empty lane"
_SUMMARY = re.compile(r"^\{.*\}$", re.MULTILINE)


class Loaded(Protocol):
    """What a load is sent to: one server, or several that a script spreads it over, with a thread for each."""

    url: str
    threads: int

    def cpu_seconds(self) -> float: ...


class Passes(Protocol):
    """How often each load runs, and for how long."""

    @property
    def passes(self) -> int: ...
    @property
    def pass_seconds(self) -> int: ...


class Passed(NamedTuple):
    """One pass."""

    per_second: float
    requests: int
    p50_us: float
    p99_us: float
    cpu_us: float
    """Processor time of the server for one request."""
    generator_us: float
    """Processor time of wrk for one request: it shares the machine with the server."""


def find_wrk() -> str:
    path = shutil.which("wrk")
    if path is None:
        raise NotMeasurable("wrk is not on the PATH", hint="`apt install wrk`, or https://github.com/wg/wrk")
    return path


def run_wrk(server: Loaded, connections: int, script: Script, seconds: int) -> Passed:
    """Loads the server for so long. One request that is refused or gets lost is an error, not a figure."""
    used, generator = server.cpu_seconds(), _children_seconds()
    done = subprocess.run(  # noqa: S603 - the script is ours
        [find_wrk(), f"-t{server.threads}", f"-c{connections}", f"-d{seconds}s", "-s", str(script()), server.url],
        capture_output=True,
        text=True,
        check=False,
    )
    used, generator = server.cpu_seconds() - used, _children_seconds() - generator
    found = _SUMMARY.search(done.stdout)
    if done.returncode or found is None:
        raise Unavailable(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    said: dict[str, Any] = json.loads(found[0])
    requests = said["requests"]
    if said["errors"] or not requests:
        raise Unavailable(f"of {requests} requests that wrk sent, {said['errors']} were refused or lost")
    per_second, costs = requests / said["seconds"], (used / requests * 1e6, generator / requests * 1e6)
    return Passed(per_second, requests, said["p50_us"], said["p99_us"], *costs)


def _children_seconds() -> float:
    """Processor time of all children that have ended: between two calls, that of wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Loads:
    """Loads that are compared: they run in turns, pass by pass. The first is the figure, the others stand beside it."""

    def __init__(self, scale: Passes) -> None:
        self._scale = scale
        self._measures: dict[str, Callable[[object], float]] = {}
        self.passes: dict[str, list[Passed]] = {}

    def add(self, name: str, server: Loaded, connections: int, script: Script, *, each: int = 1) -> None:
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
            "generator_us_per_request": self._medians("generator_us"),
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
    blocks = line["blocks"]
    return {
        "figure": line["beside"].pop(name),
        "beside": {rest: line["figure"]},
        "blocks": {name: blocks.pop(name), rest: next(iter(blocks.values()))},
    }

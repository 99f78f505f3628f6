"""The row of a new node: how long it takes to have everything, and what writers notice of it."""

from __future__ import annotations

import threading
from itertools import islice
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.cluster.nodes import PATIENCE_SECONDS, Cluster
from scribe_ledger.bench.http.latency import percentile_ms, unique_puts
from scribe_ledger.bench.http.load import run_wrk
from scribe_ledger.bench.http.pacing import pace
from scribe_ledger.bench.http.scale import fill
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.bench.cluster.nodes import Node
    from scribe_ledger.bench.cluster.scale import Scale
    from scribe_ledger.bench.timing import Measured

CONNECTIONS = 64
MEANWHILE, WITHOUT = "meanwhile", "without"
_BLOCK_SECONDS = 2
_LOOK_SECONDS = 0.05


def join(work: Path, scale: Scale) -> dict[str, Measured]:
    """A fourth node joins a cluster with many entries, while the leader is sent puts at half the rate it can take."""
    with Cluster(work, 4) as cluster:
        *members, new = cluster.nodes
        members[0].folder.parent.mkdir(exist_ok=True)
        fill(members[0].folder, scale.entries)
        members[0].start("--bootstrap")
        cluster.start(members[1:])
        peak = run_wrk(cluster.leader(), CONNECTIONS, Scripts(work).put(), scale.pass_seconds).per_second
        load = _Foreground(cluster.leader(), peak / 2)
        begun = perf_counter()
        without = load.run(lambda: perf_counter() - begun > scale.harm_seconds)
        newcomer = _Newcomer(cluster, new)
        newcomer.start()
        meanwhile = load.run(lambda: not newcomer.is_alive())
        newcomer.join()
        if newcomer.failure is not None:
            raise newcomer.failure
    blocks = {MEANWHILE: meanwhile.rates, WITHOUT: without.rates}
    shown = {name: block.shown() for name, block in ((MEANWHILE, meanwhile), (WITHOUT, without))}
    beside = {WITHOUT: without.per_second}
    details: dict[str, Any] = {"entries": newcomer.entries, "entries_there_after_s": round(newcomer.filled, 2)}
    harm = {"peak_per_second": round(peak), "asked_per_second": round(peak / 2), **shown}
    return {
        "join": {"figure": newcomer.seconds, "beside": {}, "details": details},
        "join.harm": {"figure": meanwhile.per_second, "beside": beside, "blocks": blocks, "details": harm},
    }


class _Newcomer(threading.Thread):
    """Starts a node and waits until it has what the others had then, and is a voter."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        super().__init__(name="bench-newcomer")
        self._cluster, self._node = cluster, node
        self.entries = cluster.leader().entries
        self.filled = self.seconds = 0.0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001  # the thread that started it raises it
            self.failure = error

    def _run(self) -> None:
        begun = perf_counter()
        self._node.start()
        self._wait(lambda: self._node.entries >= self.entries, begun)
        self.filled = perf_counter() - begun
        self._wait(lambda: self._node.node_id in self._cluster.voters(self._node), begun)
        self.seconds = perf_counter() - begun

    def _wait(self, condition: Callable[[], bool], begun: float) -> None:
        while not condition():
            if perf_counter() - begun > PATIENCE_SECONDS or not self._node.running:
                raise Unavailable(f"the new node did not catch up: {self._node.said}")
            sleep(_LOOK_SECONDS)  # asking costs it time, too


class _Blocks:
    """What writers saw, block by block."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.waits: list[float] = []
        self._requests, self._seconds = 0, 0.0

    def add(self, per_second: float, waits: list[float]) -> None:
        self.rates.append(per_second)
        self.waits += waits
        self._requests += len(waits)
        self._seconds += len(waits) / per_second

    @property
    def per_second(self) -> float:
        return self._requests / self._seconds

    def shown(self) -> dict[str, float]:
        return {f"p{percent}_ms": round(percentile_ms(self.waits, percent), 2) for percent in (50, 99)}


class _Foreground:
    """Puts that fall due at a rate, in blocks."""

    def __init__(self, node: Node, per_second: float) -> None:
        self._port, self._rate = node.port, per_second
        self._puts: Iterator[bytes] = unique_puts()

    def run(self, ended: Callable[[], bool]) -> _Blocks:
        """At least one block, and more until it is over."""
        blocks = _Blocks()
        while not blocks.rates or not ended():
            prepared = list(islice(self._puts, int(self._rate * _BLOCK_SECONDS)))
            load = pace(self._port, CONNECTIONS, self._rate, prepared)
            blocks.add(load.per_second, load.waits)
        return blocks

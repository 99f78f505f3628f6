"""Rows that read from all nodes at once: linearizable, which asks the leader, and stale, which does not."""

from __future__ import annotations

from functools import partial
from itertools import islice
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.cluster.etcd import ETCD, etcd_beside
from scribe_ledger.bench.cluster.filling import STALE, fill
from scribe_ledger.bench.cluster.nodes import Cluster
from scribe_ledger.bench.cluster.spread import Spread
from scribe_ledger.bench.cluster.writing import SPREAD
from scribe_ledger.bench.http.latency import percentile_ms
from scribe_ledger.bench.http.load import LANE, Loads
from scribe_ledger.bench.http.pacing import pace
from scribe_ledger.bench.http.scripts import KEYS_A_CALL, Scripts
from scribe_ledger.bench.http.servers import start_lane
from scribe_ledger.bench.http.wire import request
from scribe_ledger.bench.workload import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scribe_ledger.bench.cluster.scale import Scale
    from scribe_ledger.bench.timing import Measured

CONNECTIONS = 64
CALLERS = 16
"""Connections that ask for many keys."""
PART_OF_PEAK = {"get": 1 / 2, "stale": 1 / 4}
QUERIES = {"get": "", "stale": STALE}


def get(work: Path, scale: Scale) -> dict[str, Measured]:
    return _read(work, scale, "get")


def stale(work: Path, scale: Scale) -> dict[str, Measured]:
    return _read(work, scale, "stale")


def _read(work: Path, scale: Scale, row: str) -> dict[str, Measured]:
    """One key a request and fifty, as fast as it goes; then one key a request at a part of that rate."""
    query = QUERIES[row]
    with Cluster(work) as cluster, start_lane(work) as lane, etcd_beside(work) as etcd:
        cluster.start()
        keys = fill(cluster, scale.cached)
        scripts, spread = Scripts(work), Spread(cluster.nodes)
        one, many = Loads(scale), Loads(scale)
        single = scripts.get(drawn(keys, 5 * len(keys), Random(1)), after=query)
        several = scripts.get_many(keys, query=query)
        one.add(SPREAD, spread, CONNECTIONS, spread.script(single))
        one.add(LANE, lane, CONNECTIONS, single)
        if etcd is not None:
            seconds = scale.pass_seconds
            one.add_measure(ETCD, lambda: etcd.read(CONNECTIONS, seconds, linearizable=row == "get"))
        many.add(SPREAD, spread, CALLERS, spread.script(several), each=KEYS_A_CALL)
        many.add(LANE, lane, CALLERS, several, each=KEYS_A_CALL)
        lines = {row: one.run(keys=len(keys)), f"{row}.many": many.run(connections=CALLERS)}
        asked = lines[row]["figure"] * PART_OF_PEAK[row]
        ports = [node.port for node in cluster.nodes]
        lines[f"{row}.p99"] = _paced(ports, lane.port, asked, keys, query, scale)
    return lines


def _paced(ports: Sequence[int], lane: int, asked: float, keys: list[str], query: str, scale: Scale) -> Measured:
    """The 99th percentile in milliseconds, counted from when a request was due."""
    requests = (request("GET", f"/{key}{query}") for key in iter(partial(Random(2).choice, keys), None))
    blocks: dict[str, list[float]] = {SPREAD: [], LANE: []}
    details: dict[str, Any] = {"asked_per_second": round(asked)}
    for _ in range(scale.passes):
        prepared = list(islice(requests, max(int(asked * scale.pass_seconds), 100)))
        for name, where in ((SPREAD, ports), (LANE, [lane])):
            load = pace(where, CONNECTIONS, asked, prepared)
            blocks[name].append(percentile_ms(load.waits, 99))
            details[name] = {  # of the last pass
                "per_second": round(load.per_second),
                "p50_ms": round(percentile_ms(load.waits, 50), 3),
                "p99_late_ms": round(percentile_ms(load.late, 99), 3),
            }
    beside = {LANE: median(blocks[LANE])}
    return {"figure": median(blocks[SPREAD]), "beside": beside, "blocks": blocks, "details": details}

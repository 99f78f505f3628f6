"""Rows that write: puts through the leader and through all nodes, batches, and one put after another."""

from __future__ import annotations

from functools import partial
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.cluster.bare import ENGINE, BareEngine
from scribe_ledger.bench.cluster.etcd import ETCD, Etcd, etcd_beside
from scribe_ledger.bench.cluster.nodes import Cluster
from scribe_ledger.bench.cluster.profiles import profiles
from scribe_ledger.bench.cluster.spread import Spread, Together
from scribe_ledger.bench.cluster.targets import CONNECTIONS
from scribe_ledger.bench.engines import GrowingFile
from scribe_ledger.bench.host import SYNCED_BYTES
from scribe_ledger.bench.http.latency import median_ms, unique_puts
from scribe_ledger.bench.http.load import Loads, apart
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.bench.http.wire import Connection
from scribe_ledger.bench.http.writing import SYNCS, syncs
from scribe_ledger.bench.timing import alternate, measured
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.bench.cluster.nodes import Node
    from scribe_ledger.bench.cluster.scale import Scale
    from scribe_ledger.bench.timing import Measured

LEADER, SPREAD = "through the leader", "over all nodes"
BATCH, WRITERS = 100, 16
"""Puts of a batch, and connections that send batches."""


def put(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """PUT of unique keys, through the leader and spread over all, in turns with the bare engine and the bare disk."""
    lines: dict[str, Measured] = {}
    sent = 0
    with (
        Cluster(work, profile=profile) as cluster,
        BareEngine(work, tuple(CONNECTIONS)) as engine,
        GrowingFile(work / "appends") as file,
        etcd_beside(work) as etcd,
    ):
        cluster.start()
        scripts = Scripts(work)
        for connections in CONNECTIONS:
            loads = Loads(scale)
            lines |= _puts(loads, scripts, cluster, connections, scale.pass_seconds, engine, file, etcd)
            sent += loads.requests(LEADER) + loads.requests(SPREAD)
            if profile:
                found, more = profiles(cluster, connections, scripts.put(), scale.pass_seconds)
                lines[f"put.{connections}"]["details"] |= found
                sent += more
        _check_written(cluster, sent)
    return lines


def _puts(
    loads: Loads,
    scripts: Scripts,
    cluster: Cluster,
    connections: int,
    seconds: int,
    engine: BareEngine,
    file: GrowingFile,
    etcd: Etcd | None,
) -> dict[str, Measured]:
    """The lines of so many connections."""
    leader, spread = Together(cluster.leader(), cluster.nodes), Spread(cluster.nodes)
    loads.add(LEADER, leader, connections, scripts.put())
    loads.add(SPREAD, spread, connections, spread.script(scripts.put()))
    loads.add_measure(ENGINE, partial(engine.run, connections, seconds))
    loads.add_measure(SYNCS, partial(syncs, file))
    if etcd is not None:
        loads.add_measure(ETCD, partial(etcd.put, connections, seconds))
    line = loads.run()
    name = f"put.{connections}"
    lines = {f"{name}.spread": apart(line, SPREAD, rest=LEADER)}
    line["details"]["cpu_us_by_node"] = leader.shares(loads.requests(LEADER))
    line["details"]["bare_engine"] = {
        what: round(median(passed[what] for passed in engine.passes[connections]), 1)
        for what in ("p50_us", "p99_us", "cpu_us")
    }
    for percentile in ("p50", "p99"):
        waited = [getattr(passed, f"{percentile}_us") / 1000 for passed in loads.passes[LEADER]]
        lines[f"{name}.{percentile}"] = {"figure": median(waited), "beside": {}, "blocks": {LEADER: waited}}
    return {**lines, name: line}


def batch(work: Path, scale: Scale, *, profile: bool) -> dict[str, Measured]:
    """Batches through the leader, each answered when all of it is committed; beside them, spread over all nodes."""
    with Cluster(work, profile=profile) as cluster:
        cluster.start()
        loads, scripts, spread = Loads(scale), Scripts(work), Spread(cluster.nodes)
        loads.add(LEADER, Together(cluster.leader(), cluster.nodes), WRITERS, scripts.batch(BATCH), each=BATCH)
        loads.add(SPREAD, spread, WRITERS, spread.script(scripts.batch(BATCH)), each=BATCH)
        line = loads.run(connections=WRITERS)
        sent = loads.requests(LEADER) + loads.requests(SPREAD)
        if profile:
            found, more = profiles(cluster, WRITERS, scripts.batch(BATCH), scale.pass_seconds, each=BATCH)
            line["details"] |= found
            sent += more
        _check_written(cluster, sent * BATCH)
    return {"batch": line}


def one_by_one(work: Path, scale: Scale) -> dict[str, Measured]:
    """One connection to the leader that puts, waits, and puts again; beside it, one to a follower."""
    requests = unique_puts()
    with Cluster(work) as cluster, GrowingFile(work / "appends") as file, etcd_beside(work) as etcd:
        cluster.start()
        leader, follower = cluster.leader(), cluster.followers()[0]
        with Connection(leader.port) as first, Connection(follower.port) as second:
            measures: dict[str, Callable[[list[bytes]], float]] = {
                LEADER: lambda sent: median_ms(first.exchange, sent[: scale.singles]),
                "through a follower": lambda sent: median_ms(second.exchange, sent[scale.singles :]),
                SYNCS: lambda sent: median_ms(file.append, [bytes(SYNCED_BYTES)] * scale.singles),
            }
            if etcd is not None:
                measures[ETCD] = lambda _: etcd.one_put(scale.singles)
            blocks = alternate(scale.passes, lambda _: list(islice(requests, 2 * scale.singles)), measures)
    return {"one": measured(blocks, LEADER)}


def _check_written(cluster: Cluster, least: int) -> None:
    """Every request that was answered must have become an entry, on every node."""

    def short() -> list[Node]:
        return [node for node in cluster.nodes if node.entries < least]

    cluster.wait(lambda: not short(), f"{least} entries on every node, as many as were acknowledged")
    sizes: dict[int, Any] = {node.node_id: node.entries for node in cluster.nodes}
    if len(set(sizes.values())) != 1:
        raise Corruption(f"nodes at rest have different numbers of entries: {sizes}")

"""Rows about time until a write is acknowledged: after three processes started, and after the leader was killed."""

from __future__ import annotations

import shutil
from itertools import count, cycle
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from scribe_ledger.bench.cluster.nodes import PATIENCE_SECONDS, Cluster, bytecode
from scribe_ledger.bench.http.servers import start_node
from scribe_ledger.bench.http.wire import Connection, request
from scribe_ledger.errors import Corruption, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scribe_ledger.bench.cluster.nodes import Node
    from scribe_ledger.bench.cluster.scale import Scale
    from scribe_ledger.bench.timing import Measured

ALONE = "a node that stands alone"
FORMED = "three processes"
KILLED = "leader killed"
_VALUE = b"v" * 128
_AGAIN_SECONDS = 0.005
_TRY_SECONDS = 10.0


def start(work: Path, scale: Scale) -> dict[str, Measured]:
    """Three processes on new folders, told nothing but their seeds, from their start until one acknowledges a put."""
    seconds: dict[str, list[float]] = {FORMED: [], ALONE: []}
    _form(work)  # which leaves compiled modules, as an installation does
    for number in range(scale.starts):
        seconds[FORMED].append(_form(work))
        seconds[ALONE].append(_start_alone(work / f"alone-{number}", bytecode(work)))
    beside = {ALONE: median(seconds[ALONE])}
    return {"start": {"figure": median(seconds[FORMED]), "beside": beside, "blocks": seconds}}


def _form(folder: Path) -> float:
    """Seconds until the first put; of what is in the folder only the compiled modules stay."""
    with Cluster(folder) as cluster:
        for node in cluster.nodes:
            shutil.rmtree(node.folder, ignore_errors=True)
        begun = perf_counter()
        for node in cluster.nodes:
            node.start()
        put_somewhere(cluster.nodes, "first")
        seconds = perf_counter() - begun
        cluster.wait_until_formed()
    return seconds


def _start_alone(folder: Path, settings: dict[str, str]) -> float:
    begun = perf_counter()
    with start_node(folder, **settings) as alone, Connection(alone.port) as connection:
        connection.exchange(request("PUT", "/first", _VALUE))
        return perf_counter() - begun


def kill(work: Path, scale: Scale) -> dict[str, Measured]:
    """SIGKILL of the leader, and from then until a node that is left acknowledges the next put; then it comes back."""
    seconds = []
    with Cluster(work) as cluster:
        cluster.start()
        for number in range(scale.kills):
            leader, others = cluster.leader(), cluster.followers()
            put_somewhere([leader], f"before-{number}")
            begun = perf_counter()
            leader.kill()
            put_somewhere(others, f"after-{number}")
            seconds.append(perf_counter() - begun)
            leader.start()
            cluster.wait_until_formed()
        _check_kept(cluster, scale.kills)
    blocks = {KILLED: seconds}
    return {
        "kill": {"figure": median(seconds), "beside": {}, "blocks": blocks, "details": {"rounds": len(seconds)}},
        "kill.worst": {"figure": max(seconds), "beside": {}, "blocks": blocks},
    }


def put_somewhere(nodes: Sequence[Node], key: str) -> None:
    """Puts, at one node after another, until one has acknowledged it."""
    until = perf_counter() + PATIENCE_SECONDS
    for node in cycle(nodes):
        if node.ask(f"/{key}", "PUT", _VALUE, seconds=_TRY_SECONDS) is not None:
            return
        if perf_counter() > until:
            raise Unavailable(f"no put was acknowledged within {PATIENCE_SECONDS:g} s: {node.said}")
        sleep(_AGAIN_SECONDS)


def _check_kept(cluster: Cluster, rounds: int) -> None:
    """What was acknowledged on either side of a kill must be on every node."""
    for node in cluster.nodes:
        with Connection(node.port) as connection:
            for when, number in zip(cycle(("before", "after")), count(), strict=False):
                if number == 2 * rounds:
                    break
                if connection.exchange(request("GET", f"/{when}-{number // 2}")) != _VALUE:
                    raise Corruption(f"node {node.node_id} lost a put that was acknowledged")

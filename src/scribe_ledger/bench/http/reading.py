"""Rows that read one key a request: from the cache, and from the store."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from scribe_ledger.bench.http.load import LANE, NODE, Loads, beside
from scribe_ledger.bench.http.scale import drawn_keys, fill
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.bench.http.servers import ACCESS_LOG, UNCACHED, start_lane, start_node
from scribe_ledger.bench.http.wire import read_all
from scribe_ledger.bench.http.writing import WITH_LOG
from scribe_ledger.bench.workload import drawn, keys_of

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.timing import Measured

CONNECTIONS = 64


def get(work: Path, scale: Scale) -> dict[str, Measured]:
    """GET of keys whose answers are in the cache, drawn at random."""
    for name in ("node", "logging"):
        fill(work / name, scale.cached)
    keys = keys_of(scale.cached)
    with (
        start_node(work / "node") as node,
        start_node(work / "logging", **ACCESS_LOG) as logging,
        start_lane(work) as lane,
    ):
        for server in (node, logging):
            read_all(server, keys, proof=False)
        script = Scripts(work).get(drawn(keys, 5 * len(keys), Random(1)))
        loads = Loads(scale)
        for name, server in ((NODE, node), (LANE, lane), (WITH_LOG, logging)):
            loads.add(name, server, CONNECTIONS, script)
        line = loads.run(keys=len(keys))
    return {"get": line, "get.lane": beside(line, LANE)}


def uncached(work: Path, big: Path, scale: Scale) -> dict[str, Measured]:
    """GET of keys of the large ledger from a node without a cache, whose engine has read all their blocks before."""
    keys = drawn_keys(scale.entries)
    with start_node(big, **UNCACHED) as node, start_lane(work) as lane:
        read_all(node, keys, proof=False)
        script = Scripts(work).get(keys)
        loads = Loads(scale)
        for name, server in ((NODE, node), (LANE, lane)):
            loads.add(name, server, CONNECTIONS, script)
        line = loads.run(keys=len(keys))
    return {"uncached": line}

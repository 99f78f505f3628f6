"""Rows that write: one key a request from many connections, and batches."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from scribe_ledger.bench.engines import GrowingFile
from scribe_ledger.bench.host import SYNCED_BYTES
from scribe_ledger.bench.http.load import LANE, NODE, Loads, apart
from scribe_ledger.bench.http.scale import fill
from scribe_ledger.bench.http.scripts import KEYS_A_CALL, Scripts
from scribe_ledger.bench.http.servers import ACCESS_LOG, start_lane, start_node
from scribe_ledger.bench.http.targets import CONNECTIONS
from scribe_ledger.bench.http.wire import Connection, read_all, request
from scribe_ledger.bench.timing import rate
from scribe_ledger.bench.workload import BATCH, keys_of
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

SYNCS = "growing file, append and fdatasync"
WITH_ID, WITHOUT_ID = "with Idempotency-Key", "without"
WITH_LOG = "with access log"
LOGGED = 64
"""The number of connections at which the price of access lines is measured."""
WRITERS, READERS = 4, 16
"""Connections that send batches, and that ask for many keys."""
_SYNCS = 300


def put(work: Path, scale: Scale) -> dict[str, Measured]:
    """PUT of unique keys, with and without an ``Idempotency-Key``, all loads of as many connections in turns."""
    lines: dict[str, Measured] = {}
    with (
        start_node(work / "node") as node,
        start_node(work / "logging", **ACCESS_LOG) as logging,
        start_lane(work) as lane,
        GrowingFile(work / "appends") as file,
    ):
        scripts = Scripts(work)
        plain, with_id = scripts.put(), scripts.put(with_id=True)
        sent = 0
        for connections in CONNECTIONS:
            loads = Loads(scale)
            loads.add(NODE, node, connections, plain)
            loads.add(LANE, lane, connections, plain)
            loads.add_measure(SYNCS, partial(syncs, file))
            loads.add(WITH_ID, node, connections, with_id)
            if connections == LOGGED:
                loads.add(WITH_LOG, logging, connections, plain)
            line = loads.run()
            lines[f"put.{connections}.id"] = apart(line, WITH_ID, rest=WITHOUT_ID)
            lines[f"put.{connections}"] = line
            sent += loads.requests(NODE) + loads.requests(WITH_ID)
        _check_written(node, sent)
    return lines


def batch(work: Path, scale: Scale) -> dict[str, Measured]:
    """Many puts a request, each request synced, and many keys a request, whose answers are in the cache."""
    fill(work / "node", scale.cached)
    keys, scripts = keys_of(scale.cached), Scripts(work)
    puts, gets = scripts.batch(), scripts.get_many(keys)
    with start_node(work / "node") as node, start_lane(work) as lane:
        write, get = Loads(scale), Loads(scale)
        for name, server in ((NODE, node), (LANE, lane)):
            write.add(name, server, WRITERS, puts, each=BATCH)
            get.add(name, server, READERS, gets, each=KEYS_A_CALL)
        written = write.run(connections=WRITERS)
        _check_written(node, scale.cached + write.requests(NODE) * BATCH)
        read_all(node, keys, proof=False)
        return {"batch.write": written, "batch.get": get.run(connections=READERS)}


def syncs(file: GrowingFile) -> float:
    """What the disk can do: synced appends a second."""
    data = bytes(SYNCED_BYTES)

    def append() -> None:
        for _ in range(_SYNCS):
            file.append(data)

    return rate(_SYNCS, append)


def _check_written(node: Server, least: int) -> None:
    """Every request that was answered must have become an entry."""
    with Connection(node.port) as connection:
        entries = json.loads(connection.exchange(request("GET", "/v1/stats")))["entries"]
    if entries < least:
        raise Corruption(f"{least} puts were answered, and the node has {entries} entries")

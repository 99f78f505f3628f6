"""Rows about the process: its start after a kill, its memory then, and what connections cost that do nothing."""

from __future__ import annotations

import json
import resource
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from scribe_ledger.bench.command import NotMeasurable
from scribe_ledger.bench.http.load import LANE, NODE
from scribe_ledger.bench.http.servers import start_lane, start_node
from scribe_ledger.bench.http.wire import Connection, request
from scribe_ledger.bench.workload import VALUE_BYTES, batches_in, keys_of_batch
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

SPARE_FILES = 100
_AFTERWARDS = 1 << 40
"""Numbers of batches that the large ledger does not reach."""


def start(work: Path, big: Path, scale: Scale) -> dict[str, Measured]:
    """From the start of the process to the first value, of the large ledger, whose node was killed after writing."""
    seconds: dict[str, list[float]] = {NODE: [], LANE: []}
    memory = []
    first = _AFTERWARDS
    for _ in range(scale.starts):
        with start_node(big) as node:
            first += _write_and_kill(node, first, scale.unsettled)
        started = perf_counter()
        with start_node(big) as node:
            answer = _get(node, f"/{keys_of_batch(0)[0]}")
            seconds[NODE].append(perf_counter() - started)
            memory.append(node.memory_mib()[0])
            if len(answer) != VALUE_BYTES or len(_get(node, f"/{keys_of_batch(first - 1)[-1]}")) != VALUE_BYTES:
                raise Corruption("a value that was acknowledged before the kill is not there")
        started = perf_counter()
        with start_lane(work) as lane:
            _get(lane, "/")
            seconds[LANE].append(perf_counter() - started)
    return {
        "start.answer": {
            "figure": median(seconds[NODE]),
            "beside": {LANE: median(seconds[LANE])},
            "blocks": seconds,
            "details": {"written_before_the_kill": scale.unsettled},
        },
        "start.memory": {"figure": median(memory), "beside": {}, "blocks": {NODE: memory}},
    }


def idle(work: Path, scale: Scale) -> dict[str, Measured]:
    """What a node's memory grows by for connections that have had one answer each and rest."""
    _allow_files(scale.idle + SPARE_FILES)
    with start_node(work / "node") as node, ExitStack() as opened:
        with Connection(node.port) as connection:
            for _ in range(100):  # what the first requests load is not the connections' cost
                connection.exchange(request("GET", "/health/live"))
        before, _ = node.memory_mib()
        for _ in range(scale.idle):
            connection = opened.enter_context(Connection(node.port))
            connection.exchange(request("GET", "/health/live"))
        after, _ = node.memory_mib()
        opened.close()
    gained = after - before
    details = {"connections": scale.idle, "kib_each": round(gained * 1024 / scale.idle, 1), "mib_before": before}
    return {"idle": {"figure": gained, "beside": {}, "details": details}}


def _write_and_kill(node: Server, first: int, entries: int) -> int:
    """Writes batches, each acknowledged, then kills the node; how many batches."""
    count = batches_in(entries)
    value = "A" * (VALUE_BYTES * 4 // 3) + "A="  # base64 of as many zero bytes
    with Connection(node.port) as connection:
        for number in range(first, first + count):
            operations = [{"op": "put", "key": key, "value_base64": value} for key in keys_of_batch(number)]
            body = json.dumps({"operations": operations}).encode()
            connection.exchange(request("POST", "/v1/batch", body, "Content-Type: application/json"))
        node.kill()
    return count


def _get(server: Server, path: str) -> bytes:
    with Connection(server.port) as connection:
        return connection.exchange(request("GET", path))


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and hard < wanted:
        raise NotMeasurable(f"a process may have {hard} files open here, and this needs {wanted}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

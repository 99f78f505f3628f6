"""The row of waiting: at half the peak rate, by an open-loop load, and one put after another on one connection."""

from __future__ import annotations

import os
from functools import partial
from itertools import count, islice
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.engines import GrowingFile
from scribe_ledger.bench.host import SYNCED_BYTES
from scribe_ledger.bench.http.load import LANE, NODE, run_wrk
from scribe_ledger.bench.http.pacing import pace
from scribe_ledger.bench.http.scale import fill
from scribe_ledger.bench.http.scripts import Scripts
from scribe_ledger.bench.http.servers import start_lane, start_node
from scribe_ledger.bench.http.wire import Connection, read_all, request
from scribe_ledger.bench.http.writing import SYNCS
from scribe_ledger.bench.timing import alternate, measured
from scribe_ledger.bench.workload import VALUE_BYTES, drawn, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.bench.http.scale import Scale
    from scribe_ledger.bench.http.servers import Server
    from scribe_ledger.bench.timing import Measured

CONNECTIONS = 64


def paced(work: Path, scale: Scale) -> dict[str, Measured]:
    """PUT and GET at half the rate that wrk reaches with as many connections, just before."""
    fill(work / "node", scale.cached)
    keys, random = keys_of(scale.cached), Random(2)
    scripts, puts = Scripts(work), unique_puts()
    with start_node(work / "node") as node, start_lane(work) as lane:
        read_all(node, keys, proof=False)
        peak_put = run_wrk(node, CONNECTIONS, scripts.put(), scale.pass_seconds).per_second
        peak_get = run_wrk(
            node, CONNECTIONS, scripts.get(drawn(keys, len(keys), random)), scale.pass_seconds
        ).per_second
        gets = (request("GET", f"/{key}") for key in iter(partial(random.choice, keys), None))
        return {
            "latency.put": _at_half(peak_put, puts, node, lane, scale),
            "latency.get": _at_half(peak_get, gets, node, lane, scale),
        }


def one_by_one(work: Path, scale: Scale) -> dict[str, Measured]:
    """One connection that puts, waits, and puts again; the median in milliseconds."""
    puts = unique_puts()
    with (
        start_node(work / "node") as node,
        start_lane(work) as lane,
        Connection(node.port) as connection,
        Connection(lane.port) as other,
        GrowingFile(work / "appends") as file,
    ):
        blocks = alternate(
            scale.passes,
            lambda _: list(islice(puts, scale.singles)),
            {
                NODE: lambda requests: median_ms(connection.exchange, requests),
                LANE: lambda requests: median_ms(other.exchange, requests),
                SYNCS: lambda requests: median_ms(file.append, [bytes(SYNCED_BYTES)] * len(requests)),
            },
        )
    return {"latency.one": measured(blocks, NODE)}


def _at_half(peak: float, requests: Iterator[bytes], node: Server, lane: Server, scale: Scale) -> Measured:
    """The 99th percentile in milliseconds, counted from when a request was due."""
    rate = peak / 2
    seen: dict[str, dict[str, list[float]]] = {NODE: {}, LANE: {}}

    def measure(name: str, server: Server) -> Callable[[list[bytes]], float]:
        def run(prepared: list[bytes]) -> float:
            load = pace(server.port, CONNECTIONS, rate, prepared)
            shown = {
                "per_second": load.per_second,
                "p50_ms": percentile_ms(load.waits, 50),
                "p99_ms": percentile_ms(load.waits, 99),
                "p99.9_ms": percentile_ms(load.waits, 99.9),
                "p99_late_ms": percentile_ms(load.late, 99),
            }
            for what, figure in shown.items():
                seen[name].setdefault(what, []).append(figure)
            return shown["p99_ms"]

        return run

    blocks = alternate(
        scale.passes,
        lambda _: list(islice(requests, int(rate * scale.pass_seconds))),
        {NODE: measure(NODE, node), LANE: measure(LANE, lane)},
    )
    details: dict[str, Any] = {
        name: {what: round(median(figures), 3) for what, figures in shown.items()} for name, shown in seen.items()
    }
    return measured(blocks, NODE, peak_per_second=round(peak), asked_per_second=round(rate), **details)


def unique_puts() -> Iterator[bytes]:
    """Puts of unique keys, without end."""
    values = [os.urandom(VALUE_BYTES) for _ in range(1000)]
    for number in count():
        yield request("PUT", f"/p{number:015x}", values[number % len(values)])


def median_ms(exchange: Callable[[bytes], object], requests: list[bytes]) -> float:
    seconds = []
    for sent in requests:
        started = perf_counter()
        exchange(sent)
        seconds.append(perf_counter() - started)
    return median(seconds) * 1000


def percentile_ms(seconds: list[float], percent: float) -> float:
    return quantiles(seconds, n=1000, method="inclusive")[round(percent * 10) - 1] * 1000

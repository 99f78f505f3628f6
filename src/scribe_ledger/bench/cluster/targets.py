"""The lines of the table: what each is called, and what is asked of it on the reference machine of two cores."""

from __future__ import annotations

from scribe_ledger.bench.targets import Line

CONNECTIONS = {16: 6_000, 64: 11_000, 256: 15_000}
"""Connections that put through the leader, and how many puts a second are asked of them."""
LEAST_SPREAD = 0.6
LEAST_WHILE_JOINING = 0.9

LINES = (
    *(
        line
        for count, asked in CONNECTIONS.items()
        for line in (
            Line(f"put.{count}", f"PUT through the leader, {count} connections", "puts/s", asked),
            Line(f"put.{count}.p50", "  p50", "ms"),
            Line(f"put.{count}.p99", "  p99", "ms", 50 if count == max(CONNECTIONS) else None, at_most=True),
            Line(f"put.{count}.spread", "  the same over all nodes", "puts/s", LEAST_SPREAD, None, "ratio"),
        )
    ),
    Line("batch", "POST /v1/batch of 100", "entries/s", 35_000),
    Line("get", "linearizable GET, all nodes, 64 connections", "gets/s", 20_000),
    Line("get.p99", "  p99 at half that rate", "ms", 10, at_most=True),
    Line("get.many", "  POST /v1/get of 50", "keys/s", 100_000),
    Line("stale", "stale GET, all nodes, 64 connections", "gets/s", 45_000),
    Line("stale.p99", "  p99 at a quarter of that rate", "ms", 1, at_most=True),
    Line("stale.many", "  POST /v1/get of 50", "keys/s", 200_000),
    Line("one", "one PUT at a time, p50", "ms", 1, at_most=True),
    Line("start", "three processes to the first write", "s", 2, at_most=True),
    Line("kill", "leader killed to the next write, median", "s", 1.2, at_most=True),
    Line("kill.worst", "  the worst", "s", 2, at_most=True),
    Line("join", "a new node catches up", "s", 20, at_most=True),
    Line("join.harm", "  writes at half the peak meanwhile", "puts/s", LEAST_WHILE_JOINING, None, "ratio"),
)

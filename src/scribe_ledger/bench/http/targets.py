"""The lines of the table: what each is called, and what is asked of it on the reference machine of two cores."""

from __future__ import annotations

from scribe_ledger.bench.targets import Line

CONNECTIONS = {16: 18_000, 64: 25_000, 256: 28_000}
"""Connections that put, and how many puts a second are asked of them."""
LEAST_WITH_ID = 0.85
LEAST_OF_SMALL = 0.8
"""Of the rate on a small ledger, within which the rate on a large one must stay."""

LINES = (
    *(Line(f"put.{count}", f"PUT, {count} connections", "puts/s", asked) for count, asked in CONNECTIONS.items()),
    *(
        Line(f"put.{count}.id", f"  the same with Idempotency-Key, {count}", "puts/s", LEAST_WITH_ID, None, "ratio")
        for count in CONNECTIONS
    ),
    Line("get", "GET of cached keys, 64 connections", "gets/s", 85_000),
    Line("get.lane", "  the same, beside the empty lane", "gets/s", 0.75, None, "ratio"),
    Line("uncached", "GET of uncached keys, 64 connections", "gets/s", 50_000),
    Line("verified.served", "verified GET, served, 16 connections", "gets/s", 10_000),
    Line("verified.served.growth", "  the same, large ledger beside small", "gets/s", LEAST_OF_SMALL, None, "ratio"),
    Line("verified.checked", "verified GET, by one Client", "gets/s", 3_000),
    Line("verified.checked.growth", "  the same, large ledger beside small", "gets/s", LEAST_OF_SMALL, None, "ratio"),
    Line("verified.many", "verified get_many, by one Client", "keys/s", 15_000),
    Line("verified.many.growth", "  the same, large ledger beside small", "keys/s", LEAST_OF_SMALL, None, "ratio"),
    Line("batch.write", "POST /v1/batch of 500", "entries/s", 90_000),
    Line("batch.get", "POST /v1/get of 50", "keys/s", 250_000),
    Line("large.up", "large value, up", "MB/s", 300),
    Line("large.down", "large value, down", "MB/s", 600),
    Line("large.memory", "memory a node gains by it", "MiB", 100, at_most=True),
    Line("latency.put", "PUT at half the peak rate, p99", "ms", 10, at_most=True),
    Line("latency.get", "GET at half the peak rate, p99", "ms", 1, at_most=True),
    Line("latency.one", "one PUT at a time, p50", "ms", 0.25, at_most=True),
    Line("start.answer", "start to first answer after a kill", "s", 1.5, at_most=True),
    Line("start.memory", "memory then", "MiB", 400, at_most=True),
    Line("idle", "memory of idle connections", "MiB"),
)

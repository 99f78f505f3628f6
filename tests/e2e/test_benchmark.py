"""A first look at speed: figures are printed, and only their sanity is asserted. `scribe bench` measures properly."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.client import AsyncClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

VALUE = bytes(128)
CONNECTIONS = 16


async def _measure(name: str, seconds: float, work: Callable[[int], Awaitable[object]]) -> int:
    """How often the work was done by so many at once; printed with its percentiles."""
    until, took = time.perf_counter() + seconds, []

    async def repeat(worker: int) -> None:
        number = worker
        while (begun := time.perf_counter()) < until:
            await work(number)
            took.append(time.perf_counter() - begun)
            number += CONNECTIONS

    await asyncio.gather(*(repeat(worker) for worker in range(CONNECTIONS)))
    took.sort()
    p50, p99 = (1000 * took[int(len(took) * part)] for part in (0.5, 0.99))
    print(f"\n{name}: {len(took) / seconds:,.0f} requests/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms", end="")
    return len(took)


def _run(target: Target, prefix: str, seconds: float) -> None:
    async def run() -> None:
        async with AsyncClient(target.urls, pool_size=CONNECTIONS) as client:
            before = await client.size()
            puts = await _measure(
                f"PUT, {len(VALUE)} B, {CONNECTIONS} at once",
                seconds,
                lambda number: client.put(f"{prefix}/{number}", VALUE),
            )
            assert await client.size() >= before + puts
            reads = await _measure(
                "linearizable GET", seconds, lambda number: client.get(f"{prefix}/{number % CONNECTIONS}")
            )
            stale = await _measure(
                "stale GET",
                seconds,
                lambda number: client.get(f"{prefix}/{number % CONNECTIONS}", consistency="stale"),
            )
            assert min(puts, reads, stale) > CONNECTIONS

    asyncio.run(run())


def test_a_short_run(target: Target, prefix: str) -> None:
    _run(target, prefix, 0.7)


@pytest.mark.soak
def test_a_longer_run(target: Target, prefix: str) -> None:
    _run(target, prefix, 20.0)

"""The beat of a member: what a stall has cost is not made up for."""

from __future__ import annotations

import asyncio
import time

import pytest

from scribe_ledger.consensus.ticking import MAX_AT_ONCE, Ticker

pytestmark = pytest.mark.consensus


def test_a_stall_is_followed_by_a_few_ticks_and_then_by_the_usual_beat() -> None:
    async def stalled() -> tuple[int, int]:
        beats: list[float] = []
        ticker = Ticker(asyncio.get_running_loop(), 0.01, lambda: beats.append(time.monotonic()))
        ticker.start()
        time.sleep(0.5)  # noqa: ASYNC251 - the process did not run
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        at_once = len(beats)
        async with asyncio.timeout(5):
            while len(beats) < at_once + 3:  # noqa: ASYNC110 - the beat is what is looked at
                await asyncio.sleep(0.001)
        ticker.stop()
        return at_once, len(beats)

    at_once, _ = asyncio.run(stalled())
    assert 1 <= at_once <= MAX_AT_ONCE


def test_a_ticker_that_was_stopped_beats_no_more() -> None:
    async def stopped() -> int:
        beats: list[None] = []
        ticker = Ticker(asyncio.get_running_loop(), 0.001, lambda: beats.append(None))
        ticker.start()
        await asyncio.sleep(0.01)
        ticker.stop()
        before = len(beats)
        await asyncio.sleep(0.01)
        return len(beats) - before

    assert asyncio.run(stopped()) == 0

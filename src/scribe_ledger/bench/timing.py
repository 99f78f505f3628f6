"""Timing: alternating blocks, rates, medians.

Blocks of what is compared take turns, and the turns swap their order, so that a machine that slows down for a while
slows both. Nothing is discarded but warm-ups; all blocks stand in the report.
"""

from __future__ import annotations

import gc
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


class Measured(TypedDict):
    """What a job says of one line of the table."""

    figure: float
    beside: dict[str, float]
    """By name, in the same unit, of the same run; the first is the one that the ratio is made with."""
    blocks: NotRequired[dict[str, list[float]]]
    details: NotRequired[dict[str, Any]]


def rate(count: int, work: Callable[[], object]) -> float:
    """How many a second, of one call that does ``count`` of them."""
    started = perf_counter()
    work()
    return count / (perf_counter() - started)


def alternate(
    blocks: int, prepare: Callable[[int], T], measures: Mapping[str, Callable[[T], float]]
) -> dict[str, list[float]]:
    """Runs every measure once a block, on what was prepared for that block, in an order that turns around.

    What is prepared is kept from the garbage collector: a program that holds a block's keys and values as we do
    would otherwise be slowed by our bookkeeping, not by what is measured.
    """
    figures: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for block in range(blocks):
        prepared = prepare(block)
        gc.collect()
        gc.freeze()
        for name in names if block % 2 == 0 else reversed(names):
            figures[name].append(measures[name](prepared))
        del prepared
    gc.unfreeze()
    return figures


def measured(blocks: dict[str, list[float]], figure: str, **details: Any) -> Measured:
    """The line whose figure is the median of one measure's blocks, beside all others of the same run."""
    beside = {name: median(rates) for name, rates in blocks.items() if name != figure}
    return {"figure": median(blocks[figure]), "beside": beside, "blocks": blocks, "details": details}


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """The usual percentiles, in microseconds."""
    if len(seconds) < 2:
        return {}
    cuts = quantiles(seconds, n=100)
    return {"p50_us": round(cuts[49] * 1e6, 1), "p95_us": round(cuts[94] * 1e6, 1), "p99_us": round(cuts[98] * 1e6, 1)}

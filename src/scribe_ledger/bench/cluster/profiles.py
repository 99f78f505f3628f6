"""Where nodes spend their time, from the profiles that they wrote when they stopped. Only their main thread is seen."""

from __future__ import annotations

import pstats
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.phases import PROFILED_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.bench.cluster.nodes import Node


def profiles(nodes: Sequence[Node], requests: int) -> dict[str, list[dict[str, Any]]]:
    """By node, the functions with most time of their own, in microseconds a request. A profile slows Python down."""
    return {f"profile of node {node.node_id}": _functions(node, requests) for node in nodes if node.profile}


def _functions(node: Node, requests: int) -> list[dict[str, Any]]:
    statistics: Any = pstats.Stats(str(node.profile))
    ranked = sorted(statistics.stats.items(), key=lambda item: item[1][2], reverse=True)
    return [
        {
            "own_us": round(own / requests * 1e6, 2),
            "calls": round(calls / requests, 3),
            "function": f"{file.rpartition('scribe_ledger/')[2]}:{line} {name}",
        }
        for (file, line, name), (_, calls, own, _, _) in ranked[:PROFILED_FUNCTIONS]
    ]

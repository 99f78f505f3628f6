"""Where nodes spend their time while a load lasts. A profile slows Python down: compare its shares."""

from __future__ import annotations

import os
import pstats
from typing import TYPE_CHECKING, Any

from scribe_ledger.bench.cluster.profiled import BEGIN, END
from scribe_ledger.bench.http.load import run_wrk
from scribe_ledger.bench.phases import PROFILED_FUNCTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.bench.cluster.nodes import Cluster
    from scribe_ledger.bench.http.scripts import Script


def profiles(
    cluster: Cluster, connections: int, script: Script, seconds: int, *, each: int = 1
) -> tuple[dict[str, Any], int]:
    """Of one pass through the leader: by role, functions with most time of their own, in microseconds an entry; and
    how many requests it had."""
    leader, follower = cluster.leader(), cluster.followers()[0]
    for node in (leader, follower):
        os.kill(node.pid, BEGIN)
    passed = run_wrk(leader, connections, script, seconds)
    for node in (leader, follower):
        os.kill(node.pid, END)
    found: dict[str, Any] = {}
    for role, node in (("leader", leader), ("follower", follower)):
        file = node.profile
        assert file is not None, "the cluster was started with profiles"
        cluster.wait(file.exists, f"the profile of node {node.node_id}")
        found[f"profile_of_the_{role}"] = _functions(file, passed.requests * each)
        file.unlink()
    return found, passed.requests


def _functions(file: Path, count: int) -> list[dict[str, Any]]:
    statistics: Any = pstats.Stats(str(file))
    ranked = sorted(statistics.stats.items(), key=lambda item: -item[1][2])
    return [
        {
            "own_us": round(own / count * 1e6, 2),
            "with_calls_us": round(total / count * 1e6, 2),
            "calls": round(calls / count, 3),
            "function": f"{path.rpartition('scribe_ledger/')[2]}:{line} {name}",
        }
        for (path, line, name), (_, calls, own, total, _) in ranked[: 2 * PROFILED_FUNCTIONS]
    ]

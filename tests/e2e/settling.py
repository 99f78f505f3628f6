"""What must hold of a cluster when its faults are over: clients' histories, every node's log, every folder."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from scribe_ledger.client import Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode, ClusterOfNodes
    from tests.e2e.load import Load

SCRIBE = [sys.executable, "-m", "scribe_ledger.cli.main"]


def settle(cluster: ClusterOfNodes, *loads: Load, voters: int | None = None) -> None:
    """Starts what does not run, waits until all are equal, and holds against them what clients were told.

    It ends the cluster, since the folders are checked too.
    """
    for load in loads:
        load.stop()
    cluster.start(bootstrap=False)
    cluster.wait_until_formed(voters=voters)
    size, _ = cluster.wait_until_equal()
    for load in loads:
        load.check()
        for node in cluster.nodes:
            assert_holds_all(node, load, size)
    stop_and_check_folders(cluster)


def assert_holds_all(node: ClusterNode, load: Load, size: int) -> None:
    """Each receipt names an entry that this node has, as it was written."""
    with Client(node.url) as client:
        log = {
            entry.index: (entry.key, None if entry.deleted else entry.value, entry.version)
            for entry in client.log(0, size, values=True)
        }
    lost = [
        (index, told, log.get(index))
        for index, told in load.acknowledged.items()
        if log.get(index) != (told.key, told.value, told.version)
    ]
    assert not lost, f"node {node.node_id} of {size} entries lacks {len(lost)} acknowledged writes, first {lost[:3]}"
    assert load.acknowledged, "nothing was written"


def stop_and_check_folders(cluster: ClusterOfNodes) -> None:
    running = [node for node in cluster.nodes if node.running]
    for node in running:  # together: one that waits for the others would wait for its whole time
        node.ask_to_stop()
    for node in running:
        assert node.stop() == 0, node.log[-2000:]
    checks = [fsck(node.data_dir) for node in cluster.nodes if node.data_dir.exists()]
    for check in checks:
        out, errors = check.communicate(timeout=120)
        assert check.returncode == 0, (out, errors)
        assert json.loads(out)["ok"], out


def fsck(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SCRIBE, "fsck", "--data", str(folder), "--json", *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

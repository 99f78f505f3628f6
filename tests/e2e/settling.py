"""What must hold of a cluster when its faults are over: clients' histories, every node's log, every folder."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.cluster_of_nodes import wait_until

from scribe_ledger.client import Client

if TYPE_CHECKING:
    from tests.cluster_of_nodes import ClusterNode, ClusterOfNodes
    from tests.e2e.load import Load

SCRIBE = [sys.executable, "-c", "from scribe_ledger.cli.main import main; main()"]


def settle(cluster: ClusterOfNodes, *loads: Load, voters: int | None = None, store: str = "") -> None:
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
    stop_and_check_folders(cluster, *(["--object-store", store] if store else []))


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


def root_at(client: Client, size: int) -> bytes:
    """The root at a size, as soon as the node of this client has got so far."""
    wait_until(lambda: client.size >= size, f"{size} entries")
    return client.checkpoint(at=size).root


def stop_and_check_folders(cluster: ClusterOfNodes, *more: str) -> None:
    running = [node for node in cluster.nodes if node.running]
    for node in running:  # together: one that waits for the others would wait for its whole time
        node.ask_to_stop()
    for node in running:
        assert node.wait_for_end() == 0, node.log[-2000:]
    for node in cluster.nodes:
        if node.data_dir.exists():
            assert_sound("--data", str(node.data_dir), *more)


def assert_sound(*what: str) -> None:
    """``scribe fsck`` has nothing to say against a folder or a store."""
    checked = subprocess.run(
        [*SCRIBE, "fsck", *what, "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert checked.returncode == 0, (what, checked.stdout, checked.stderr)
    assert json.loads(checked.stdout)["ok"], checked.stdout

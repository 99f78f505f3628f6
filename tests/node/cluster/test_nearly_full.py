"""A leader on a disk that is nearly full: it takes nobody's writes, loses none, and another with room leads soon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = pytest.mark.cluster
MEGABYTE = 1 << 20
RESERVE = 128 * MEGABYTE
"""The least there is."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, where that is allowed."""
    folder.mkdir()
    size = f"size={RESERVE + 72 * MEGABYTE}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root mounts")
def test_a_leader_below_its_reserve_refuses_what_others_send_and_gives_way(tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {
        "cluster": {"secret": "a secret of the test"},
        "consensus": {"heartbeat_interval_ms": 10},  # two ticks: 600 of them are 3 seconds
        "storage": {"disk_reserve": RESERVE},
    }
    with small_disk(tmp_path / "disk") as disk, ClusterOfNodes(tmp_path / "nodes", sections=sections) as cluster:
        full, *others = cluster.nodes
        full.data_dir = disk / "data"
        full.configure(cluster.seeds_of(full), cluster.sections)
        cluster.start()
        cluster.wait_until_formed()
        lead(cluster, full)
        before, _ = cluster.wait_until_equal()
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - RESERVE + 8 * MEGABYTE))
        cluster.wait(lambda: full.ask("GET", "/health")[0] == 503, "it says so")
        taken, refused = write_until_another_leads(cluster, full)
        assert refused, "none was taken while it led"
        assert shutil.disk_usage(disk).free > RESERVE // 2
        health = full.get_json("/health")
        assert (health["status"], "bytes free" in health["disk"]) == ("degraded", True)
        full.put("through-it", b"the leader has room")
        assert cluster.wait_until_equal()[0] == before + len(taken) + 1, "what was refused is nowhere"
        assert {key: others[0].get(key) for key in taken} == dict.fromkeys(taken, b"x" * 1000)
        ballast.unlink()
        cluster.wait(lambda: full.get_json("/health")["status"] == "ok", "there is room again")


def lead(cluster: ClusterOfNodes, node: ClusterNode) -> None:
    if cluster.leader() is not node:
        body = json.dumps({"node_id": node.node_id}).encode()
        status, answer = node.ask("POST", "/cluster/transfer", body, headers={"content-type": "application/json"})
        assert status == 200, answer
    cluster.wait(lambda: node.leader_id == node.node_id, "it leads")


def write_until_another_leads(cluster: ClusterOfNodes, full: ClusterNode) -> tuple[list[str], list[str]]:
    """The keys of what followers took and of what they refused: never is an outcome unknown."""
    taken: list[str] = []
    refused: list[str] = []
    other = cluster.nodes[1]

    def write() -> bool:
        key = f"key-{len(taken) + len(refused)}"
        status, body = other.ask("PUT", f"/{key}", b"x" * 1000)
        if status == 201:
            taken.append(key)
            return other.leader_id not in (None, full.node_id)
        assert status == 503, body
        error = json.loads(body)["error"]
        assert error["kind"] == "unavailable", error
        refused.append(key)
        return False

    cluster.wait(write, "another leads and takes writes")
    return taken, refused

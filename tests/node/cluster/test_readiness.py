"""When a node says that it may be sent work: not before a founder's companions are there, and not as a learner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = pytest.mark.cluster


def test_a_founder_by_agreement_awaits_a_majority_of_voters(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        one, two, _ = cluster.nodes
        one.start("--bootstrap")
        cluster.wait(lambda: one.is_healthy, "it serves alone")
        one.kill()
        mark = one.data_dir / "cluster.json"
        mark.write_text(json.dumps(json.loads(mark.read_text()) | {"awaits": 2}))  # as three that agree have it
        one.start()
        cluster.wait(lambda: "1 of the 2 voters" in said(one), "it awaits another")
        assert one.put("key", b"x")["index"] == 0  # whoever asks is served
        two.start()
        cluster.wait(lambda: one.is_healthy and two.is_healthy, "both are voters")
        assert one.get_json("/cluster/status")["voters"] == 2
        cluster.wait(lambda: json.loads(mark.read_text())["awaits"] == 0, "members may leave from now on")


def test_a_node_without_companions_is_ready_alone(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        one = cluster.nodes[0]
        one.start("--bootstrap")
        cluster.wait(lambda: one.is_healthy, "it serves alone")
        assert one.get_json("/cluster/status")["voters"] == 1


def said(node: ClusterNode) -> str:
    status, body = node.ask("GET", "/health/ready")
    return "" if status == 200 else str(json.loads(body)["error"]["message"])

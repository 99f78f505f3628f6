"""A node whose seeds answer and refuse it: it founds nothing beside them, and says why it waits wherever one looks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def test_bootstrap_with_a_wrong_secret_founds_nothing_and_says_why(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path, 1, {"cluster": {"secret": "the right secret of all members"}}) as cluster:
        member = cluster.nodes[0]
        member.start("--bootstrap")
        cluster.wait(lambda: member.is_healthy, "it serves")
        wiped = cluster.stranger(
            2,
            seeds=[member.raft_address, f"127.0.0.1:{member.port}", "127.0.0.1:17946"],
            cluster={"secret": "another secret, not of the members"},
        )
        cluster.nodes.append(wiped)
        wiped.start("--bootstrap")

        def said() -> str:
            status, body = wiped.ask("GET", "/health")
            assert status == 503, body
            return str(json.loads(body)["error"]["message"])

        cluster.wait(lambda: "does not know the cluster's secret" in said(), "health says why")
        cluster.wait(lambda: "that is an HTTP port, and not a Raft port" in said(), "what is no Raft port is told")
        message = said()
        assert "sees nobody" not in message
        assert message.count("127.0.0.1:17946") == 1
        [line] = [line for line in wiped.log.splitlines() if "is refused" in line][:1]
        assert "warn" in line
        assert "does not know the cluster's secret" in line
        assert "the original's discovery port" in wiped.log[: wiped.log.index("looks for a cluster")]
        assert "founds the cluster" not in wiped.log

        def refused(reason: str) -> int:
            raft = member.ask("GET", "/metrics/prometheus")[1].decode()
            [line] = [line for line in raft.splitlines() if "refused" in line and f'reason="{reason}"' in line]
            return int(float(line.split()[-1]))

        assert 1 <= refused("secret") <= 8
        assert refused("tls") == 0, "there from the beginning, so that the first counts as an increase"


def test_a_raft_port_that_is_open_to_anybody_is_said_before_it_is_opened(tmp_path: Path) -> None:
    open_to_all = {"network": {"listen_addr": "0.0.0.0", "insecure": True}}
    with ClusterOfNodes(tmp_path, 1, sections=open_to_all) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        (node,) = cluster.nodes
        assert f"ANYONE who reaches port {node.raft_port} can join" in node.log
        assert node.log.index("ANYONE who reaches") < node.log.index("listening")
        assert "\n  INSECURE " in node.log
        assert node.stop() == 0
        large = {"storage": {"inline_max": 32 << 20}}
        node.configure([], open_to_all | large | {"cluster": {"secret": "a secret of the test"}})
        before = len(node.log)
        node.start("--bootstrap")
        cluster.wait_until_formed()
        assert "prove nothing" not in node.log[before:]
        assert node.log[before:].count("inline_max = 33554432 is more than a message between members") == 1

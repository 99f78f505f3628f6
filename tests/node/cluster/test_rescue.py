"""Two of three nodes are lost for good; the folder of the third founds the next cluster with all of its history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tests.cluster_of_nodes import ClusterOfNodes

from scribe_ledger.cli.main import scribe

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

pytestmark = pytest.mark.cluster


def run_scribe(*arguments: str) -> Result:
    return CliRunner().invoke(scribe, arguments)


def test_a_survivor_is_rescued_and_founds_a_cluster_with_its_history(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        first, second, third = cluster.nodes
        receipts = {}
        for number in range(60):
            node, key = cluster.nodes[number % 3], f"before/{number}"
            receipts[key] = node.put(key, b"%d" % number)["index"]
        old = json.loads(third.ask("GET", "/cluster/members")[1])["members"]
        public_key = third.get_json("/v1/key")["vkey"]
        for node in cluster.nodes:
            node.kill()

        refused = run_scribe("cluster", "rescue", "--data", str(third.data_dir))
        assert refused.exit_code != 0  # nobody said yes
        assert "never come back" in refused.stderr
        answer = run_scribe("cluster", "rescue", "--data", str(third.data_dir), "--yes", "--json")
        assert answer.exit_code == 0, answer.output
        rescued = json.loads(answer.stdout)
        assert rescued["entries"] == len(receipts)
        assert rescued["raft_id"] in {each["raft_id"] for each in old}
        assert run_scribe("--data", str(third.data_dir), "fsck").exit_code == 0

        fourth, fifth = (cluster.stranger(number, seeds=[third.raft_address]) for number in (4, 5))
        cluster.nodes = [third, fourth, fifth]
        third.configure([], cluster.sections)
        third.start("--bootstrap")
        for node in (fourth, fifth):
            node.start()
        cluster.wait_until_formed()
        cluster.wait_until_equal()
        logged = fifth.get_json("/v1/log?limit=1000")["entries"]
        assert {each["key"]: each["index"] for each in logged} == receipts
        for key in receipts:
            assert fourth.get(key) == key.removeprefix("before/").encode()
        assert fifth.get_json("/v1/key")["vkey"] == public_key
        proof = tmp_path / "proof"
        key = next(iter(receipts))
        proved = run_scribe("--url", fifth.url, "prove", key)
        assert proved.exit_code == 0, proved.output
        proof.write_bytes(proved.stdout_bytes)
        verified = run_scribe("verify", str(proof), "--public-key", public_key)
        assert verified.exit_code == 0, verified.output
        assert fourth.put("after", b"x")["index"] == len(receipts)
        assert first.running is second.running is False

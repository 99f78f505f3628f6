"""Members move: the record has addresses where nobody is any more, and the cluster goes on all the same."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def test_members_that_all_moved_find_each_other_by_seeds_and_by_discovery(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        cluster.nodes[0].put("before", b"x")
        for node in cluster.nodes:
            node.kill()
            node.move_raft_port()
        one, two, three = cluster.nodes
        one.configure([one.raft_address, two.raft_address], cluster.sections)
        two.configure([one.raft_address, two.raft_address], cluster.sections)
        names = {"enabled": True, "mdns": False, "dns": [one.raft_address, two.raft_address]}
        three.configure([], {**cluster.sections, "discovery": names})
        for node in cluster.nodes:
            node.start()
        cluster.wait_until_formed()
        assert "connection to the Raft port was refused" not in one.log + two.log, "one's own address is no stranger's"
        assert [node.get("before") for node in cluster.nodes] == [b"x"] * 3
        wanted = {node.raft_address for node in cluster.nodes}

        def recorded() -> set[str]:
            return {each["raft_address"] for each in cluster.leader().get_json("/cluster/members")["members"]}

        cluster.wait(lambda: recorded() == wanted, "the record has the new addresses")
        assert cluster.nodes[1].put("after", b"y")["index"] == 1


def test_a_member_that_is_needed_for_the_majority_moves(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        stays, moves, dies = cluster.nodes
        stays.put("before", b"x")
        dies.kill()
        moves.kill()
        moves.move_raft_port()
        moves.configure([stays.raft_address, dies.raft_address], cluster.sections)
        moves.start()
        cluster.wait(lambda: stays.is_healthy and moves.is_healthy, "the two that are left go on", seconds=10)
        assert moves.put("after", b"y")["index"] == 1
        assert stays.get("after") == b"y"


def test_the_copy_of_a_folder_does_not_start_beside_the_original(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        original = cluster.leader()
        copy = cluster.stranger(9, seeds=cluster.seeds_of(original))
        assert original.stop() == 0
        shutil.copytree(original.data_dir, copy.data_dir)
        original.start()
        cluster.wait_until_formed()
        term = original.get_json("/cluster/status")["current_term"]
        cluster.nodes.append(copy)
        copy.start()
        assert copy.wait_for_end() != 0
        cluster.nodes.remove(copy)
        assert f"the node at {original.raft_address} runs with the Raft id of this folder" in copy.log
        assert original.log.count("two nodes run with Raft id") == 1
        assert original.get_json("/cluster/status")["current_term"] == term, "nobody was interrupted"


def test_a_member_takes_no_label_of_another(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        node = cluster.nodes[2]
        node.kill()
        node.configure(cluster.seeds_of(node), {"node": {"id": 1}})
        node.start()
        assert node.wait_for_end() != 0
        assert "this folder is that of node 3, and node 1 is another" in node.log
        node.configure(cluster.seeds_of(node), {"node": {"id": 7}})
        node.start()
        leader = cluster.leader(other_than=node)

        def labels() -> list[int]:
            return [each["node_id"] for each in leader.get_json("/cluster/members")["members"]]

        cluster.wait(lambda: labels() == [1, 2, 7], "it has its new label")
        assert node.log.count("has another label than before") == 1

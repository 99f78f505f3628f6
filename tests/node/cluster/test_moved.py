"""All members move at once: the record has addresses where nobody is any more, the settings have the new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def test_members_that_all_moved_find_each_other_by_their_seeds(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path) as cluster:
        cluster.start()
        cluster.wait_until_formed()
        cluster.nodes[0].put("before", b"x")
        for node in cluster.nodes:
            node.kill()
            node.move_raft_port()
        for node in cluster.nodes:
            node.configure(cluster.seeds_of(node), cluster.sections)
            node.start()
        cluster.wait_until_formed()
        assert [node.get("before") for node in cluster.nodes] == [b"x"] * 3
        wanted = {node.raft_address for node in cluster.nodes}

        def recorded() -> set[str]:
            return {each["raft_address"] for each in cluster.leader().get_json("/cluster/members")["members"]}

        cluster.wait(lambda: recorded() == wanted, "the record has the new addresses")
        assert cluster.nodes[1].put("after", b"y")["index"] == 1

"""A member is announced while it serves, so that nodes without seeds find it: after founding, and after a restart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import ClusterOfNodes
from tests.consensus.formation.test_finding import multicast_works

from scribe_ledger.consensus.formation.finding import Mdns

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


async def find(address: str) -> bool:
    """Whether multicast DNS gives that address within ten seconds."""
    source = Mdns("127.0.0.1")
    try:
        for _ in range(100):
            if address in await source.addresses():
                return True
            await asyncio.sleep(0.1)
        return False
    finally:
        await source.close()


def test_a_member_is_announced_while_it_serves(tmp_path: Path) -> None:
    if not multicast_works():
        pytest.skip("this machine's loopback carries no multicast")
    sections: dict[str, dict[str, Any]] = {
        "discovery": {"enabled": True, "mdns": True},
        "network": {"listen_addr": "127.0.0.1"},
    }
    with ClusterOfNodes(tmp_path / "announced", 1, sections) as cluster:
        (node,) = cluster.nodes
        for flags in (["--bootstrap"], []):
            node.start(*flags)
            cluster.wait_until_formed()
            assert asyncio.run(find(node.raft_address))
            assert node.stop() == 0

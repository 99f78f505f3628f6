"""Members that cannot hear each other, wholly or one way, or only slowly, while clients reach all of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import LOADING_SECONDS, PATIENCE_SECONDS
from tests.e2e.load import Load
from tests.e2e.owners import is_available
from tests.e2e.proxies import Network, cluster_behind_proxies
from tests.e2e.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode, ClusterOfNodes

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.cluster,
    pytest.mark.skipif(not is_available(), reason="needs Linux: addresses 127.0.1.x, and netlink"),
]

Divided = tuple["ClusterOfNodes", "Network"]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Divided]:
    yield from _divided(tmp_path, 3)


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Divided]:
    yield from _divided(tmp_path, 5)


def _divided(folder: Path, count: int) -> Iterator[Divided]:
    with (
        cluster_behind_proxies(folder, count, {"api": {"read_timeout_secs": 3}}) as cluster,
        Network(cluster) as network,
    ):
        cluster.start(bootstrap=False)
        cluster.wait_until_formed(seconds=LOADING_SECONDS)
        yield cluster, network


def load_of(cluster: ClusterOfNodes, **options: int) -> Load:
    return Load([node.url for node in cluster.nodes], timeout=2.0, **options)  # type: ignore[arg-type]


def leader_that_is_heard(cluster: ClusterOfNodes, among: list[ClusterNode]) -> ClusterNode:
    """The one that all of these follow."""

    def find() -> ClusterNode | None:
        heard = {node.leader_id for node in among}
        return next((node for node in among if heard == {node.node_id}), None)

    found: ClusterNode = cluster.wait(find, "one leader for all of these", seconds=PATIENCE_SECONDS)
    return found


def test_a_leader_that_is_cut_off_is_replaced_and_reads_nothing_stale(three: Divided) -> None:
    cluster, network = three
    with load_of(cluster) as load:
        load.step(40)
        old = cluster.leader()
        others = [node for node in cluster.nodes if node is not old]
        network.isolate(old)
        leader_that_is_heard(cluster, others)
        cluster.wait(lambda: old.leader_id is None, "a leader without a quorum steps down")
        load.step(60)
        network.heal()
        load.step(40)
        settle(cluster, load)
    assert load.failures == []


def test_deaf_and_dumb_nodes_and_a_slow_network(three: Divided) -> None:
    cluster, network = three
    with load_of(cluster) as load:
        leader = cluster.leader()
        others = [node for node in cluster.nodes if node is not leader]
        for other in others:  # it sends and hears nothing: it must not lead for ever
            network.cut(other, leader)
        leader_that_is_heard(cluster, others)
        load.step(40)
        network.heal()
        leader_that_is_heard(cluster, cluster.nodes)
        follower = cluster.followers()[0]
        for other in cluster.nodes:  # it hears nothing, and asks for votes all the time
            if other is not follower:
                network.cut(other, follower)
        load.step(60)
        network.heal()
        network.delay(0.03)
        load.step(40)
        network.heal()
        settle(cluster, load)
    assert load.failures == []


def test_a_minority_of_two_in_five_takes_nothing_and_catches_up(five: Divided) -> None:
    cluster, network = five
    with load_of(cluster) as load:
        load.step(30)
        leader = cluster.leader()
        minority = [leader, cluster.followers()[0]]
        majority = [node for node in cluster.nodes if node not in minority]
        network.separate(minority, majority)
        leader_that_is_heard(cluster, majority)
        status, _ = minority[1].ask("GET", "/anything", timeout=PATIENCE_SECONDS)
        assert status == 503
        load.step(60)
        network.heal()
        load.step(30)
        settle(cluster, load)
    assert load.failures == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_random_partitions_for_long(five: Divided, seed: int) -> None:
    """With a quorum that hears itself there is progress, however the others are cut off."""
    cluster, network = five
    chance = random.Random(seed)
    with load_of(cluster, seed=seed, clients=8) as load:
        for _ in range(40):
            network.heal()  # or the cuts of several rounds would leave nobody a quorum
            nodes = sorted(chance.sample(cluster.nodes, 5), key=lambda node: node.answers)
            minority, majority = nodes[:2], nodes[2:]  # who still loads is no part of a quorum
            for one in minority:
                for other in majority:
                    kind = chance.randrange(3)
                    if kind != 0:
                        network.cut(one, other)
                    if kind != 1:
                        network.cut(other, one)
            if chance.random() < 0.3:
                network.delay(chance.random() * 0.05)
            load.step(chance.randrange(20, 200), seconds=60)
            if chance.random() < 0.3 and all(node.answers for node in nodes):
                victim = chance.choice(minority)
                victim.kill()
                victim.start()
            if chance.random() < 0.8:
                network.heal()
                load.step(chance.randrange(1, 20), seconds=60)
        network.heal()
        settle(cluster, load)

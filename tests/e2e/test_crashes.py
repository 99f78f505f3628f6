"""Nodes are killed and paused in turns while clients write and read; what clients saw must stay explainable."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster_of_nodes import LOADING_SECONDS, ClusterOfNodes
from tests.e2e.load import Load
from tests.e2e.settling import settle

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

SLOW_DISK = Path(__file__).parent / "slow_disk"
SHORT_LOG = {"consensus": {"snapshot_logs_since_last": 400, "max_in_snapshot_log_to_keep": 100}}
"""So that nodes that were away need snapshots too."""


def formed(folder: Path, count: int, sections: Mapping[str, Mapping[str, Any]] | None = None) -> ClusterOfNodes:
    cluster = ClusterOfNodes(folder, count, sections=sections)
    try:
        cluster.start(bootstrap=False)
        cluster.wait_until_formed(seconds=LOADING_SECONDS)
    except BaseException:
        cluster.close()
        raise
    return cluster


def urls(cluster: ClusterOfNodes) -> list[str]:
    return [node.url for node in cluster.nodes]


def kill_in_turns(cluster: ClusterOfNodes, load: Load, rounds: int, *, at_once: int = 1, step: int = 40) -> None:
    """Leaders and followers alternate; with two at once one of them leads."""
    for turn in range(rounds):
        victims = [cluster.leader(), *cluster.followers()[: at_once - 1]] if turn % 2 == 0 else cluster.followers()
        victims = victims[:at_once]
        for node in victims:
            node.kill()
        load.step(step)
        for node in victims:
            node.start()
        load.step(step)
        cluster.wait_until_formed()


def pause_leaders(cluster: ClusterOfNodes, load: Load, rounds: int, *, step: int = 40) -> None:
    """Each believes that it leads when it wakes up."""
    for _ in range(rounds):
        paused = cluster.leader()
        paused.pause()
        try:
            cluster.leader(other_than=paused)
            load.step(step)
        finally:
            paused.resume()
        load.step(step)
        cluster.wait_until_formed()


def test_three_nodes_whose_leaders_and_followers_are_killed_in_turns(tmp_path: Path) -> None:
    with formed(tmp_path, 3, SHORT_LOG) as cluster, Load(urls(cluster)) as load:
        kill_in_turns(cluster, load, 3)
        pause_leaders(cluster, load, 1)
        settle(cluster, load)
        assert load.failures == []


def test_slow_disks_of_a_leader_and_a_follower(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path, 3) as cluster:
        for node in cluster.nodes[:2]:
            node.variables = {"PYTHONPATH": str(SLOW_DISK)}
        cluster.start()
        cluster.wait_until_formed()
        with Load(urls(cluster)) as load:
            load.step(80)
            leader = cluster.leader()
            leader.kill()
            load.step(40)
            leader.start()
            load.step(40)
            settle(cluster, load)
        assert load.failures == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_five_nodes_are_killed_and_paused_for_long(tmp_path: Path, seed: int) -> None:
    with formed(tmp_path, 5, SHORT_LOG) as cluster, Load(urls(cluster), seed=seed, clients=10) as load:
        for _ in range(4):
            kill_in_turns(cluster, load, 6, at_once=2, step=300)
            pause_leaders(cluster, load, 3, step=300)
        settle(cluster, load)
        assert load.failures == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_all_nodes_are_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Now and then without a quorum: calls may fail then, and what they failed at may have been done or not."""
    chance = random.Random(seed)
    with formed(tmp_path, 3, SHORT_LOG) as cluster, Load(urls(cluster), seed=seed, deadline=5.0) as load:
        for _ in range(40):
            for node in chance.sample(cluster.nodes, chance.randrange(1, 4)):
                if node.running:
                    node.kill()
            load.step(chance.randrange(1, 20)) if _has_quorum(cluster) else None
            cluster.start(bootstrap=False)
            load.step(chance.randrange(1, 200))
        settle(cluster, load)


def _has_quorum(cluster: ClusterOfNodes) -> bool:
    return 2 * len([node for node in cluster.nodes if node.running]) > len(cluster.nodes)

"""Members on real cables, which are pulled: each in a network namespace of its own, found by a name with all addresses.

``partitions`` has the same by proxies, wherever this cannot run, and the faults that a cable does not have.
"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import LOADING_SECONDS
from tests.e2e.load import Load
from tests.e2e.namespaces import Cables, cluster_on_cables, why_not
from tests.e2e.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode, ClusterOfNodes

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover, pytest.mark.skipif(bool(why_not()), reason=why_not())]

Wired = tuple["ClusterOfNodes", "Cables"]
TIMEOUTS = {"api": {"read_timeout_secs": 2, "write_timeout_secs": 2}}


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Wired]:
    yield from _wired(tmp_path, 3)


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Wired]:
    yield from _wired(tmp_path, 5)


def _wired(folder: Path, count: int) -> Iterator[Wired]:
    cluster = cluster_on_cables(folder, count, TIMEOUTS)
    with Cables(cluster) as cables, cluster:
        cluster.start()
        cluster.wait_until_formed(seconds=LOADING_SECONDS)
        yield cluster, cables


def load_of(cluster: ClusterOfNodes, **options: int) -> Load:
    return Load([node.url for node in cluster.nodes], timeout=2.0, **options)  # type: ignore[arg-type]


def assert_serves_nothing_but_stale_reads(*nodes: ClusterNode) -> None:
    """They have heard of no quorum for long enough: they must say so, since others may have written since.

    All are asked at once, since each answers only after the time that it has for a leader to appear.
    """
    requests = [("GET", "/before", None), ("PUT", "/meanwhile", b"x"), ("DELETE", "/before", None)]
    asked = [(node, *request) for node in nodes for request in requests]
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = threads.map(lambda each: each[0].ask(*each[1:]), asked)
    for (node, method, *_), (status, answer) in zip(asked, answers, strict=True):
        assert (status, json.loads(answer)["error"]["kind"]) == (503, "unavailable"), (node.node_id, method, answer)
    for node in nodes:
        assert node.get("before", "?consistency=stale") == b"x"


def test_whoever_is_cut_off_serves_nothing_and_the_others_go_on(three: Wired) -> None:
    cluster, cables = three
    cluster.leader().put("before", b"x")
    with load_of(cluster) as load:
        load.step(30)
        alone = cluster.leader()
        cables.unplug(alone)
        cluster.leader(other_than=alone)
        cluster.wait(lambda: alone.leader_id is None, "a leader without a quorum steps down")
        assert_serves_nothing_but_stale_reads(alone)
        load.step(60)
        cables.heal()
        load.step(30)
        cables.divide(*[[node] for node in cluster.nodes])
        cluster.wait(lambda: not any(node.leader_id for node in cluster.nodes), "no majority, no leader")
        assert_serves_nothing_but_stale_reads(*cluster.nodes)
        cables.heal()
        load.step(30)
        settle(cluster, load)
    assert load.failures == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_cables_are_pulled_at_random_for_long(five: Wired, seed: int) -> None:
    """Three of five always reach each other, so that there is progress, and no call fails."""
    cluster, cables = five
    chance = random.Random(seed)
    with load_of(cluster, seed=seed, clients=8) as load:
        for _ in range(30):
            nodes = sorted(chance.sample(cluster.nodes, 5), key=lambda node: not node.answers)  # who loads comes last
            if chance.random() < 0.5:
                cables.divide(nodes[:3], nodes[3:])
            else:
                for node in nodes[3:]:
                    cables.unplug(node)
            load.step(chance.randrange(20, 200), seconds=60)
            if chance.random() < 0.3 and all(node.answers for node in nodes):
                nodes[4].kill()
                nodes[4].start()
            cables.heal()
            load.step(chance.randrange(1, 60), seconds=60)
        settle(cluster, load)
    assert load.failures == []

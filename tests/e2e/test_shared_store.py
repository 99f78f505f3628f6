"""A cluster whose members share an object store: large values, archiving, leaders that die in it, cold reads."""

from __future__ import annotations

import subprocess
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import ClusterOfNodes
from tests.e2e.load import Load
from tests.e2e.settling import SCRIBE, assert_sound, settle

from scribe_ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode
    from tests.s3_server import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

LARGE = 700_000
EAGER = {"segment_size": 65536, "hot_size": 20_000}
"""Little is sealed at once, and almost nothing stays hot."""


def write_ballast(cluster: ClusterOfNodes, name: str, count: int = 60) -> dict[str, bytes]:
    written = {f"{name}/{number}": Random(number).randbytes(2000) for number in range(count)}
    for number, (key, value) in enumerate(written.items()):
        cluster.nodes[number % len(cluster.nodes)].put(key, value)
    return written


def archive(node: ClusterNode) -> int:
    status, body = node.ask("POST", "/v1/archive", timeout=60)
    assert status == 200, body
    return status


def archived(node: ClusterNode) -> int:
    return int(node.get_json("/v1/manifest")["archived_size"])


def assert_all_read(cluster: ClusterOfNodes, written: dict[str, bytes]) -> None:
    for node in cluster.nodes:
        assert [key for key, value in written.items() if node.get(key) != value] == [], node.node_id


def run_archiving(cluster: ClusterOfNodes, store: str) -> None:
    """Large values by any node; the leader is killed while it archives; then everything is cold."""
    large = {f"large/{node.node_id}": Random(node.node_id).randbytes(LARGE) for node in cluster.nodes}
    for node in cluster.nodes:
        node.put(f"large/{node.node_id}", large[f"large/{node.node_id}"])
    with Load([node.url for node in cluster.nodes], clients=3) as load:
        written = write_ballast(cluster, "first")
        for turn in range(2):
            leader = cluster.leader()
            asking = threading.Thread(target=_ask_quietly, args=(leader,))
            asking.start()
            threading.Event().wait(0.02 + 0.08 * turn)  # somewhere within: any moment must do
            leader.kill()
            asking.join()
            load.step(20)
            leader.start()
            cluster.wait_until_formed()
            written |= write_ballast(cluster, f"turn-{turn}", 20)
        load.stop()
        size, _ = cluster.wait_until_equal()
        archive(cluster.leader())
        cluster.wait(lambda: all(archived(node) >= size for node in cluster.nodes), "archived, as every node knows")
        assert_all_read(cluster, {**large, **written})
        settle(cluster, load, store=store)
    assert load.failures == []


def _ask_quietly(node: ClusterNode) -> None:
    try:
        node.ask("POST", "/v1/archive", timeout=30)
    except Exception:  # it is killed meanwhile
        return


def test_leaders_die_while_they_archive_and_the_store_stays_sound(tmp_path: Path) -> None:
    url = (tmp_path / "objects").as_uri()
    with ClusterOfNodes(tmp_path, sections={"storage": {"object_store": url, **EAGER}}) as cluster:
        cluster.start(bootstrap=False)
        cluster.wait_until_formed()
        run_archiving(cluster, url)
    assert_sound(url)
    target = tmp_path / "restored"
    command = [*SCRIBE, "restore", "--from", url, "--data", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Ledger.open(target, create=False, object_store=url) as restored:
        assert restored.get("large/1") == Random(1).randbytes(LARGE)
        assert restored.get("first/0") == Random(0).randbytes(2000)


@pytest.mark.s3
@pytest.mark.soak
def test_the_same_in_a_bucket(tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3_server.bucket()
    with ClusterOfNodes(tmp_path, sections={"storage": EAGER}) as cluster:
        for node in cluster.nodes:
            node.variables = bucket.settings()
        cluster.start(bootstrap=False)
        cluster.wait_until_formed()
        settings = bucket.settings()
        for name, value in settings.items():
            monkeypatch.setenv(name, value)  # for the commands that check
        run_archiving(cluster, bucket.url)

"""A rolling restart to a program that knows newer rules: they are followed once every member knows them, and for good.

There is one version of the rules so far. So the newer program is this one, told that it knows version 2 as well, by
which the same content again is a new version of its key: members that switched at different entries would differ.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Self

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

from scribe_ledger.client import Client
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster_of_nodes import ClusterNode

pytestmark = pytest.mark.cluster

NEWER = """
import scribe_ledger.ledger.policy
scribe_ledger.ledger.policy.APPLY_VERSION = 2
import scribe_ledger.ledger.judging
judge, older = scribe_ledger.ledger.judging._Judge, scribe_ledger.ledger.judging._Judge._same_content
judge._same_content = lambda self, *about: older(self, *about) if self._policy.apply_version < 2 else None
"""
SAME = "load/same"


def rules(cluster: ClusterOfNodes) -> set[int]:
    asked = [node.ask("GET", "/v1/stats") for node in cluster.nodes]
    return {json.loads(body)["policy"]["apply_version"] if status == 200 else 0 for status, body in asked}


class Load:
    """Writes by the shipped client, one after the other, while nodes come and go; every other one says the same."""

    def __init__(self, cluster: ClusterOfNodes) -> None:
        self._urls = [node.url for node in cluster.nodes]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.written = 0
        self.failures: list[BaseException] = []

    def _run(self) -> None:
        with Client(self._urls) as client:
            while not self._stop.is_set():
                try:
                    client.put(f"load/{self.written}", b"%d" % self.written)
                    client.put(SAME, b"as ever")
                except Exception as error:
                    self.failures.append(error)
                self.written += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def assert_switched_at_one_entry(cluster: ClusterOfNodes) -> None:
    """Until the entry that raises the rules the same content was one version, and after it each write is another."""
    places = set()
    for node in cluster.nodes:
        with Client(node.url) as client:
            log = list(client.log(0, client.size))
        (raised,) = [entry.index for entry in log if entry.kind is Kind.CONFIG]
        same = [entry.index for entry in log if entry.key == SAME.encode()]
        assert same[0] < raised < same[1]
        assert len(same) > 10
        places.add((raised, *same))
    assert len(places) == 1


def test_newer_rules_are_followed_when_all_know_them_and_an_older_program_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "sitecustomize.py").write_text(NEWER)
    path = os.pathsep.join(filter(None, [str(tmp_path / "newer"), os.environ.get("PYTHONPATH")]))

    def start_newer(node: ClusterNode) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", path)
            node.start()

    with ClusterOfNodes(tmp_path / "upgraded") as cluster:
        cluster.start()
        cluster.wait_until_formed()
        with Load(cluster) as load:
            for node in [*cluster.followers(), cluster.leader()]:
                assert rules(cluster) == {1}
                assert node.stop() == 0
                start_newer(node)
                cluster.wait_until_formed()
            cluster.wait(lambda: rules(cluster) == {2}, "all follow the newer rules")
            written = load.written
            cluster.wait(lambda: load.written > written + 20, "writes go on")
        assert load.failures == []
        cluster.wait_until_equal()
        last = f"load/{load.written - 1}"
        assert {node.get(last) for node in cluster.nodes} == {b"%d" % (load.written - 1)}
        assert_switched_at_one_entry(cluster)

        older = cluster.followers()[0]
        assert older.stop() == 0
        older.start()
        assert older.wait_for_end() != 0
        assert "rules of version 2, this program knows 1" in older.log
        cluster.leader(other_than=older).put("without-it", b"x")
        start_newer(older)
        cluster.wait_until_formed()
        assert older.get("without-it") == b"x"

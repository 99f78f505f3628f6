"""The cluster of the suites that only talk to one: that of ``SCRIBE_URLS``, or one of three, started once a process."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.cluster_of_nodes import ClusterOfNodes

from scribe_ledger.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


class Target(NamedTuple):
    """A cluster that serves, whoever started it."""

    urls: list[str]

    def client(self, first: int = 0, **options: object) -> Client:
        """One for all nodes, that asks this one first."""
        return Client(self.urls[first:] + self.urls[:first], **options)  # type: ignore[arg-type]

    def client_of(self, number: int) -> Client:
        """One that knows this node alone."""
        return Client(self.urls[number])


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    given = os.environ.get("SCRIBE_URLS", "").replace(",", " ").split()
    if given:
        yield Target(given)
        return
    with ClusterOfNodes(tmp_path_factory.mktemp("e2e")) as cluster:
        cluster.start(bootstrap=False)
        cluster.wait_until_formed()
        yield Target([node.url for node in cluster.nodes])


@pytest.fixture
def prefix() -> str:
    """For keys that nobody has used: the cluster may be older than the test."""
    return f"e2e/{uuid.uuid4().hex}"

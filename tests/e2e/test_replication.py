"""What one node acknowledged all nodes have, with one root, and each proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.settling import root_at

from scribe_ledger import verify
from scribe_ledger.client import Client

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]


def test_all_nodes_have_the_same_root_at_the_same_size(target: Target, prefix: str) -> None:
    with target.client() as client:
        receipts = client.put_many([(f"{prefix}/{number}", b"%d" % number) for number in range(200)])
        size = receipts[-1].index + 1
    roots = set()
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            roots.add(root_at(client, size))
    assert len(roots) == 1


def test_a_batch_is_all_there_or_not_at_all_on_every_node(target: Target, prefix: str) -> None:
    with target.client() as client:
        with client.batch() as batch:
            for number in range(50):
                batch.put(f"{prefix}/{number}", b"%d" % number)
            batch.delete(f"{prefix}/7")
        keys = [f"{prefix}/{number}" for number in range(50)]
    expected = [None if number == 7 else b"%d" % number for number in range(50)]
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            assert client.get_many(keys) == expected


def test_versions_history_and_deletes_are_the_same_everywhere(target: Target, prefix: str) -> None:
    key = f"{prefix}/key"
    clients = [target.client_of(number) for number in range(len(target.urls))]
    for turn in range(6):
        clients[turn % len(clients)].put(key, b"%d" % turn)
    clients[-1].delete(key)
    seen = [[(each.version, each.index, each.deleted) for each in client.history(key)] for client in clients]
    assert [version for version, _, _ in seen[0]] == [7, 6, 5, 4, 3, 2, 1]
    assert seen == [seen[0]] * len(clients)
    assert [client.get(key) for client in clients] == [None] * len(clients)
    assert [client.get(key, version=3) for client in clients] == [b"2"] * len(clients)
    for client in clients:
        client.close()


def test_every_node_proves_what_another_wrote(target: Target, prefix: str) -> None:
    with target.client() as client:
        public_key = client.public_key
        client.put(f"{prefix}/proven", b"value")
    for url in target.urls:
        with Client(url, public_key=public_key) as client:
            assert client.get(f"{prefix}/proven") == b"value"
            proof = client.prove(f"{prefix}/proven")
            verify.inclusion(proof, value=b"value", public_key=public_key)


def test_the_same_request_on_another_node_takes_effect_once(target: Target, prefix: str) -> None:
    receipts = []
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            receipts.append(client.put(f"{prefix}/once", b"x", request_id=f"{prefix}/id", dedupe=False))
    assert len({each.index for each in receipts}) == 1
    assert [each.created for each in receipts] == [True] + [False] * (len(receipts) - 1)

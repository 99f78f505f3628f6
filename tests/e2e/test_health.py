"""Every node says that it is well, and all say the same of their cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]


def test_every_node_is_healthy(target: Target) -> None:
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            assert client.health()["status"] == "ok"


def test_exactly_one_node_leads_and_all_know_it(target: Target) -> None:
    clients = [target.client_of(number) for number in range(len(target.urls))]
    leaders = {client.cluster_leader()["leader_id"] for client in clients}
    assert len(leaders) == 1
    statuses = [client.cluster_status() for client in clients]
    assert [each["node_id"] for each in statuses if each["is_leader"]] == list(leaders)
    assert {each["current_leader"] for each in statuses} == leaders
    assert len({each["current_term"] for each in statuses}) == 1
    for client in clients:
        client.close()


def test_all_nodes_serve_one_ledger_under_one_key(target: Target) -> None:
    seen = set()
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            seen.add((client.public_key, client.health()["ledger_id"]))
    assert len(seen) == 1


def test_every_member_is_alive_in_the_eyes_of_every_other(target: Target) -> None:
    for number in range(len(target.urls)):
        with target.client_of(number) as client:

            def all_alive(client: object = client) -> bool:
                members = client.cluster_members()  # type: ignore[attr-defined]
                assert len(members) == len(target.urls)
                return {each["state"] for each in members} <= {"leader", "follower"}

            wait_until(all_alive, "all members alive")

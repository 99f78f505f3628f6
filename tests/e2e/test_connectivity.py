"""Every node takes writes, whoever leads; nodes hear from each other; what is not for them is refused."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.cluster_of_nodes import wait_until

from scribe_ledger.client import Client

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]


def test_a_write_through_any_node_is_read_through_any_other_at_once(target: Target, prefix: str) -> None:
    clients = [target.client_of(number) for number in range(len(target.urls))]
    for number, writer in enumerate(clients):
        writer.put(f"{prefix}/{number}", b"%d" % number)
        assert [client.get(f"{prefix}/{number}") for client in clients] == [b"%d" % number] * len(clients)
    for client in clients:
        client.close()


def test_a_client_passes_over_an_address_where_nobody_is(target: Target, prefix: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with Client([nowhere, *target.urls]) as client:
            client.put(f"{prefix}/key", b"value")
            assert client.get(f"{prefix}/key") == b"value"


def test_nodes_hear_from_each_other_all_the_time(target: Target) -> None:
    for number in range(len(target.urls)):
        with target.client_of(number) as client:

            def heard(client: Client = client) -> bool:
                peers = client.cluster_metrics()["peers"]
                assert len(peers) == len(target.urls) - 1
                seconds = [each["last_contact_seconds"] for each in peers.values()]
                return all(each is not None and each < 2 for each in seconds)

            wait_until(heard, "contact with every peer")


def test_noise_on_the_raft_port_is_refused_and_counted_and_harms_nobody(target: Target, prefix: str) -> None:
    def refusals() -> int:
        found = 0
        for number in range(len(target.urls)):
            with target.client_of(number) as each:
                found += sum(each.cluster_metrics()["refused_connections"].values())
        return found

    before = refusals()
    with target.client() as client:
        for member in client.cluster_members():
            host, _, port = member["raft_address"].rpartition(":")
            for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\xff" * 5000):
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    connection.sendall(noise)
        wait_until(lambda: refusals() >= before + 3 * len(target.urls), "the noise is counted")
        client.put(f"{prefix}/after", b"x")
        assert client.get(f"{prefix}/after") == b"x"

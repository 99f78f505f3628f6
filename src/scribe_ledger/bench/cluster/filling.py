"""Entries that a running cluster is given before it is measured."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING

from scribe_ledger.bench.http.wire import Connection, request
from scribe_ledger.bench.workload import VALUE_BYTES, batches, batches_in, keys_of
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from scribe_ledger.bench.cluster.nodes import Cluster

STALE = "?consistency=stale"


def fill(cluster: Cluster, entries: int) -> list[str]:
    """Writes the workload's first keys through the leader, and reads each once from every node; the keys."""
    with Connection(cluster.leader().port) as connection:
        for pairs in batches(0, batches_in(entries)):
            operations = [{"op": "put", "key": key, "value_base64": b64encode(value).decode()} for key, value in pairs]
            body = json.dumps({"operations": operations}).encode()
            connection.exchange(request("POST", "/v1/batch", body, "Content-Type: application/json"))
    keys = keys_of(entries)
    cluster.wait(lambda: all(node.entries >= len(keys) for node in cluster.nodes), "the keys on every node")
    for node in cluster.nodes:
        with Connection(node.port) as connection:
            for key in keys:
                if len(connection.exchange(request("GET", f"/{key}{STALE}"))) != VALUE_BYTES:
                    raise Corruption(f"node {node.node_id} has another value of {key} than was written")
    return keys

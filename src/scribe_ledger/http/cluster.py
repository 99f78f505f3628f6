"""``/cluster``: a node's place in its cluster, its members, and orders to change them.

A node that stands alone leads itself, and nobody can join it. A member asks the leader for what only that can do, so
that every member takes every order.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scribe_ledger.config.addresses import split_address
from scribe_ledger.config.problems import UnsuitableError
from scribe_ledger.errors import Conflict, InvalidRequest
from scribe_ledger.http.replies import reply_json
from scribe_ledger.http.request import JSON_ENVELOPE_BYTES
from scribe_ledger.http.status import STANDALONE

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.clustering import Cluster
    from scribe_ledger.http.request import Request

MAX_ADDRESS = 300
_MOST = (1 << 63) - 1
"""Of a label: messages between members carry no larger one."""
_MOST_RAFT_ID = (1 << 64) - 1


# --- questions -------------------------------------------------------------------------------------------------


async def get_status(request: Request) -> Response:
    cluster = request.service.cluster
    return reply_json(_alone(request) if cluster is None else cluster.status())


async def get_members(request: Request) -> Response:
    cluster = request.service.cluster
    return reply_json({"members": [_lone_member(request)] if cluster is None else cluster.members()})


async def get_leader(request: Request) -> Response:
    config, cluster = request.service.config, request.service.cluster
    if cluster is not None:
        return reply_json(cluster.leader())
    return reply_json({"leader_id": config.node.id, "address": config.advertised_address})


async def get_metrics(request: Request) -> Response:
    cluster = request.service.cluster
    if cluster is None:
        return reply_json({**_alone(request), "voters": 1, "learners": 0, "lag": 0})
    raft = cluster.figures()
    fields = raft._asdict()
    for name in ("term", "leader", "is_leader", "last_index", "commit_index", "applied_index"):
        del fields[name]
    peers = {str(node_id): each._asdict() for node_id, each in sorted(raft.peers.items())}
    snapshots = {kind: each._asdict() for kind, each in sorted(raft.snapshots.items())}
    refused = {str(reason): count for reason, count in sorted(raft.refused_connections.items())}
    told = {"peers": peers, "snapshots": snapshots, "refused_connections": refused}
    return reply_json({**cluster.status(), **fields, **told, "lag": raft.commit_index - raft.applied_index})


async def get_snapshots(request: Request) -> Response:
    """Those that this node keeps. One that stands alone makes none."""
    cluster = request.service.cluster
    return reply_json({"snapshots": [] if cluster is None else await cluster.snapshots()})


def _alone(request: Request) -> dict[str, Any]:
    node_id, last = request.service.config.node.id, _last_index(request)
    return {
        "node_id": node_id,
        "is_leader": True,
        "current_leader": node_id,
        "state": STANDALONE,
        "current_term": 0,
        "last_log_index": last,
        "last_applied": last,
        "commit_index": last,
    }


def _lone_member(request: Request) -> dict[str, Any]:
    config = request.service.config
    return {
        "node_id": config.node.id,
        "raft_id": None,
        "address": config.advertised_address,
        "role": "voter",
        "state": STANDALONE,
        "last_heartbeat": None,
        "match_index": _last_index(request),
        "lag": 0,
    }


def _last_index(request: Request) -> int | None:
    """The last entry's index, None while there is none."""
    return request.ledger.size - 1 if request.ledger.size else None


# --- orders ----------------------------------------------------------------------------------------------------


async def join(request: Request) -> Response:
    cluster = _member(request)
    fields = await _fields(request, "node_id", "address")
    return _reply_order(await cluster.join(_node_id(fields), _address(fields)))


async def leave(request: Request) -> Response:
    cluster = _member(request)
    return reply_json(await cluster.leave(_node_id(await _fields(request, "node_id"))))


async def replace(request: Request) -> Response:
    cluster = _member(request)
    fields = await _fields(request, "node_id", optional=("raft_id",))
    return _reply_order(await cluster.replace(_node_id(fields), _raft_id(fields)))


async def transfer(request: Request) -> Response:
    cluster = _member(request)
    return reply_json(await cluster.transfer(_node_id(await _fields(request, "node_id"))))


async def snapshot(request: Request) -> Response:
    return reply_json(await _member(request).snapshot())


def _reply_order(answer: dict[str, Any]) -> Response:
    return reply_json(answer, status=HTTPStatus.ACCEPTED if "waits_for" in answer else HTTPStatus.OK)


def _member(request: Request) -> Cluster:
    cluster = request.service.cluster
    if cluster is None:
        raise Conflict(
            "this node stands alone: it has no members to change and no leadership to hand over",
            hint="stop it and start it with `scribe-node --bootstrap`: it founds a cluster with the entries that it "
            "has; others join by naming it in [network] seed_peers",
        )
    return cluster


async def _fields(request: Request, *needed: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The order's fields: all that it needs, and none that mean nothing."""
    fields = await request.json(JSON_ENVELOPE_BYTES)
    known = {*needed, *optional}
    if unknown := fields.keys() - known:
        raise InvalidRequest(f"there is no field {min(unknown)!r} here", hint=f"known: {', '.join(sorted(known))}")
    if missing := [name for name in needed if name not in fields]:
        raise InvalidRequest(f"the field {missing[0]} is missing", hint="see /docs for the shape of the body")
    return fields


def _node_id(fields: dict[str, Any]) -> int:
    node_id = fields["node_id"]
    if type(node_id) is not int or not 1 <= node_id <= _MOST:
        raise InvalidRequest(
            f"node_id is not a whole number from 1 to {_MOST}", hint="it is the node's label, [node] id"
        )
    return node_id


def _address(fields: dict[str, Any]) -> str:
    address, hint = fields["address"], "the host:raft_port on which it listens for its peers, such as 10.0.0.4:9001"
    if not isinstance(address, str) or len(address) > MAX_ADDRESS:
        raise InvalidRequest("address is not the text of an address", hint=hint)
    try:
        _, port = split_address(address)
    except UnsuitableError as error:
        raise InvalidRequest(f"the address {address!r} {error}", hint=hint) from error
    if port is None:
        raise InvalidRequest(f"the address {address!r} has no port", hint=hint)
    return address


def _raft_id(fields: dict[str, Any]) -> int | None:
    """Text, since it has 64 bits and most readers of JSON keep 53."""
    text = fields.get("raft_id")
    if text is None:
        return None
    if not isinstance(text, str) or not (text.isascii() and text.isdecimal()):
        raise InvalidRequest("raft_id is not a number as text", hint="as /cluster/members has it")
    if len(text) > 20 or not 1 <= int(text) <= _MOST_RAFT_ID:
        raise InvalidRequest(
            f"{text[:40]} is no Raft id: they are from 1 to {_MOST_RAFT_ID}", hint="as /cluster/members has it"
        )
    return int(text)

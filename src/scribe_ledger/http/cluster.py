"""``/cluster``: what a node that stands alone says of its cluster of one. It leads itself, and nobody can join it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import Conflict
from scribe_ledger.http.replies import reply_json
from scribe_ledger.http.status import STANDALONE

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request


async def get_status(request: Request) -> Response:
    return reply_json(_status(request))


async def get_members(request: Request) -> Response:
    config = request.service.config
    member = {
        "node_id": config.node.id,
        "raft_id": None,
        "address": config.advertised_address,
        "role": "voter",
        "state": STANDALONE,
        "last_heartbeat": None,
        "match_index": _last_index(request),
        "lag": 0,
    }
    return reply_json({"members": [member]})


async def get_leader(request: Request) -> Response:
    config = request.service.config
    return reply_json({"leader_id": config.node.id, "address": config.advertised_address})


async def get_metrics(request: Request) -> Response:
    return reply_json({**_status(request), "voters": 1, "learners": 0, "lag": 0})


async def refuse(_: Request) -> Response:
    """Joining, leaving and the rest need a cluster."""
    raise Conflict(
        "this node stands alone: it has no members to change and no leadership to hand over",
        hint="a cluster is founded with `scribe-node --bootstrap`, in a version that has clusters",
    )


def _status(request: Request) -> dict[str, Any]:
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


def _last_index(request: Request) -> int | None:
    """The last entry's index, None while there is none."""
    return request.ledger.size - 1 if request.ledger.size else None

"""What a node says of itself: the index, its health, counts and sizes, metrics, and the key that checks its proofs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import LedgerClosed, ScribeError, Unavailable
from scribe_ledger.http import exposition
from scribe_ledger.http.exposition import PROMETHEUS_TYPE, Standing
from scribe_ledger.http.problems import Problem
from scribe_ledger.http.replies import reply_bytes, reply_json
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from starlette.responses import Response

    from scribe_ledger.http.request import Request
    from scribe_ledger.http.service import Service

STANDALONE = "standalone"
_TEXT_FORMATS = ("text/plain", "application/openmetrics-text")


async def get_index(_: Request) -> Response:
    """Where to begin. An empty key is not a key."""
    return reply_json({"name": "scribe-ledger", "version": __version__, "docs": "/docs", "openapi": "/openapi.json"})


# --- health ----------------------------------------------------------------------------------------------------


async def get_health(request: Request) -> Response:
    """Whether the node does all of its work. Reads may go on while it does not."""
    service = request.service
    reason = _trouble(service)
    if reason is not None:
        raise Problem(reason, beside=_identity(service, "unavailable"))
    return reply_json(_identity(service, "ok"))


async def get_live(request: Request) -> Response:
    """Whether the process answers at all: if not, start it again."""
    return reply_json(_identity(request.service, "ok"))


def _trouble(service: Service) -> ScribeError | None:
    if service.draining:
        return Unavailable("the node is stopping", hint="ask another node")
    if service.ledger.closed:
        return LedgerClosed("the ledger is closed")
    return service.ledger.failure or service.writes_refused


def _identity(service: Service, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "node_id": service.config.node.id,
        "version": __version__,
        "ledger_id": service.ledger.ledger_id,
        "state": STANDALONE,
        "size": service.ledger.size,
    }


# --- figures ---------------------------------------------------------------------------------------------------


async def get_stats(request: Request) -> Response:
    service, metrics = request.service, request.service.metrics
    stats = await service.run(service.ledger.stats)
    entries, size = service.queued
    return reply_json(
        stats
        | {
            "node_id": service.config.node.id,
            "version": __version__,
            "published_size": service.ledger.published.size,
            "cache": {
                "entries": service.answers.entries,
                "bytes": service.answers.used_bytes,
                "hits": metrics.cache_hits,
                "misses": metrics.cache_misses,
            },
            "queue": {"entries": entries, "bytes": size},
        }
    )


async def get_metrics(request: Request) -> Response:
    """JSON, or Prometheus' text for who prefers that."""
    if _prefers_text((request.header(b"accept") or b"").decode("latin-1")):
        return await get_prometheus(request)
    return reply_json(exposition.to_json(request.service.metrics, await _standing(request.service)))


async def get_prometheus(request: Request) -> Response:
    return reply_bytes(
        exposition.prometheus(request.service.metrics, await _standing(request.service)), PROMETHEUS_TYPE
    )


async def _standing(service: Service) -> Standing:
    stats = await service.run(service.ledger.stats)
    return Standing.alone(service.config.node.id, stats, service.queued, healthy=_trouble(service) is None)


def _prefers_text(accept: str) -> bool:
    """Whether a text format is named, and above JSON if that is too. Where anything is welcome, JSON is given."""
    weights = dict(_weights(accept))
    text = max((weights.get(name, 0.0) for name in _TEXT_FORMATS), default=0.0)
    return text > weights.get("application/json", 0.0)


def _weights(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        name, *parameters = (field.strip().lower() for field in part.split(";"))
        weight = next((field[2:] for field in parameters if field.startswith("q=")), "1")
        try:
            found.append((name, float(weight)))
        except ValueError:
            found.append((name, 0.0))
    return found


async def get_key(request: Request) -> Response:
    """What a client needs to check this ledger's proofs; it should have it from elsewhere the first time."""
    ledger = request.ledger
    return reply_json({"vkey": ledger.public_key, "origin": ledger.origin, "cosigners": [], "quorum": 0})

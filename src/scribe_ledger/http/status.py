"""What a node says of itself: the index, its health, counts and sizes, metrics, and the key that checks its proofs."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import LedgerClosed, ScribeError, Unavailable
from scribe_ledger.http import exposition
from scribe_ledger.http.archiving import ArchiveFigures, archive_figures
from scribe_ledger.http.exposition import PROMETHEUS_TYPE, Standing
from scribe_ledger.http.problems import Problem, error_answer
from scribe_ledger.http.replies import reply, reply_bytes, reply_json
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
    """Whether the node does all of its work. Reads may go on while it does not.

    A node that does not get on with its archive, for whatever reason, is degraded: it takes writes and answers reads.
    So is one that another member contradicts, where no majority says whose ledger is right, and a member that does not
    lead and whose disk is nearly full: what it is asked to write goes to the leader.
    """
    service = request.service
    archive = None if service.ledger.closed else await service.run(_archive_state, service)
    stores = {"object_store": service.store_health.to_json(), "archive": archive}
    reason = _trouble(service) or _not_ready(service)
    if reason is not None:
        service.metrics.errors[reason.kind] += 1
        fault = Problem(reason, beside=_identity(service, "unavailable") | stores)
        _, headers, body = error_answer(fault, request.request_id)
        return reply(HTTPStatus.SERVICE_UNAVAILABLE, headers, body)  # whatever a write would get
    if service.ledger.identity.read_only:
        return reply_json(_identity(service, "read_only") | stores)
    dissent = None if service.cluster is None else service.cluster.dissent
    full = service.writes_refused
    degraded = service.store_health.ok is False or _archive_is_behind(service, archive)
    reasons = {} if dissent is None else {"disagreement": dissent.message}
    reasons |= {} if full is None else {"disk": full.message}
    return reply_json(_identity(service, "degraded" if degraded or reasons else "ok") | stores | reasons)


async def get_live(request: Request) -> Response:
    """Whether the process answers at all: if not, start it again."""
    return reply_json(_identity(request.service, "ok"))


def _trouble(service: Service) -> ScribeError | None:
    if service.draining:
        return Unavailable("the node is stopping", hint="ask another node")
    if service.ledger.closed:
        return LedgerClosed("the ledger is closed")
    if service.ledger.identity.read_only:
        return None  # it was asked to do no more than read, and does
    return service.trouble or _without_leader(service)


def _not_ready(service: Service) -> ScribeError | None:
    if service.cluster is None or service.ledger.identity.read_only:
        return None
    return service.cluster.not_ready


def _without_leader(service: Service) -> ScribeError | None:
    if service.cluster is None or service.cluster.has_leader:
        return None
    refusals = service.cluster.refusals
    return Unavailable(
        "no leader is known: writes and linearizable reads wait for one" + (f"; {refusals}" if refusals else ""),
        hint="a majority of the voters must reach each other; /cluster/members shows who does not answer",
    )


def _identity(service: Service, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "node_id": service.config.node.id,
        "version": __version__,
        "ledger_id": service.ledger.ledger_id,
        **_place(service),
        "size": service.ledger.size,
    }


def _place(service: Service) -> dict[str, Any]:
    """In its cluster; a node that stands alone is its own leader."""
    cluster = service.cluster
    if cluster is None:
        return {"state": STANDALONE, "term": 0, "leader": service.config.node.id, "quorum": 1}
    status = cluster.status()
    return {
        "state": cluster.state,
        "term": status["current_term"],
        "leader": status["current_leader"],
        "quorum": cluster.quorum,
    }


def _archive_state(service: Service) -> dict[str, Any] | None:
    """How far archiving is; None on a node without an archiver. It may wait for the disk."""
    if service.archiver is None:
        return None
    status = service.archiver.status
    return {
        "enabled": status.enabled,
        "running": status.running,
        "archived_size": status.archived_size,
        "manifest_version": status.manifest_version,
        "pending_entries": status.pending_entries,
        "pending_bytes": status.pending_bytes,
        "lag_seconds": status.lag_seconds,
        "last_success": status.last_success or None,
        "last_error": status.last_error or None,
        "failures_in_a_row": status.failures_in_a_row,
    }


def _archive_is_behind(service: Service, archive: dict[str, Any] | None) -> bool:
    """Whether archiving fails, or has ended without having been told to."""
    if service.archiver is None or archive is None:
        return False
    return archive["last_error"] is not None or service.archiver.gave_up


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
    stats, archive = await service.run(_figures, service)
    healthy = _trouble(service) is None and not service.ledger.identity.read_only
    node_id, cluster = service.config.node.id, service.cluster
    if cluster is None:
        return Standing.alone(node_id, stats, service.queued, archive, healthy=healthy)
    raft = cluster.figures()
    return Standing(
        node_id,
        healthy,
        stats,
        service.queued,
        archive,
        current_term=raft.term,
        current_leader=raft.leader,
        last_applied=raft.applied_index,
        state=cluster.state,
        raft=raft,
    )


def _figures(service: Service) -> tuple[dict[str, Any], ArchiveFigures]:
    ledger = service.ledger
    return ledger.stats(), archive_figures(ledger, service.archiver, service.store_health)


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
    ledger, cluster = request.ledger, request.service.cluster
    cosigners, quorum = ([], 0) if cluster is None else (cluster.cosigners, cluster.quorum)
    return reply_json({"vkey": ledger.public_key, "origin": ledger.origin, "cosigners": cosigners, "quorum": quorum})

"""The table of all routes. A route that is not here does not exist; ``/openapi.json`` is made from it."""

from __future__ import annotations

from scribe_ledger.http import cluster, listing, manifest, proofs, status, tlog
from scribe_ledger.http.batch import write_batch
from scribe_ledger.http.description.handlers import get_docs, get_openapi
from scribe_ledger.http.lookup import get_many
from scribe_ledger.http.parameters import (
    AFTER,
    AS_OF,
    AT,
    CONSISTENCY,
    CURSOR,
    DEDUPE,
    FROM,
    IF_VERSION,
    LIMIT,
    MANIFEST_SINCE,
    PREFIX,
    PROOF,
    READING,
    REVERSE,
    SINCE,
    START_INDEX,
    START_KEY,
    TO,
    VERSION,
    WATCH_START,
    WITH_VALUES,
)
from scribe_ledger.http.proven import get_value_or_proof
from scribe_ledger.http.routing import Route, Router
from scribe_ledger.http.values import delete_value, put_value
from scribe_ledger.http.watch import watch

_READ_HEADERS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range")
_WRITE_HEADERS = ("If-Match", "Idempotency-Key", "X-Scribe-Meta-*")

VALUES = [
    route
    for path in ("/{key}", "/v1/kv/{key}")
    for route in (
        Route(
            "GET",
            path,
            get_value_or_proof,
            "The value of a key",
            parameters=(*READING, PROOF, SINCE),
            headers=_READ_HEADERS,
            answers={200: "bytes | Proven", 206: "bytes", 304: "", 416: "Error"},
        ),
        Route(
            "PUT",
            path,
            put_value,
            "Store the body as the key's new version",
            parameters=(IF_VERSION, DEDUPE),
            headers=(*_WRITE_HEADERS, "If-None-Match", "Content-Type", "Repr-Digest"),
            body="bytes",
            answers={200: "Receipt", 201: "Receipt"},
        ),
        Route(
            "DELETE",
            path,
            delete_value,
            "Append a tombstone",
            parameters=(IF_VERSION,),
            headers=_WRITE_HEADERS,
            answers={200: "Receipt"},
        ),
    )
]

_PROVING = (VERSION, AT, CONSISTENCY, AFTER)

PROOFS = [
    Route(
        "GET",
        "/verify/{key}",
        proofs.verify_key,
        "Prove a key's entry, and check the proof",
        parameters=(VERSION, CONSISTENCY, AFTER),
        answers={200: "Verification", 404: "Verification"},
        tag="proofs",
    ),
    Route(
        "GET",
        "/v1/proof/consistency",
        proofs.get_consistency_proof,
        "A proof that the log at one size begins with all of the log at an earlier size",
        parameters=(FROM, TO, CONSISTENCY, AFTER),
        answers={200: "text/plain"},
        tag="proofs",
    ),
    Route(
        "GET",
        "/v1/proof/history/{key}",
        proofs.get_history_proof,
        "A proof of all versions of a key, from one back to the first",
        parameters=_PROVING,
        answers={200: "text/plain"},
        tag="proofs",
    ),
    Route(
        "GET",
        "/v1/proof/{key}",
        proofs.get_proof,
        "A proof that a key's entry, a delete too, is in the log",
        parameters=_PROVING,
        answers={200: "text/plain"},
        tag="proofs",
    ),
]

TLOG = [
    Route(
        "GET",
        "/tlog/checkpoint",
        tlog.get_checkpoint,
        "The signed head of the log, a C2SP checkpoint",
        parameters=(AT, CONSISTENCY, AFTER),
        answers={200: "text/plain"},
        tag="tlog",
    ),
    Route(
        "GET",
        "/tlog/tile/{tile}",
        tlog.get_tile,
        "A tile of the tree, such as `0/x001/067.p/8`, or with `entries/x001/067` the leaves below one",
        answers={200: "application/octet-stream"},
        tag="tlog",
    ),
]

ARCHIVE = [
    Route(
        "GET",
        "/v1/manifest",
        manifest.get_manifest,
        "What is in the archive",
        parameters=(MANIFEST_SINCE,),
        headers=("If-None-Match",),
        answers={200: "Manifest", 304: ""},
        tag="archive",
    ),
    Route(
        "POST",
        "/v1/archive",
        manifest.archive,
        "Archive now",
        answers={200: "Archived", 409: "Error"},
        tag="archive",
    ),
]

NODE = [
    Route("GET", "/", status.get_index, "Where to begin", answers={200: "Index"}, tag="node"),
    Route("GET", "/v1/stats", status.get_stats, "Counts and sizes", answers={200: "Stats"}, tag="node"),
    Route("GET", "/v1/key", status.get_key, "The key that checks proofs", answers={200: "LedgerKey"}, tag="node"),
    *(
        Route("GET", path, status.get_health, summary, answers={200: "Health", 503: "Health"}, tag="node")
        for path, summary in (
            ("/health", "Whether the node does all of its work"),
            ("/health/ready", "Whether to send it requests"),
        )
    ),
    Route("GET", "/health/live", status.get_live, "Whether the process answers", answers={200: "Health"}, tag="node"),
    Route(
        "GET",
        "/metrics",
        status.get_metrics,
        "Metrics as JSON, or as Prometheus' text where `Accept` asks for text",
        headers=("Accept",),
        answers={200: "Metrics | text/plain"},
        tag="node",
    ),
    Route(
        "GET",
        "/metrics/prometheus",
        status.get_prometheus,
        "Metrics as Prometheus' text",
        answers={200: "text/plain"},
        tag="node",
    ),
]

_MEMBER_SOON = {200: "ClusterMember", 202: "ClusterPending"}

CLUSTER = [
    *(
        Route("GET", f"/cluster/{name}", handler, summary, answers={200: schema}, tag="cluster")
        for names, handler, summary, schema in (
            (("status", "info"), cluster.get_status, "This node's place in its cluster", "ClusterStatus"),
            (("members", "nodes"), cluster.get_members, "All members", "ClusterMembers"),
            (("leader", "leader/info"), cluster.get_leader, "Who leads", "ClusterLeader"),
            (("metrics",), cluster.get_metrics, "The cluster in figures", "ClusterMetrics"),
            (("snapshots",), cluster.get_snapshots, "Snapshots that this node keeps", "ClusterSnapshots"),
        )
        for name in names
    ),
    *(
        Route(
            "POST",
            f"/cluster/{name}",
            handler,
            summary,
            body=body,
            answers={**answers, 404: "Error", 409: "Error"},
            tag="cluster",
        )
        for name, handler, summary, body, answers in (
            ("join", cluster.join, "Let a node join", "ClusterJoin", _MEMBER_SOON),
            ("leave", cluster.leave, "Take a node out", "ClusterNode", {200: "ClusterLeft"}),
            ("replace", cluster.replace, "Give a wiped node its place again", "ClusterReplace", _MEMBER_SOON),
            ("transfer", cluster.transfer, "Hand leadership to a node", "ClusterNode", {200: "ClusterLeader"}),
            ("snapshot", cluster.snapshot, "Make a snapshot of this node's ledger", "", {200: "ClusterSnapshot"}),
        )
    ),
]

_PAGE = (LIMIT, CURSOR, WITH_VALUES, CONSISTENCY, AFTER)

LISTINGS = [
    Route(
        "GET",
        "/v1/kv",
        listing.list_keys,
        "The latest live entries in key order",
        parameters=(PREFIX, START_KEY, REVERSE, AS_OF, *_PAGE),
        headers=("Accept",),
        answers={200: "Listing | application/x-ndjson"},
        tag="listings",
    ),
    Route(
        "GET",
        "/v1/history/{key}",
        listing.list_versions,
        "All versions of a key, newest first",
        parameters=(AS_OF, *_PAGE),
        headers=("Accept",),
        answers={200: "Listing | application/x-ndjson"},
        tag="listings",
    ),
    Route(
        "GET",
        "/v1/log",
        listing.list_log,
        "Entries in log order",
        parameters=(START_INDEX, *_PAGE),
        headers=("Accept",),
        answers={200: "Log | application/x-ndjson"},
        tag="listings",
    ),
    Route(
        "GET",
        "/v1/watch",
        watch,
        "The live log as server-sent events",
        parameters=(PREFIX, WATCH_START, WITH_VALUES, CONSISTENCY, AFTER),
        headers=("Last-Event-ID",),
        answers={200: "text/event-stream"},
        tag="listings",
    ),
]

BULK = [
    Route(
        "POST",
        "/v1/batch",
        write_batch,
        "Several operations as one atomic unit",
        headers=("Idempotency-Key",),
        body="Batch",
        answers={200: "BatchAnswer", 201: "BatchAnswer"},
        tag="values",
    ),
    Route(
        "POST",
        "/v1/get",
        get_many,
        "Many keys in one trip, as of one moment",
        parameters=(CONSISTENCY, AFTER),
        body="ManyKeys",
        answers={200: "ManyEntries"},
        tag="values",
    ),
]

DESCRIPTION = [
    Route(
        "GET",
        "/openapi.json",
        get_openapi,
        "This API as an OpenAPI 3.1 document",
        answers={200: "application/json"},
        tag="node",
    ),
    Route("GET", "/docs", get_docs, "This API as a page to read", answers={200: "text/html"}, tag="node"),
]

ROUTES = [*VALUES, *BULK, *LISTINGS, *PROOFS, *TLOG, *ARCHIVE, *NODE, *CLUSTER, *DESCRIPTION]
ROUTER = Router(ROUTES)

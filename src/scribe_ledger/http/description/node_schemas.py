"""The shapes of what a node says of itself, its archive and its cluster."""

from __future__ import annotations

from scribe_ledger.http.description import examples
from scribe_ledger.http.description.shapes import (
    COUNT,
    FLAG,
    HASH,
    INDEX,
    NUMBER,
    TIMESTAMP,
    Schema,
    closed,
    described,
    listed,
    nullable,
    opened,
    reference,
    text,
)
from scribe_ledger.version import __version__

_SEGMENT_ID = f"{0:020}-{1:020}-{examples.ENTRY['sha256']}"
_STATES = ["standalone", "leader", "follower", "candidate", "learner", "removed"]
_NODE_ID = described(COUNT, "The node's label, `[node] id`.")
_STATE: Schema = {"enum": _STATES, "description": "`standalone`: this node is no member of a cluster."}
_SIZES: Schema = {
    "type": "object",
    "additionalProperties": COUNT,
    "description": "Bytes by tier: `hot` the engine's files, `blobs` large values, `archive` segments.",
}
_QUEUE = opened({"entries": COUNT, "bytes": COUNT}, ["entries", "bytes"])
_QUANTILES = opened(
    {"count": COUNT, "p50": nullable(NUMBER, ""), "p95": nullable(NUMBER, ""), "p99": nullable(NUMBER, "")},
    ["count", "p50", "p95", "p99"],
)
_LABEL: Schema = {**_NODE_ID, "minimum": 1, "maximum": (1 << 63) - 1}
_LEADER = nullable(COUNT, "The leader's label; null while none is known.")
_TERM = described(COUNT, "Raft's term; 0 on a node that stands alone.")
_QUORUM = described(COUNT, "How many voters make a majority.")
_LAST = nullable(INDEX, "Index of the last entry; null while there is none.")
_OF_RAFT = "Of Raft's log in a cluster, of the ledger's on a node alone; null while there is none."

_STORE = opened(
    {
        "url": nullable(text(""), "Where it is, without secrets; null in a cluster whose members share none."),
        "ok": nullable(FLAG, "What the last look found; null before the first."),
        "error": nullable(text(""), "What was wrong."),
        "checked": nullable(COUNT, "When that was, in milliseconds since 1970."),
    },
    ["url", "ok", "error", "checked"],
)
_ARCHIVING = opened(
    {
        "enabled": described(FLAG, "Whether entries are archived in the background."),
        "running": described(
            FLAG, "False, where it is enabled, after an error that an operator must look at, until a pass goes well."
        ),
        "archived_size": described(COUNT, "How many entries of the log are archived, from its beginning."),
        "manifest_version": COUNT,
        "pending_entries": described(COUNT, "Entries that are not archived yet."),
        "pending_bytes": described(COUNT, "Bytes of their leaves and inline values."),
        "lag_seconds": described(NUMBER, "Age of the oldest of them."),
        "last_success": nullable(COUNT, "When a pass last ended well, in milliseconds since 1970."),
        "last_error": nullable(text(""), "What the last pass failed with; null where it ended well."),
        "failures_in_a_row": COUNT,
    },
    ["enabled", "running", "archived_size", "pending_entries", "pending_bytes", "lag_seconds", "last_error"],
)
_TIERS = opened(
    {
        "manifest_version": COUNT,
        "archived_size": described(COUNT, "Entries that are in segments, from the beginning of the log."),
        "evicted_size": described(COUNT, "Entries whose values are in segments alone, from the beginning."),
        "segments": COUNT,
        "pending_bytes": described(COUNT, "Bytes of leaves and inline values that are not archived yet."),
    },
    ["manifest_version", "archived_size", "evicted_size", "segments", "pending_bytes"],
)
_TIERS_EXAMPLE = {
    "manifest_version": 2,
    "archived_size": 2,
    "evicted_size": 0,
    "segments": 1,
    "pending_bytes": 204,
}
_SEGMENT = opened(
    {
        "segment_id": text("Name of the segment."),
        "first_index": INDEX,
        "last_index": INDEX,
        "min_key": text("The first key; `min_key_base64` where it is no text."),
        "max_key": text("The last key; `max_key_base64` where it is no text."),
        "count": COUNT,
        "size": described(COUNT, "Bytes of the file."),
        "log_bytes": described(COUNT, "Bytes of the leaves and inline values in it."),
        "path": text("Where the file lies in the object store."),
        "sha256": HASH,
        "merkle_root": HASH,
        "timestamp": TIMESTAMP,
    },
    [
        "segment_id",
        "first_index",
        "last_index",
        "count",
        "size",
        "log_bytes",
        "path",
        "sha256",
        "merkle_root",
        "timestamp",
    ],
)

_NODE: dict[str, Schema] = {
    "Index": opened(
        {"name": text(""), "version": text(""), "docs": text(""), "openapi": text("")},
        ["name", "version", "docs", "openapi"],
        example={"name": "scribe-ledger", "version": __version__, "docs": "/docs", "openapi": "/openapi.json"},
    ),
    "Health": opened(
        {
            "status": {
                "enum": ["ok", "degraded", "read_only", "unavailable"],
                "description": "`degraded`: reads and writes go on, and the archive does not, or something else is "
                "wrong that is named below. `read_only`: a restored ledger, which only reads. "
                "`unavailable`: no writes.",
            },
            "node_id": _NODE_ID,
            "version": text("Of the software."),
            "ledger_id": text("128 random bits that were drawn when the ledger was made."),
            "state": _STATE,
            "term": _TERM,
            "leader": _LEADER,
            "quorum": _QUORUM,
            "size": described(COUNT, "How many entries the ledger has."),
            "object_store": described(_STORE, "Not at `/health/live`: how the object store was found lately."),
            "archive": described(nullable(_ARCHIVING, ""), "Not at `/health/live`: how far archiving is."),
            "disk": text("Only where the disk is nearly full, on a member that does not lead: in what way."),
            "disagreement": text("Only where members have different ledgers, and no majority says whose is right."),
            "error": {
                "$ref": "#/components/schemas/Error/properties/error",
                "description": "Only where the status is `unavailable`: why.",
            },
        },
        ["status", "node_id", "version", "ledger_id", "state", "term", "leader", "quorum", "size"],
        example={
            "status": "ok",
            "node_id": 1,
            "version": __version__,
            "ledger_id": examples.LEDGER_ID,
            "state": "standalone",
            "term": 0,
            "leader": 1,
            "quorum": 1,
            "size": 3,
            "object_store": {
                "url": "s3://ledger",
                "ok": True,
                "error": None,
                "checked": examples.FIRST_TIMESTAMP + 180_000,
            },
            "archive": {
                "enabled": True,
                "running": True,
                "archived_size": 2,
                "manifest_version": 2,
                "pending_entries": 1,
                "pending_bytes": 204,
                "lag_seconds": 60.0,
                "last_success": examples.FIRST_TIMESTAMP + 90_000,
                "last_error": None,
                "failures_in_a_row": 0,
            },
        },
    ),
    "Stats": opened(
        {
            "node_id": _NODE_ID,
            "version": text("Of the software."),
            "ledger_id": text(""),
            "origin": text("The ledger's name."),
            "entries": COUNT,
            "keys": described(COUNT, "Keys that were ever written."),
            "live_keys": described(COUNT, "Keys that have a value now."),
            "value_bytes": described(COUNT, "Bytes of all values that were ever put."),
            "last_timestamp": TIMESTAMP,
            "published_size": described(COUNT, "Size of the newest checkpoint that left the node."),
            "storage_bytes": _SIZES,
            "archive": described(_TIERS, "What is in segments, and what is there alone."),
            "cache": opened({"entries": COUNT, "bytes": COUNT, "hits": COUNT, "misses": COUNT}, ["entries", "bytes"]),
            "queue": described(_QUEUE, "What waits to be committed."),
            "batches": described(COUNT, "Commits since the node started."),
            "syncs": described(COUNT, "Syncs of the disk since then."),
            "durability": {"enum": ["full", "relaxed"]},
            "policy": {
                "type": "object",
                "properties": {
                    "overwrite": {"enum": ["version", "forbid"]},
                    "deletes": {"enum": ["tombstone", "forbid"]},
                    "apply_version": COUNT,
                },
            },
            "writable": described(FLAG, "False after a sync failed, until the node is started again."),
        },
        ["node_id", "version", "ledger_id", "origin", "entries", "keys", "live_keys", "storage_bytes", "writable"],
        example={
            "node_id": 1,
            "version": __version__,
            "ledger_id": examples.LEDGER_ID,
            "origin": examples.ORIGIN,
            "entries": 3,
            "keys": 2,
            "live_keys": 2,
            "value_bytes": 25,
            "last_timestamp": examples.FIRST_TIMESTAMP + 120_000,
            "published_size": 3,
            "storage_bytes": {"hot": 16384, "blobs": 0, "archive": 4711},
            "archive": _TIERS_EXAMPLE,
            "cache": {"entries": 1, "bytes": 1170, "hits": 8, "misses": 1},
            "queue": {"entries": 0, "bytes": 0},
            "batches": 3,
            "syncs": 3,
            "durability": "full",
            "policy": {"overwrite": "version", "deletes": "tombstone", "apply_version": 1},
            "writable": True,
        },
    ),
    "Metrics": opened(
        {
            "node_id": _NODE_ID,
            "state": _STATE,
            "current_term": COUNT,
            "current_leader": nullable(COUNT, "The leader's label; null while there is none."),
            "last_applied": _LAST,
            "healthy": FLAG,
            "counts": {"type": "object", "additionalProperties": COUNT},
            "storage_bytes": _SIZES,
            "archive": described(
                opened({**_TIERS["properties"], "pending_entries": COUNT, "lag_seconds": NUMBER}, _TIERS["required"]),
                "How far archiving is, what it did in this process, and how cold reads went.",
            ),
            "request_seconds": described(_QUANTILES, "Over all requests; estimated from a histogram."),
            "routes": {"type": "object", "additionalProperties": _QUANTILES, "description": "The same for each route."},
        },
        ["node_id", "state", "current_term", "current_leader", "last_applied", "counts", "request_seconds"],
        example={
            "node_id": 1,
            "state": "standalone",
            "current_term": 0,
            "current_leader": 1,
            "last_applied": 2,
            "healthy": True,
            "counts": {"entries": 3, "keys": 2, "live_keys": 2, "requests": 12, "errors": 1, "commits": 3},
            "storage_bytes": {"hot": 16384, "blobs": 0, "archive": 4711},
            "archive": {**_TIERS_EXAMPLE, "pending_entries": 1, "lag_seconds": 60.0, "runs": {"ok": 2, "failed": 0}},
            "request_seconds": {"count": 12, "p50": 0.0004, "p95": 0.0011, "p99": 0.0019},
            "routes": {"PUT /{key}": {"count": 3, "p50": 0.0006, "p95": 0.0011, "p99": 0.0012}},
        },
    ),
}

_ARCHIVE: dict[str, Schema] = {
    "Segment": _SEGMENT,
    "Manifest": opened(
        {
            "version": described(COUNT, "Rises with each change of the manifest."),
            "archived_size": described(COUNT, "How many entries of the log are archived, from its beginning."),
            "segments": listed(reference("Segment"), "All segments; absent where `since` was given."),
            "added": listed(reference("Segment"), "Only with `since`: segments that came."),
            "removed": listed(text(""), "Only with `since`: ids of segments that went."),
        },
        ["version", "archived_size"],
        example={
            "version": 2,
            "archived_size": 2,
            "segments": [
                {
                    "segment_id": _SEGMENT_ID,
                    "first_index": 0,
                    "last_index": 1,
                    "min_key": "user:alice",
                    "max_key": "user:alice",
                    "count": 2,
                    "size": 4711,
                    "log_bytes": 408,
                    "path": f"segments/{_SEGMENT_ID}.parquet",
                    "sha256": _SEGMENT_ID[-64:],
                    "merkle_root": examples.ENTRY["leaf_hash"],
                    "timestamp": examples.FIRST_TIMESTAMP + 60_000,
                }
            ],
        },
    ),
    "Archived": opened(
        {
            "version": described(COUNT, "Of the manifest."),
            "archived_size": described(COUNT, "How many entries of the log are archived, from its beginning."),
            "sealed": described(COUNT, "Segments that were added."),
            "evicted": described(COUNT, "Entries whose values left the hot store."),
            "compacted": described(COUNT, "Segments that were replaced by larger ones."),
            "removed": described(COUNT, "Objects that were deleted."),
        },
        ["version", "archived_size", "sealed", "evicted", "compacted", "removed"],
        example={"version": 2, "archived_size": 2, "sealed": 1, "evicted": 0, "compacted": 0, "removed": 0},
    ),
}

_NAME = "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = "[0-9a-f]{1,4}"
_HOSTS = (
    rf"{_NAME}(\.{_NAME}){{0,2}}",
    rf"{_OCTET}(\.{_OCTET}){{3}}",
    rf"\[({_GROUP}:){{7}}{_GROUP}\]",
    rf"\[(({_GROUP}:){{1,3}}|:)(:{_GROUP}){{1,4}}\]",
)
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_ADDRESS: Schema = {
    "type": "string",
    "pattern": f"^({'|'.join(_HOSTS)}):{_PORT}$",
    "description": "Its `host:raft_port`. The pattern has the usual forms, not every name and every spelling of IPv6.",
}
_RAFT_ID: Schema = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}

_STATUS: dict[str, Schema] = {
    "node_id": _NODE_ID,
    "is_leader": FLAG,
    "current_leader": _LEADER,
    "state": _STATE,
    "current_term": _TERM,
    "last_log_index": described(_LAST, f"The last that is here. {_OF_RAFT}"),
    "last_applied": described(_LAST, f"The last that took effect here. {_OF_RAFT}"),
    "commit_index": described(_LAST, f"The last that a majority has. {_OF_RAFT}"),
}
_OF_A_MEMBER: dict[str, Schema] = {
    "raft_id": text("Drawn with the node's folder; a number of 64 bits, and so as text. Members alone have one."),
    "voters": described(COUNT, "Members that count for the majority."),
    "learners": described(COUNT, "Members that are only sent the log."),
    "quorum": _QUORUM,
}
_STATUS_EXAMPLE = {
    "node_id": 1,
    "raft_id": "5577006791947779410",
    "is_leader": True,
    "current_leader": 1,
    "state": "leader",
    "current_term": 4,
    "last_log_index": 21,
    "last_applied": 20,
    "commit_index": 20,
    "voters": 3,
    "learners": 0,
    "quorum": 2,
}
_PEER = opened(
    {
        "lag_entries": nullable(COUNT, "Raft entries that it lacks; null where this node does not lead."),
        "last_contact_seconds": nullable(NUMBER, "Since it was heard, or first expected if it never was."),
    },
    ["lag_entries", "last_contact_seconds"],
)
_FIGURES: dict[str, Schema] = {
    "elections": described(COUNT, "Elections that this node began."),
    "proposals": described(COUNT, "Units that this node took as the leader."),
    "forwarded": described(COUNT, "Units that it sent on to the leader."),
    "peers": {"type": "object", "additionalProperties": _PEER, "description": "The other members, by node id."},
    "log_entries": described(COUNT, "Entries in Raft's log on this node."),
    "log_bytes": COUNT,
    "compactions": described(COUNT, "How often that log was cut."),
    "snapshots": {
        "type": "object",
        "additionalProperties": opened({"count": COUNT, "seconds": NUMBER}, ["count", "seconds"]),
        "description": "By kind: how many were finished, and how long they took together.",
    },
    "refused_connections": {
        "type": "object",
        "additionalProperties": COUNT,
        "description": "On the Raft port, by reason.",
    },
    "diverged": described(FLAG, "Whether a majority has another root than this node."),
    "disagreeing": described(COUNT, "Members whose ledger is another than this node's."),
}
_FIGURES_EXAMPLE: dict[str, object] = {
    "elections": 1,
    "proposals": 12,
    "forwarded": 0,
    "peers": {
        "2": {"lag_entries": 0, "last_contact_seconds": 0.04},
        "3": {"lag_entries": 2, "last_contact_seconds": 0.03},
    },
    "log_entries": 21,
    "log_bytes": 4096,
    "compactions": 0,
    "snapshots": {"made": {"count": 1, "seconds": 0.2}},
    "refused_connections": {},
    "diverged": False,
    "disagreeing": 0,
    "lag": 0,
}
_MEMBER_EXAMPLE = {
    "node_id": 4,
    "raft_id": "8674665223082153551",
    "address": "10.0.0.4:8001",
    "raft_address": "10.0.0.4:9001",
    "role": "learner",
    "state": "follower",
    "last_heartbeat": examples.FIRST_TIMESTAMP,
    "match_index": 20,
    "lag": 0,
    "diverged": False,
}
_SNAPSHOT_EXAMPLE = {
    "position": 20,
    "size": 3,
    "root": "03c8a8934bc028c8446f0aed8c26fbcf8ea037c5f93412fa6240cbd12e3f4890",
    "bytes": 16384,
    "created": examples.FIRST_TIMESTAMP + 180_000,
}

_CLUSTER: dict[str, Schema] = {
    "ClusterStatus": opened({**_STATUS, **_OF_A_MEMBER}, list(_STATUS), example=_STATUS_EXAMPLE),
    "ClusterMetrics": opened(
        {
            **_STATUS,
            **_OF_A_MEMBER,
            **_FIGURES,
            "lag": described(COUNT, "Committed entries that did not take effect here yet."),
        },
        [*_STATUS, "voters", "learners", "lag"],
        example={**_STATUS_EXAMPLE, **_FIGURES_EXAMPLE},
    ),
    "ClusterMember": opened(
        {
            "node_id": _NODE_ID,
            "raft_id": nullable(text(""), "Drawn with the node's folder; null where it stands alone."),
            "address": text("Where clients reach it."),
            "raft_address": text("Where its peers reach it. Members alone have one."),
            "role": {"enum": ["voter", "learner"]},
            "state": {
                "enum": [*_STATES, "suspect", "failed"],
                "description": "`suspect` was not heard for a moment, `failed` for `[discovery] failure_timeout_ms`.",
            },
            "last_heartbeat": nullable(TIMESTAMP, "When it was last heard of, in milliseconds since 1970."),
            "match_index": nullable(COUNT, "The last entry of Raft that it has; null where the asked does not know."),
            "lag": nullable(COUNT, "Entries that it is behind; null where the asked does not know."),
            "diverged": described(
                FLAG, "Whether it has another ledger than the majority; where none is known, than the node asked."
            ),
        },
        ["node_id", "raft_id", "address", "role", "state", "last_heartbeat", "match_index", "lag"],
        example=_MEMBER_EXAMPLE,
    ),
    "ClusterPending": opened(
        {"node_id": _NODE_ID, "waits_for": text("What has to happen yet, for people.")},
        ["node_id", "waits_for"],
        example={
            "node_id": 2,
            "waits_for": "the order is recorded; node 2 has not asked to join yet, and has its place again when it"
            " does: start it on an empty folder",
        },
    ),
    "ClusterMembers": opened(
        {"members": listed(reference("ClusterMember"))}, ["members"], example={"members": [_MEMBER_EXAMPLE]}
    ),
    "ClusterLeader": opened(
        {
            "leader_id": nullable(COUNT, "Null while there is none."),
            "address": nullable(text(""), "Where clients reach it."),
        },
        ["leader_id", "address"],
        example={"leader_id": 1, "address": "127.0.0.1:8001"},
    ),
    "ClusterLeft": opened(
        {"node_id": _NODE_ID, "raft_id": text("It never comes back.")},
        ["node_id"],
        example={"node_id": 2, "raft_id": "5577006791947779410"},
    ),
    "ClusterSnapshot": opened(
        {
            "position": described(COUNT, "The entry of Raft that it goes up to."),
            "size": described(COUNT, "Entries of the ledger in it."),
            "root": described(HASH, "Of the tree of that size."),
            "bytes": COUNT,
            "created": TIMESTAMP,
        },
        ["position", "size", "root", "bytes", "created"],
        example=_SNAPSHOT_EXAMPLE,
    ),
    "ClusterSnapshots": opened(
        {"snapshots": listed(reference("ClusterSnapshot"), "Newest first.")},
        ["snapshots"],
        example={"snapshots": [_SNAPSHOT_EXAMPLE]},
    ),
    "ClusterJoin": closed(
        {"node_id": _LABEL, "address": _ADDRESS},
        ["node_id", "address"],
        example={"node_id": 4, "address": "10.0.0.4:9001"},
    ),
    "ClusterNode": closed({"node_id": _LABEL}, ["node_id"], example={"node_id": 2}),
    "ClusterReplace": closed(
        {
            "node_id": _LABEL,
            "raft_id": nullable(
                _RAFT_ID, "The Raft id that it had, as `/cluster/members` shows it, where the label is not enough."
            ),
        },
        ["node_id"],
        example={"node_id": 2, "raft_id": "5577006791947779410"},
    ),
}

NODE_SCHEMAS: dict[str, Schema] = {**_NODE, **_ARCHIVE, **_CLUSTER}

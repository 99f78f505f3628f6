"""What a route's line in the table has no room for: longer words, and a command to try it with.

Commands stand in the order in which a reader can run them against an empty node; a test does.
"""

from __future__ import annotations

from typing import NamedTuple

BASE_URL = "http://localhost:8001"


class Note(NamedTuple):
    """For one method of one path."""

    curl: str = ""
    """Arguments of curl, in which ``URL`` stands for the node. Made from the route where there are none."""
    words: str = ""


_KEY_WORDS = "Also under `/v1/kv/`, for keys whose first segment is a route's name."

NOTES: dict[tuple[str, str], Note] = {
    ("PUT", "/{key}"): Note(
        "-X PUT -H 'Content-Type: text/plain' --data-binary 'Alice Smith' URL/user:alice",
        "The answer comes when the entry is durable. Storing what is the latest version already appends nothing, and "
        "neither does a retry with the same `Idempotency-Key`: both get 200 and the first receipt. A body of any size "
        f"is taken; above `[storage] inline_max` it is stored apart, as it comes. {_KEY_WORDS}",
    ),
    ("PUT", "/v1/kv/{key}"): Note(
        "-X PUT -H 'Content-Type: text/plain' -H 'X-Scribe-Meta-Team: red' --data-binary 'Alice Jones' "
        "'URL/v1/kv/user:alice?if_version=1'"
    ),
    ("GET", "/{key}"): Note(
        "URL/user:alice",
        "The bytes as they were put, with the content type that they were put with. With `proof=true` the answer is "
        f"JSON instead: entry, value and proof in one trip. {_KEY_WORDS}",
    ),
    ("GET", "/v1/kv/{key}"): Note("'URL/v1/kv/user:alice?proof=true'"),
    ("DELETE", "/{key}"): Note(
        "-X DELETE URL/user:bob",
        "Appends an entry that says so. Nothing is erased: every earlier version can be read and proven.",
    ),
    ("DELETE", "/v1/kv/{key}"): Note("-X DELETE URL/v1/kv/user:carol"),
    ("GET", "/v1/kv"): Note(
        "'URL/v1/kv?prefix=user:&limit=10'",
        "The keys that have a value, in their order, each with its latest entry. Pages together are one moment of the "
        "ledger: what is written between two requests is not seen. Sent while it is read, so that it can be long.",
    ),
    ("GET", "/v1/history/{key}"): Note("URL/v1/history/user:alice", "Deletes are versions, too."),
    ("GET", "/v1/log"): Note(
        "'URL/v1/log?start=0&limit=10'", "The cursor is where to go on, now or when there is more."
    ),
    ("GET", "/v1/watch"): Note(
        "-N --max-time 1 'URL/v1/watch?start=0'",
        "Server-sent events. Each has the entry's index as `id`, `entry` as `event` and the entry as `data`. "
        "It begins at `start`, or behind `Last-Event-ID`, or with what comes next. A comment every 15 seconds keeps it "
        "alive. The node ends it only with `event: error`, whose `data` is the one error shape: to a reader that took "
        "nothing for 10 seconds, or when it stops.",
    ),
    ("POST", "/v1/batch"): Note(
        words="All or nothing, at consecutive indexes. An operation that is refused refuses the batch; the error names "
        "it as `operation`. With `Idempotency-Key: K` operation *i* has the request id `K/i`.",
    ),
    ("POST", "/v1/get"): Note(
        words="All as of one moment. With `proof` each entry has its leaf and audit path, beside one checkpoint for "
        "all; and a deleted key is its tombstone instead of null."
    ),
    ("GET", "/verify/{key}"): Note(
        "URL/verify/user:alice",
        "The node makes a proof and checks it. That shows that it is in order, not that it is honest: for that, take "
        "the proof and check it yourself.",
    ),
    ("GET", "/v1/proof/{key}"): Note(
        "URL/v1/proof/user:alice",
        "A complete text: leaf, audit path and signed checkpoint. `scribe verify` and any C2SP tlog-proof reader check "
        "it offline.",
    ),
    ("GET", "/v1/proof/history/{key}"): Note("URL/v1/proof/history/user:alice"),
    ("GET", "/v1/proof/consistency"): Note("'URL/v1/proof/consistency?from=1&to=2'"),
    ("GET", "/tlog/checkpoint"): Note(
        "URL/tlog/checkpoint",
        "Origin, size and root, signed by the ledger's key. With the tiles beside it, any client of C2SP tlog-tiles "
        "can read the log and check it; its base URL is `/tlog`. In a cluster it is the newest that a majority of the "
        "voters has cosigned, which may be a moment older than the newest write; where none can be had in time, or "
        "`after` names more, it is the node's own, without cosignatures.",
    ),
    ("GET", "/tlog/tile/{tile}"): Note(
        "-o tile URL/tlog/tile/0/000.p/2",
        "Tiles never change and may be kept for ever. What no checkpoint covers yet is not found.",
    ),
    ("GET", "/metrics"): Note("URL/metrics"),
    ("GET", "/health/ready"): Note(
        words="A node that may not write says 503 here, and goes on answering reads. So does a member that knows of no "
        "leader: it answers `stale` reads alone. A member that differs from the majority, or was removed, answers no "
        "reads either. A learner, a member that takes a snapshot over, and a founder that awaits the others say 503 "
        "here and serve all the same. One that "
        "does not get on with its archive takes writes: it answers 200, and `degraded`."
    ),
    ("GET", "/health"): Note(words="The same as `/health/ready`."),
    ("GET", "/v1/manifest"): Note(
        "URL/v1/manifest",
        "One version of it. With its ETag in `If-None-Match` the answer is 304 until that changes; with `since` it is "
        "what changed after that version, without what came and went in between.",
    ),
    ("POST", "/cluster/join"): Note(
        words="Invites a node that waits at that address of its Raft port. It becomes a learner, and a voter when it "
        "has caught up. A node that has the cluster among its seeds joins by itself. Any member takes this and the "
        "other orders; what only the leader can do is asked of the leader. 202: the node was told, and has not joined "
        "within a few seconds."
    ),
    ("POST", "/cluster/leave"): Note(
        words="Takes a member out, dead or alive. Its Raft id never comes back. The last voter is not taken out."
    ),
    ("POST", "/cluster/replace"): Note(
        words="For a node whose folder was lost: started again with its old label, it waits under a new Raft id, and "
        "this gives it the place of the old one. 202: the order is recorded, and takes effect when that node asks to "
        "join; it need not be given again."
    ),
    ("POST", "/cluster/transfer"): Note(words="Waits until that member leads."),
    ("POST", "/cluster/snapshot"): Note(
        words="What a member that is far behind is sent. The node makes one by itself when it is needed; older ones "
        "are removed, `[consensus] snapshots_keep` stay."
    ),
    ("POST", "/v1/archive"): Note(
        words="Seals and uploads all that is committed, however little, and waits for it. Requests that come while one "
        "is at work share the next. In a cluster the leader does it, whoever is asked. Where the object store cannot "
        "be reached the answer is 503, and names the object.",
    ),
}

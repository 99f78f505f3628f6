"""Writes the metrics out: as Prometheus' text (exposition format 0.0.4), and as the JSON of ``/metrics``.

``METRICS`` is the table of all there are; what is not in it cannot be written. A scrape costs a few hundred
microseconds, whatever the size of the ledger, and nothing between scrapes.
"""

from __future__ import annotations

import gc
import platform
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from scribe_ledger.errors import KINDS
from scribe_ledger.http.clustering import SnapshotFigures
from scribe_ledger.http.process_figures import ProcessFigures
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scribe_ledger.http.archiving import ArchiveFigures
    from scribe_ledger.http.clustering import RaftFigures
    from scribe_ledger.http.metrics import Histogram, Metrics

PROMETHEUS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """One row of the table."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("scribe_build_info", "gauge", ("version", "python"), "Always 1; the labels say what is running."),
        Metric("scribe_node_info", "gauge", ("node_id", "ledger_id"), "Always 1; the labels say who this is."),
        Metric("scribe_healthy", "gauge", (), "1 while the node reads and writes, 0 when it may not write."),
        Metric("scribe_entries", "gauge", (), "Entries in the ledger, of all kinds."),
        Metric("scribe_keys", "gauge", (), "Keys that were ever written."),
        Metric("scribe_live_keys", "gauge", (), "Keys that have a value now."),
        Metric("scribe_tree_size", "gauge", (), "Leaves under the root that a checkpoint signed now would carry."),
        Metric(
            "scribe_storage_bytes",
            "gauge",
            ("tier",),
            "Bytes stored: hot the engine's files, blobs large values, archive segments.",
        ),
        Metric("scribe_archived_size", "gauge", (), "Entries that are in segments, from the beginning of the log."),
        Metric("scribe_evicted_size", "gauge", (), "Entries whose values are in segments alone, from the beginning."),
        Metric("scribe_segments", "gauge", (), "Live segments."),
        Metric("scribe_manifest_version", "gauge", (), "Version of the manifest; it rises with each change."),
        Metric("scribe_archive_pending_entries", "gauge", (), "Entries that are not archived yet."),
        Metric("scribe_archive_pending_bytes", "gauge", (), "Bytes of those entries' leaves and inline values."),
        Metric("scribe_archive_lag_seconds", "gauge", (), "Age of the oldest entry that is not archived; 0 for none."),
        Metric("scribe_archive_runs_total", "counter", ("result",), "Passes of the archiver, by how they ended."),
        Metric("scribe_archive_running", "gauge", (), "1 while archiving goes on, 0 when it has ended."),
        Metric("scribe_archive_failures_in_a_row", "gauge", (), "Passes that failed since the last that went well."),
        Metric("scribe_archive_sealed_entries_total", "counter", (), "Entries that this process put into segments."),
        Metric("scribe_object_store_up", "gauge", (), "1 if the object store was in order at the last look."),
        Metric("scribe_cold_reads_total", "counter", ("result",), "Reads of evicted values: hit from memory, or miss."),
        Metric("scribe_cold_requests_total", "counter", (), "Requests to the object store for those reads."),
        Metric("scribe_http_requests_total", "counter", ("method", "route", "status"), "Requests answered."),
        Metric(
            "scribe_http_request_duration_seconds",
            "histogram",
            ("method", "route", "status"),
            "From a request's head to the last byte of its answer given to the socket.",
        ),
        Metric("scribe_http_connections", "gauge", (), "Connections open."),
        Metric("scribe_errors_total", "counter", ("kind",), "Errors answered, or met by the archiver, by kind."),
        Metric("scribe_commit_batch_entries", "histogram", (), "Entries made durable together by one commit."),
        Metric("scribe_commit_sync_duration_seconds", "histogram", (), "How long a commit's sync of the disk took."),
        Metric("scribe_queue_entries", "gauge", (), "Entries that wait to be committed."),
        Metric("scribe_queue_bytes", "gauge", (), "Bytes that wait to be committed."),
        Metric("scribe_cache_hits_total", "counter", (), "Reads answered from the cache of answers."),
        Metric("scribe_cache_misses_total", "counter", (), "Reads that had to look into the store."),
        Metric("scribe_log_lines_dropped_total", "counter", (), "Log lines lost because they came too fast."),
        Metric("scribe_raft_term", "gauge", (), "Raft's term; it rises with each election."),
        Metric("scribe_raft_leader", "gauge", (), "Node id of the leader that this node knows of; 0 for none."),
        Metric("scribe_raft_is_leader", "gauge", (), "1 while this node leads."),
        Metric("scribe_raft_commit_index", "gauge", (), "Raft's last entry that a majority has."),
        Metric("scribe_raft_applied_index", "gauge", (), "Raft's last entry that took effect here."),
        Metric("scribe_raft_elections_total", "counter", (), "Elections that this node began."),
        Metric("scribe_raft_proposals_total", "counter", (), "Units that this node took as the leader."),
        Metric("scribe_raft_forwarded_total", "counter", (), "Units that this node sent on to the leader."),
        Metric("scribe_raft_voters", "gauge", (), "Members that count for the majority."),
        Metric("scribe_raft_peer_lag_entries", "gauge", ("peer",), "Entries that a member lacks, on the leader alone."),
        Metric(
            "scribe_raft_peer_last_contact_seconds", "gauge", ("peer",), "Since a member was heard, or first expected."
        ),
        Metric("scribe_raft_log_entries", "gauge", (), "Entries in Raft's log on this node."),
        Metric("scribe_raft_log_bytes", "gauge", (), "Bytes of Raft's log on this node."),
        Metric("scribe_raft_compactions_total", "counter", (), "How often Raft's log was cut."),
        Metric("scribe_raft_snapshots_total", "counter", ("kind",), "Snapshots that were finished."),
        Metric("scribe_raft_snapshot_seconds", "summary", ("kind",), "How long they took."),
        Metric("scribe_raft_refused_connections_total", "counter", ("reason",), "Refused on the Raft port."),
        Metric("scribe_diverged", "gauge", (), "1 if a majority has another root than this node."),
        Metric("scribe_disagreeing_members", "gauge", (), "Members whose ledger is another than this node's."),
        Metric("process_cpu_seconds_total", "counter", (), "Processor time of the process, user and system."),
        Metric("process_resident_memory_bytes", "gauge", (), "Memory that the process holds."),
        Metric("process_open_fds", "gauge", (), "Open file descriptors."),
        Metric("process_max_fds", "gauge", (), "How many file descriptors may be open."),
        Metric("process_start_time_seconds", "gauge", (), "When the process began, in seconds since 1970."),
        Metric("python_gc_collections_total", "counter", ("generation",), "Runs of Python's garbage collector."),
    )
}


@dataclass(frozen=True)
class Standing:
    """How the node stands at the moment of a scrape, beside what it counts."""

    node_id: int
    healthy: bool
    ledger: Mapping[str, Any]
    """What ``Ledger.stats`` says."""
    queued: tuple[int, int]
    """Entries and bytes that wait."""
    archive: ArchiveFigures
    current_term: int = 0
    current_leader: int | None = None
    last_applied: int | None = None
    state: str = "standalone"
    raft: RaftFigures | None = None
    """None on a node that stands alone."""

    @classmethod
    def alone(
        cls,
        node_id: int,
        ledger: Mapping[str, Any],
        queued: tuple[int, int],
        archive: ArchiveFigures,
        *,
        healthy: bool,
    ) -> Self:
        """A node without a cluster is its own leader, and has applied all that it has."""
        last = ledger["entries"] - 1 if ledger["entries"] else None
        return cls(node_id, healthy, ledger, queued, archive, current_leader=node_id, last_applied=last)


# --- Prometheus ------------------------------------------------------------------------------------------------

_OF_A_CLUSTER = ("scribe_raft_", "scribe_diverged", "scribe_disagreeing_members")
_Labels = tuple[str | int, ...]
_Sample = tuple[_Labels, "float | Histogram | SnapshotFigures"]


def prometheus(metrics: Metrics, standing: Standing) -> bytes:
    """The exposition text. A metric without samples is left out, but for its two comment lines."""
    lines: list[str] = []
    samples = dict(_samples(metrics, standing))
    for name, metric in METRICS.items():
        lines += (f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}")
        for labels, value in samples.pop(name):
            named = [f'{label}="{_escaped(str(part))}"' for label, part in zip(metric.labels, labels, strict=True)]
            if isinstance(value, (int, float)):
                lines.append(f"{name}{_braced(named)} {value!r}")
            elif isinstance(value, SnapshotFigures):
                lines.append(f"{name}_sum{_braced(named)} {value.seconds!r}")
                lines.append(f"{name}_count{_braced(named)} {value.count}")
            else:
                lines += _histogram(name, named, value)
    assert not samples, f"not in the table: {samples}"
    return ("\n".join(lines) + "\n").encode()


def _samples(metrics: Metrics, standing: Standing) -> Iterator[tuple[str, list[_Sample]]]:
    ledger, archive, requests = standing.ledger, standing.archive, sorted(metrics.requests.items())
    yield "scribe_build_info", [((__version__, platform.python_version()), 1)]
    yield "scribe_node_info", [((standing.node_id, ledger["ledger_id"]), 1)]
    yield "scribe_storage_bytes", [((tier,), size) for tier, size in ledger["storage_bytes"].items()]
    yield "scribe_http_requests_total", [(labels, stats.count) for labels, stats in requests]
    yield "scribe_http_request_duration_seconds", list(requests)
    errors = Counter(dict.fromkeys(KINDS, 0))  # all from the beginning: one that appears as 1 has not increased
    errors.update(metrics.errors)
    errors.update(archive.errors)
    yield "scribe_errors_total", [((kind,), count) for kind, count in sorted(errors.items())]
    collections = [(str(number), row["collections"]) for number, row in enumerate(gc.get_stats())]
    yield "python_gc_collections_total", [((generation,), count) for generation, count in collections]
    yield "scribe_archive_runs_total", [((result,), count) for result, count in sorted(archive.runs.items())]
    yield "scribe_cold_reads_total", [(("hit",), archive.cold_hits), (("miss",), archive.cold_misses)]
    plain: dict[str, float | Histogram | None] = {
        "scribe_healthy": int(standing.healthy),
        "scribe_entries": ledger["entries"],
        "scribe_keys": ledger["keys"],
        "scribe_live_keys": ledger["live_keys"],
        "scribe_tree_size": ledger["entries"],
        "scribe_archived_size": ledger["archive"]["archived_size"],
        "scribe_evicted_size": ledger["archive"]["evicted_size"],
        "scribe_segments": ledger["archive"]["segments"],
        "scribe_manifest_version": ledger["archive"]["manifest_version"],
        "scribe_archive_pending_entries": archive.pending_entries,
        "scribe_archive_pending_bytes": archive.pending_bytes,
        "scribe_archive_lag_seconds": archive.lag_seconds,
        "scribe_archive_running": None if archive.running is None else int(archive.running),
        "scribe_archive_failures_in_a_row": archive.failures_in_a_row,
        "scribe_archive_sealed_entries_total": archive.sealed_entries,
        "scribe_object_store_up": None if archive.store_up is None else int(archive.store_up),
        "scribe_cold_requests_total": archive.cold_requests,
        "scribe_http_connections": metrics.connections(),
        "scribe_commit_batch_entries": metrics.commit_entries,
        "scribe_commit_sync_duration_seconds": metrics.commit_seconds,
        "scribe_queue_entries": standing.queued[0],
        "scribe_queue_bytes": standing.queued[1],
        "scribe_cache_hits_total": metrics.cache_hits,
        "scribe_cache_misses_total": metrics.cache_misses,
        "scribe_log_lines_dropped_total": metrics.log_lines_dropped(),
        **ProcessFigures.now()._asdict(),
    }
    for name, value in plain.items():
        yield name, [] if value is None else [((), value)]
    yield from _raft_samples(standing.raft)


def _raft_samples(raft: RaftFigures | None) -> Iterator[tuple[str, list[_Sample]]]:
    if raft is None:
        yield from [(name, []) for name in METRICS if name.startswith(_OF_A_CLUSTER)]
        return
    peers, snapshots = sorted(raft.peers.items()), sorted(raft.snapshots.items())
    lags = [(peer, each.lag_entries) for peer, each in peers]
    contacts = [(peer, each.last_contact_seconds) for peer, each in peers]
    yield "scribe_raft_peer_lag_entries", [((peer,), lag) for peer, lag in lags if lag is not None]
    yield "scribe_raft_peer_last_contact_seconds", [((peer,), age) for peer, age in contacts if age is not None]
    yield "scribe_raft_snapshots_total", [((kind,), each.count) for kind, each in snapshots]
    yield "scribe_raft_snapshot_seconds", [((kind,), each) for kind, each in snapshots]
    refused = sorted(raft.refused_connections.items())
    yield "scribe_raft_refused_connections_total", [((reason,), count) for reason, count in refused]
    plain: dict[str, float] = {
        "scribe_raft_term": raft.term,
        "scribe_raft_leader": raft.leader or 0,
        "scribe_raft_is_leader": int(raft.is_leader),
        "scribe_raft_commit_index": raft.commit_index,
        "scribe_raft_applied_index": raft.applied_index,
        "scribe_raft_elections_total": raft.elections,
        "scribe_raft_proposals_total": raft.proposals,
        "scribe_raft_forwarded_total": raft.forwarded,
        "scribe_raft_voters": raft.voters,
        "scribe_raft_log_entries": raft.log_entries,
        "scribe_raft_log_bytes": raft.log_bytes,
        "scribe_raft_compactions_total": raft.compactions,
        "scribe_diverged": int(raft.diverged),
        "scribe_disagreeing_members": raft.disagreeing,
    }
    for name, value in plain.items():
        yield name, [((), value)]


def _histogram(name: str, labels: list[str], histogram: Histogram) -> Iterator[str]:
    counts = list(accumulate(histogram.counts))  # one copy: its last must equal the count below
    for bound, count in zip((*histogram.bounds, "+Inf"), counts, strict=True):
        bucket = _braced([*labels, f'le="{bound}"'])
        yield f"{name}_bucket{bucket} {count}"
    yield f"{name}_sum{_braced(labels)} {histogram.total!r}"
    yield f"{name}_count{_braced(labels)} {counts[-1]}"


def _braced(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


# --- JSON ------------------------------------------------------------------------------------------------------

_IN_COUNTS = {"runs", "errors"}
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def to_json(metrics: Metrics, standing: Standing) -> dict[str, Any]:
    """The document of ``/metrics``. Durations are in seconds; quantiles are estimated from the histograms."""
    routes = dict(metrics.by_route())
    overall, ledger, archive = routes.pop("all"), standing.ledger, standing.archive
    return {
        "node_id": standing.node_id,
        "state": standing.state,
        "current_term": standing.current_term,
        "current_leader": standing.current_leader,
        "last_applied": standing.last_applied,
        "healthy": standing.healthy,
        "counts": {
            "entries": ledger["entries"],
            "keys": ledger["keys"],
            "live_keys": ledger["live_keys"],
            "requests": overall.count,
            "errors": metrics.errors.total() + sum(archive.errors.values()),
            "commits": metrics.commit_entries.count,
            "cache_hits": metrics.cache_hits,
            "cache_misses": metrics.cache_misses,
            "queue_entries": standing.queued[0],
            "queue_bytes": standing.queued[1],
            "connections": metrics.connections(),
        },
        "storage_bytes": dict(ledger["storage_bytes"]),
        "archive": {
            **ledger["archive"],
            **{name: value for name, value in archive._asdict().items() if name not in _IN_COUNTS},
            "runs": dict(archive.runs),
        },
        "request_seconds": _quantiles(overall),
        "routes": {name: _quantiles(stats) for name, stats in routes.items()},
    }


def _quantiles(stats: Histogram) -> dict[str, float | int | None]:
    return {"count": stats.count, **{name: stats.quantile(part) for name, part in QUANTILES.items()}}

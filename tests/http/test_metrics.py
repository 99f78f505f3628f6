"""What a node counts, how it is written out, and that the reference page names all of it and nothing else."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.http.membership import FIGURES

from scribe_ledger.config import MetricsSettings
from scribe_ledger.errors import KINDS
from scribe_ledger.http.archiving import ArchiveFigures
from scribe_ledger.http.exposition import METRICS, QUANTILES, Standing, prometheus, to_json
from scribe_ledger.http.metrics import BATCH_BUCKETS, Histogram, Metrics
from scribe_ledger.http.process_figures import ProcessFigures

if TYPE_CHECKING:
    from prometheus_client import Metric

pytestmark = pytest.mark.http

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
LEDGER = {
    "ledger_id": "ab" * 16,
    "entries": 12,
    "keys": 7,
    "live_keys": 6,
    "storage_bytes": {"hot": 4096, "blobs": 1 << 40, "archive": 512},
    "archive": {
        "manifest_version": 4,
        "archived_size": 8,
        "segments": 2,
        "pending_bytes": 77,
        "evicted_size": 6,
    },
}
ARCHIVE = ArchiveFigures(
    pending_entries=4,
    pending_bytes=77,
    lag_seconds=2.5,
    runs={"ok": 3, "failed": 1},
    running=True,
    failures_in_a_row=1,
    errors={"corruption": 1},
    sealed_entries=8,
    cold_hits=9,
    cold_misses=2,
    cold_requests=3,
    store_up=True,
)
STANDING = Standing.alone(3, LEDGER, (5, 640), ARCHIVE, healthy=True)


def busy() -> Metrics:
    """One of everything."""
    metrics = Metrics((0.001, 0.01, 0.1))
    metrics.request("GET", "/{key}", 200).observe(0.0005)
    metrics.request("GET", "/{key}", 200).observe(0.002)
    metrics.request("GET", "/{key}", 404).observe(3)
    metrics.request("PUT", "/v1/kv/{key}", 201).observe(0.01)
    metrics.errors["not_found"] += 1
    metrics.cache_hits += 2
    metrics.cache_misses += 1
    metrics.commit(64, 0.0002)
    metrics.commit(100_000, 2)
    metrics.connections = lambda: 17
    metrics.log_lines_dropped = lambda: 4
    return metrics


def parsed(metrics: Metrics, standing: Standing = STANDING) -> dict[str, Metric]:
    """By the name that stands in the text; the parser takes ``_total`` from counters."""
    families = list(text_string_to_metric_families(prometheus(metrics, standing).decode()))
    return {family.name + ("_total" if family.type == "counter" else ""): family for family in families}


def value(metrics: Metrics, sample: str, **labels: str) -> float:
    found = [
        each.value
        for family in parsed(metrics).values()
        for each in family.samples
        if each.name == sample and each.labels == labels
    ]
    assert len(found) == 1, (sample, labels, found)
    return float(found[0])


# --- counting --------------------------------------------------------------------------------------------------


def test_a_value_on_a_bound_counts_as_below_it() -> None:
    histogram = Histogram((1, 2))
    for number in (0.5, 1, 1.5, 2, 2.5):
        histogram.observe(number)
    assert histogram.counts == [2, 2, 1]
    assert (histogram.count, histogram.total) == (5, 7.5)


def test_requests_of_one_kind_share_their_stats() -> None:
    metrics = Metrics((1,))
    stats = metrics.request("GET", "/{key}", 200)
    assert metrics.request("GET", "/{key}", 200) is stats
    assert metrics.request("GET", "/{key}", 404) is not stats


def test_quantiles_are_exact_to_the_bucket() -> None:
    bounds = MetricsSettings().latency_buckets
    histogram = Histogram(bounds)
    durations = [0.0001 * 1.05**step for step in range(200)]
    for seconds in durations:
        histogram.observe(seconds)
    exact = statistics.quantiles(durations, n=100, method="inclusive")
    for part, true in ((0.5, exact[49]), (0.95, exact[94]), (0.99, exact[98])):
        upper = next(bound for bound in bounds if bound >= true)
        lower = max((bound for bound in bounds if bound < true), default=0)
        estimate = histogram.quantile(part)
        assert estimate is not None
        assert lower <= estimate <= upper


def test_quantiles_of_nothing_and_beyond_the_last_bound() -> None:
    histogram = Histogram((1, 2))
    assert histogram.quantile(0.5) is None
    histogram.observe(100)
    assert histogram.quantile(0.5) == 2


# --- Prometheus ------------------------------------------------------------------------------------------------


def test_text_is_what_a_real_parser_reads() -> None:
    families = parsed(busy(), replace(STANDING, raft=FIGURES))
    assert set(families) == set(METRICS)
    for name, family in families.items():
        row = METRICS[name]
        assert (family.type, family.documentation) == (row.type, row.help)
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels)


def test_text_says_what_was_counted() -> None:
    metrics = busy()
    get = {"method": "GET", "route": "/{key}", "status": "200"}
    assert value(metrics, "scribe_http_requests_total", **get) == 2
    duration = "scribe_http_request_duration_seconds"
    buckets = {le: value(metrics, f"{duration}_bucket", **get, le=le) for le in ("0.001", "0.01", "0.1", "+Inf")}
    assert buckets == {"0.001": 1, "0.01": 2, "0.1": 2, "+Inf": 2}
    assert value(metrics, f"{duration}_sum", **get) == pytest.approx(0.0025)
    assert value(metrics, f"{duration}_count", **get) == 2
    assert value(metrics, "scribe_errors_total", kind="not_found") == 1
    assert value(metrics, "scribe_commit_batch_entries_bucket", le="64") == 1
    assert value(metrics, "scribe_commit_batch_entries_bucket", le=str(BATCH_BUCKETS[-1])) == 1
    assert value(metrics, "scribe_commit_batch_entries_count") == 2
    assert value(metrics, "scribe_commit_sync_duration_seconds_sum") == pytest.approx(2.0002)
    expected = {
        "scribe_cache_hits_total": 2,
        "scribe_cache_misses_total": 1,
        "scribe_queue_entries": 5,
        "scribe_queue_bytes": 640,
        "scribe_entries": 12,
        "scribe_keys": 7,
        "scribe_live_keys": 6,
        "scribe_tree_size": 12,
        "scribe_healthy": 1,
        "scribe_http_connections": 17,
        "scribe_log_lines_dropped_total": 4,
        "scribe_archived_size": 8,
        "scribe_evicted_size": 6,
        "scribe_segments": 2,
        "scribe_manifest_version": 4,
        "scribe_archive_pending_entries": 4,
        "scribe_archive_pending_bytes": 77,
        "scribe_archive_lag_seconds": 2.5,
        "scribe_archive_sealed_entries_total": 8,
        "scribe_object_store_up": 1,
        "scribe_cold_requests_total": 3,
    }
    assert {name: value(metrics, name) for name in expected} == expected
    assert value(metrics, "scribe_storage_bytes", tier="blobs") == 1 << 40
    assert value(metrics, "scribe_storage_bytes", tier="archive") == 512
    assert value(metrics, "scribe_archive_runs_total", result="failed") == 1
    assert value(metrics, "scribe_cold_reads_total", result="hit") == 9
    assert value(metrics, "scribe_cold_reads_total", result="miss") == 2
    assert value(metrics, "scribe_node_info", node_id="3", ledger_id="ab" * 16) == 1


def test_buckets_rise_and_end_at_the_count() -> None:
    for family in parsed(busy()).values():
        if family.type != "histogram":
            continue
        rows: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for sample in family.samples:
            labels = tuple(sorted((name, text) for name, text in sample.labels.items() if name != "le"))
            if sample.name.endswith("_bucket"):
                rows.setdefault(labels, []).append(sample.value)
            if sample.name.endswith("_count"):
                assert rows[labels][-1] == sample.value
        assert all(row == sorted(row) for row in rows.values())


def test_names_and_units_follow_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"(scribe|process|python)_[a-z_]+", name)
        assert name.endswith("_total") == (metric.type == "counter")
        assert not re.search(r"_(ms|millis\w*|micros\w*|kib|mib|percent)(_|$)", name)
        assert metric.help.endswith(".")


def test_labels_cannot_break_out_of_their_quotes() -> None:
    metrics = Metrics((1,))
    strange = 'a"b\\c\nd'
    metrics.request("GET", strange, 200).observe(0)
    assert value(metrics, "scribe_http_requests_total", method="GET", route=strange, status="200") == 1


def test_an_idle_node_has_all_that_needs_no_request() -> None:
    families = parsed(Metrics((1,)))
    empty = {name for name, family in families.items() if not family.samples}
    of_a_cluster = {name for name in METRICS if name.startswith("scribe_raft_")}
    of_a_cluster |= {"scribe_diverged", "scribe_disagreeing_members"}
    assert of_a_cluster <= empty
    assert empty - of_a_cluster == {
        "scribe_http_requests_total",
        "scribe_http_request_duration_seconds",
    }
    kinds = {each.labels["kind"]: each.value for each in families["scribe_errors_total"].samples}
    assert kinds == dict.fromkeys(KINDS, 0) | {"corruption": 1}, (
        "an alert sees an increase from 0 to 1, and none where 1 is the first"
    )


def test_raft_figures_of_a_member() -> None:
    standing = replace(STANDING, raft=FIGURES, state="follower", current_leader=2)
    expected = {
        ("scribe_raft_term",): 7,
        ("scribe_raft_leader",): 2,
        ("scribe_raft_is_leader",): 0,
        ("scribe_raft_commit_index",): 39,
        ("scribe_raft_applied_index",): 38,
        ("scribe_raft_peer_lag_entries", "peer", "3"): 4,
        ("scribe_raft_peer_last_contact_seconds", "peer", "2"): 0.25,
        ("scribe_raft_snapshots_total", "kind", "installed_full"): 2,
        ("scribe_raft_snapshot_seconds_sum", "kind", "installed_full"): 3.0,
        ("scribe_raft_snapshot_seconds_count", "kind", "made"): 1,
        ("scribe_raft_refused_connections_total", "reason", "secret"): 9,
        ("scribe_diverged",): 0,
        ("scribe_disagreeing_members",): 1,
    }
    families = parsed(Metrics((1,)), standing)
    samples = {
        (each.name, *(part for pair in each.labels.items() for part in pair)): each.value
        for family in families.values()
        for each in family.samples
    }
    assert {name: samples[name] for name in expected} == expected
    assert ("scribe_raft_peer_lag_entries", "peer", "2") not in samples, "nobody knows it there"
    nobody = replace(standing, raft=FIGURES._replace(leader=None))
    (sample,) = parsed(Metrics((1,)), nobody)["scribe_raft_leader"].samples
    assert sample.value == 0


def test_process_figures_are_those_of_this_process() -> None:
    before = ProcessFigures.now()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    deadline = time.process_time() + 0.02
    while time.process_time() < deadline:
        pass
    after = ProcessFigures.now()
    for each in held:
        os.close(each)
    assert after.process_cpu_seconds_total >= before.process_cpu_seconds_total + 0.02
    assert before.process_open_fds is not None
    assert after.process_open_fds == before.process_open_fds + 5
    assert after.process_resident_memory_bytes is not None
    assert after.process_resident_memory_bytes > 5 << 20
    assert time.time() - 3600 < after.process_start_time_seconds < time.time()


# --- JSON ------------------------------------------------------------------------------------------------------


def test_json_has_the_fields_of_the_contract() -> None:
    shape = json.loads(json.dumps(to_json(busy(), STANDING)))
    assert (shape["state"], shape["current_term"], shape["current_leader"]) == ("standalone", 0, 3)
    assert shape["last_applied"] == 11, "the index of the last entry"
    assert shape["counts"]["requests"] == 4
    assert shape["counts"]["errors"] == 2
    assert shape["counts"]["commits"] == 2
    assert {"p50", "p95", "p99", "count"} == set(shape["request_seconds"]) == set(shape["routes"]["GET /{key}"])
    assert shape["routes"]["GET /{key}"]["count"] == 3
    assert shape["routes"]["PUT /v1/kv/{key}"]["p50"] == pytest.approx(0.0055)
    assert shape["request_seconds"]["p99"] == 0.1


def test_json_of_an_empty_ledger_has_applied_nothing() -> None:
    standing = Standing.alone(1, {**LEDGER, "entries": 0}, (0, 0), ArchiveFigures(), healthy=False)
    shape = to_json(Metrics((1,)), standing)
    assert shape["last_applied"] is None
    assert shape["healthy"] is False
    assert shape["request_seconds"] == {"count": 0, "p50": None, "p95": None, "p99": None}


# --- the page --------------------------------------------------------------------------------------------------


def test_reference_page_is_the_table_of_metrics() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", PAGE, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows}
    assert documented == {name: (row.type, row.labels, row.help) for name, row in METRICS.items()}
    assert len(rows) == len(METRICS)


def test_reference_page_names_every_field_of_the_json() -> None:
    section = PAGE.split("## JSON")[1]
    example = json.loads(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0])
    shape = to_json(busy(), STANDING)
    assert set(example) == set(shape)
    for name in ("counts", "storage_bytes", "archive", "request_seconds"):
        assert set(example[name]) == set(shape[name])
    assert all(name in section for name in QUANTILES)

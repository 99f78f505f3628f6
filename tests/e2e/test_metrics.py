"""Raft's figures, as Prometheus text and as JSON, agree with each other and move with the work."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster_of_nodes import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Target

pytestmark = [pytest.mark.cluster, pytest.mark.no_cover]

GAUGES = {
    "scribe_raft_term",
    "scribe_raft_leader",
    "scribe_raft_is_leader",
    "scribe_raft_commit_index",
    "scribe_raft_applied_index",
    "scribe_raft_log_entries",
    "scribe_raft_log_bytes",
    "scribe_raft_peer_last_contact_seconds",
}
COUNTERS = {
    "scribe_raft_elections_total",
    "scribe_raft_proposals_total",
    "scribe_raft_forwarded_total",
    "scribe_raft_compactions_total",
    "scribe_raft_snapshots_total",
}


def samples(url: str) -> dict[str, float]:
    """Of each name the sum over its labels."""
    with urllib.request.urlopen(f"{url}/metrics/prometheus", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_every_node_shows_the_figures_of_raft(target: Target) -> None:
    for url in target.urls:
        names = set(samples(url))
        assert names >= GAUGES, GAUGES - names
        assert names >= COUNTERS, COUNTERS - names


def test_exactly_one_node_says_that_it_leads(target: Target) -> None:
    assert sum(samples(url)["scribe_raft_is_leader"] for url in target.urls) == 1


def test_the_leader_shows_how_far_its_peers_are(target: Target, prefix: str) -> None:
    with target.client() as client:
        client.put(f"{prefix}/key", b"x")
    leader = next(url for url in target.urls if samples(url)["scribe_raft_is_leader"])
    assert "scribe_raft_peer_lag_entries" in samples(leader)
    wait_until(lambda: samples(leader)["scribe_raft_peer_lag_entries"] == 0, "all peers have everything")


def test_work_is_counted_where_it_was_taken_and_applied_everywhere(target: Target, prefix: str) -> None:
    before = [samples(url) for url in target.urls]
    for number in range(len(target.urls)):
        with target.client_of(number) as client:
            for turn in range(5):
                client.put(f"{prefix}/{number}/{turn}", b"x")
    after = [samples(url) for url in target.urls]
    rise = {
        name: [new[name] - old[name] for old, new in zip(before, after, strict=True)]
        for name in ("scribe_raft_proposals_total", "scribe_raft_forwarded_total")
    }
    assert sum(rise["scribe_raft_proposals_total"]) >= 5 * len(target.urls)
    followers = [number for number, each in enumerate(after) if not each["scribe_raft_is_leader"]]
    assert all(rise["scribe_raft_forwarded_total"][number] >= 5 for number in followers), rise
    wait_until(
        lambda: len({samples(url)["scribe_raft_applied_index"] for url in target.urls}) == 1, "the same is applied"
    )


def test_json_and_text_say_the_same(target: Target) -> None:
    for number, url in enumerate(target.urls):
        with target.client_of(number) as client:
            shown, status, text = client.cluster_metrics(), client.cluster_status(), samples(url)
        assert shown["current_term"] == status["current_term"] == text["scribe_raft_term"]
        assert shown["is_leader"] == status["is_leader"] == bool(text["scribe_raft_is_leader"])
        assert shown["commit_index"] <= text["scribe_raft_commit_index"]

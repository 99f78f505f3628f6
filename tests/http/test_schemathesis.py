"""schemathesis, run against a served node over a real socket: nothing that it sends meets what is not described.

It makes requests from the OpenAPI document, right and wrong ones, and checks statuses, headers, content types and the
shapes of answers; that wrong requests are refused and right ones are not; and methods that a path does not have.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.http.membership import FakeCluster
from tests.http.serving import serve

from scribe_ledger.http.service import Service

if TYPE_CHECKING:
    from tests.http.serving import Served

pytestmark = [pytest.mark.http, pytest.mark.no_cover]

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
PHASES = ("--phases", "examples,coverage,fuzzing")  # what comes of one request is not the parameter of another
OURS_TO_MEND = {"internal", "storage", "corruption", "closed", "locked"}
"""Kinds of error that no request may bring about."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that ask for what is not written yet are not waited for."""
    wait = Service.wait_for_size

    async def barely_wait(self: Service, size: int, *, seconds: float) -> None:
        await wait(self, size, seconds=min(seconds, 0.01))

    monkeypatch.setattr(Service, "wait_for_size", barely_wait)


def run(node: Served, *options: str, folder: Path, invalid: int = 100, method: int = 10) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
    done = subprocess.run(
        [*command, "run", f"{node.url}/openapi.json", "--url", node.url, "--no-color", *PHASES, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = "\n".join(line[:1000] for line in done.stdout.splitlines())
    assert done.returncode == 0, f"{shown}\n{done.stderr}"
    errors = node.service.metrics.errors
    assert not OURS_TO_MEND & set(errors), errors
    assert errors["invalid"] > invalid and errors["method"] > method, "it sent wrong requests, too"


def fill(node: Served) -> None:
    """Something to be found, so that not all answers are 404."""
    node.ledger.put("user:alice", "Alice Smith", content_type="text/plain", metadata={"team": "red"})
    node.ledger.put("user:alice", "Alice Jones", content_type="text/plain", metadata={"team": "red"})
    node.ledger.put("user:bob", b"\xff" * 300_000)


def test_nothing_that_is_sent_meets_what_is_not_described(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as node:
        fill(node)
        run(
            node,
            *("--max-examples", "1", "--generation-deterministic"),
            folder=tmp_path,
        )


def test_orders_of_a_cluster_meet_nothing_that_is_not_described(tmp_path: Path) -> None:
    options = ("--include-path-regex", "^/cluster/", "--max-examples", "2", "--generation-deterministic")
    with serve(tmp_path / "data", cluster=FakeCluster) as node:
        run(node, *options, folder=tmp_path, invalid=50, method=0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_sent_for_long_meets_what_is_not_described(tmp_path: Path, seed: int) -> None:
    with serve(tmp_path / "data") as node:
        fill(node)
        run(node, *("--max-examples", "100", "--seed", str(seed)), folder=tmp_path)

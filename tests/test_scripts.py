"""The scripts that start, stop and test a cluster on one machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, ClassVar

import pytest
from tests.cluster_of_nodes import ClusterOfNodes, wait_until

from scribe_ledger.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
needs_environment = pytest.mark.skipif(
    not (ROOT / ".venv/bin/scribe-node").exists() and shutil.which("scribe-node") is None,
    reason="needs an installed scribe-node",
)


def run(name: str, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SCRIBE_")}
    done = subprocess.run(
        [SCRIPTS / f"{name}.sh", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0 or not check, (done.stdout, done.stderr)
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a cluster may run; none is left behind."""
    place = tmp_path / "a cluster"
    yield place
    for file in place.glob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            continue


def settings_like_the_shipped(folder: Path) -> Path:
    """The shipped files on ports that are free."""
    nodes = ClusterOfNodes(folder / "ports").nodes
    ports = {f"{base}{node.node_id}": (node.port, node.raft_port)[base == 900] for base in (800, 900) for node in nodes}
    for node in nodes:
        text = (ROOT / f"config-node{node.node_id}.toml").read_text()
        text = re.sub(r"\b([89]00[123])\b", lambda found: str(ports[found[0]]), text)
        (folder / f"config-node{node.node_id}.toml").write_text(text)
    return folder


@needs_environment
def test_a_cluster_is_started_found_running_and_stopped(folder: Path, tmp_path: Path) -> None:
    place = ["-d", str(folder), "-c", str(settings_like_the_shipped(tmp_path))]
    started = run("start-cluster", *place).stdout
    urls = re.findall(r"^http://\S+$", started, re.MULTILINE)
    assert len(urls) == 3
    with Client(urls) as client:
        client.put("key", b"value")
        assert client.cluster_status()["voters"] == 3
    again = run("start-cluster", *place).stdout
    assert again.count("runs already") == 3
    assert re.findall(r"^http://\S+$", again, re.MULTILINE) == urls
    assert {path.name for path in folder.glob("node-*")} >= {"node-1", "node-1.log", "node-1.pid", "node-3"}
    assert run("stop-cluster", "-d", str(folder)).stdout.count("stopped") == 3
    assert not list(folder.glob("*.pid"))
    assert "nothing was started" in run("stop-cluster", "-d", str(folder)).stdout
    for number in (1, 2, 3):
        assert "SIGTERM" in (folder / f"node-{number}.log").read_text()
    run("start-cluster", *place)
    with Client(urls) as client:
        assert client.get("key") == b"value"


@needs_environment
def test_a_dead_node_is_started_again_and_another_cluster_is_not_taken_for_its_own(folder: Path) -> None:
    first = ClusterOfNodes(folder.parent / "ports", 1).nodes[0]
    place = ["-d", str(folder), "-p", str(first.port), "-r", str(first.raft_port), "1"]
    run("start-cluster", *place)
    again = run("start-cluster", "-d", str(folder), "1").stdout
    assert f"node 1 runs already (pid {(folder / 'node-1.pid').read_text().strip()}, {first.url})" in again
    assert again.endswith(f"{first.url}\n")
    other = folder.parent / "another"
    refused = run("start-cluster", "-d", str(other), *place[2:], check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"port {first.port} of node 1 is taken by another program" in refused.stderr
    assert not list(other.glob("*.pid"))
    pid = int((folder / "node-1.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text(), "its end")
    assert "node 1 started" in run("start-cluster", *place).stdout
    assert first.put("key", b"value")["index"] >= 0
    run("stop-cluster", "-d", str(folder))


@needs_environment
def test_a_node_that_cannot_start_is_said_with_its_log(folder: Path, tmp_path: Path) -> None:
    configs = settings_like_the_shipped(tmp_path)
    (configs / "config-node2.toml").write_text("[node]\nid = 'two'\n")
    failed = run("start-cluster", "-d", str(folder), "-c", str(configs), check=False)
    assert failed.returncode == 1
    assert "node 2 ended; its log is" in failed.stderr
    assert "node.id" in failed.stderr


class Answers(BaseHTTPRequestHandler):
    """What nodes say of themselves, by their ports."""

    protocol_version = "HTTP/1.1"
    said: ClassVar[dict[int, dict[str, object]]]

    def do_GET(self) -> None:
        said = self.said[self.server.server_port]  # type: ignore[attr-defined]
        problem = said.get("error") if self.path.startswith("/health") else None
        body = json.dumps({**said, "error": problem} if problem else said).encode()
        self.send_response(503 if problem else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def answering(folder: Path) -> Iterator[Callable[..., list[str]]]:
    """Has nodes run, as far as the script can tell, that say what is given. Gives its arguments."""
    with ExitStack() as stack:

        def answer(*said: dict[str, object]) -> list[str]:
            folder.mkdir()
            Answers.said = {}
            sleeper = stack.enter_context(subprocess.Popen(["bash", "-c", "exec -a scribe-node sleep 60"]))
            stack.callback(sleeper.kill)
            for number, each in enumerate(said, 1):
                server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
                Answers.said[server.server_port] = each
                (folder / f"config-node{number}.toml").write_text(f"client_port = {server.server_port}\n")
                (folder / f"node-{number}.pid").write_text(str(sleeper.pid))
                stack.callback(server.shutdown)
                Thread(target=server.serve_forever, args=(0.01,)).start()
            return ["-d", str(folder), "-w", "1", str(len(said))]

        yield answer


def test_voters_that_do_not_run_are_counted_and_named(folder: Path, answering: Callable[..., list[str]]) -> None:
    place = answering(*[{"leader_id": 2, "voters": 5}] * 3)
    for number in range(1, 6):
        (folder / f"node-{number}.log").touch()
    said = run("start-cluster", *place).stdout
    assert "the cluster serves with 5 voters; node 2 leads\nnot running: node 4 5;" in said


def test_who_is_not_in_is_told_with_its_reason(answering: Callable[..., list[str]]) -> None:
    well: dict[str, object] = {"leader_id": 1, "voters": 2}
    problem = {
        "kind": "unavailable",
        "message": 'node 2 is "a member" that is gone',
        "hint": "scribe cluster replace 2",
    }
    failed = run("start-cluster", *answering(well, {"error": problem}), check=False)
    assert failed.returncode == 1
    assert 'node 2: node 2 is \\"a member\\" that is gone scribe cluster replace 2\n' in failed.stderr
    assert "not all of the 2 nodes are voters within 1 s" in failed.stderr
    assert "node 1:" not in failed.stderr


def test_suites_run_by_name_against_a_running_cluster(tmp_path: Path) -> None:
    with ClusterOfNodes(tmp_path / "running", 1) as cluster:
        node = cluster.nodes[0]
        node.start("--bootstrap")
        cluster.wait(lambda: node.is_healthy, "it serves")
        done = run("test-cluster", "health", SCRIBE_URLS=node.url)
    assert "test_every_node_is_healthy PASSED" in done.stdout.replace("\n", "")
    assert "test_connectivity" not in done.stdout


@pytest.mark.parametrize(
    ("script", "wrong"),
    [("start-cluster", ["none"]), ("start-cluster", ["-x"]), ("stop-cluster", ["more"]), ("test-cluster", ["nosuch"])],
)
def test_wrong_usage_is_told(script: str, wrong: list[str]) -> None:
    refused = run(script, *wrong, check=False)
    assert refused.returncode in (1, 2)
    assert "usage: scripts/" in refused.stderr


@pytest.mark.parametrize("script", ["start-cluster", "stop-cluster", "test-cluster"])
def test_help_says_what_it_does(script: str) -> None:
    assert f"usage: scripts/{script}.sh" in run(script, "--help" if script == "test-cluster" else "-h").stdout
    first, *rest = (SCRIPTS / f"{script}.sh").read_text().splitlines()
    assert first == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in rest

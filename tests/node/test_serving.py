"""A node from the outside: it starts, says who it is, answers, and stops cleanly."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.running import request, run_to_end, start_node

from scribe_ledger import Ledger
from scribe_ledger.node.server import GRACE_SECONDS
from scribe_ledger.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import RunningNode

pytestmark = pytest.mark.http

BODY = b"x" * 200_000
"""Too large for the lane, so that the application reads it."""


def connect(node: RunningNode) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=20)


def has_read(node: RunningNode) -> None:
    """Returns when what other connections sent before was read: an answer on a new one comes after that."""
    assert request(f"{node.url}/nobody").status == 404


def read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


# --- starting --------------------------------------------------------------------------------------------------


def test_a_node_takes_values_and_gives_them_back(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        put = request(f"{node.url}/user:alice", "PUT", b"Alice Smith")
        assert (put.status, json.loads(put.body)["version"]) == (201, 1)
        got = request(f"{node.url}/user:alice")
        assert (got.status, got.body) == (200, b"Alice Smith")
        assert got.headers["server"] is None, "what serves is nobody's business"
        assert request(f"{node.url}/nobody").status == 404


def test_the_banner_says_who_and_where(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Ledger.open(data, name="example.org/banner") as ledger:
        ledger.put("a", "1")
        key = ledger.public_key
    with start_node(data, "-n", "7") as node:
        assert node.banner.splitlines()[0] == f"Scribe Ledger {__version__}, node 7, stands alone"
        fields = dict(re.findall(r"^ +(\w+(?: \w+)*)  +(\S.*)$", node.banner, re.MULTILINE))
        assert fields == {
            "listens on": node.url,
            "data folder": f"{data} (1 entry)",
            "object store": (data / "objects").as_uri(),
            "public key": key,
            "durability": "full",
        }
        assert request(f"{node.url}/a").body == b"1"


def test_relaxed_durability_is_said_loudly(tmp_path: Path) -> None:
    with start_node(tmp_path / "data", env={"SCRIBE_STORAGE_DURABILITY": "relaxed"}) as node:
        assert "DURABILITY" in node.banner
        assert "RELAXED: a power loss may take what was answered in the last 200 ms" in node.banner
        assert request(f"{node.url}/a", "PUT", b"1").status == 201


def test_settings_come_from_the_file_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[node]\nid = 9\nname = "example.org/here"\n')
    with start_node(tmp_path / "data", cwd=tmp_path) as node:
        assert "node 9," in node.banner
        assert "example.org/here+" in node.banner


def test_a_flag_counts_more_than_a_variable_and_that_more_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[node]\nid = 2\n")
    for flags, env, expected in (
        ([], {}, 2),
        ([], {"SCRIBE_NODE_ID": "3"}, 3),
        (["--node-id", "4"], {"SCRIBE_NODE_ID": "3"}, 4),
    ):
        with start_node(tmp_path / "data", "-c", str(file), *flags, env=env) as node:
            assert f"node {expected}," in node.banner


def test_policies_that_nobody_set_do_not_disagree_with_the_ledgers(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "data", overwrite="forbid").close()
    with start_node(tmp_path / "data") as node:
        assert request(f"{node.url}/a", "PUT", b"1").status == 201
        assert request(f"{node.url}/a", "PUT", b"2").status == 403


def test_a_node_starts_in_under_a_second_and_loads_no_heavy_library(tmp_path: Path) -> None:
    began = time.perf_counter()
    with start_node(tmp_path / "data") as node:
        took = time.perf_counter() - began
        assert request(f"{node.url}/nobody").status == 404
    probe = "import sys, scribe_ledger.cli.node, scribe_ledger.node.node, uvloop; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True, timeout=60)
    assert not {"pyarrow", "obstore", "aiohttp", "urllib3"} & set(loaded.stdout.split())
    assert took < 3, "a second on a quiet machine; this one may be busy"


def test_version_and_help() -> None:
    assert run_to_end("--version").stdout == f"scribe-node {__version__}\n"
    shown = run_to_end("--help").stdout
    flags = ["-c, --config", "-n, --node-id", "-b, --bootstrap", "-l, --log-level", "--data-dir", "--port"]
    assert [flag for flag in flags if flag not in shown] == []


# --- stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_the_next_one_finds_everything(tmp_path: Path, number: signal.Signals) -> None:
    node = start_node(tmp_path / "data")
    with node:
        assert request(f"{node.url}/a", "PUT", b"1").status == 201
        began = time.monotonic()
        assert node.stop(number) == 0
        assert time.monotonic() - began < GRACE_SECONDS / 2
        assert '"event": "stopped"' in node.log
        assert "Traceback" not in node.log
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.get("a") == b"1"
        assert ledger.verify().ok


def test_requests_in_flight_are_finished_and_new_connections_are_not_taken(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as busy:
        busy.sendall(b"PUT /late HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[:100_000])
        has_read(node)
        node.process.send_signal(signal.SIGTERM)
        _await_refusal(node)
        busy.sendall(BODY[100_000:])
        answer = read_to_end(busy)
        assert answer.startswith(b"HTTP/1.1 201 ")
        assert b"connection: close" in answer.lower()
        assert node.wait() == 0
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.get("late") == BODY


def test_a_small_write_in_flight_is_finished_too(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as busy:
        busy.sendall(b"PUT /late HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nval")
        has_read(node)
        node.process.send_signal(signal.SIGTERM)
        _await_refusal(node)
        busy.sendall(b"ue")
        assert read_to_end(busy).startswith(b"HTTP/1.1 201 ")
        assert node.wait() == 0
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.get("late") == b"value"


def test_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as silent, connect(node) as rested:
        rested.sendall(b"GET /nobody HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rested.recv(65536).startswith(b"HTTP/1.1 404 ")
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < GRACE_SECONDS / 2
        assert read_to_end(silent) == b""


def test_a_client_that_never_finishes_is_broken_off_after_the_grace(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as endless:
        endless.sendall(b"PUT /never HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + BODY[:1000])
        has_read(node)
        began = time.monotonic()
        assert node.stop() == 0
        assert GRACE_SECONDS * 0.9 < time.monotonic() - began < GRACE_SECONDS + 10
        assert "broken off" in node.log
        assert "Traceback" not in node.log
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.size == 0


def test_a_watch_ends_at_once_when_the_node_stops(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as watching:
        watching.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
        head = watching.recv(65536)
        assert head.startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < GRACE_SECONDS / 2
        assert b"event: error" in head + read_to_end(watching)


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    node = start_node(tmp_path / "data")
    with node, connect(node) as endless:
        endless.sendall(b"PUT /never HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + BODY[:1000])
        assert request(f"{node.url}/a", "PUT", b"1").status == 201
        began = time.monotonic()
        node.process.send_signal(signal.SIGINT)
        _await_refusal(node)
        node.process.send_signal(signal.SIGINT)
        assert node.wait() == 130
        assert time.monotonic() - began < GRACE_SECONDS / 2
    with Ledger.open(tmp_path / "data") as ledger:
        assert ledger.get("a") == b"1"


def _await_refusal(node: RunningNode) -> None:
    """Until the node takes no connections any more."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            connect(node).close()
        except OSError:
            return
    raise AssertionError("it still takes connections")

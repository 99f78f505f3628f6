"""The log of a real node: its forms, files, levels, request ids, and what it never says."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.node.load import Connection
from tests.running import COMMAND, request, start_node
from tests.s3_server import SECRET_KEY, S3Server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.http, pytest.mark.no_cover]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def accesses(text: str) -> list[dict[str, Any]]:
    return [line for line in lines(text) if line["logger"] == "scribe.access"]


def test_elsewhere_than_on_a_terminal_every_line_is_json(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        request(f"{node.url}/a", "PUT", b"1")
        request(f"{node.url}/a")
        node.stop()
        found = lines(node.log)
    assert [line["event"] for line in found] == ["listening", "request", "request", "stopping", "stopped"]
    assert all({"timestamp", "level", "logger", "event"} <= set(line) for line in found)


def test_text_where_it_is_asked_for(tmp_path: Path) -> None:
    with start_node(tmp_path / "data", env={"SCRIBE_LOGGING_FORMAT": "text"}) as node:
        request(f"{node.url}/a", "PUT", b"1")
        node.stop()
        assert re.search(
            r"^\S+Z info  scribe\.access: PUT /a 201 bytes=\d+ duration_us=[\d.]+ ", node.log, re.MULTILINE
        )


def test_each_request_has_a_line_with_its_id_through_lane_and_application(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        sent = [
            request(f"{node.url}/a", "PUT", b"12345", {"X-Request-Id": "mine-1"}),
            request(f"{node.url}/a"),
            request(f"{node.url}/a?version=1", headers={"X-Request-Id": "mine-2"}),
            request(f"{node.url}/nobody"),
        ]
        node.stop()
        noted = accesses(node.log)
    assert [line["request_id"] for line in noted] == [answer.headers["x-request-id"] for answer in sent]
    assert [noted[0]["request_id"], noted[2]["request_id"]] == ["mine-1", "mine-2"]
    assert [(line["method"], line["path"], line["status"]) for line in noted] == [
        ("PUT", "/a", 201),
        ("GET", "/a", 200),
        ("GET", "/a", 200),
        ("GET", "/nobody", 404),
    ]
    assert [line["bytes"] for line in noted] == [len(answer.body) for answer in sent]
    assert all(0 < line["duration_us"] < 10_000_000 for line in noted)
    assert all(line["client"].startswith("127.0.0.1:") for line in noted)


@pytest.mark.parametrize("env", [{"SCRIBE_LOGGING_ACCESS": "false"}, {"SCRIBE_LOGGING_LEVEL": "warn"}])
def test_access_lines_can_be_switched_off(tmp_path: Path, env: dict[str, str]) -> None:
    with start_node(tmp_path / "data", env=env) as node:
        request(f"{node.url}/a", "PUT", b"1")
        node.stop()
        assert accesses(node.log) == []


def test_levels_go_down_to_trace(tmp_path: Path) -> None:
    counts = {}
    for level in ("error", "info", "debug", "trace"):
        with start_node(tmp_path / level, "-l", level) as node:
            request(f"{node.url}/a?version=1")
            node.stop()
            counts[level] = [line["level"] for line in lines(node.log)]
    assert counts["error"] == []
    assert "trace" in counts["trace"]
    assert "trace" not in counts["debug"]
    assert len(counts["info"]) < len(counts["debug"]) < len(counts["trace"])


def test_a_file_instead_of_the_console_or_beside_it(tmp_path: Path) -> None:
    for output, on_console in (("file", False), ("both", True)):
        file = tmp_path / f"{output}.log"
        env = {"SCRIBE_LOGGING_OUTPUT": output, "SCRIBE_LOGGING_FILE": str(file)}
        with start_node(tmp_path / output, env=env) as node:
            request(f"{node.url}/a", "PUT", b"1")
            node.stop()
            assert [line["path"] for line in accesses(file.read_text())] == ["/a"]
            assert bool(node.log) == on_console


def test_files_turn_over_while_it_serves(tmp_path: Path) -> None:
    file = tmp_path / "node.log"
    env = {
        "SCRIBE_LOGGING_OUTPUT": "file",
        "SCRIBE_LOGGING_FILE": str(file),
        "SCRIBE_LOGGING_ROTATE_BYTES": "4000",
        "SCRIBE_LOGGING_ROTATE_KEEP": "2",
    }
    with start_node(tmp_path / "data", env=env) as node:
        for number in range(80):
            request(f"{node.url}/{number}")
    files = sorted(each.name for each in tmp_path.glob("node.log*"))
    assert files == ["node.log", "node.log.1", "node.log.2"]
    assert all((tmp_path / name).stat().st_size <= 4000 for name in files)
    seen = [line["path"] for name in reversed(files) for line in accesses((tmp_path / name).read_text())]
    assert seen == [f"/{number}" for number in range(80 - len(seen), 80)]


def test_what_is_not_http_is_logged_and_forges_nothing(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=20) as connection:
            connection.sendall(b'GET /\x01{"event": "forged"}\x1b[2J HTTP/1.1\r\n\x00\r\n\r\n')
            connection.recv(65536)
        request(f"{node.url}/%0A%7B%22event%22%3A%22forged%22%7D")
        node.stop()
        found = lines(node.log)
    assert "forged" not in [line["event"] for line in found]
    assert "\x1b" not in node.log


def test_neither_values_nor_headers_nor_secrets_are_ever_logged(tmp_path: Path, s3_server: S3Server) -> None:
    secrets = s3_server.bucket().settings() | {"SCRIBE_CLUSTER_SECRET": "hush-cluster"}
    with start_node(tmp_path / "data", "-l", "trace", env=secrets) as node:
        headers = {"Authorization": "Bearer hush-token", "X-Scribe-Meta-Note": "hush-meta", "Cookie": "hush-cookie"}
        assert request(f"{node.url}/a", "PUT", b"hush-value", headers).status == 201
        assert request(f"{node.url}/a", headers=headers).body == b"hush-value"
        assert request(f"{node.url}/v1/batch", "POST", b'{"hush-body": 1', headers).status >= 400
        assert node.stop() == 0
        for secret in ("hush", SECRET_KEY):
            assert secret not in node.log
            assert secret not in node.banner


def test_every_line_that_a_request_causes_has_its_id(tmp_path: Path) -> None:
    with start_node(tmp_path / "data", "-l", "debug") as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=20) as leaving:
            leaving.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nContent-Length: 900000\r\n\r\nabc")
            assert request(f"{node.url}/nobody").status == 404
        deadline = time.monotonic() + 20
        while "/a" not in [line["path"] for line in accesses(node.log)] and time.monotonic() < deadline:
            time.sleep(0.05)
        caused = [line for line in lines(node.log) if line.get("path") == "/a"]
        assert len(caused) == 2
        assert {line["request_id"] for line in caused} == {"mine"}
        assert [line["status"] for line in caused if "status" in line] == [499], "it left before there was an answer"


def test_a_console_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    command = [*COMMAND, "--data-dir", str(tmp_path / "data"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = next(int(found[1]) for line in process.stdout if (found := re.search(r"http://\S+:(\d+)", line)))
        with Connection(port) as connection:
            for _ in range(2000):  # some 400 KiB of log, and a pipe holds 64
                assert connection.request("GET", "/nobody")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

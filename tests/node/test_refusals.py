"""What a node refuses to start with: one line on standard error, exit code 3, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.running import COMMAND, run_to_end, start_node

from scribe_ledger import Ledger
from scribe_ledger.errors import NetworkError
from scribe_ledger.node.listening import listen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.http

INSECURE = {"SCRIBE_NETWORK_INSECURE": "true"}


def refusal(folder: Path, *flags: str, env: dict[str, str] | None = None) -> str:
    """The one line that the command ends with."""
    done = run_to_end("--data-dir", str(folder / "data"), *flags, env=env, cwd=folder)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert done.stderr.startswith("scribe-node: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("scribe-node: ").rstrip("\n")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(tmp_path, "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in line
    assert "MinIO" not in line
    assert not (tmp_path / "data").exists(), "the port comes before the folder"


def test_the_port_that_minio_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("scribe_ledger.node.listening.MINIO_CONSOLE_PORT", port)
        with pytest.raises(NetworkError, match="MinIO's console likes"):
            listen("127.0.0.1", port)


def test_a_second_node_on_one_folder(tmp_path: Path) -> None:
    with start_node(tmp_path / "data") as node:
        line = refusal(tmp_path, "--port", "0")
        assert str(node.process.pid) in line
        assert str(tmp_path / "data") in line


def test_a_folder_that_a_program_has_open(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "data"):
        assert str(os.getpid()) in refusal(tmp_path, "--port", "0")


def test_a_bad_setting_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[network]\nclient_prot = 8001\n")
    line = refusal(tmp_path)
    assert "client_prot" in line
    assert "client_port" in line, "the nearest name is suggested"


def test_every_bad_setting_has_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[network]\nclient_port = 70000\n[logging]\nlevel = "loud"\n')
    done = run_to_end(cwd=tmp_path)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("scribe-node: config.toml: ") for line in lines)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("flags", "env", "says"),
    [
        (["-c", "nowhere.toml"], {}, "nowhere.toml"),
        ([], {"SCRIBE_NETWORK_LISTEN_ADDR": "0.0.0.0"}, "insecure = true"),
        (
            [],
            {"SCRIBE_NETWORK_LISTEN_ADDR": "192.0.2.1", "SCRIBE_NETWORK_INSECURE": "true"},
            "no address of this machine",
        ),
        ([], {"SCRIBE_NETWORK_LISTEN_ADDR": "nowhere.invalid", "SCRIBE_NETWORK_INSECURE": "true"}, "nowhere.invalid"),
        (["--bootstrap"], {"SCRIBE_STORAGE_DURABILITY": "relaxed"}, "only what is synced"),
        ([], {"SCRIBE_NODE_NAME": "example.org/other"}, "example.org/other"),
        ([], {"SCRIBE_LEDGER_DELETES": "forbid"}, "deletes"),
        ([], {"SCRIBE_LOGGING_OUTPUT": "file", "SCRIBE_LOGGING_FILE": "/dev/null/log"}, "/dev/null/log"),
        (
            [],
            {"SCRIBE_CLUSTER_TLS_CERT": "c.pem", "SCRIBE_CLUSTER_TLS_KEY": "k.pem", "SCRIBE_CLUSTER_TLS_CA": "a.pem"},
            "cluster.tls_cert = c.pem is not there",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_settings_that_cannot_be_served(tmp_path: Path, flags: list[str], env: dict[str, str], says: str) -> None:
    Ledger.open(tmp_path / "data", name="example.org/this").close()
    flags = flags if "nowhere.toml" in flags else [*flags, "--port", "0"]
    assert says in refusal(tmp_path, *flags, env=env)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    assert str(tmp_path / "data") in refusal(tmp_path, "--port", "0")


@pytest.mark.parametrize(
    "flags", [["--log-level", "loud"], ["--port", "70000"], ["--node-id", "0"], ["extra"], ["--nope"]]
)
def test_bad_usage_is_2(tmp_path: Path, flags: list[str]) -> None:
    done = run_to_end(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: scribe-node" in done.stderr


def test_two_addresses_of_one_name_get_the_same_port() -> None:
    with listen("localhost", 0) as listener:
        assert {each.getsockname()[1] for each in listener.sockets} == {listener.port}
        assert listener.port > 0


def test_a_banner_that_nobody_reads_is_no_reason_to_fail(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    errors = tmp_path / "stderr"
    with errors.open("wb") as file:
        command = [*COMMAND, "--data-dir", str(tmp_path / "data"), "--port", "0"]
        process = subprocess.Popen(command, stdout=writing, stderr=file)
    os.close(writing)
    deadline = time.monotonic() + 20
    while '"event": "listening"' not in errors.read_text() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, errors.read_text()

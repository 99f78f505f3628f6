"""What only a process of its own can show: memory, pipes, signals, start-up."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.running import start_node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.storage

SCRIBE = [sys.executable, "-m", "scribe_ledger"]
LARGE_BYTES = 200 << 20
MAX_RSS_KIB = 150 << 10


def scribe(folder: Path, *arguments: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    command = [*SCRIBE, *map(str, arguments)]
    return subprocess.run(command, check=check, cwd=folder, input=stdin, capture_output=True, timeout=300)


def peak_kib(arguments: Sequence[str | Path], folder: Path) -> int:
    """Runs a command in a process of its own and gives the most memory that it held."""
    report = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    command = [sys.executable, "-c", report, *SCRIBE, *map(str, arguments)]
    measured = subprocess.run(command, capture_output=True, check=True, timeout=300, cwd=folder)
    return int(measured.stdout.splitlines()[-1])


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_large_values_pass_in_bounded_memory(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        for number in range(LARGE_BYTES >> 20):
            file.write(number.to_bytes(8, "big") * (1 << 17))
    steps = {
        "put": ["--data", "data", "put", "large", "-f", "large"],
        "get": ["--data", "data", "get", "large", "-o", "out"],
        "get as JSON": ["--data", "data", "get", "large", "--json"],
        "export to Parquet": ["--data", "data", "export", "file.parquet"],
        "import of Parquet": ["--data", "copy", "import", "file.parquet", "--verbatim"],
        "export to NDJSON": ["--data", "data", "export", "file.ndjson"],
        "import of NDJSON": ["--data", "again", "import", "file.ndjson"],
    }
    peaks = {name: peak_kib(arguments, tmp_path) for name, arguments in steps.items()}
    limits = {name: MAX_RSS_KIB * (2 if "Parquet" in name else 1) for name in steps}
    assert {name: peak for name, peak in peaks.items() if peak > limits[name]} == {}
    assert digest(tmp_path / "out") == digest(large)
    for folder in ("copy", "again"):
        scribe(tmp_path, "--data", folder, "get", "large", "-o", "out")
        assert digest(tmp_path / "out") == digest(large)


def test_a_node_of_its_own_takes_and_gives_everything(tmp_path: Path) -> None:
    """The commands as they are, over a real socket, to a real node: large values in bounded memory, both ways."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        for number in range(LARGE_BYTES >> 20):
            file.write(number.to_bytes(8, "big") * (1 << 17))
    with start_node(tmp_path / "node") as node:
        scribe(tmp_path, "--url", node.url, "checkpoint", "--public-key", "-o", "vkey")
        verified = ["--url", node.url, "--public-key", "vkey", "--trust", "trust"]
        steps = {
            "put": [*verified, "put", "large", "-f", "large"],
            "get": [*verified, "get", "large", "-o", "out"],
            "export": [*verified, "export", "file.ndjson"],
            "import": ["--url", node.url, "import", "file.ndjson", "--no-dedupe"],
            "audit": ["--url", node.url, "verify", "--audit", "large", "--values"],
        }
        peaks = {name: peak_kib(arguments, tmp_path) for name, arguments in steps.items()}
        assert {name: peak for name, peak in peaks.items() if peak > MAX_RSS_KIB} == {}
        assert digest(tmp_path / "out") == digest(large)
        (tmp_path / "out").unlink()
        scribe(tmp_path, *verified, "put", "small", "-", stdin=b"\xff")
        assert scribe(tmp_path, *verified, "get", "small").stdout == b"\xff"
        assert [line.split()[-1] for line in scribe(tmp_path, *verified, "ls", "-l").stdout.splitlines()[1:]] == [
            b"large",
            b"small",
        ]
        head = scribe(tmp_path, *verified, "checkpoint").stdout
    assert scribe(tmp_path, "--data", "node", "checkpoint").stdout == head
    refused = scribe(tmp_path, "--url", node.url, "ls", check=False)
    assert (refused.returncode, refused.stdout) == (3, b"")
    assert f"no node answered ({node.url}: ".encode() in refused.stderr


def test_watching_ends_quietly_when_it_is_interrupted_or_nobody_reads(tmp_path: Path) -> None:
    with start_node(tmp_path / "node") as node:
        scribe(tmp_path, "--url", node.url, "put", "before", "value")
        command = [*SCRIBE, "--url", node.url, "watch", "--start", "0", "--json"]
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert watching.stdout is not None
        assert b'"before"' in watching.stdout.readline()  # and so it is not held back in a buffer
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
        assert (watching.returncode, out, json.loads(err)["error"]["kind"]) == (130, b"", "interrupted")
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert watching.stdout is not None
        assert watching.stdout.readline()
        watching.stdout.close()
        scribe(tmp_path, "--url", node.url, "put", "after", "value")
        assert watching.stderr is not None
        assert (watching.wait(60), watching.stderr.read()) == (141, b"")
        watching.stderr.close()


def on_terminal(folder: Path, *arguments: str) -> bytes:
    """What a command draws on a terminal that has its standard error."""
    side, other = pty.openpty()
    process = subprocess.Popen([*SCRIBE, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=other)
    os.close(other)
    drawn = b""
    deadline = time.monotonic() + 60
    while select.select([side], [], [], max(deadline - time.monotonic(), 0))[0]:
        try:
            drawn += os.read(side, 4096)
        except OSError:  # the terminal's other side is closed
            break
    os.close(side)
    assert process.wait(60) == 0, drawn
    return drawn


def test_large_values_show_their_progress_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(LARGE_BYTES))
    with start_node(tmp_path / "node") as node:
        for place in (["--data", "data"], ["--url", node.url]):
            drawn = on_terminal(tmp_path, *place, "put", "large", "-f", "large")
            assert b"storing" in drawn
            assert f"of {LARGE_BYTES:,} bytes".encode() in drawn
            assert drawn.endswith(b"\r\x1b[K")
            assert b"reading" in on_terminal(tmp_path, *place, "get", "large", "-o", "out")


@pytest.mark.parametrize("json_flag", ["", " --json"])
def test_a_closed_standard_output_is_an_error_before_anything_is_done(tmp_path: Path, json_flag: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(SCRIBE)} put key value{json_flag} >&-"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert b"standard output is closed" in done.stderr
    assert (b'"kind": "storage"' in done.stderr) is bool(json_flag)
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_other_standard_streams_may_be_closed(tmp_path: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[bytes]:
        line = f"{' '.join(SCRIBE)} {command}"
        return subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=False, timeout=60)

    assert run("put key value <&- 2>&-").stdout == b"key: version 1, entry 0\n"
    assert run("get absent 2>&-").returncode == 1
    assert run("ls 2>&- >&-").returncode == 3
    closed = run("put other - <&-")  # not taken for an empty value
    assert (closed.returncode, closed.stdout) == (3, b"")
    assert b"Traceback" not in closed.stderr
    assert run("ls").stdout == b"key\n"
    full = run("ls > /dev/full")
    assert (full.returncode, full.stderr) == (3, b"scribe: no space left on device\n")


def test_values_and_keys_of_any_bytes_pass_through_arguments(tmp_path: Path) -> None:
    key, value = b"\xff\x80key", b"\xfevalue"
    command = [part.encode() for part in SCRIBE]
    subprocess.run([*command, b"put", key, value], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    found = subprocess.run([*command, b"get", key], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert found.stdout == value


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    rows = b"".join(b'{"key":"%05d","value":"%s"}\n' % (number, b"v" * 200) for number in range(3000))
    scribe(tmp_path, "import", "-", stdin=rows)
    for command in ("ls --json", "export"):
        quoted = " ".join(SCRIBE)
        done = subprocess.run(
            ["bash", "-c", f"{quoted} {command} | head -1; echo ${{PIPESTATUS[0]}}"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stderr == b""
        assert done.stdout.splitlines()[1] == b"141"


def test_interruption_of_a_long_command(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*SCRIBE, "put", "key", "-"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "data" / "store").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert process.stdin is not None
    process.stdin.write(bytes(1 << 20))  # more than a pipe holds: it has begun to read
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"scribe: interrupted\n")
    assert scribe(tmp_path, "ls").stdout == b""


def test_a_second_process_is_told_who_has_the_ledger(tmp_path: Path) -> None:
    process = subprocess.Popen([*SCRIBE, "shell"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"put key value\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"key: version 1, entry 0\n"
    locked = scribe(tmp_path, "get", "key", check=False)
    assert locked.returncode == 3
    assert str(process.pid).encode() in locked.stderr
    process.communicate(timeout=60)
    assert scribe(tmp_path, "get", "key").stdout == b"value"


def test_reading_loads_nothing_heavy(tmp_path: Path) -> None:
    scribe(tmp_path, "put", "key", "value")
    probe = (
        "import sys; from scribe_ledger.cli.main import run_command, scribe;"
        "from scribe_ledger.cli.session import Session;"
        "assert run_command(scribe, ['get', 'key'], Session()) == 0;"
        "print(); print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    loaded = set(found.stdout.decode().split())
    assert "rocksdict" in loaded
    assert not {"pyarrow", "pydantic", "asyncio", "readline", "scribe_ledger.config"} & loaded


def test_verifying_loads_no_storage(tmp_path: Path) -> None:
    scribe(tmp_path, "put", "key", "value")
    scribe(tmp_path, "prove", "key", "-o", "proof")
    scribe(tmp_path, "checkpoint", "--public-key", "-o", "vkey")
    probe = (
        "import sys; from scribe_ledger.cli.main import run_command, scribe;"
        "from scribe_ledger.cli.session import Session;"
        "assert run_command(scribe, ['verify', 'proof', '--key', 'vkey', '--for', 'key'], Session()) == 0;"
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert not {"rocksdict", "pyarrow", "scribe_ledger.ledger.ledger"} & set(found.stdout.decode().split())


def test_completion_for_shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SCRIBE_COMPLETE", "bash_source")
    assert b"complete -o nosort -F _scribe_completion scribe" in scribe(tmp_path).stdout
    monkeypatch.setenv("_SCRIBE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "scribe hi")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert scribe(tmp_path).stdout.split() == [b"plain,history"]


def test_the_benchmark_explains_itself(tmp_path: Path) -> None:
    assert b"--quick" in scribe(tmp_path, "bench", "local", "--help").stdout

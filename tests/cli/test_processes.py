"""What only a process of its own can show: memory, pipes, signals, start-up."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

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
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]);"
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
    time.sleep(0.5)
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

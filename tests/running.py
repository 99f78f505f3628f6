"""Real nodes for tests: the command in a process of its own, over real sockets, on a port that was free."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple, Self

from coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import Message
    from pathlib import Path

_PROGRAM = "import sys; sys.modules['rich'] = None; from scribe_ledger.cli.node import main; main()"
COMMAND = [sys.executable, "-c", _PROGRAM]
"""``scribe-node`` where the package alone is installed: structlog would load rich, which a tool of tests brought."""
PATIENCE_SECONDS = 30


class RunningNode:
    """A node that takes requests. As a context manager it is stopped at the end, and must have ended well."""

    def __init__(self, process: subprocess.Popen[str], banner: str, errors: Path) -> None:
        self.process = process
        self.banner = banner
        found = re.search(r"http://\S+:(\d+)", banner)
        assert found is not None, banner
        self.url = found[0]
        self.port = int(found[1])
        self._errors = errors

    @property
    def log(self) -> str:
        """What nodes on this folder wrote to standard error so far."""
        return self._errors.read_text()

    def resident_bytes(self) -> int:
        """The memory that it holds."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process.pid)], check=True, capture_output=True)
        return int(shown.stdout) << 10

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal if it still runs, and gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """As a crash does."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """Waits for its end, and gives the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        running = self.process.poll() is None
        try:
            code = self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if running and failure[0] is None:
            assert code == 0, self.log


def start_node(
    data_dir: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    launcher: Sequence[str] = (),
) -> RunningNode:
    """Starts ``scribe-node`` and returns when it takes requests. A node that does not start is an AssertionError.

    ``launcher`` is a command that runs the command after it, such as one that lowers a limit first.
    """
    errors = data_dir.with_name(f"{data_dir.name}.stderr")
    with errors.open("ab") as file:
        process = subprocess.Popen(
            [*launcher, *COMMAND, "--data-dir", str(data_dir), "--port", "0", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=cwd,
            env=_environment(env),
        )
    banner = ""
    assert process.stdout is not None
    while not re.search(r"^ +durability", banner, re.MULTILINE | re.IGNORECASE):  # its last line
        line = process.stdout.readline()
        if not line:
            process.wait(PATIENCE_SECONDS)
            process.stdout.close()
            raise AssertionError(f"the node ended with {process.returncode}: {errors.read_text()}")
        banner += line
    return RunningNode(process, banner, errors)


def run_to_end(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command with these arguments alone, where it is expected to end by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=cwd,
        env=_environment(env),
    )


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Message
    body: bytes


def request(
    url: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own; an error status is an answer too."""
    asked = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """The variables of this process without settings of a node, and what a test adds.

    A node is measured if the test that starts it is, since much of a node runs in no other process.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCRIBE_")}
    measured = {"COVERAGE_PROCESS_CONFIG": _MEASURING} if Coverage.current() is not None else {}
    return inherited | measured | dict(more or {})


def _measuring() -> str:
    measured = Coverage.current()
    return "" if measured is None else measured.config.serialize()


_MEASURING = _measuring()
"""How this process is measured. Read on import, since a test may change the folder that the file's name starts at."""

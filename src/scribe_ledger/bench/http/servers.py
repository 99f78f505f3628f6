"""The servers that are measured: the real ``scribe-node`` and the empty lane, each in a process of its own.

What a process used is read from ``/proc``, so nothing in it has to help.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scribe_ledger.bench.command import NotMeasurable
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

_NODE = "scribe_ledger.cli.node"
_LANE = "scribe_ledger.bench.http.lane"
QUIET = {"SCRIBE_LOGGING_ACCESS": "false"}
"""Nodes log no line a request, except where that is measured."""
ACCESS_LOG = {"SCRIBE_LOGGING_ACCESS": "true"}
AT_REST = {"SCRIBE_STORAGE_TIERING_ENABLE_AUTO_ARCHIVAL": "false"}
"""For nodes on the large ledger, which was only just written: else they would archive it while they are measured."""
UNCACHED = AT_REST | {"SCRIBE_API_CACHE_CAPACITY": "0"}
PATIENCE_SECONDS = 60
PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_URL = re.compile(r"http://\S+:(\d+)")


class Server:
    """A process that takes requests on a port of this machine. As a context manager it is stopped at the end."""

    threads = 1
    """Of the generator that loads it: one is enough for one server."""

    def __init__(self, module: str, arguments: Sequence[str], settings: dict[str, str], log: Path) -> None:
        """Returns when the server says where it listens. It runs where its log is."""
        self._log = log
        with self._log.open("ab") as errors:
            self._said_before = errors.tell()
            self._process = subprocess.Popen(  # noqa: S603 - both modules are ours
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=log.parent,  # a config.toml where the benchmark was called is not for this node
                env=environment(settings),
            )
        self.pid = self._process.pid
        self.port = self._read_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Processor time used so far, by the process and by the kernel for it."""
        return cpu_seconds_of(self.pid)

    def memory_mib(self) -> tuple[float, float]:
        """Resident now, and at most so far."""
        status = (PROC / str(self.pid) / "status").read_text()
        now, highest = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
        assert now is not None, "a running process has memory"
        assert highest is not None
        return int(now[1]) / 1024, int(highest[1]) / 1024

    def stop(self) -> None:
        """Asks it to end, and waits. One that does not is killed, and that is an error."""
        self._process.terminate()
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Unavailable(f"the server did not stop within {PATIENCE_SECONDS} s") from None
        finally:
            self._close()
        if code:
            raise Unavailable(f"the server ended with {code}: {self._said()}")

    def kill(self) -> None:
        """As a crash does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._process.returncode is not None:
            return
        if failure[0] is None:
            self.stop()
        else:
            self.kill()

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _URL.search(line):
                return int(found[1])
        code = self._process.wait()
        self._close()
        raise Unavailable(f"the server did not start, and ended with {code}: {self._said()}")

    def _said(self) -> str:
        """The end of what it logged; others may have logged into the same file before."""
        text = self._log.read_bytes()[self._said_before :].decode(errors="replace")
        return "\n".join(text.splitlines()[-10:])

    def _close(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()


def start_node(folder: Path, **settings: str) -> Server:
    """The command, on a folder of this name beside its log, with its default settings but for these variables."""
    arguments = ["--data-dir", str(folder), "--port", "0"]
    return Server(_NODE, arguments, QUIET | settings, folder.with_name(f"{folder.name}.log"))


def start_lane(folder: Path) -> Server:
    """The empty lane; it logs into the folder."""
    return Server(_LANE, [], {}, folder / "lane.log")


def cpu_seconds_of(pid: int) -> float:
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def check_platform() -> None:
    """Raises ``NotMeasurable`` where the system does not tell what a process uses."""
    if not (PROC / "self" / "stat").exists():
        raise NotMeasurable("this needs Linux, whose /proc tells what another process uses")


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The variables of this process, without settings of a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SCRIBE_")} | settings

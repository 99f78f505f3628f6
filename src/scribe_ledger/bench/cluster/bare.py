"""The engine alone, in three processes of its own: what stands beside the cluster's figures, in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from select import select
from typing import TYPE_CHECKING, Any, Self

from scribe_ledger.bench.cluster.engine import LEADER, MEMBERS
from scribe_ledger.bench.http.servers import cpu_seconds_of
from scribe_ledger.bench.ports import free_ports
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = "bare engine"
PATIENCE_SECONDS = 30.0
_MODULE = "scribe_ledger.bench.cluster.engine"


class BareEngine:
    """Three processes. As a context manager it leaves none behind."""

    def __init__(self, folder: Path, callers: tuple[int, ...]) -> None:
        ports = free_ports(len(MEMBERS))
        self._processes = [self._start(member, ports, folder) for member in MEMBERS]
        self.passes: dict[int, list[dict[str, float]]] = {count: [] for count in callers}
        for process in self._processes:
            try:
                self._hear(process)
            except Unavailable:
                self.close()
                raise

    def run(self, callers: int, seconds: float) -> float:
        """Commands a second of so many callers that wait."""
        leader = self._processes[MEMBERS.index(LEADER)]
        assert leader.stdin is not None
        used = self._cpu_seconds()
        leader.stdin.write(f"{callers} {seconds}\n")
        leader.stdin.flush()
        figures = self._hear(leader)
        used = self._cpu_seconds() - used
        figures["cpu_us"] = used / (figures["per_second"] * seconds) * 1e6
        self.passes[callers].append(figures)
        return float(figures["per_second"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds_of(process.pid) for process in self._processes)

    def _start(self, member: int, ports: list[int], folder: Path) -> subprocess.Popen[str]:
        order = json.dumps({"id": member, "ports": ports, "folder": str(folder)})
        return subprocess.Popen(  # noqa: S603 - the module is ours
            [sys.executable, "-m", _MODULE, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _hear(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        if not select([process.stdout], [], [], PATIENCE_SECONDS)[0]:
            raise Unavailable(f"a process of the bare engine said nothing within {PATIENCE_SECONDS:g} s")
        line = process.stdout.readline()
        if not line:
            raise Unavailable(f"a process of the bare engine ended with {process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said

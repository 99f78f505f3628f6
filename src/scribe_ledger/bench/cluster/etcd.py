"""etcd beside the cluster, where its programs are on the PATH: three members here, loaded by its own generator.

``etcd`` and ``benchmark`` (``tools/benchmark`` of its repository) are both needed. Members have etcd's own
settings, and a data folder each on the same disk. Requests go over gRPC, as those of etcd's clients do.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import subprocess
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self

from scribe_ledger.bench.cluster.nodes import NODES
from scribe_ledger.bench.ports import free_ports
from scribe_ledger.bench.workload import KEY_BYTES, VALUE_BYTES
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ETCD = "etcd"
PATIENCE_SECONDS = 60.0
_PROGRAMS = ("etcd", "benchmark")
_FIRST_RATE = 1_000
"""Requests a second that are expected before anything was measured: the generator is told a number of requests."""
_KEYS = 1 << 40
_PUT = (
    "put",
    f"--key-size={KEY_BYTES}",
    f"--val-size={VALUE_BYTES}",
    "--sequential-keys",
    f"--key-space-size={_KEYS}",
)
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_MEDIAN = re.compile(r"50% in ([\d.]+) secs")
_ERRORS = re.compile(r"Error distribution:")


@contextlib.contextmanager
def etcd_beside(folder: Path) -> Iterator[Etcd | None]:
    """None where its programs are not on the PATH."""
    if any(shutil.which(program) is None for program in _PROGRAMS):
        yield None
        return
    with Etcd(folder) as etcd:
        yield etcd


class Etcd:
    """Three processes. As a context manager it leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = free_ports(2 * NODES)
        self._clients, self._peers = ports[:NODES], ports[NODES:]
        self._rates: dict[tuple[str, ...], float] = {}
        self._processes = [self._start(member) for member in range(NODES)]
        try:
            self._wait_until_healthy()
        except Unavailable:
            self.close()
            raise

    def put(self, connections: int, seconds: float) -> float:
        """Puts a second of unique keys, at the leader."""
        return self._load("--target-leader", connections, seconds, _PUT)[0]

    def one_put(self, count: int) -> float:
        """The median of one put after another on one connection to the leader, in milliseconds."""
        return self._run("--target-leader", 1, count, _PUT)[1] * 1000

    def read(self, connections: int, seconds: float, *, linearizable: bool) -> float:
        """Reads a second of one key, spread over all members."""
        consistency = "l" if linearizable else "s"
        return self._load("", connections, seconds, ("range", "key", f"--consistency={consistency}"))[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _load(self, whom: str, connections: int, seconds: float, work: tuple[str, ...]) -> tuple[float, float]:
        """As many requests as take about so long, reckoned from the rate of the time before."""
        key = (str(connections), *work)
        if key not in self._rates:
            self._rates[key] = self._run(whom, connections, _FIRST_RATE, work)[0]
        rate, p50 = self._run(whom, connections, max(int(self._rates[key] * seconds), _FIRST_RATE), work)
        self._rates[key] = rate
        return rate, p50

    def _run(self, whom: str, connections: int, total: int, work: tuple[str, ...]) -> tuple[float, float]:
        """Requests a second, and the median in seconds."""
        endpoints = ",".join(f"http://127.0.0.1:{port}" for port in self._clients)
        flags = [f"--endpoints={endpoints}", f"--conns={connections}", f"--clients={connections}", "--precise"]
        done = subprocess.run(  # noqa: S603 - a program that the user has put there for this
            ["benchmark", *flags, *([whom] if whom else []), *work, f"--total={total}"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        rate, p50 = _RATE.search(done.stdout), _MEDIAN.search(done.stdout)
        if done.returncode or rate is None or p50 is None or _ERRORS.search(done.stdout):
            raise Unavailable(f"etcd's benchmark ended with {done.returncode}: {(done.stdout or done.stderr)[-500:]}")
        return float(rate[1]), float(p50[1])

    def _start(self, member: int) -> subprocess.Popen[bytes]:
        def url(port: int) -> str:
            return f"http://127.0.0.1:{port}"

        folder = self._folder / f"etcd-{member}"
        client, peer = url(self._clients[member]), url(self._peers[member])
        everybody = ",".join(f"etcd-{number}={url(port)}" for number, port in enumerate(self._peers))
        options = {
            "name": folder.name,
            "data-dir": str(folder),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": everybody,
            "log-level": "error",
        }
        return subprocess.Popen(  # noqa: S603 - as above
            ["etcd", *(f"--{name}={value}" for name, value in options.items())],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _wait_until_healthy(self) -> None:
        until = monotonic() + PATIENCE_SECONDS
        while not all(map(_healthy, self._clients)):
            if monotonic() > until or any(process.poll() is not None for process in self._processes):
                raise Unavailable(f"three members of etcd were not healthy within {PATIENCE_SECONDS:g} s")
            sleep(0.05)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read()).get("health") == "true")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()

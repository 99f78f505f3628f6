"""A cluster of real ``scribe-node`` processes on this machine, each on a folder of its own, with shipped settings.

Ports are chosen once for each node, so that it comes back under the same address. What must become true is waited for;
what does not become true in time is ``Unavailable``, with the end of what the nodes logged. Nothing runs afterwards.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from scribe_ledger.bench.cluster.profiled import NODE
from scribe_ledger.bench.command import NotMeasurable
from scribe_ledger.bench.http.servers import cpu_seconds_of, environment
from scribe_ledger.bench.ports import free_ports
from scribe_ledger.consensus.engine import require_engine
from scribe_ledger.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NODES = 3
PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.01
_PROFILED = "scribe_ledger.bench.cluster.profiled"
_SETTINGS = """
[node]
id = %(id)d
address = "127.0.0.1"
data_dir = %(folder)s

[network]
listen_addr = "127.0.0.1"
client_port = %(port)d
raft_port = %(raft_port)d
seed_peers = %(seeds)s

[logging]
access = false
"""


class Node:
    """One member, running or not."""

    threads = 1

    def __init__(self, folder: Path, node_id: int, ports: tuple[int, int], *, profile: bool = False) -> None:
        self.node_id = node_id
        self.folder = folder / f"node-{node_id}"
        self.port, self.raft_port = ports
        self.url = f"http://127.0.0.1:{self.port}"
        self.profile = folder / f"node-{node_id}.profile" if profile else None
        self._file = folder / f"node-{node_id}.toml"
        self._log = folder / f"node-{node_id}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def raft_address(self) -> str:
        return f"127.0.0.1:{self.raft_port}"

    def configure(self, seeds: Sequence[str]) -> None:
        given = {"id": self.node_id, "port": self.port, "raft_port": self.raft_port}
        texts = {"folder": json.dumps(str(self.folder)), "seeds": json.dumps(list(seeds))}
        self._file.write_text(_SETTINGS % {**given, **texts})

    def start(self, *flags: str) -> None:
        """Returns at once."""
        module = (_PROFILED, str(self.profile)) if self.profile else (NODE,)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the module is ours
                [sys.executable, "-m", *module, "-c", str(self._file), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._file.parent,
                env=environment(bytecode(self._file.parent)),
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cpu_seconds(self) -> float:
        if not self.running:
            raise Unavailable(f"node {self.node_id} does not run any more: {self.said}")
        return cpu_seconds_of(self.pid)

    def kill(self) -> None:
        """As a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        assert self._process is not None
        self._process.terminate()

    def wait(self) -> None:
        """Until it has ended as it was asked to."""
        assert self._process is not None
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Unavailable(f"node {self.node_id} did not stop within {PATIENCE_SECONDS:g} s") from None
        if code:
            raise Unavailable(f"node {self.node_id} ended with {code}: {self.said}")

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, *, seconds: float = 5) -> Any:
        """The JSON of an answer over a connection of its own; None while there is none but a refusal."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            data = answer.read()
            return json.loads(data) if 200 <= answer.status < 300 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @property
    def leads(self) -> bool:
        return self.running and (self.ask("/cluster/leader") or {}).get("leader_id") == self.node_id

    @property
    def entries(self) -> int:
        return int((self.ask("/v1/stats") or {"entries": -1})["entries"])

    @property
    def said(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-10:])


class Cluster:
    """Nodes that name each other as seeds. As a context manager it leaves no process behind."""

    def __init__(self, folder: Path, count: int = NODES, *, profile: bool = False) -> None:
        check_engine()
        folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * count)
        pairs = zip(ports[::2], ports[1::2], strict=True)
        self.nodes = [Node(folder, number + 1, pair, profile=profile) for number, pair in enumerate(pairs)]
        for node in self.nodes:
            node.configure([other.raft_address for other in self.nodes if other is not node])

    def start(self, nodes: Sequence[Node] | None = None) -> Self:
        """Starts these, all by default, and returns when they are voters that answer."""
        chosen = self.nodes if nodes is None else nodes
        for node in chosen:
            node.start()
        self.wait_until_formed()
        return self

    def wait_until_formed(self) -> None:
        """Until all that run answer, as voters."""
        self.wait(self._has_formed, "the nodes form a cluster")

    def leader(self) -> Node:
        found: Node = self.wait(lambda: next((node for node in self.nodes if node.leads), None), "a leader")
        return found

    def followers(self) -> list[Node]:
        leader = self.leader()
        return [node for node in self.nodes if node.running and node is not leader]

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """What the condition gives as soon as it gives something."""
        until = monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            if monotonic() > until:
                said = "\n".join(f"node {node.node_id}: {node.said}" for node in self.nodes)
                raise Unavailable(f"not within {PATIENCE_SECONDS:g} s: {what}\n{said}")
            sleep(_LOOK_SECONDS)
        return found

    def voters(self, node: Node) -> set[int]:
        """Whom a node knows as voters."""
        members = (node.ask("/cluster/members") or {"members": []})["members"]
        return {member["node_id"] for member in members if member["role"] == "voter"}

    def _has_formed(self) -> bool:
        running = [node for node in self.nodes if node.running]
        if not running:
            raise Unavailable(f"no node runs: {self.nodes[0].said}")
        ids = {node.node_id for node in running}
        return all(node.ask("/health") is not None and ids <= self.voters(node) for node in running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        running = [node for node in self.nodes if node.running]
        if failure[0] is not None:
            for node in running:
                node.kill()
            return
        for node in running:  # all at once: one that waits for others to take over would wait in vain
            node.ask_to_stop()
        for node in running:
            node.wait()


def bytecode(folder: Path) -> dict[str, str]:
    """Variables by which nodes keep compiled modules, as an installed package does, also where that is switched off."""
    if not sys.dont_write_bytecode:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def check_engine() -> None:
    """Raises ``NotMeasurable`` where the consensus engine is not installed."""
    try:
        require_engine()
    except ConfigurationError as error:
        raise NotMeasurable(error.message, hint=error.hint) from error

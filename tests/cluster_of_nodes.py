"""Real clusters for tests and benchmarks: N ``scribe-node`` processes on folders of their own, over real sockets.

Ports are chosen once for each node, so that it comes back under the same address; settings are a file like the shipped
ones. Nothing here sleeps for luck: what must become true is waited for, and what does not is an AssertionError with the
end of every node's log.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

from tests.ports import free_ports
from tests.running import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

PATIENCE_SECONDS = 30.0
LOADING_SECONDS = 90.0
"""For a first formation: five programs that load at once on a busy machine have taken 30 s before one of them spoke."""
_LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """What the condition gives as soon as it is true. A node that does not answer yet makes it false."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := condition():
                return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(_LOOK_SECONDS)


class ClusterNode:
    """One member, running or not. Its folder and its ports stay the same."""

    def __init__(self, folder: Path, node_id: int, ports: tuple[int, int]) -> None:
        self.node_id = node_id
        self.data_dir = folder / f"node-{node_id}"
        self.port, self.raft_port = ports
        self.raft_address = f"127.0.0.1:{self.raft_port}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / f"config-node{node_id}.toml"
        self.process: subprocess.Popen[bytes] | None = None
        self.variables: dict[str, str] = {}
        """More of its environment."""
        self.launcher: list[str] = []
        """A command that becomes the command after it."""
        self._output = folder / f"node-{node_id}.log"

    def move_raft_port(self) -> None:
        """It listens for its peers elsewhere; ``configure`` and ``start`` it then."""
        (self.raft_port,) = free_ports(1)
        self.raft_address = f"127.0.0.1:{self.raft_port}"

    def configure(self, seeds: Iterable[str], sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes its settings file. Values are put as JSON, which TOML reads too."""
        given: dict[str, dict[str, Any]] = {
            "node": {"id": self.node_id, "address": "127.0.0.1", "data_dir": str(self.data_dir)},
            "network": {"client_port": self.port, "raft_port": self.raft_port, "seed_peers": list(seeds)},
            "logging": {"access": False, "format": "text"},
        }
        for name, settings in sections.items():
            given[name] = {**given.get(name, {}), **settings}
        lines = []
        for name, settings in given.items():
            lines += [f"[{name}]", *[f"{key} = {json.dumps(value)}" for key, value in settings.items()], ""]
        self.file.write_text("\n".join(lines))

    # --- its process -------------------------------------------------------------------------------------------

    def start(self, *flags: str) -> None:
        """Returns at once; wait for what it is to do."""
        assert not self.running, f"node {self.node_id} runs already"
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.launcher, *COMMAND, "-c", str(self.file), *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.file.parent,
                env={name: value for name, value in os.environ.items() if not name.startswith("SCRIBE_")}
                | self.variables,
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote so far, in all its lives."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def kill(self) -> None:
        """As a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ask_to_stop(self) -> None:
        assert self.process is not None
        self.process.terminate()

    def stop(self) -> int:
        """Asks it to end, and gives the exit code."""
        self.ask_to_stop()
        return self.wait_for_end()

    def wait_for_end(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    # --- requests ----------------------------------------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float = PATIENCE_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """One request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get_json(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, (self.node_id, path, status, body)
        return json.loads(body)

    def put(self, key: str, value: bytes, *, timeout: float = PATIENCE_SECONDS) -> Any:
        """The receipt; anything but success is an AssertionError."""
        status, body = self.ask("PUT", f"/{key}", value, timeout=timeout)
        assert status in (200, 201), (self.node_id, key, status, body)
        return json.loads(body)

    def get(self, key: str, parameters: str = "") -> bytes | None:
        status, body = self.ask("GET", f"/{key}{parameters}")
        assert status in (200, 404), (self.node_id, key, status, body)
        return body if status == 200 else None

    @property
    def leader_id(self) -> int | None:
        """The node id of the leader that it knows; None while it does not answer."""
        try:
            status, body = self.ask("GET", "/cluster/leader", timeout=2)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body)["leader_id"] if status == 200 else None

    @property
    def answers(self) -> bool:
        """Whether it has loaded, well or not."""
        return self._is_ok("/health/live")

    @property
    def is_healthy(self) -> bool:
        return self._is_ok("/health")

    def _is_ok(self, path: str) -> bool:
        try:
            return self.ask("GET", path, timeout=2)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


class ClusterOfNodes:
    """Members that name each other as seeds. As a context manager it leaves no process behind."""

    def __init__(self, folder: Path, count: int = 3, sections: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * count)
        self.folder = folder
        self.sections = dict(sections or {})
        self.nodes = [
            ClusterNode(folder, number + 1, (ports[2 * number], ports[2 * number + 1])) for number in range(count)
        ]
        for node in self.nodes:
            node.configure(self.seeds_of(node), self.sections)

    def seeds_of(self, node: ClusterNode) -> list[str]:
        return [other.raft_address for other in self.nodes if other is not node]

    def stranger(self, node_id: int, *, name: str = "", seeds: list[str] | None = None, **sections: Any) -> ClusterNode:
        """One more node with seeds (all others, unless given), which is in ``nodes`` only when somebody puts it there.

        ``name`` is that of its folder, where two have one id.
        """
        folder = self.folder / (name or f"joins-{node_id}")
        folder.mkdir(exist_ok=True)
        first, second = free_ports(2)
        node = ClusterNode(folder, node_id, (first, second))
        node.configure(self.seeds_of(node) if seeds is None else seeds, {**self.sections, **sections})
        return node

    def start(self, *, bootstrap: bool = True) -> None:
        """Starts all that do not run; the first founds, unless they are to agree among themselves."""
        for node in self.nodes:
            if not node.running:
                node.start(*(["--bootstrap"] if bootstrap and node is self.nodes[0] else []))

    def wait_until_formed(self, *, voters: int | None = None, seconds: float = PATIENCE_SECONDS) -> None:
        """Until every running member serves, and all are voters."""
        wanted = len(self.nodes) if voters is None else voters
        self.wait(lambda: self._has_formed(wanted), f"a cluster of {wanted} voters", seconds=seconds)

    def _has_formed(self, voters: int) -> bool:
        running = [node for node in self.nodes if node.running]
        if not running or not all(node.is_healthy for node in running):
            return False
        asked = [node.ask("GET", "/cluster/members") for node in running]
        if any(status != 200 for status, _ in asked):
            return False  # it was well a moment ago, and begins again with a ledger that it fetched
        members = [json.loads(body)["members"] for _, body in asked]
        return all(len([each for each in known if each["role"] == "voter"]) == voters for known in members)

    def leader(self, *, other_than: ClusterNode | None = None, seconds: float = PATIENCE_SECONDS) -> ClusterNode:
        """The node that says of itself that it leads."""

        def find() -> ClusterNode | None:
            asked = [node for node in self.nodes if node.running and node is not other_than]
            return next((node for node in asked if node.leader_id == node.node_id), None)

        found = self.wait(find, "a leader", seconds=seconds)
        assert isinstance(found, ClusterNode)
        return found

    def followers(self) -> list[ClusterNode]:
        leader = self.leader()
        return [node for node in self.nodes if node.running and node is not leader]

    def wait(self, condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        try:
            return wait_until(condition, what, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def logs(self) -> str:
        """The end of every node's log."""
        return "\n".join(f"--- node {node.node_id}:\n" + node.log[-3000:] for node in self.nodes)

    def roots(self) -> list[tuple[int, str]]:
        """Size and root that each running node has."""
        found = [_head(node) for node in self.nodes if node.running]
        assert None not in found, "a node says nothing of its ledger"
        return [head for head in found if head is not None]

    def wait_until_equal(self, *, seconds: float = PATIENCE_SECONDS) -> tuple[int, str]:
        """Until all running nodes have the same size; then they must have the same root."""
        self.wait(self._has_one_size, "the same size everywhere", seconds=seconds)
        roots = set(self.roots())
        assert len(roots) == 1, roots
        return roots.pop()

    def _has_one_size(self) -> bool:
        heads = [_head(node) for node in self.nodes if node.running]
        return None not in heads and len({head[0] for head in heads if head is not None}) == 1

    def close(self) -> None:
        for node in self.nodes:
            if node.running:
                node.resume()
                node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _head(node: ClusterNode) -> tuple[int, str] | None:
    """None while it does not serve, such as a node that needs a snapshot first."""
    status, body = node.ask("GET", "/tlog/checkpoint")
    if status == 503:
        return None
    assert status == 200, body
    _, size, root = body.decode().split("\n")[:3]
    return int(size), root

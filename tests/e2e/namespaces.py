"""``Cables``: every member of a cluster in a network namespace of its own, on a switch, with cables that a test pulls.

What the proxies of ``proxies`` imitate is real here: the kernel's TCP over an interface each. A member has one address
of its own and the same ports as all others, and the others' addresses come from a name: a hosts file that only the
members see. All of it hangs in one user namespace, needs no rights, and is gone with the processes that hold it.

Clients stay outside. Their way in is ``keeper``, one process in each namespace, which takes connections of a socket
that was bound out here; so they reach a member whose cable is out. Nothing but ``ip`` and util-linux is used; where
the machine does not have them or does not allow it, ``why_not`` says so.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.cluster_of_nodes import ClusterOfNodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from tests.cluster_of_nodes import ClusterNode

KEEPER = Path(__file__).with_name("keeper.py")
NAME = "members.scribe.test"
"""Stands for the addresses of all members, in their namespaces."""
CLIENT_PORT, RAFT_PORT = 8001, 9001
_HOLD = 'echo ready; exec "$@"'
_SEE_NAMES = 'mount --bind "$1" /etc/hosts && shift && echo ready && exec "$@"'
_TRY = "ip link add s0 type bridge && ip link add v0 type veth peer name v1 && mount --bind /etc/hosts /etc/hosts"


@functools.cache
def why_not() -> str:
    """Why this machine cannot do it; empty where it can."""
    missing = [tool for tool in ("ip", "unshare", "nsenter", "mount") if shutil.which(tool) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(["unshare", "-rnm", "sh", "-c", _TRY], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


class Cables:
    """Namespaces for all members of a cluster. As a context manager, around the cluster's life."""

    def __init__(self, cluster: ClusterOfNodes) -> None:
        self._nodes = list(cluster.nodes)
        self._folder = cluster.folder
        self._held = contextlib.ExitStack()
        self._switch = 0

    # --- faults ------------------------------------------------------------------------------------------------

    def unplug(self, node: ClusterNode) -> None:
        """Nothing reaches it and nothing leaves it. It keeps its address, and nobody is told."""
        self._ip(self._switch, f"link set v{node.node_id} down")

    def divide(self, *groups: Iterable[ClusterNode]) -> None:
        """Each group on a switch of its own."""
        self._ip(
            self._switch,
            *[f"link set v{node.node_id} master s{number}" for number, group in enumerate(groups) for node in group],
        )

    def heal(self) -> None:
        self._ip(self._switch, *[f"link set v{node.node_id} master s0 up" for node in self._nodes])

    # --- life --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        with self._held:
            self._switch = self._hold(["unshare", "-rn", "sh", "-c", _HOLD, "sh", "cat"])
            numbers = range(len(self._nodes))
            self._ip(self._switch, *[f"link add s{each} type bridge" for each in numbers])
            self._ip(self._switch, *[f"link set s{each} up" for each in numbers])
            hosts = self._folder / "hosts"
            hosts.write_text("".join(f"{address_of(node)} {NAME}\n" for node in self._nodes))
            for node in self._nodes:
                self._connect(node, hosts)
            self.heal()
            self._held = self._held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _connect(self, node: ClusterNode, hosts: Path) -> None:
        """A namespace with a cable to the switch, and a way in for clients."""
        with socket.create_server(("127.0.0.1", node.port)) as taken:
            keeper = [sys.executable, "-I", str(KEEPER), str(taken.fileno()), address_of(node), str(CLIENT_PORT)]
            inside = self._hold(
                [*_enter(self._switch), "unshare", "-nm", "sh", "-c", _SEE_NAMES, "sh", str(hosts), *keeper],
                pass_fds=[taken.fileno()],
            )
        self._ip(self._switch, f"link add v{node.node_id} type veth peer name eth0 netns {inside}")
        self._ip(inside, f"addr add {address_of(node)}/24 dev eth0", "link set lo up", "link set eth0 up")
        node.launcher = [*_enter(inside), "--mount"]

    def _hold(self, command: Sequence[str], pass_fds: Sequence[int] = ()) -> int:
        """A process whose namespaces live until the end. Each program in the command becomes the next: one id."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds)
        self._held.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", command
        return process.pid

    def _ip(self, inside: int, *commands: str) -> None:
        command = [*_enter(inside), "ip", "-batch", "-"]
        subprocess.run(command, input="\n".join(commands), text=True, check=True)


def _enter(pid: int) -> list[str]:
    return ["nsenter", "--target", str(pid), "--user", "--net", "--preserve-credentials"]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def address_of(node: ClusterNode) -> str:
    return f"10.77.0.{node.node_id}"


def cluster_on_cables(
    folder: Path, count: int = 3, sections: Mapping[str, Mapping[str, Any]] | None = None
) -> ClusterOfNodes:
    """Members that find each other by ``NAME`` alone. ``Cables(cluster)`` must be entered before they start."""
    cluster = ClusterOfNodes(folder, count)
    for node in cluster.nodes:
        own: dict[str, Mapping[str, Any]] = {
            "node": {"address": address_of(node)},
            "network": {
                "listen_addr": address_of(node),
                "client_port": CLIENT_PORT,
                "raft_port": RAFT_PORT,
                "insecure": True,
            },
            "discovery": {"enabled": True, "dns": [NAME], "mdns": False},
            "cluster": {"secret": "of this test"},
        }
        node.configure([], {**own, **(sections or {})})
    return cluster

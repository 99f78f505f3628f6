"""A load on all nodes at once: wrk has a thread for each, and each thread its node and its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scribe_ledger.bench.cluster.nodes import Node
    from scribe_ledger.bench.http.scripts import Script

KEYS_OF_A_THREAD = 1 << 28
_SETUP = """
local ports, threads = {%(ports)s}, 0
function setup(thread)
  threads = threads + 1
  thread.addr = wrk.lookup("127.0.0.1", ports[threads])[1]
  thread:set("place", threads - 1)
end
function init(arguments)
  n = n + place * %(apart)d
end
"""


class Spread:
    """Several nodes as one that is loaded. Connections are divided evenly, and what is left over is not opened."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.url = nodes[0].url
        self.threads = len(nodes)

    def cpu_seconds(self) -> float:
        return sum(node.cpu_seconds() for node in self.nodes)

    def script(self, script: Script) -> Script:
        """The same requests, sent to all; no two threads write the same keys."""
        ports = ", ".join(f'"{node.port}"' for node in self.nodes)

        def next_pass() -> Path:
            path = script()
            with path.open("a") as file:
                file.write(_SETUP % {"ports": ports, "apart": KEYS_OF_A_THREAD})
            return path

        return next_pass


class Together:
    """One node that takes all requests, counted with the processor time of the whole cluster."""

    threads = 1

    def __init__(self, asked: Node, nodes: Sequence[Node]) -> None:
        self.url = asked.url
        self._asked = asked
        self._others = [node for node in nodes if node is not asked]
        self._readings: list[tuple[float, float]] = []

    def cpu_seconds(self) -> float:
        """Of all nodes together. Whoever loads them reads it before and after each pass."""
        self._readings.append((self._asked.cpu_seconds(), sum(node.cpu_seconds() for node in self._others)))
        return sum(self._readings[-1])

    def shares(self, requests: int) -> dict[str, float]:
        """Microseconds a request in all passes so far: of the node that was asked, and of each other on average."""
        passes = list(zip(self._readings[::2], self._readings[1::2], strict=True))
        asked, others = (sum(after[which] - before[which] for before, after in passes) for which in (0, 1))
        each = {"the node that was asked": asked, "each other node": others / len(self._others)}
        return {name: round(seconds / requests * 1e6, 1) for name, seconds in each.items()}

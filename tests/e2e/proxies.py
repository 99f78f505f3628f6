"""``Network``: what lies between the members of a cluster, so that a test can cut and slow it, one direction at a time.

Every member listens on 127.0.0.1 and tells the others a loopback address of its own, where a proxy takes its
connections. Who connected is found out by the port that the connection came from: members say in their greeting who
they are, but what is between them must not know. Only peers go through here; clients do not.

A cut loses what is sent, in one direction, and closes nothing, as a cable does that was pulled out: the ends must find
out by themselves. Connections that were made meanwhile stay mute.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Self

from tests.cluster_of_nodes import ClusterOfNodes
from tests.e2e import owners

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from pathlib import Path
    from typing import Any

    from tests.cluster_of_nodes import ClusterNode
    from tests.e2e.owners import Address

PIECE_BYTES = 64 << 10
HOLD_SECONDS = 0.02


class Network:
    """Proxies for all members of a cluster, in a thread of its own. As a context manager, around the cluster's life."""

    def __init__(self, cluster: ClusterOfNodes) -> None:
        self._nodes = list(cluster.nodes)
        self._cut: set[tuple[int, int]] = set()
        self._delay_seconds: dict[tuple[int, int], float] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._servers: list[asyncio.Server] = []
        self._pipes: set[asyncio.Task[None]] = set()

    # --- faults: from node id to node id -----------------------------------------------------------------------

    def cut(self, sender: ClusterNode, receiver: ClusterNode) -> None:
        """What ``sender`` sends to ``receiver`` is lost from now on; the other direction stays."""
        self._cut.add((sender.node_id, receiver.node_id))

    def separate(self, some: Iterable[ClusterNode], others: Iterable[ClusterNode]) -> None:
        """A full partition between two groups."""
        there = list(others)
        for one in some:
            for other in there:
                self.cut(one, other)
                self.cut(other, one)

    def isolate(self, node: ClusterNode) -> None:
        self.separate([node], [other for other in self._nodes if other is not node])

    def delay(self, seconds: float) -> None:
        """Everything takes so much longer on its way."""
        ids = [node.node_id for node in self._nodes]
        self._delay_seconds = {(one, other): seconds for one in ids for other in ids if one != other}

    def heal(self) -> None:
        """Nothing is lost from now on. A connection that lost something is reset: it would go on in mid-frame."""
        self._cut.clear()
        self._delay_seconds.clear()

    # --- life --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        for number, node in enumerate(self._nodes):
            self._servers.append(self._run(self._listen(number, node)))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _listen(self, number: int, node: ClusterNode) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._pipes.add(task)
            try:
                await self._serve(node, reader, writer)
            except asyncio.CancelledError:
                pass  # at the end; the server's own task has nobody who waits for it
            finally:
                self._pipes.discard(task)
                writer.close()

        return await asyncio.start_server(connected, advertised_host(number), node.raft_port)

    # --- one connection ----------------------------------------------------------------------------------------

    async def _serve(self, node: ClusterNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialler = self._owner_of(writer.get_extra_info("peername"), writer.get_extra_info("sockname"))
        if dialler is None:
            return  # it is gone already
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", node.raft_port)
        except OSError:
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, there_writer, (dialler, node.node_id))),
            asyncio.ensure_future(self._pump(there_reader, writer, (node.node_id, dialler))),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            there_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[int, int]) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                if way in self._cut:
                    while way in self._cut:  # noqa: ASYNC110 - a test's thread heals it
                        await asyncio.sleep(HOLD_SECONDS)
                    return  # what was lost meanwhile is missing: reset
                if delay := self._delay_seconds.get(way):
                    await asyncio.sleep(delay)
                writer.write(piece)
                await writer.drain()

    def _owner_of(self, here: Address, there: Address) -> int | None:
        """The node id of the process that has this end of a connection."""
        inode = owners.inode_of(here, there)
        pids = {node.node_id: node.process.pid for node in self._nodes if node.process is not None}
        return None if inode is None else next((each for each, pid in pids.items() if owners.has(pid, inode)), None)


def advertised_host(number: int) -> str:
    return f"127.0.1.{number + 1}"


def cluster_behind_proxies(
    folder: Path, count: int = 3, sections: Mapping[str, Mapping[str, Any]] | None = None
) -> ClusterOfNodes:
    """Members that know each other by the proxies' addresses only. ``Network(cluster)`` must be entered first."""
    cluster = ClusterOfNodes(folder, count)
    addresses = [f"{advertised_host(number)}:{node.raft_port}" for number, node in enumerate(cluster.nodes)]
    for number, node in enumerate(cluster.nodes):
        seeds = [address for each, address in enumerate(addresses) if each != number]
        given = {name: dict(settings) for name, settings in (sections or {}).items()}
        address = f"{advertised_host(number)}:{node.port}"
        given["node"] = {"id": node.node_id, "address": address, "data_dir": str(node.data_dir)}
        given["cluster"] = {"secret": "of this test", **given.get("cluster", {})}
        node.configure(seeds, given)
    return cluster

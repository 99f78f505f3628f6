"""One process of the bare loop: the engine, a file that is synced, sockets, and callers that wait; nothing above it.

Started with an order as JSON: which member it is, all ports, a folder. Member 1 stands for election; then a line
``CALLERS SECONDS`` on its standard input is answered by a line of JSON. A command is as long as a put of the other
loads. Commands that wait are grouped into entries of at most 64 KiB, two of which may be under way. What is synced lies
in a file that was filled before, so that a sync writes data alone, as in the log of a node.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections import deque
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any

import scribe_raft

from scribe_ledger.bench.workload import KEY_BYTES, VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMBERS = (1, 2, 3)
LEADER = 1
ENTRY_BYTES = 64 << 10
ENTRIES_IN_FLIGHT = 2
TICK_SECONDS = 0.05
ELECTION_TICKS = 1_000
"""Nobody stands but the leader: a busy machine must not depose it in the middle of a load."""
KEPT_ENTRIES = 1_000
_FILE_BYTES = 16 << 20
_COMMAND = struct.pack(">I", KEY_BYTES + VALUE_BYTES) + bytes(KEY_BYTES + VALUE_BYTES)
_COMMANDS_AN_ENTRY = ENTRY_BYTES // len(_COMMAND)
_LENGTH = struct.Struct(">I")


class Caller:
    """Has one command at a time under way, and gives the next one when it is committed."""

    __slots__ = ("_run", "_started")

    def __init__(self, run: Run) -> None:
        self._run = run
        self.call()

    def call(self) -> None:
        self._started = perf_counter()
        self._run.waiting.append(self)

    def done(self, now: float) -> None:
        run = self._run
        run.seconds.append(now - self._started)
        if now < run.until:
            self.call()


class Run:
    """One load of so many callers."""

    def __init__(self, callers: int, seconds: float) -> None:
        self.waiting: deque[Caller] = deque()
        self.seconds: list[float] = []
        self.callers = callers
        self.started = perf_counter()
        self.until = self.started + seconds
        for _ in range(callers):
            Caller(self)

    def figures(self) -> dict[str, float]:
        cuts = quantiles(self.seconds, n=100)
        per_second = len(self.seconds) / (perf_counter() - self.started)
        return {"per_second": per_second, "p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}


class Member:
    """One engine with its file and its connections."""

    def __init__(self, raft_id: int, ports: Mapping[int, int], folder: Path) -> None:
        self._id, self._ports = raft_id, ports
        conf: scribe_raft.Conf = (list(MEMBERS), [], [], [], False)
        self._node = scribe_raft.Node(
            raft_id, conf_state=conf, heartbeat_tick=2, election_tick=ELECTION_TICKS, check_quorum=False
        )
        self._file = os.open(folder / f"engine-{raft_id}", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(self._file, bytes(_FILE_BYTES))
        os.fsync(self._file)
        self._at = 0
        self._peers: dict[int, asyncio.WriteTransport] = {}
        self._run: Run | None = None
        self._under_way: dict[int, list[Caller]] = {}
        self._turning = False

    async def serve(self) -> None:
        """Goes on until its standard input ends."""
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: _Incoming(self), "127.0.0.1", self._ports[self._id])
        self._say({"listening": self._id})
        for peer in MEMBERS:
            if peer != self._id:
                self._peers[peer] = await _dial(self._ports[peer], self._id)
        ended = loop.create_future()
        loop.add_reader(sys.stdin.fileno(), self._read_orders, ended)
        while not ended.done():
            if self._id == LEADER and not self._node.is_leader:  # until the others have their connections
                self._node.campaign()
                self.turn_soon()
            await asyncio.wait([ended], timeout=TICK_SECONDS)
            self._node.tick()
            self.turn_soon()

    def receive(self, sender: int, messages: Sequence[memoryview]) -> None:
        self._node.step_many(messages, sender=sender)
        self.turn_soon()

    def turn_soon(self) -> None:
        """One turn for all that comes in one round of the loop."""
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._propose()
        while (ready := self._node.ready()) is not None:
            self._send(ready.messages)
            self._persist(ready)
            self._send(ready.persisted_messages)
            self._apply(ready.committed_entries)
            light = self._node.advance(ready)
            self._send(light.messages)
            self._apply(light.committed_entries)
            self._node.advance_apply()
            self._propose()

    def _propose(self) -> None:
        if self._run is None or not self._node.is_leader:
            return
        waiting = self._run.waiting
        while waiting and len(self._under_way) < ENTRIES_IN_FLIGHT:
            callers = [waiting.popleft() for _ in range(min(len(waiting), _COMMANDS_AN_ENTRY))]
            _, index = self._node.propose(b"".join([_COMMAND] * len(callers)))
            self._under_way[index] = callers

    def _persist(self, ready: scribe_raft.Ready) -> None:
        """Writes entries where they follow each other, round and round in the file, and syncs if it must be."""
        for _, _, _, data, _ in ready.entries:
            if self._at + len(data) > _FILE_BYTES:
                self._at = 0
            os.pwrite(self._file, data, self._at)
            self._at += len(data)
        if ready.must_sync:
            os.fdatasync(self._file)

    def _apply(self, entries: Sequence[scribe_raft.Entry]) -> None:
        for index, *_ in entries:
            now = perf_counter()
            for caller in self._under_way.pop(index, ()):
                caller.done(now)
            if index % KEPT_ENTRIES == 0 and index > KEPT_ENTRIES:
                self._node.compact(index - KEPT_ENTRIES)
        if entries and self._run is not None and not self._run.waiting and not self._under_way:
            self._say(self._run.figures())
            self._run = None

    def _send(self, messages: Mapping[int, Sequence[bytes]]) -> None:
        for peer, frames in messages.items():
            if peer in self._peers:
                self._peers[peer].write(
                    b"".join(part for frame in frames for part in (_LENGTH.pack(len(frame)), frame))
                )

    def _read_orders(self, ended: asyncio.Future[None]) -> None:
        line = os.read(sys.stdin.fileno(), 4096).split()
        if not line:
            if not ended.done():
                ended.set_result(None)
            return
        self._run = Run(int(line[0]), float(line[1]))
        self.turn_soon()

    def _say(self, said: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


class _Incoming(asyncio.Protocol):
    """Frames of one peer, which names itself first."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._sender = 0
        self._received = b""

    def data_received(self, data: bytes) -> None:
        received = memoryview(self._received + data)
        messages, at = [], 0
        while at + 4 <= len(received):
            end = at + 4 + _LENGTH.unpack_from(received, at)[0]
            if end > len(received):
                break
            messages.append(received[at + 4 : end])
            at = end
        self._received = bytes(received[at:])
        if messages and not self._sender:
            self._sender = int(messages.pop(0).tobytes())
        if messages:
            self._member.receive(self._sender, messages)


async def _dial(port: int, raft_id: int) -> asyncio.WriteTransport:
    loop, name = asyncio.get_running_loop(), str(raft_id).encode()
    while True:
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(TICK_SECONDS)
        else:
            transport.write(_LENGTH.pack(len(name)) + name)
            return transport


def main() -> None:
    order = json.loads(sys.argv[1])
    ports = dict(zip(MEMBERS, order["ports"], strict=True))
    asyncio.run(Member(order["id"], ports, Path(order["folder"])).serve())


if __name__ == "__main__":
    main()

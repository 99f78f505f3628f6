"""A group of nodes in one process: disks that remember what was persisted, and a network that can be cut.

Every `drain` works in the order that a real shell must keep: send, persist, send what waited, apply, advance.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scribe_raft import Node, StepError, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scribe_raft import Conf, Entry, HardState, LightReady, Ready

NOBODY: Conf = ([], [], [], [], False)


def voters(*ids: int) -> Conf:
    return (list(ids), [], [], [], False)


@dataclass
class Disk:
    """What survives a crash: the log, and a state machine that is a list of what was applied."""

    conf: Conf
    hard_state: HardState = (0, 0, 0)
    truncated: tuple[int, int] = (0, 0)
    entries: list[Entry] = field(default_factory=list)
    applied: int = 0
    state: list[bytes] = field(default_factory=list)

    @property
    def last_index(self) -> int:
        return self.truncated[0] + len(self.entries)

    def persist(self, ready: Ready) -> None:
        if ready.snapshot:
            index, term, conf, data = ready.snapshot
            self.truncated, self.conf, self.applied, self.entries = (index, term), conf, index, []
            self.state = data.split(b",") if data else []
        if ready.entries:
            first = ready.entries[0][0]
            assert self.truncated[0] < first <= self.last_index + 1
            self.entries[first - self.truncated[0] - 1 :] = ready.entries
        if ready.hard_state:
            self.hard_state = ready.hard_state

    def compact(self, index: int) -> None:
        cut = index - self.truncated[0]
        self.truncated = (index, self.entries[cut - 1][1])
        del self.entries[:cut]


class Member:
    def __init__(self, id: int, disk: Disk, **options: Any) -> None:
        self.id, self.disk, self.options = id, disk, options
        self.reads: list[tuple[int, bytes]] = []
        self.snapshots: list[tuple[int, int, bytes]] = []
        self.start()

    def start(self) -> None:
        """Starts anew from the disk, as after a crash."""
        disk = self.disk
        self.node = Node(
            self.id,
            conf_state=disk.conf,
            hard_state=disk.hard_state,
            entries=disk.entries,
            truncated=disk.truncated,
            applied=disk.applied,
            **self.options,
        )

    def apply(self, entries: Iterable[Entry]) -> None:
        for index, _, kind, data, _ in entries:
            assert index == self.disk.applied + 1, "entries are applied once, in order"
            if kind:
                self.disk.conf = self.node.apply_conf_change(kind, data)
            elif data:
                self.disk.state.append(data)
            self.disk.applied = index

    def drain(self, send: Callable[[int, bytes], None]) -> None:
        while (ready := self.node.ready()) is not None:
            self.send(ready.messages, send)
            self.disk.persist(ready)
            self.send(ready.persisted_messages, send)
            self.reads += ready.read_states
            self.apply(ready.committed_entries)
            light = self.node.advance(ready)
            self.finish(ready, light, send)

    def finish(self, ready: Ready, light: LightReady, send: Callable[[int, bytes], None]) -> None:
        self.send(light.messages, send)
        self.snapshots += [*ready.snapshot_messages, *light.snapshot_messages]
        self.apply(light.committed_entries)
        self.node.advance_apply()

    @staticmethod
    def send(messages: Mapping[int, list[bytes]], send: Callable[[int, bytes], None]) -> None:
        for peer, batch in messages.items():
            for message in batch:
                send(peer, message)


class Cluster:
    def __init__(self, *ids: int, conf: Conf | None = None, disks: Mapping[int, Disk] | None = None, **options: Any):
        self.options = {"seed": 1, **options}
        self.members: dict[int, Member] = {}
        self.cut: set[tuple[int, int]] = set()
        self.drop: Callable[[dict[str, Any]], bool] = lambda _: False
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.digest = hashlib.sha256()  # of every message, in order
        self.wire: deque[tuple[int, int, bytes]] = deque()
        for id in ids:
            self.add(id, (disks or {}).get(id) or Disk(conf or voters(*ids)))

    def __getitem__(self, id: int) -> Node:
        return self.members[id].node

    def add(self, id: int, disk: Disk) -> None:
        self.members[id] = Member(id, disk, **self.options)

    def isolate(self, *ids: int) -> None:
        """Cuts these off from everybody, each other included."""
        self.cut |= {pair for a in ids for b in self.members for pair in ((a, b), (b, a))}

    def heal(self) -> None:
        self.cut.clear()
        self.drop = lambda _: False

    def settle(self) -> None:
        """Delivers until nobody has anything to say."""
        while True:
            for member in self.members.values():
                member.drain(lambda to, data, sender=member.id: self.wire.append((sender, to, data)))  # type: ignore[misc]
            if not self.wire:
                return
            for _ in range(len(self.wire)):
                self.deliver(*self.wire.popleft())

    def deliver(self, sender: int, to: int, data: bytes) -> None:
        told = describe(data)
        self.digest.update(data)
        self.sent[told["type"]] += 1
        if (sender, to) in self.cut or to not in self.members or self.drop(told):
            return
        try:
            self[to].step(data, sender=sender)
        except StepError:
            self.sent["refused"] += 1

    def campaign(self, id: int) -> None:
        self[id].campaign()
        self.settle()

    def tick(self, count: int = 1, *only: int) -> None:
        for _ in range(count):
            for id in only or list(self.members):
                self[id].tick()
            self.settle()

    def propose(self, id: int, *datas: bytes) -> None:
        for data in datas:
            self[id].propose(data)
        self.settle()

    def change(self, id: int, *changes: Any, transition: Any = "auto") -> None:
        self[id].propose_conf_change(changes, transition)
        self.settle()

    def leaders(self) -> list[int]:
        return [id for id in self.members if self[id].is_leader]

    def roles(self) -> list[str]:
        return [member.node.role for member in self.members.values()]

    def states(self) -> dict[int, list[bytes]]:
        return {id: member.disk.state for id, member in self.members.items()}

    def logs(self) -> dict[int, list[tuple[int, int]]]:
        """Index and term of every entry on every disk."""
        return {id: [entry[:2] for entry in member.disk.entries] for id, member in self.members.items()}

    def status(self, id: int, peer: int | None = None) -> dict[str, Any]:
        status = self[id].status()
        found: dict[str, Any] = status if peer is None else status["progress"][peer]
        return found

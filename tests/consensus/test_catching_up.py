"""What a receiver does with a snapshot that it may not have."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.consensus.looping import in_loop

from scribe_ledger.consensus.catching_up import CONFLICT_PAUSE_SECONDS, CatchingUp
from scribe_ledger.consensus.exchange import ArrivedSnapshot
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import Conflict, ScribeError, Unavailable
from scribe_ledger.model import Extent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.consensus


class Replica:
    """A follower to which its leader announces the same snapshot whenever it looks."""

    snapshot_arrived = ArrivedSnapshot(1, 50, 2, b"", b"message")

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.finished: list[bytes | None] = []
        self.offered: list[int] = []
        self.is_leader = True
        self.raft_id, self.leader, self.membership = 3, 1, Membership(1, 1, (1, 2, 3))

    def wants_snapshot(self) -> list[int]:
        return [3]

    def offer_snapshot(self, index: int, data: bytes) -> bool:
        self.offered.append(index)
        return True

    def take_snapshot_arrived(self) -> ArrivedSnapshot:
        return self.snapshot_arrived

    def begin_install(self, index: int) -> bool:
        self.begun.append(index)
        return True

    def finish_install(self, message: bytes | None) -> None:
        self.finished.append(message)


class Receiver:
    def __init__(self, folder: Path, error: ScribeError) -> None:
        self.replica = Replica()
        self.now = 0.0
        self.conflicts: list[ScribeError] = []
        self.sent: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

        async def fetch(**_: Any) -> None:
            raise error

        def send(peer: int, _: object) -> bool:
            self.sent.append(peer)
            return True

        machine: Any = SimpleNamespace(
            extent=Extent(7, bytes(32), 0, b""), describe=lambda: b"", flush=lambda: 0, position=70
        )
        self.catching_up = CatchingUp(
            self.replica,  # type: ignore[arg-type]
            machine,
            folder,
            SimpleNamespace(fetch=fetch),  # type: ignore[arg-type]
            send=send,
            spawn=lambda work: self.tasks.append(asyncio.ensure_future(work)),
            wake=lambda: None,
            on_full=lambda: None,
            on_conflict=self.conflicts.append,
            clock=lambda: self.now,
            givers=lambda: (1, 2, 3),
            known=lambda _: None,
        )

    async def look(self) -> None:
        self.catching_up.look()
        await asyncio.gather(*self.tasks)


@in_loop
async def test_a_leader_with_other_entries_is_not_believed_and_not_asked_again_at_once(tmp_path: Path) -> None:
    error = Conflict("a member has 7 other entries than this one")
    receiver = Receiver(tmp_path, error)
    for _ in range(3):
        await receiver.look()
    assert receiver.conflicts == [error]
    assert receiver.replica.begun == [50]
    assert receiver.replica.finished == [None], "it goes on as before"
    assert receiver.sent == [1], "the leader is told, and what it says meanwhile is not answered"
    receiver.now += CONFLICT_PAUSE_SECONDS
    await receiver.look()
    assert receiver.replica.begun == [50] * 2


@in_loop
async def test_another_leader_is_asked_at_once(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, Conflict("a member has 7 other entries than this one"))
    await receiver.look()
    receiver.replica.snapshot_arrived = ArrivedSnapshot(2, 60, 3, b"", b"message")
    await receiver.look()
    assert receiver.replica.begun == [50, 60]


@in_loop
async def test_a_leader_whose_ledger_is_in_doubt_offers_nothing(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, Unavailable("nobody"))
    for may_give in (False, True):
        receiver.catching_up._may_give = lambda may=may_give: may  # type: ignore[misc]
        receiver.catching_up.offer(0.0)
    assert receiver.replica.offered == [70]


@in_loop
async def test_what_may_pass_is_asked_for_again(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, Unavailable("the leader stops"))
    for _ in range(3):
        await receiver.look()
    assert receiver.conflicts == []
    assert (receiver.replica.begun, receiver.replica.finished, receiver.sent) == ([50] * 3, [None] * 3, [1] * 3)

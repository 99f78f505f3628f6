"""What a receiver does with a snapshot that it may not have."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.consensus.looping import in_loop

from scribe_ledger.consensus.catching_up import CatchingUp
from scribe_ledger.consensus.exchange import ArrivedSnapshot
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
        self.conflicts: list[ScribeError] = []
        self.sent: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

        async def fetch(**_: Any) -> None:
            raise error

        def send(peer: int, _: object) -> bool:
            self.sent.append(peer)
            return True

        machine: Any = SimpleNamespace(extent=Extent(7, bytes(32), 0, b""), describe=lambda: b"", flush=lambda: 0)
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
            clock=lambda: 0.0,
        )

    async def look(self) -> None:
        self.catching_up.look()
        await asyncio.gather(*self.tasks)


@in_loop
async def test_a_ledger_with_other_entries_is_trouble_and_not_asked_for_again(tmp_path: Path) -> None:
    error = Conflict("a member has 7 other entries than this one")
    receiver = Receiver(tmp_path, error)
    for _ in range(3):
        await receiver.look()
    assert receiver.conflicts == [error]
    assert receiver.replica.begun == [50]
    assert receiver.replica.finished == [], "nothing is applied any more"
    assert receiver.sent == [], "the leader waits, and does not send it again and again"


@in_loop
async def test_what_may_pass_is_asked_for_again(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, Unavailable("the leader stops"))
    for _ in range(3):
        await receiver.look()
    assert receiver.conflicts == []
    assert (receiver.replica.begun, receiver.replica.finished, receiver.sent) == ([50] * 3, [None] * 3, [1] * 3)

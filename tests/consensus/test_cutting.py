"""The log is cut when it is due: flushed first, and never of what the flush did not reach."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from tests.consensus.looping import in_loop

from scribe_ledger.consensus.compaction import CompactionSettings
from scribe_ledger.consensus.cutting import LogCutter
from scribe_ledger.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from scribe_ledger.consensus.log.store import LogStore
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.consensus.statemachine import StateMachine

pytestmark = pytest.mark.consensus


class Node:
    """Replica, log and state machine in one, of which only the numbers are there."""

    def __init__(self, *, applied: int, position: int | None = None) -> None:
        self.installing = False
        self.last_index = self.applied_index = self.log_entries = applied
        self.log_bytes = 0
        self.position = applied if position is None else position
        self.membership = b"members"
        self.said: list[str] = []
        self.overloaded = False
        self.sending: int | None = None

    def flush(self) -> int:
        self.said.append("flush")
        return self.position

    def compact(self, index: int) -> tuple[int, int]:
        self.said.append(f"forget {index}")
        self.log_entries = self.last_index - index
        return index, 7

    def cut(self, index: int, term: int) -> None:
        self.said.append(f"cut {index} of term {term}")

    def set_membership(self, position: int, record: bytes) -> None:
        if self.overloaded:
            raise Overloaded("busy")
        self.position = position
        self.said.append(f"{record.decode()} at {position}")

    async def look(self) -> None:
        cutter = LogCutter(
            cast("Replica", self),
            cast("LogStore", self),
            cast("StateMachine", self),
            CompactionSettings(entries=100, keep=10),
        )
        cutter.sending = lambda: self.sending
        tasks: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[None, None, None]) -> None:
            tasks.append(asyncio.ensure_future(work))

        cutter.look(0.0, spawn)
        await asyncio.gather(*tasks)


@in_loop
async def test_what_is_due_is_flushed_forgotten_and_cut_in_this_order() -> None:
    node = Node(applied=109)
    await node.look()
    assert node.said == []
    node = Node(applied=110)
    await node.look()
    assert node.said == ["flush", "forget 100", "cut 100 of term 7"]
    await node.look()
    assert len(node.said) == 3


@in_loop
async def test_a_snapshot_under_way_keeps_the_log() -> None:
    node = Node(applied=200)
    node.sending = 50
    await node.look()
    assert node.said[1:] == ["forget 50", "cut 50 of term 7"]


@in_loop
async def test_nothing_is_cut_while_a_snapshot_is_installed() -> None:
    node = Node(applied=200)
    node.installing = True
    await node.look()
    assert node.said == []


@in_loop
async def test_refused_commands_alone_do_not_keep_the_log_for_ever() -> None:
    node = Node(applied=200, position=20)
    node.overloaded = True
    await node.look()
    assert node.said == []
    node.overloaded = False
    await node.look()
    assert node.said == ["members at 200"]
    await node.look()
    assert node.said[1:] == ["flush", "forget 190", "cut 190 of term 7"]

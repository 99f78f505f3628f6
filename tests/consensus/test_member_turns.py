"""The loop of turns over a real engine and log: one sync for what gathers, and nothing said before it is durable."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.consensus.replica import Replica, ReplicaSettings
from scribe_ledger.consensus.statemachine import Extent
from scribe_ledger.consensus.turns import Turns
from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from scribe_ledger.consensus.log.store import LogWrite

pytestmark = pytest.mark.consensus


def in_a_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Counted:
    """A state machine that remembers what it applied."""

    def __init__(self) -> None:
        info = MemberInfo(1, 1, "127.0.0.1:1", "127.0.0.1:2")
        self.membership = Membership(1, 1, voters=(1,), members={1: info}).encode()
        self.position = 1
        self.applied: list[bytes] = []

    @property
    def extent(self) -> Extent:
        return Extent(len(self.applied), bytes(32), 0, bytes(32))

    def check(self, unit: bytes) -> None:
        """All can be read."""

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[object]:
        self.position = position
        self.applied += units
        return [bytes(unit) for unit in units]

    def set_membership(self, position: int, record: bytes) -> None:
        self.position, self.membership = position, record


class SlowLog(MemoryLog):
    """Counts its syncs, and can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs = 0
        self.breaks = False
        self.before_sync: Callable[[], object] = lambda: None

    def write(self, write: LogWrite) -> None:
        if self.breaks:
            raise StorageError("the disk is gone")
        super().write(write)

    def sync(self) -> None:
        self.before_sync()
        super().sync()
        self.syncs += 1


def make(log: SlowLog, failures: list[BaseException]) -> tuple[Replica, Turns, Counted]:
    machine: Any = Counted()
    replica = Replica(1, 1, log.load(), machine, ReplicaSettings(), clock=lambda: 0, seed=1)
    turns = Turns(
        replica,
        log,
        asyncio.get_running_loop(),
        send=lambda *_: True,
        send_snapshot=lambda *_: None,
        on_failure=failures.append,
    )
    return replica, turns, machine


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


async def lead(replica: Replica, turns: Turns) -> None:
    turns.wake()
    await asyncio.sleep(0)
    replica.campaign()
    turns.wake()
    await until(lambda: replica.is_leader and replica.applied_index == replica.last_index)


@in_a_loop
async def test_many_units_share_few_syncs_and_are_answered_when_durable() -> None:
    log, failures = SlowLog(), list[BaseException]()
    replica, turns, machine = make(log, failures)
    await lead(replica, turns)
    before = log.syncs
    outcomes: list[object] = []
    for number in range(1000):
        replica.submit(b"%d" % number, None, outcomes.append, ticks=100)
    turns.wake()
    assert outcomes == [], "nothing is answered before its sync"
    await until(lambda: len(outcomes) == 1000)
    assert outcomes == machine.applied == [b"%d" % number for number in range(1000)]
    assert log.syncs - before <= 3
    await turns.close()
    assert failures == []


@in_a_loop
async def test_a_log_that_fails_ends_the_member_once_and_nothing_is_acknowledged() -> None:
    log, failures = SlowLog(), list[BaseException]()
    replica, turns, machine = make(log, failures)
    await lead(replica, turns)
    log.breaks = True
    outcomes: list[object] = []
    replica.submit(b"one", None, outcomes.append, ticks=100)
    turns.wake()
    await until(lambda: failures)
    replica.submit(b"two", None, outcomes.append, ticks=100)
    turns.wake()
    await asyncio.sleep(0)
    assert len(failures) == 1
    assert isinstance(failures[0], StorageError)
    assert machine.applied == []
    assert outcomes == []
    await turns.close()


@in_a_loop
async def test_what_only_moves_the_commit_index_is_not_synced_by_itself() -> None:
    log, failures = SlowLog(), list[BaseException]()
    replica, turns, _ = make(log, failures)
    await lead(replica, turns)
    before, outcomes = log.syncs, list[object]()
    replica.submit(b"one", None, outcomes.append, ticks=100)
    turns.wake()
    await until(lambda: outcomes)
    await asyncio.sleep(0.01)
    assert log.syncs == before + 1
    commit = replica.commit_index
    await turns.close()
    assert log.load().hard_state[2] == commit, "it is kept with the next write, or when the log is closed"
    assert failures == []

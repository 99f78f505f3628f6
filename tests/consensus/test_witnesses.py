"""What the other members' roots mean for a snapshot that is to be installed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.consensus.group import info
from tests.consensus.looping import in_loop

from scribe_ledger.consensus import witnesses
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.witnesses import Witnesses
from scribe_ledger.errors import Conflict, ConsensusError, NetworkError, ScribeError, SerializationError, Unavailable

if TYPE_CHECKING:
    from scribe_ledger.consensus.membership import MemberInfo

pytestmark = pytest.mark.consensus

RIGHT, WRONG = b"r" * 32, b"w" * 32
RECEIVER, GIVER = 9, 1
SILENT = None


def receiver(answers: dict[int, bytes | None], asked: list[int]) -> Witnesses:
    async def ask(witness: MemberInfo, request: bytes) -> bytes:
        asked.append(witness.raft_id)
        assert request == (100).to_bytes(8, "big")
        answer = answers[witness.raft_id]
        if answer is None:
            raise NetworkError("nobody is there")
        return answer

    machine: Any = SimpleNamespace()
    return Witnesses(RECEIVER, machine, giver=lambda: GIVER, diverged=lambda: None, ask=ask)


def snapshot(*voters: int) -> Any:
    """Of the right root; the receiver is a learner."""
    everybody = {each: info(each) for each in (*voters, RECEIVER)}
    record = Membership(5, 1, voters, (RECEIVER,), members=everybody).encode()
    return SimpleNamespace(size=100, root=RIGHT, membership=record)


@pytest.mark.parametrize(
    ("answers", "taken"),
    [
        ({2: RIGHT, 3: RIGHT}, True),
        ({2: RIGHT, 3: WRONG}, True),
        ({2: WRONG, 3: SILENT}, False),
        ({2: WRONG, 3: WRONG}, False),
        ({2: SILENT, 3: SILENT}, True),
        ({2: RIGHT, 3: WRONG, 4: WRONG, 5: SILENT}, False),
        ({2: RIGHT, 3: RIGHT, 4: WRONG, 5: WRONG}, True),
        ({}, True),
    ],
)
@in_loop
async def test_a_snapshot_is_taken_unless_it_is_contradicted_and_no_majority_has_it(
    answers: dict[int, bytes | None], taken: bool
) -> None:
    asked: list[int] = []
    vouching = receiver(answers, asked).vouch(snapshot(GIVER, *answers))
    if taken:
        await vouching
    else:
        with pytest.raises(Conflict, match="has another"):
            await vouching
    assert sorted(asked) == sorted(answers), "giver and receiver are no witnesses"


class Machine:
    def __init__(self, size: int) -> None:
        self.size = size

    @property
    def extent(self) -> Any:
        return SimpleNamespace(size=self.size)

    def root_at(self, size: int) -> bytes:
        assert size <= self.size
        return b"%032d" % size


def witness(machine: Any, trouble: ScribeError | None = None) -> Witnesses:
    async def ask(*_: object) -> bytes:
        raise AssertionError("it asks nobody")

    return Witnesses(2, machine, giver=lambda: 1, diverged=lambda: trouble, ask=ask)


@in_loop
async def test_a_witness_that_is_a_moment_behind_is_waited_for() -> None:
    machine = Machine(99)
    asyncio.get_running_loop().call_later(0.03, setattr, machine, "size", 100)
    assert await witness(machine).answer((100).to_bytes(8, "big")) == b"%032d" % 100


@in_loop
async def test_who_has_diverged_or_is_behind_is_no_witness() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witnesses, "REACH_SECONDS", 0.0)
        with pytest.raises(Unavailable, match="has 99 entries"):
            await witness(Machine(99)).answer((100).to_bytes(8, "big"))
    with pytest.raises(ConsensusError, match="is no witness"):
        await witness(Machine(100), ConsensusError("it has diverged")).answer((100).to_bytes(8, "big"))
    with pytest.raises(SerializationError):
        await witness(Machine(100)).answer(b"100")

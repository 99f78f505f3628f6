"""An order to archive on its way to the leader: over real connections, one step and never two."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from scribe_ledger.archive.leading import Deposed, not_leading
from scribe_ledger.consensus.formation.reception import Place
from scribe_ledger.consensus.transport import Auth, Me, Transport
from scribe_ledger.errors import Conflict, Forbidden, NetworkError, OutcomeUnknown, Unavailable
from scribe_ledger.node.archive_orders import ArchiveOrders
from scribe_ledger.node.switchboard import ARCHIVE, Switchboard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.consensus
MEMBERS = {1, 2, 3}


class Node:
    """A member as far as orders go. Who leads is what the test says, to each node by itself."""

    def __init__(self, raft_id: int) -> None:
        self.raft_id = raft_id
        self.thinks_leads = Place(0, "")
        self.passes = self.looks = 0
        self.failure: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.switchboard = Switchboard()
        self.transport = Transport(lambda: Me(raft_id, "ab" * 16, raft_id), Auth(), self.switchboard)
        self.address = ""
        self.orders = self.switchboard.archive_orders = ArchiveOrders(
            self.transport,
            leads=lambda: self.thinks_leads.leader == raft_id,
            place=self.place,
            members=lambda: MEMBERS,
            here=self.archive,
            find_seconds=0.3,
        )

    def place(self) -> Place:
        self.looks += 1
        return self.thinks_leads

    async def archive(self) -> dict[str, Any]:
        self.passes += 1
        await self.may_end.wait()
        if self.failure is not None:
            raise self.failure
        return {"by": self.raft_id, "pass": self.passes}


@asynccontextmanager
async def nodes(*raft_ids: int) -> AsyncIterator[list[Node]]:
    """All of them take the first for the leader."""
    async with AsyncExitStack() as stack:
        made = [Node(each) for each in raft_ids]
        for node in made:
            node.address = f"127.0.0.1:{await node.transport.listen('127.0.0.1', 0)}"
            stack.push_async_callback(node.transport.close)
        for node in made:
            node.thinks_leads = Place(made[0].raft_id, made[0].address)
        yield made


def test_the_leader_archives_for_whoever_was_asked() -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            assert [(await each.orders.order())["by"] for each in (leader, follower)] == [1, 1]
            assert follower.passes == 0

    asyncio.run(run())


def test_many_orders_are_one_question_under_way_and_one_owed() -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            leader.may_end.clear()
            first = asyncio.ensure_future(follower.orders.order())
            while not leader.passes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            others = [asyncio.ensure_future(follower.orders.order()) for _ in range(200)]
            await asyncio.sleep(0)
            leader.may_end.set()
            assert [(await each)["pass"] for each in (first, *others)] == [1] + [2] * 200

    asyncio.run(run())


def test_who_is_asked_by_a_member_and_does_not_lead_passes_nothing_on() -> None:
    async def run() -> None:
        async with nodes(1, 2, 3) as (first, second, third):
            second.thinks_leads = Place(3, third.address)
            third.thinks_leads = Place(2, second.address)  # each takes the other for the leader
            with pytest.raises(Unavailable, match="no leader could be asked to archive: this node does not lead"):
                await second.orders.order()
            assert [each.passes for each in (first, second, third)] == [0, 0, 0]

    asyncio.run(run())


@pytest.mark.parametrize("why", ["nobody is known", "it does not answer"])
def test_a_leader_that_cannot_be_reached_is_unavailable(why: str) -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            await leader.transport.close()
            if why == "nobody is known":
                follower.thinks_leads = Place(0, "")
            with pytest.raises(Unavailable, match="no leader could be asked") as caught:
                await follower.orders.order()
            assert caught.value.kind == "unavailable"

    asyncio.run(run())


def test_a_leader_that_is_elected_meanwhile_gets_the_order() -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            there, follower.thinks_leads = follower.thinks_leads, Place(0, "")
            order = asyncio.ensure_future(follower.orders.order())
            while not follower.looks:  # noqa: ASYNC110
                await asyncio.sleep(0)
            follower.thinks_leads = there
            assert (await order)["by"] == leader.raft_id

    asyncio.run(run())


@pytest.mark.parametrize("asked", [1, 2])
@pytest.mark.parametrize("why", [not_leading(), Deposed("another may lead")], ids=["before it began", "in the middle"])
def test_a_leader_that_does_not_archive_for_a_moment_is_asked_again(why: Unavailable, asked: int) -> None:
    async def run() -> None:
        async with nodes(1, 2) as members:
            leader = members[0]
            leader.failure = why
            order = asyncio.ensure_future(members[asked - 1].orders.order())
            while leader.passes < 2 and not order.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            leader.failure = None
            assert (await order)["by"] == 1

    asyncio.run(run())


def test_a_pass_whose_leader_is_lost_has_an_unknown_outcome() -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            leader.may_end.clear()
            order = asyncio.ensure_future(follower.orders.order())
            while not leader.passes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            follower.thinks_leads = Place(3, "127.0.0.1:1")  # the old one hangs, and is not heard
            with pytest.raises(OutcomeUnknown, match="leads no longer"):
                await order

    asyncio.run(run())


@pytest.mark.parametrize("failure", [NetworkError("the bucket is away"), Conflict("it has no archiver")])
def test_what_failed_on_the_leader_is_told_as_it_is_and_at_once(failure: Exception) -> None:
    async def run() -> None:
        async with nodes(1, 2) as (leader, follower):
            leader.failure = failure
            with pytest.raises((Unavailable, Conflict), match=f"^{failure}"):
                await follower.orders.order()
            assert leader.passes == 1

    asyncio.run(run())


def test_a_stranger_orders_nothing() -> None:
    async def run() -> None:
        async with nodes(1, 9) as (leader, stranger):
            with pytest.raises(Forbidden, match="only a member"):
                await stranger.transport.request(leader.address, ARCHIVE, timeout=5, expect=1)
            assert leader.passes == 0

    asyncio.run(run())

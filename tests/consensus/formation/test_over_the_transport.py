"""Formation and reception over real sockets: three nodes started together, joins, what members ask their leader."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from scribe_ledger.consensus.formation.admission import LedgerFacts
from scribe_ledger.consensus.formation.forming import Formation, Founded
from scribe_ledger.consensus.formation.identity import NodeIdentity
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.formation.messages import Leave, Replace, Standing, Transfer, Update
from scribe_ledger.consensus.formation.reception import Place, Reception
from scribe_ledger.consensus.membership import Conf, MemberInfo, Membership
from scribe_ledger.consensus.steward import Steward
from scribe_ledger.consensus.stewardship.actions import Change, HandOver, Tell, View
from scribe_ledger.consensus.transport.auth import Auth
from scribe_ledger.consensus.transport.contract import Caller, Me
from scribe_ledger.consensus.transport.transport import Transport
from scribe_ledger.errors import Conflict, Forbidden, NotFound, Unavailable
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from scribe_ledger.consensus.stewardship.actions import Action

pytestmark = pytest.mark.consensus

SECRET = Auth(secret="open sesame, all of you")
KEY = Signer.generate("example.org/ledger")
CLUSTER = "ab" * 16


class Progress(NamedTuple):
    match: int = 100
    active: bool = True


class Cluster:
    """The log that all members would agree on, without one: what leads, and what the membership is."""

    def __init__(self, founder: Node) -> None:
        self.leader = founder
        info = founder.info
        self.membership = Membership(1, 1, (info.raft_id,), members={info.raft_id: info})
        self.nodes = {info.raft_id: founder}

    def tick(self, node: Node) -> None:
        """The leader's: every action is agreed on at once."""
        if node is not self.leader:
            return
        node.now += 1
        membership = self.membership
        progress = {each: Progress() for each in membership.ids}
        alive = {each for each in membership.ids if each in self.nodes and not self.nodes[each].stopped}
        for action in node.steward.actions(View(node.info.raft_id, node.now, membership, progress, alive, 100, 1)):
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        index = self.membership.index + 1
        if isinstance(action, Tell):
            self.membership = self.membership.with_members(action.infos, index=index, term=1)
        elif isinstance(action, Change):
            lists: dict[str, set[int]] = {
                "voter": set(self.membership.voters),
                "learner": set(self.membership.learners),
                "remove": set(),
            }
            for kind, raft_id in action.steps:
                for each in lists.values():
                    each.discard(raft_id)
                lists[kind].add(raft_id)
            conf: Conf = (sorted(lists["voter"]), sorted(lists["learner"]), [], [], False)
            told = self.membership.with_members(action.infos, index=index, term=1)
            self.membership = told.with_conf(conf, index=index, term=1)
        elif isinstance(action, HandOver):
            before, self.leader = self.leader, self.nodes[action.raft_id]
            before.steward.deposed(action.raft_id)


class Node:
    """A transport, an identity, and what answers at each stage."""

    def __init__(self, folder: Path, node_id: int, *, auth: Auth = SECRET, bootstrap: bool = False) -> None:
        self.identity = NodeIdentity.load_or_create(folder)
        self.node_id = node_id
        self.bootstrap = bootstrap
        self.transport = Transport(lambda: Me(self.identity.raft_id, self.identity.cluster_id, node_id), auth, self)
        self.steward = Steward()
        self.now = 0
        self.stopped = False
        self.cluster: Cluster | None = None
        self.formation: Formation | None = None
        self.address = ""
        self.replace_wiped = False
        self.founds = CLUSTER

    @property
    def info(self) -> MemberInfo:
        return MemberInfo(
            self.identity.raft_id, self.node_id, self.address, self.address, str(self.identity.key.cosigner)
        )

    async def listen(self) -> None:
        self.address = f"127.0.0.1:{await self.transport.listen('127.0.0.1', 0)}"

    def form(self, seeds: Sequence[str]) -> Formation:
        async def no_store() -> str:
            return ""

        self.formation = Formation(
            self.identity,
            self.transport,
            self.info,
            random=Random(self.node_id),
            store_ledger=no_store,
            seeds=seeds,
            bootstrap=self.bootstrap,
        )
        return self.formation

    def become_member(self, cluster: Cluster, cluster_id: str) -> None:
        self.cluster = cluster
        cluster.nodes[self.identity.raft_id] = self
        self.reception = Reception(
            self.steward,
            self.transport,
            standing=self._standing,
            place=lambda: Place(cluster.leader.identity.raft_id, cluster.leader.address),
            facts=lambda: LedgerFacts(cluster_id, "example.org/ledger", 1, 0, {}, KEY, 1),
            tick_seconds=0.05,
            replace_wiped=self.replace_wiped,
        )
        self.identity.save_member(cluster_id)

    def _standing(self) -> Standing:
        assert self.cluster is not None
        return Standing(
            raft_id=self.identity.raft_id,
            node_id=self.node_id,
            address=self.address,
            cluster_id=self.identity.cluster_id,
            stage="member",
            leader_address=self.cluster.leader.address,
        )

    # --- the transport's handler ---

    def admits(self, caller: Caller) -> str:
        return ""

    def on_frame(self, sender: int, frame: memoryview) -> None: ...

    async def on_request(self, caller: Caller, request: bytes) -> bytes:
        if self.cluster is not None:
            return await self.reception.answer(caller, request)
        if self.formation is None:
            raise Unavailable("not yet")
        return await self.formation.answer(caller, request)

    async def on_stream(self, caller: Caller, request: bytes) -> AsyncIterator[bytes]:
        yield request

    def on_connected(self, raft_id: int) -> None: ...

    def on_lost(self, raft_id: int) -> None: ...

    async def run(self, seeds: Sequence[str], cluster: Callable[[Node], Cluster]) -> None:
        outcome = await self.form(seeds).run()
        if isinstance(outcome, Founded):
            self.become_member(cluster(self), self.founds)
        elif isinstance(outcome, Joined):
            assert outcome.key is not None and outcome.key.private_text() == KEY.private_text()
            self.become_member(cluster(self), outcome.cluster_id)

    async def stop(self) -> None:
        self.stopped = True
        await self.transport.close()
        self.identity.close()


@asynccontextmanager
async def listening(*nodes: Node) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for node in nodes:
            await node.listen()
            stack.push_async_callback(node.stop)
        ticking = asyncio.create_task(tick_forever(nodes))
        stack.callback(ticking.cancel)
        yield


async def tick_forever(nodes: Sequence[Node]) -> None:
    while True:
        for node in nodes:
            if node.cluster is not None and not node.stopped:
                node.cluster.tick(node)
        await asyncio.sleep(0.01)


def once() -> Callable[[Node], Cluster]:
    """The cluster of whoever founds; a second founder would be seen by its members."""
    made: list[Cluster] = []

    def cluster(node: Node) -> Cluster:
        if not made:
            made.append(Cluster(node))
        return made[0]

    return cluster


async def form(nodes: Sequence[Node]) -> Cluster:
    cluster, addresses = once(), [node.address for node in nodes]
    async with asyncio.timeout(20):
        await asyncio.gather(
            *(node.run([each for each in addresses if each != node.address], cluster) for node in nodes)
        )
    return cluster(nodes[0])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def seen(cluster: Cluster) -> AbstractSet[int]:
    """Whom the leader holds to be alive."""
    view = cluster.leader.steward.view
    return view.alive if view is not None else frozenset()


@pytest.mark.parametrize("bootstrap", [0, 1])
@pytest.mark.parametrize("auth", [SECRET, Auth()], ids=["secret", "loopback"])
def test_three_nodes_started_together_form_a_cluster(tmp_path: Path, bootstrap: int, auth: Auth) -> None:
    async def run() -> None:
        nodes = [Node(tmp_path / str(each), each, auth=auth, bootstrap=each == bootstrap) for each in (1, 2, 3)]
        async with listening(*nodes):
            cluster = await form(nodes)
            assert len({node.identity.cluster_id for node in nodes}) == 1
            await until(lambda: len(cluster.membership.voters) == 3)

    asyncio.run(run())


def test_a_list_may_name_this_node_too_under_any_name(tmp_path: Path) -> None:
    """One list for all nodes: each finds out which entry it is itself."""

    async def run() -> None:
        nodes = [Node(tmp_path / str(each), each) for each in (1, 2, 3)]
        async with listening(*nodes):
            cluster, addresses = once(), [node.address.replace("127.0.0.1", "localhost") for node in nodes]
            async with asyncio.timeout(20):
                await asyncio.gather(*(node.run(addresses, cluster) for node in nodes))
            await until(lambda: len(cluster(nodes[0]).membership.voters) == 3)

    asyncio.run(run())


def test_three_nodes_need_well_under_two_seconds(tmp_path: Path) -> None:
    async def run() -> float:
        nodes = [Node(tmp_path / str(each), each) for each in (1, 2, 3)]
        async with listening(*nodes):
            begun = time.process_time()
            await form(nodes)
            return time.process_time() - begun

    assert asyncio.run(run()) < 1.5  # of this process's own time: the machine may be busy


def test_members_leave_lead_and_move_through_any_node(tmp_path: Path) -> None:
    async def run() -> None:
        nodes = [Node(tmp_path / str(each), each) for each in (1, 2, 3)]
        async with listening(*nodes):
            cluster = await form(nodes)
            await until(lambda: len(cluster.membership.voters) == 3)
            first, second, third = nodes
            await third.reception.ask(Transfer(node_id=2), seconds=10)
            assert cluster.leader is second
            await third.reception.ask(Update(info=replace(third.info, client_address="h:1")), seconds=10)
            assert cluster.membership.members[third.info.raft_id].client_address == "h:1"
            with pytest.raises(Forbidden, match="give itself up"):
                await third.reception.ask(Update(info=replace(third.info, given_up=True)), seconds=10)
            with pytest.raises(NotFound):
                await third.reception.ask(Leave(node_id=9), seconds=10)
            with pytest.raises(Conflict, match="answers"):
                await third.reception.ask(Replace(node_id=1), seconds=10)
            await first.reception.ask(Leave(node_id=2), seconds=10)  # the leader: it hands over first
            assert cluster.leader is not second
            assert second.info.raft_id in cluster.membership.removed
            with pytest.raises(Forbidden):
                await second.reception.ask(Update(info=second.info), seconds=10)

    asyncio.run(run())


@pytest.mark.parametrize("by", ["an operator", "the setting"])
def test_a_wiped_node_comes_back_in_its_own_place(tmp_path: Path, by: str) -> None:
    async def run() -> None:
        nodes = [Node(tmp_path / str(each), each) for each in (1, 2, 3)]
        for node in nodes:
            node.replace_wiped = by == "the setting"
        wiped = Node(tmp_path / "wiped", 3)
        async with listening(*nodes, wiped):
            cluster = await form(nodes)
            await until(lambda: len(cluster.membership.voters) == 3)
            running = asyncio.create_task(wiped.run([nodes[0].address], lambda _: cluster))
            await asyncio.sleep(0.2)
            assert not running.done()  # its old self still answers
            await nodes[2].stop()
            await until(lambda: nodes[2].identity.raft_id not in seen(cluster))
            if by == "an operator":
                await nodes[1].reception.ask(Replace(node_id=3), seconds=10)
                assert cluster.membership.members[nodes[2].identity.raft_id].given_up
            await running
            await until(lambda: wiped.identity.raft_id in cluster.membership.voters)
            assert nodes[2].identity.raft_id in cluster.membership.removed
            assert len(cluster.membership.voters) == 3

    asyncio.run(run())


def test_a_waiting_node_is_invited(tmp_path: Path) -> None:
    async def run() -> None:
        member, waiting = Node(tmp_path / "1", 1, bootstrap=True), Node(tmp_path / "2", 2)
        async with listening(member, waiting):
            cluster = await form([member])
            running = asyncio.create_task(waiting.run([], lambda _: cluster))
            await until(lambda: waiting.formation is not None)
            with pytest.raises(Conflict, match="node 2"):
                await member.reception.invite(7, waiting.address, seconds=5)
            await member.reception.invite(2, waiting.address, seconds=5)
            await running
            assert (await member.reception.invite(2, waiting.address, seconds=5)).stage == "member"

    asyncio.run(run())


def test_a_node_of_another_cluster_is_not_invited(tmp_path: Path) -> None:
    async def run() -> None:
        member, other = Node(tmp_path / "1", 1, bootstrap=True), Node(tmp_path / "2", 2, bootstrap=True)
        async with listening(member, other):
            await form([member])
            other.founds = "cd" * 16
            await form([other])
            with pytest.raises(Conflict, match="a node of another cluster"):
                await member.reception.invite(2, other.address, seconds=5)

    asyncio.run(run())


def test_without_a_leader_one_is_told_so_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        member = Node(tmp_path / "1", 1, bootstrap=True)
        async with listening(member):
            cluster = await form([member])
            await until(lambda: member.steward.view is not None)
            other = Node(tmp_path / "2", 2)
            cluster.leader = other  # which is not there
            member.steward.deposed(0)
            with pytest.raises(Unavailable, match="no leader"):
                await member.reception.ask(Transfer(node_id=1), seconds=0.3)
            other.identity.close()

    asyncio.run(run())

"""Nodes that look for each other over a network in memory, in simulated time: seeded delays, losses and partitions."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

from scribe_ledger.consensus.formation.forming import Formation, Founded, Holdings, Outcome, Restart, Timings
from scribe_ledger.consensus.formation.identity import NodeIdentity, Promise
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.formation.messages import Join, Probe, Standing, Welcome, decode, encode
from scribe_ledger.consensus.membership import MemberInfo
from scribe_ledger.consensus.transport.contract import Caller
from scribe_ledger.errors import NetworkError, ScribeError, Unavailable
from scribe_ledger.merkle.note import Signer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from random import Random

    from scribe_ledger.consensus.agreement import Divergence

T = TypeVar("T")
LEDGER_KEY = Signer.generate("example.org/ledger")


class _LeapingSelector(selectors.DefaultSelector):
    """Does not wait: the clock leaps to when something is due."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for somebody else")
        self.now += max(0.0, timeout)
        return super().select(0)


def simulate(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs it in a loop whose seconds cost nothing."""
    selector = _LeapingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(make())


class MemoryIdentity(NodeIdentity):
    """What a folder keeps, kept in an object that outlives its node."""

    def __init__(self, raft_id: int) -> None:
        self.raft_id, self.session, self.cluster_id = raft_id, 1, ""
        self.promised_to: Promise | None = None
        self.mark = None
        self.history: list[int] = []

    def _save(self, cluster_id: str, promise: Promise | None, mark: Divergence | None) -> None:
        self.history.append(promise.raft_id if promise else 0)


class Network:
    """Carries requests between addresses. Each way may take its time, lose, or be cut."""

    def __init__(self, random: Random, *, delay: float = 0.01, loss: float = 0.0) -> None:
        self.random = random
        self.delay = delay
        self.loss = loss
        self.nodes: dict[str, Node] = {}
        self.cut: set[tuple[str, str]] = set()

    def heal(self) -> None:
        self.delay, self.loss, self.cut = 0.02, 0.0, set()

    def partition(self, *sides: Sequence[Node]) -> None:
        side = {node.address: number for number, nodes in enumerate(sides) for node in nodes}
        self.cut = {(one, two) for one in side for two in side if side[one] != side[two]}

    def tear(self, share: float) -> None:
        """Cuts that share of the ways between two nodes, in both directions."""
        pairs = itertools.combinations(sorted(self.nodes), 2)
        cut = [pair for pair in pairs if self.random.random() < share]
        self.cut = {*cut, *((two, one) for one, two in cut)}

    async def carry(self, source: Node, address: str, request: bytes, seconds: float) -> tuple[bytes, Caller]:
        try:
            async with asyncio.timeout(seconds):
                await self._way(source.address, address)
                target = self.nodes.get(address)
                if target is None:
                    raise NetworkError(f"nobody listens at {address}")
                answer: bytes | ScribeError
                try:
                    answer = await target.answer(source.caller, request)
                except ScribeError as error:
                    answer = error
                await self._way(address, source.address)
        except TimeoutError as error:
            raise NetworkError(f"{address} does not answer") from error
        if isinstance(answer, ScribeError):
            raise answer
        return answer, target.caller

    async def _way(self, source: str, target: str) -> None:
        if (source, target) in self.cut or self.random.random() < self.loss:
            await asyncio.sleep(3600)
        await asyncio.sleep(self.random.random() * self.delay)


class Node:
    """One node: its identity outlives its starts."""

    def __init__(
        self,
        network: Network,
        node_id: int,
        seeds: Sequence[int],
        *,
        bootstrap: bool = False,
        holdings: Holdings = Holdings(),  # noqa: B008 - immutable
        store: str = "",
    ) -> None:
        self.network = network
        self.identity: NodeIdentity = MemoryIdentity(1000 + node_id + network.random.randrange(1, 1 << 40) * 10_000)
        self.node_id = node_id
        self.address = f"127.0.0.1:{9000 + node_id}"
        self.seeds = [f"127.0.0.1:{9000 + each}" for each in seeds]
        self.bootstrap = bootstrap
        self.holdings = holdings
        self.store = store
        self.outcome: Outcome | None = None
        self.refuses: ScribeError | None = None
        self.welcomes_to = ""
        self.waiting_for = ""
        self.formation: Formation | None = None

    @property
    def caller(self) -> Caller:
        identity = self.identity
        return Caller(identity.raft_id, identity.cluster_id, self.node_id, self.address, None, False, True)

    @property
    def founded(self) -> bool:
        return isinstance(self.outcome, Founded)

    async def request(
        self,
        address: str,
        request: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - as the transport has it
        expect: int = 0,
    ) -> tuple[bytes, Caller]:
        return await self.network.carry(self, address, request, timeout)

    async def answer(self, caller: Caller, request: bytes) -> bytes:
        assert self.formation is not None
        if not self.identity.cluster_id:
            return await self.formation.answer(caller, request)
        match decode(request):
            case Probe():
                return encode(self.standing)
            case Join() as join if self.founded:
                if self.refuses is not None:
                    raise self.refuses.again()
                return encode(self.welcome(join))
        raise Unavailable("not here")

    @property
    def standing(self) -> Standing:
        assert self.formation is not None
        return self.formation.standing

    def welcome(self, join: Join) -> Welcome:
        return Welcome(
            cluster_id=self.welcomes_to or self.identity.cluster_id,
            origin="example.org/ledger",
            created=1,
            policies={},
            ledger_key=str(LEDGER_KEY.verifier),
            key_form="" if join.ledger_key else "clear",
            key="" if join.ledger_key else LEDGER_KEY.private_text(),
            members=(join.info,),
            leader_address=self.address,
        )

    async def run(self) -> Outcome:
        """From the start of the node to when it belongs to a cluster."""

        async def store() -> str:
            await asyncio.sleep(0.001)
            return self.store

        info = MemberInfo(self.identity.raft_id, self.node_id, self.address, self.address)
        self.formation = Formation(
            self.identity,
            self,
            info,
            random=self.network.random,
            store_ledger=store,
            seeds=self.seeds,
            bootstrap=self.bootstrap,
            holdings=self.holdings,
            timings=Timings(probe=0.3, ask=0.3, join=0.5),
            on_waiting=lambda text: setattr(self, "waiting_for", text),
        )
        self.network.nodes[self.address] = self
        outcome = await self.formation.run()
        if isinstance(outcome, Founded):
            await asyncio.sleep(0.05)  # a ledger is made
            self.identity.save_member(f"{self.identity.raft_id:032x}")
        elif isinstance(outcome, Joined):
            self.identity.save_member(outcome.cluster_id)
        else:
            assert isinstance(outcome, Restart)
        self.outcome = outcome if self.outcome is None else self.outcome
        return outcome


def found_in(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.founded]


async def after(seconds: float, what: Callable[[], Awaitable[T]]) -> T:
    await asyncio.sleep(seconds)
    return await what()

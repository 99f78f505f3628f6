"""``NodeCluster``: the cluster as the routes see it. It turns what they ask into units, reads and requests to members.

A unit is encoded once, here, at its origin; its commands go along as objects, so that this node need not decode them.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import structlog

from scribe_ledger.errors import ConfigurationError, ConsensusError, ScribeError, Unavailable
from scribe_ledger.ledger.wire import encode_unit
from scribe_ledger.node.cluster_views import figures_of, members_of, node_id_of, state_of, status_of
from scribe_ledger.node.member_orders import MemberOrders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.cosigning import Cosigning
    from scribe_ledger.consensus.formation.reception import Reception
    from scribe_ledger.consensus.member import Member
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.snapshots.description import Description
    from scribe_ledger.consensus.snapshots.keeper import Keeper
    from scribe_ledger.http.clustering import RaftFigures, SnapshotFigures
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.node.archive_orders import ArchiveOrders
    from scribe_ledger.node.readiness import Readiness

CLOSE_SECONDS = 5.0
"""What was accepted may take so long to be decided once nothing more is accepted. Nobody knows its outcome then."""
ANSWER_SECONDS = 5.0
"""After its deadline in the cluster a write of another thread waits so long for the loop to say so."""
_STOPPING = Unavailable("the node is stopping", hint="ask another node, or this one when it is back")
log = structlog.get_logger("scribe.cluster")


class NodeCluster:
    """Made and used in the event loop's thread, but for ``term`` and ``catch_up``, which the archiver's may ask."""

    def __init__(
        self,
        config: Config,
        ledger: ServedLedger,
        member: Member,
        *,
        reception: Reception,
        keeper: Keeper,
        cosigning: Cosigning,
        archive_orders: ArchiveOrders,
        snapshot_figures: Callable[[], Mapping[str, SnapshotFigures]],
        refused: Callable[[], Mapping[str, int]],
        readiness: Readiness,
    ) -> None:
        self.member = member
        self._orders = MemberOrders(member, reception, members=self.members, leader=self.leader)
        self._keeper = keeper
        self._cosigning = cosigning
        self._archive_orders = archive_orders
        self._snapshot_figures = snapshot_figures
        self._refused = refused
        self._readiness = readiness
        self._config = config
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._replica = member.replica
        self._write_seconds = float(config.api.write_timeout_secs)
        self._read_ticks = member.ticks(config.api.read_timeout_secs)
        self._write_ticks = member.ticks(config.api.write_timeout_secs)
        self._wake = member.turns.wake
        self._closed = False
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: ScribeError | None = None
        self.term = 0
        """The term in which this node leads, with a majority's ledger; 0 while it does not. For the archiver."""
        self._said_members: Membership | None = None
        self._said: tuple[str, int, int] = ("", 0, 0)
        self._standing = member.standing
        member.on_turn.append(self._look)
        member.on_membership.append(self._say_members)
        ledger.connect(self._propose, seconds=self._write_seconds + ANSWER_SECONDS)

    # --- writing -----------------------------------------------------------------------------------------------

    def submit(self, unit: Sequence[Command], done: Callable[[Outcome], object]) -> None:
        self._check_takes()
        self._replica.submit(encode_unit(unit), unit, cast("Callable[[object], object]", done), ticks=self._write_ticks)
        self._wake()

    def _check_takes(self) -> None:
        trouble = self._failure or (_STOPPING if self._closed else self._standing.diverged)
        if trouble is not None:
            raise trouble.again()

    async def write(self, unit: Sequence[Command]) -> Receipts:
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self.submit(unit, lambda outcome: None if answer.done() else answer.set_result(outcome))
        outcome = await answer
        if isinstance(outcome, ScribeError):
            raise outcome
        return outcome

    def _propose(self, unit: bytes, local: object, done: Callable[[Any], object], alone: bool) -> None:
        """For writes of other threads within this process. ``done`` is called in the loop."""
        self._check_takes()
        self.member.submit_threadsafe(unit, local, done, seconds=self._write_seconds, alone=alone)

    @property
    def waiting(self) -> tuple[int, int]:
        return self._replica.waiting

    @property
    def accepted_bytes(self) -> int:
        return self._replica.counters.accepted_bytes

    @property
    def settled_bytes(self) -> int:
        return self._replica.counters.accepted_bytes - self._replica.waiting[1]

    async def close(self) -> None:
        self._closed = True
        until = self._loop.time() + CLOSE_SECONDS
        while self._replica.waiting[0] and self._failure is None and self._loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(self.member.settings.tick_seconds / 5)
        self._replica.abandon("the node is stopping")

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, done: Callable[[ScribeError | None], object]) -> None:
        trouble = self._failure or self._standing.diverged
        if trouble is not None:
            raise trouble.again()
        self._replica.read(done, ticks=self._read_ticks)
        self._wake()

    async def linearize(self) -> None:
        answer: asyncio.Future[ScribeError | None] = self._loop.create_future()
        self.read(lambda error: None if answer.done() else answer.set_result(error))
        error = await answer
        if error is not None:
            raise error

    # --- for the archiver, in its thread -----------------------------------------------------------------------

    def catch_up(self) -> None:
        """Returns when this ledger has all that was acknowledged before."""
        asyncio.run_coroutine_threadsafe(self.linearize(), self._loop).result(self._config.api.read_timeout_secs + 1)

    # --- this member -------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return state_of(self.member)

    @property
    def trouble(self) -> ScribeError | None:
        return self._failure or self.member.diverged or self.member.removed

    @property
    def dissent(self) -> ScribeError | None:
        return self._standing.dissent

    @property
    def not_ready(self) -> ScribeError | None:
        return self._readiness.not_ready

    def fail(self, error: ScribeError) -> None:
        """From now on everything is refused with this."""
        self._failure = self._failure or error
        self.term = 0

    @property
    def takes_large_values(self) -> ScribeError | None:
        if self._config.has_explicit_object_store:
            return None
        return ConfigurationError(
            f"values above {self._config.storage.inline_max} bytes need an object store that all members share",
            hint="set [storage] object_store or [storage.s3], the same on all members; or raise storage.inline_max",
        )

    @property
    def has_leader(self) -> bool:
        return bool(self._replica.leader)

    @property
    def refusals(self) -> str:
        told = {node_id_of(self.member, raft_id): message for raft_id, message in self.member.refusals().items()}
        return "; ".join(f"node {node_id} refuses this node: {told[node_id]}" for node_id in sorted(told, key=str))

    def status(self) -> dict[str, Any]:
        return status_of(self.member)

    def members(self) -> list[dict[str, Any]]:
        if self.member.removed is not None:  # it hears nobody, and its record is old
            raise self.member.removed
        return members_of(self.member, self._loop.time(), time.time_ns() // 1_000_000)

    def leader(self) -> dict[str, Any]:
        info = self.member.known(self._replica.leader)
        if info is None:
            return {"leader_id": None, "address": None}
        return {"leader_id": info.node_id, "address": info.client_address}

    def figures(self) -> RaftFigures:
        return figures_of(self.member, snapshots=self._snapshot_figures(), refused=self._refused())

    # --- changes of the cluster --------------------------------------------------------------------------------

    async def join(self, node_id: int, address: str) -> dict[str, Any]:
        return await self._orders.join(node_id, address)

    async def leave(self, node_id: int) -> dict[str, Any]:
        return await self._orders.leave(node_id)

    async def replace(self, node_id: int, raft_id: int | None = None) -> dict[str, Any]:
        return await self._orders.replace(node_id, raft_id)

    async def transfer(self, node_id: int) -> dict[str, Any]:
        return await self._orders.transfer(node_id)

    async def archive(self) -> dict[str, Any]:
        return await self._archive_orders.order()

    # --- snapshots and signatures ------------------------------------------------------------------------------

    async def snapshot(self) -> dict[str, Any]:
        if self._standing.diverged is not None:
            raise self._standing.diverged.again()
        return _told(await self._keeper.make())

    async def snapshots(self) -> list[dict[str, Any]]:
        return [_told(each) for each in self._keeper.list()]

    async def cosigned(self) -> Checkpoint:
        return await self._cosigning.newest()

    @property
    def cosigners(self) -> list[str]:
        membership = self._replica.membership
        known = [membership.members[each] for each in membership.voters if each in membership.members]
        return [info.node_key for info in known if info.node_key]

    @property
    def quorum(self) -> int:
        return self._replica.membership.quorum

    # --- telling -----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """After each round of turns: what changed is said once."""
        replica = self._replica
        leads = replica.is_leader
        now = (state_of(self.member), replica.leader, replica.term if leads and self._standing.doubt is None else 0)
        if now == self._said:
            return
        before, self._said = self._said, now
        self.term = 0 if self._failure is not None else now[2]
        if now[:2] == before[:2]:
            return
        if replica.leader:
            log.info("leader", leader=node_id_of(self.member, replica.leader), state=now[0], term=replica.term)
        elif before[1] and not replica.leader:
            log.warning("no leader", state=now[0], term=replica.term)

    def _say_members(self, membership: Membership) -> None:
        if membership == self._said_members:
            return  # only an address was found
        self._said_members = membership
        labels = {each: info.node_id for each, info in membership.members.items()}
        voters = sorted(labels.get(each, 0) for each in membership.voters)
        learners = sorted(labels.get(each, 0) for each in membership.learners)
        say = log.info if voters else log.debug  # a node that joins has no record yet
        say("members", voters=voters, learners=learners, position=membership.index)


def _told(snapshot: Description) -> dict[str, Any]:
    return {
        "position": snapshot.position,
        "size": snapshot.size,
        "root": snapshot.root.hex(),
        "bytes": snapshot.total_bytes,
        "created": snapshot.made_at,
    }


def failure_of(error: BaseException) -> ScribeError:
    """What callers are told when a member broke."""
    if isinstance(error, ScribeError):
        return error
    told = ConsensusError(f"this member of the cluster broke: {error!r}", hint="it stops; ask another node")
    told.__cause__ = error
    return told

"""``RunningMember``: a node that is a member, serving: the member and what hangs on it, beside the HTTP service."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.catching_up import CatchingUp
from scribe_ledger.consensus.cosigning import Cosigning
from scribe_ledger.consensus.exchange import ReplicaSettings
from scribe_ledger.consensus.formation.admission import LedgerFacts
from scribe_ledger.consensus.formation.finding import announced
from scribe_ledger.consensus.formation.messages import Standing, Update
from scribe_ledger.consensus.formation.reception import Place, Reception
from scribe_ledger.consensus.member import Member, MemberSettings
from scribe_ledger.consensus.replica import Replica
from scribe_ledger.consensus.snapshots.fetching import Fetcher
from scribe_ledger.consensus.snapshots.keeper import Keeper, Moment
from scribe_ledger.consensus.snapshots.sending import Sender
from scribe_ledger.consensus.steward import Steward
from scribe_ledger.consensus.stewarding import Stewarding
from scribe_ledger.consensus.witnesses import Witnesses
from scribe_ledger.errors import ConfigurationError, Conflict, ConsensusError, ScribeError
from scribe_ledger.http.archiving import archive_here
from scribe_ledger.http.clustering import SnapshotFigures
from scribe_ledger.ledger.folder import KEY, system_clock
from scribe_ledger.ledger.machine import APPLY_VERSION
from scribe_ledger.merkle.note import Signer, Verifier
from scribe_ledger.node.archive_orders import ArchiveOrders
from scribe_ledger.node.clustering import NodeCluster, failure_of
from scribe_ledger.node.fitness import Fitness
from scribe_ledger.node.forming import info_of, sources_of, store_id_of
from scribe_ledger.node.marking import Marking
from scribe_ledger.node.opening import copies_of
from scribe_ledger.node.own_record import check_runs_once
from scribe_ledger.node.readiness import Readiness
from scribe_ledger.node.rules import LedgerRules
from scribe_ledger.node.seeds import Seeds
from scribe_ledger.node.serving import Serving
from scribe_ledger.node.switchboard import COSIGN, SNAPSHOT, WITNESS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.cosigning import NodeHead
    from scribe_ledger.consensus.formation.identity import NodeIdentity
    from scribe_ledger.consensus.log.files import FileLog
    from scribe_ledger.consensus.membership import MemberInfo, Membership
    from scribe_ledger.consensus.transport import Transport
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.node.listening import Listener
    from scribe_ledger.node.logging import Logs
    from scribe_ledger.node.stopping import StopSignals
    from scribe_ledger.node.switchboard import Switchboard


ASK_SECONDS = 2.0
"""For a member's signature, or its root."""
INTRODUCE_SECONDS = 5.0
"""Between two looks whether the cluster's record of this node is right; one reads memory."""
LEADERLESS_SECONDS = 1.0
"""The same while nobody leads; then seeds and discovery are asked, too."""
TIDY_SECONDS = 60.0
"""Between two looks for what was prepared for a member that did not come back for it."""
log = structlog.get_logger("scribe.cluster")


class RunningMember:
    """Made in the event loop."""

    def __init__(
        self,
        config: Config,
        listener: Listener,
        logs: Logs,
        signals: StopSignals,
        identity: NodeIdentity,
        ledger: ServedLedger,
        raft_log: FileLog,
        head: NodeHead,
        acquaintances: Sequence[MemberInfo],
        transport: Transport,
        switchboard: Switchboard,
    ) -> None:
        self._config = config
        self._listener = listener
        self._ledger = ledger
        self._transport = transport
        self._switchboard = switchboard
        self._ledger_key = Signer.parse((config.data_dir / KEY).read_text().strip())
        self._begins_again = False
        self._is_made = False
        self._broke: BaseException | None = None
        """What broke while the parts were not all there: ``run`` raises it."""
        self._said_label = 0
        self._handing_over: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        machine = ledger.state_machine
        settings = MemberSettings.of(config)
        self._replica = replica = Replica(
            identity.raft_id,
            identity.session,
            raft_log.load(),
            machine,
            ReplicaSettings.of(config.consensus, settings.tick_seconds * 1000),
            clock=system_clock,
        )
        store_id = store_id_of(ledger.objects) if config.has_explicit_object_store else ""
        self.member = member = Member(
            replica,
            raft_log,
            machine,
            transport,
            settings,
            me=info_of(config, identity, store_id),
            mark=identity.mark,
            on_failure=self._fail,
        )
        member.acquaintances = {info.raft_id: info for info in acquaintances}
        self._sources = sources_of(config)
        self._seeds = Seeds(
            config.network.seed_peers,
            transport,
            me=member.me,
            sources=self._sources,
            cluster_id=ledger.ledger_id,
            on_found=member.found_at,
            on_removed=member.note_removal,
            clock=loop.time,
        )
        copies = copies_of(ledger.hot_store)
        self.keeper = Keeper(
            config.data_dir,
            copies,
            ledger_id=ledger.ledger_id,
            keep=config.consensus.snapshots_keep,
            moment=self._moment,
            term_of=replica.term_at,
            clock=system_clock,
            monotonic=time.monotonic,
        )
        member.cutter.sending = lambda: self.keeper.held
        standing = member.standing
        ledger.must_not_sign = lambda: standing.must_not_sign
        self.sender = Sender(self.keeper, machine.export, monotonic=time.monotonic, doubt=lambda: standing.doubt)
        self.witnesses = Witnesses(
            identity.raft_id,
            machine,
            giver=lambda: self.catching_up.giver,
            diverged=lambda: standing.diverged,
            ask=lambda info, request: self._ask(member.known(info.raft_id) or info, WITNESS + request),
        )
        fetcher = Fetcher(
            config.data_dir,
            copies,
            ledger_id=ledger.ledger_id,
            open_stream=self._open_stream,
            vouch=self.witnesses.vouch,
        )
        self.catching_up = CatchingUp(
            replica,
            machine,
            config.data_dir,
            fetcher,
            send=transport.send,
            spawn=member.spawn,
            wake=member.turns.wake,
            on_full=lambda: self._begin_again("this node begins again with a ledger that it fetched"),
            on_conflict=standing.refused,
            clock=loop.time,
            givers=lambda: replica.membership.voters or tuple(member.acquaintances),
            known=member.known,
            may_give=lambda: standing.doubt is None,
        )
        member.on_report.append(self.catching_up.on_report)
        steward = Steward()
        self.stewarding = Stewarding(
            replica,
            steward,
            member.liveness,
            rules=LedgerRules(ledger, member),
            wake=member.turns.wake,
            archivists=lambda: member.archivists,
            roomy=lambda: member.roomy,
        )
        self._marking = Marking(
            identity,
            standing,
            on_cleared=lambda: self._begin_again("this node begins again: a majority has what it has"),
        )
        member.on_beat.append(lambda: self._marking.look(loop.time()))
        self._fitness = Fitness()
        member.on_beat.append(self._look_at_fitness)
        member.send_snapshot = self.catching_up.send
        member.on_beat.append(lambda: self.stewarding.beat(loop.time()))
        member.on_beat.append(lambda: self.catching_up.offer(loop.time()))
        member.on_beat.append(lambda: self._tidy(loop.time()))
        self._tidied_at = loop.time()
        member.on_turn.append(self.catching_up.look)
        self.reception = Reception(
            steward,
            transport,
            standing=self._standing,
            place=self._place,
            facts=self._facts,
            others=self._others,
            claim_store=lambda: asyncio.to_thread(ledger.adopt_store),
            tick_seconds=settings.tick_seconds,
            replace_wiped=config.consensus.replace_wiped,
            insecure=config.network.insecure,
        )
        self.cosigning = Cosigning(
            head,
            identity.raft_id,
            membership=lambda: replica.membership,
            leader=lambda: replica.leader,
            checkpoint=ledger.checkpoint,
            ledger_key=lambda: Verifier.parse(ledger.public_key),
            reach=lambda: self.cluster.linearize(),  # noqa: PLW0108 - it is made below
            ask=self._ask_member,
            trouble=lambda: standing.must_not_sign,
        )
        self.archive_orders = ArchiveOrders(
            transport,
            leads=lambda: replica.is_leader,
            place=self._place,
            members=lambda: replica.membership.ids,
            here=lambda: archive_here(self._serving.service),
        )
        self.cluster = NodeCluster(
            config,
            ledger,
            member,
            reception=self.reception,
            keeper=self.keeper,
            cosigning=self.cosigning,
            archive_orders=self.archive_orders,
            snapshot_figures=self._snapshot_figures,
            refused=lambda: transport.refused,
            readiness=Readiness(config.data_dir, member, stuck=lambda: self.catching_up.stuck),
        )
        self._serving = Serving(
            config, ledger, listener, logs, signals, cluster=self.cluster, on_stopping=self._begin_to_stop
        )
        replica.limit_room(self._serving.service.room.fits)
        self._is_made = True

    async def run(self) -> bool:
        """Serves until the node is to stop; True if it is to begin again at once."""
        if self._broke is not None:
            raise failure_of(self._broke) from self._broke
        self._check_label(self._replica.membership)
        await check_runs_once(self.member.me.raft_id, self._replica.membership, self._transport)
        self.member.on_membership.append(self._look_at_label)
        self.member.on_ended.append(self._serving.service.wake)
        await asyncio.to_thread(self.keeper.start)
        switchboard = self._switchboard
        switchboard.member, switchboard.catching_up, switchboard.sender = self.member, self.catching_up, self.sender
        switchboard.formation, switchboard.cosigning = self.reception, self.cosigning
        switchboard.archive_orders, switchboard.witnesses = self.archive_orders, self.witnesses
        self.member.start()
        try:
            async with announced(self._sources, self._standing):
                introducing = asyncio.ensure_future(self._introduce())
                try:
                    await self._serving.run(self._listener.copies())
                finally:
                    introducing.cancel()
                    await asyncio.wait([introducing])  # it asks the sources, which are closed next
        finally:
            if self._handing_over is not None:
                await self._handing_over
            await self.member.stop(transfer=False)
            await self._marking.close()
            await self._transport.close()  # nothing is given to others once the ledger is closed
            await self.keeper.stop()
            switchboard.member = switchboard.catching_up = switchboard.sender = switchboard.cosigning = None
            switchboard.archive_orders = switchboard.witnesses = None
        return self._begins_again

    async def _introduce(self) -> None:
        """Tells the cluster where this node has changed since it was recorded: an address, a key, newer rules."""
        while True:
            await self._look_for_store()
            if not self._reaches_leader and self.member.removed is None:
                await self._seeds.look(self._replica.membership.ids)
            recorded = self._replica.membership.members.get(self.member.me.raft_id)
            if recorded is not None and recorded != self.member.me:
                try:
                    await self.reception.ask(Update(info=self.member.me), seconds=INTRODUCE_SECONDS)
                except Conflict as error:
                    self._fail(_false_label(error.message))
                except ScribeError as error:
                    log.warning("the cluster could not be told what is new of this node", error=str(error))
            await asyncio.sleep(INTRODUCE_SECONDS if self._reaches_leader else LEADERLESS_SECONDS)

    def _check_label(self, membership: Membership) -> None:
        """A member may change its label, and not to another's: whoever asks for that one would be answered by this."""
        me = self.member.me
        recorded = membership.members.get(me.raft_id)
        if recorded is None or recorded.node_id == me.node_id:
            return  # where two share a label from the beginning, one replaces the other
        for raft_id, info in membership.members.items():
            if info.node_id == me.node_id and raft_id in membership.ids:
                raise _false_label(f"this folder is that of node {recorded.node_id}, and node {me.node_id} is another")
        if me.node_id != self._said_label:
            self._said_label = me.node_id
            log.warning("this member has another label than before", node_id=me.node_id, before=recorded.node_id)

    def _look_at_label(self, membership: Membership) -> None:
        try:
            self._check_label(membership)
        except ConfigurationError as error:
            self._fail(error)

    @property
    def _reaches_leader(self) -> bool:
        leader = self._replica.leader
        return bool(leader) and (leader == self.member.me.raft_id or self._transport.connected(leader))

    def _look_at_fitness(self) -> None:
        now, leads, service = asyncio.get_running_loop().time(), self._replica.is_leader, self._serving.service
        fit = self._fitness.look(service, now, leads=leads)
        self.member.archives = fit and self.member.diverged is None
        self._replica.has_room = service.writes_refused is None

    async def _look_for_store(self) -> None:
        """The id of the shared store is known once somebody has used it."""
        me = self.member.me
        if self._config.has_explicit_object_store and not me.store_id:
            try:
                found = await asyncio.to_thread(store_id_of, self._ledger.objects)
            except ScribeError:
                return  # the watch of the store says so
            self.member.me = replace(me, store_id=found)

    # --- ends --------------------------------------------------------------------------------------------------

    def _begin_to_stop(self) -> None:
        if not self._begins_again:
            self._listener.close()
        self._handing_over = asyncio.ensure_future(self.member.hand_over())

    def _begin_again(self, why: str) -> None:
        self._begins_again = True
        self.cluster.fail(ConsensusError(why, hint="ask another node"))
        self._serving.stop()

    def _fail(self, error: BaseException) -> None:
        if not self._is_made:
            self._broke = self._broke or error
            return
        self.cluster.fail(failure_of(error))
        self._replica.abandon(f"this member broke: {error}")
        self._serving.fail(error)

    # --- for other nodes ---------------------------------------------------------------------------------------

    def _standing(self) -> Standing:
        me = self.member.me
        return Standing(
            raft_id=me.raft_id,
            node_id=me.node_id,
            address=me.raft_address,
            cluster_id=self._ledger.ledger_id,
            stage="member",
            leader_address=self._place().address,
            entries=self._ledger.size,
        )

    def _place(self) -> Place:
        leader = self._replica.leader
        info = self.member.known(leader)
        return Place(leader, "" if info is None else info.raft_address)

    def _others(self) -> list[str]:
        """Where the other members hear requests, voters first."""
        membership, me = self._replica.membership, self.member.me.raft_id
        known = [each for each in (*membership.voters, *membership.learners) if each != me]
        return [info.raft_address for each in known if (info := self.member.known(each)) is not None]

    def _facts(self) -> LedgerFacts:
        ledger = self._ledger
        return LedgerFacts(
            cluster_id=ledger.ledger_id,
            origin=ledger.origin,
            created=ledger.identity.created,
            epoch=ledger.identity.epoch,
            policies=ledger.policy.choices(),
            key=self._ledger_key,
            apply_version=APPLY_VERSION,
            store_id=ledger.manifest.store_id,
            shares_store=self._config.has_explicit_object_store,
        )

    async def _ask_member(self, raft_id: int, request: bytes) -> bytes:
        info = self.member.known(raft_id)
        if info is None:
            raise ConsensusError(f"{raft_id} is no member", hint="ask again")
        return await self._ask(info, COSIGN + request)

    async def _ask(self, info: MemberInfo, request: bytes) -> bytes:
        answer, _ = await self._transport.request(info.raft_address, request, timeout=ASK_SECONDS, expect=info.raft_id)
        return answer

    # --- for snapshots -----------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        machine = self._ledger.state_machine
        position = machine.position
        return Moment(position, self._replica.term_at(position), machine.extent, machine.membership)

    def _tidy(self, now: float) -> None:
        if now - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = now
            self.member.spawn(self.sender.tidy())

    def _snapshot_figures(self) -> dict[str, SnapshotFigures]:
        catching_up, sent = self.catching_up, self.sender.figures
        made = SnapshotFigures(self.keeper.made, self.keeper.seconds)
        installed = {
            f"installed_{kind}": SnapshotFigures(count, catching_up.seconds[kind])
            for kind, count in catching_up.installed.items()
        }
        out = {f"sent_{kind}": SnapshotFigures(count, sent.seconds[kind]) for kind, count in sent.sent.items()}
        refused = SnapshotFigures(catching_up.refused, 0.0)
        return {"made": made, **out, **installed, "refused": refused}

    async def _open_stream(self, request: bytes) -> AsyncIterator[bytes]:
        """From whoever leads now, or is asked instead."""
        info = self.member.known(self.catching_up.choose_giver())
        if info is None or info.raft_id == self._replica.raft_id:
            raise ConsensusError("nobody leads who could send a snapshot", hint="it is tried again")
        stream = self._transport.stream(info.raft_address, SNAPSHOT + request, expect=info.raft_id)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                yield piece


def _false_label(reason: str) -> ConfigurationError:
    return ConfigurationError(reason, hint="set [node] id to a label that no other member has")

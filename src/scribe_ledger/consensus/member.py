"""``Member``: one member of a cluster, running. It joins the replica, its log, the transport and what watches them.

It owns the beat, the order of start and stop, and who is told when something breaks; the rules are in its parts. It
lives in one event loop, whose thread calls everything but ``submit_threadsafe``. Whatever breaks it for good (the
engine, the log, a background task) is told to ``on_failure``, once: its owner stops the process, and no message leaves
it any more.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from math import ceil, isfinite
from typing import TYPE_CHECKING, NamedTuple

import structlog

from scribe_ledger.consensus.compaction import CompactionSettings
from scribe_ledger.consensus.cutting import LogCutter
from scribe_ledger.consensus.gossip import REPORT, Gossip
from scribe_ledger.consensus.liveness import Liveness
from scribe_ledger.consensus.standing import Standing
from scribe_ledger.consensus.ticking import Ticker
from scribe_ledger.consensus.transport import Reason
from scribe_ledger.consensus.turns import Turns
from scribe_ledger.errors import ConsensusError, ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.agreement import Divergence
    from scribe_ledger.consensus.log.store import LogStore
    from scribe_ledger.consensus.membership import MemberInfo, Membership
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.consensus.statemachine import StateMachine
    from scribe_ledger.consensus.transport.transport import Transport

HAND_OVER_SECONDS = 1.0
"""A leader that stops waits no longer for another to lead."""
REMOVED = "this node was removed from its cluster"
log = structlog.get_logger("scribe.cluster")


class MemberSettings(NamedTuple):
    """All times of a member."""

    tick_seconds: float = 0.05
    report_seconds: float = 0.5
    failure_timeout_ms: int = 1500
    compaction: CompactionSettings = CompactionSettings()

    @classmethod
    def of(cls, config: Config) -> MemberSettings:
        return cls(
            config.consensus.heartbeat_interval_ms / 2000,
            config.discovery.heartbeat_interval_ms / 1000,
            config.discovery.failure_timeout_ms,
            CompactionSettings.of(config.consensus),
        )


class Member:
    def __init__(
        self,
        replica: Replica,
        log_store: LogStore,
        machine: StateMachine,
        transport: Transport,
        settings: MemberSettings,
        *,
        me: MemberInfo,
        mark: Divergence | None = None,
        on_failure: Callable[[BaseException], object],
    ) -> None:
        """``mark``: that a majority contradicted this node in an earlier life."""
        self.replica = replica
        self.machine = machine
        self.me = me
        self.settings = settings
        self.liveness = Liveness(settings.failure_timeout_ms)
        self._loop = asyncio.get_running_loop()
        self.standing = Standing(me.raft_id, self._loop.time, mark)
        self.archives = False
        """Whether this node could archive now if it led: the others are told."""
        self.on_report: list[Callable[[Gossip], object]] = []
        self.reports: dict[int, Gossip] = {}
        """The newest of each other member."""
        self.acquaintances: dict[int, MemberInfo] = {}
        """Who is known before there is a record of the members: a node that joins answers them."""
        self._found_at: dict[int, tuple[str, str]] = {}
        """Members that were found at another address than the recorded one: that one, and where they are."""
        self.on_beat: list[Callable[[], object]] = []
        """Called after each tick."""
        self.on_turn: list[Callable[[], object]] = []
        """Called after each round of turns."""
        self.on_membership: list[Callable[[Membership], object]] = []
        self.on_ended: list[Callable[[], object]] = []
        """Called when nothing is to be had of this member any more: it has diverged, or was removed."""
        self.send_snapshot: Callable[[int, int, bytes, float], object] = lambda peer, *_: replica.report_snapshot(
            peer, False
        )
        """Sends Raft's message of a snapshot, and sees to it that its fate is reported."""
        self._transport = transport
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()
        self.turns = Turns(
            replica,
            log_store,
            self._loop,
            send=transport.send,
            send_snapshot=self._send_snapshot,
            on_failure=self._fail,
            after_turn=self._after_turn,
        )
        self.cutter = LogCutter(replica, log_store, machine, settings.compaction)
        self._ticker = Ticker(self._loop, settings.tick_seconds, self._beat)
        self._reporter = Ticker(self._loop, settings.report_seconds, self._report)
        self._stopping = self._broken = False
        self._is_removed = me.raft_id in replica.membership.removed
        self._told_removed = False
        replica.on_membership = self._take_membership
        replica.unfit = self.differing

    # --- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._take_membership(self.replica.membership)
        if self.diverged is not None:
            log.error(
                "this node differed from the majority: it serves nothing before they agree", error=str(self.diverged)
            )
            self._bar()
        self._compare()
        self._ticker.start()
        self._reporter.start()
        self.turns.wake()
        if self.replica.membership.voters == (self.replica.raft_id,) and self.diverged is None:
            self.replica.campaign()  # there is nobody to wait for

    async def stop(self, *, transfer: bool = True) -> None:
        """Hands leadership over, if there is somebody to take it, and writes what was taken. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        if transfer:
            await self.hand_over()
        self._ticker.stop()
        self._reporter.stop()
        await self.cutter.wait()  # a thread of it may be at the ledger
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.turns.close()

    async def hand_over(self) -> None:
        """Leadership goes to the voter that is heard from and has the most of the log, if this node leads."""
        replica, now = self.replica, self._loop.time()
        if self._is_broken() or not replica.is_leader:
            return
        progress, unfit = replica.progress(), self.differing() | {replica.raft_id}
        others = [each for each in replica.membership.voters if each in progress and each not in unfit]
        alive = [each for each in others if self.liveness.state(each, now) == "alive"]
        if not alive:
            return
        try:
            replica.transfer(max(alive, key=lambda each: progress[each].match))
        except ScribeError as error:
            log.warning("leadership could not be handed over", error=str(error))
            return
        self.turns.wake()
        until = now + HAND_OVER_SECONDS
        while self._leads_or_waits() and self._loop.time() < until:  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(self.settings.tick_seconds / 5)
        if self._is_broken():
            log.warning("this member broke before leadership was handed over")
        elif self._leads_or_waits():
            log.warning("nobody took leadership over in time", seconds=HAND_OVER_SECONDS)
        else:
            log.info("leadership was handed over", seconds=round(self._loop.time() - now, 3))

    def _is_broken(self) -> bool:
        return self._broken or self.replica.poisoned is not None

    def _leads_or_waits(self) -> bool:
        """Whether nobody else is known to lead."""
        replica = self.replica
        return not self._is_broken() and (replica.is_leader or not replica.leader)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs beside; an error in it that is nobody else's ends the member."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._broken = True
        self._ticker.stop()
        self._reporter.stop()
        self._on_failure(error)

    # --- what is asked of it -----------------------------------------------------------------------------------

    def submit(
        self, unit: bytes, local: object, done: Callable[[object], object], *, seconds: float, alone: bool = False
    ) -> None:
        """``done`` gets the unit's outcome, or a ``ScribeError``; ``Overloaded`` is raised at once."""
        self.replica.submit(unit, local, done, ticks=self.ticks(seconds), alone=alone)
        self.turns.wake()

    def submit_threadsafe(
        self, unit: bytes, local: object, done: Callable[[object], object], *, seconds: float, alone: bool = False
    ) -> None:
        """The same from another thread; every error goes to ``done``, which is called in the loop."""

        def submit() -> None:
            try:
                self.submit(unit, local, done, seconds=seconds, alone=alone)
            except ScribeError as error:
                done(error)

        self._loop.call_soon_threadsafe(submit)

    def read(self, done: Callable[[ScribeError | None], object], *, seconds: float) -> None:
        """``done`` gets None once a read here is linearizable."""
        self.replica.read(done, ticks=self.ticks(seconds))
        self.turns.wake()

    def ticks(self, seconds: float) -> int:
        return max(1, ceil(seconds / self.settings.tick_seconds))

    # --- what comes from others --------------------------------------------------------------------------------

    def on_frame(self, sender: int, frame: memoryview) -> None:
        """``ValueError`` for what is malformed. A member that broke hears nothing any more."""
        if self._is_broken():
            return
        if frame[0] == REPORT:
            gossip = Gossip.decode(frame)
            if gossip.info.raft_id != sender:
                raise ValueError("a member reports for another")
            if self.replica.is_stranger(sender):
                return
            self.reports[sender] = gossip
            if not self._transport.connected(sender):  # it has moved, if the record says otherwise
                self.found_at(sender, gossip.info.raft_address)
            for each in self.on_report:
                each(gossip)
            if not self.replica.membership.ids and sender not in self.acquaintances:
                self.acquaintances[sender] = gossip.info
                self._take_membership(self.replica.membership)
            self.standing.agreement.note(sender, gossip.report)
            self.liveness.note(sender, self._loop.time(), time.time_ns() // 1_000_000)
            return
        try:
            self.replica.receive(sender, frame)
        except Exception as error:
            if not self.replica.poisoned:
                raise
            self.turns.fail(error)
        self.turns.wake()

    def on_lost(self, raft_id: int) -> None:
        if not self.replica.poisoned and raft_id in self.replica.membership.ids:
            self.replica.report_unreachable(raft_id)
            self.turns.wake()

    # --- the beat ----------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        try:
            self.replica.tick()
            for each in self.on_beat:
                each()
            self.cutter.look(self._loop.time(), self.spawn)
        except Exception as error:  # noqa: BLE001  # whatever it is, this member must not go on
            self.turns.fail(error)
            return
        self.turns.wake()

    def _report(self) -> None:
        """Tells all others, and compares what they told."""
        try:
            now, membership = self._loop.time(), self.replica.membership
            frame = Gossip(
                self.me,
                self.standing.agreement.report(self.machine.extent, self.machine.root_at),
                self.replica.applied_index,
                self.replica.installing,
                self.archives,
                self.standing.diverged is not None,
                self.replica.has_room,
            ).frame()
            for peer in membership.ids - {self.me.raft_id}:
                self._transport.send(peer, [frame])
                heard = self._transport.last_heard(peer)
                if isfinite(heard):
                    self.liveness.note(peer, now - heard, int((time.time() - heard) * 1000))
            self._look_for_removal()
            self._compare()
        except Exception as error:  # noqa: BLE001  # as above
            self.turns.fail(error)

    def _compare(self) -> None:
        """Where this ledger is another than the cluster's, nothing is repaired silently, and nothing served."""
        if self.standing.look(self.replica.membership, self.machine.extent, self.machine.root_at):
            self._bar()

    def _bar(self) -> None:
        if not self.replica.poisoned:
            self.replica.bar(str(self.standing.diverged))
            self.turns.wake()
            self._tell_ended()

    @property
    def diverged(self) -> ScribeError | None:
        """Why this ledger is another than the cluster's."""
        return self.standing.diverged

    def differing(self) -> set[int]:
        """Who has another ledger, as far as this node can tell; this node too, if it has diverged."""
        return self.standing.differing(self.reports)

    def _after_turn(self) -> None:
        for each in self.on_turn:
            each()

    def _take_membership(self, membership: Membership) -> None:
        known = membership.members if membership.ids else self.acquaintances
        others = {
            raft_id: self._address_of(info)
            for raft_id, info in known.items()
            if raft_id in membership.ids or not membership.ids
        }
        others.pop(self.me.raft_id, None)
        # A wiped folder's next self has the address of the one that it replaces.
        own = self.me.raft_address
        self._transport.set_peers({raft_id: address for raft_id, address in others.items() if address != own})
        self.liveness.expect(others, self._loop.time())
        self.reports = {raft_id: report for raft_id, report in self.reports.items() if raft_id in others}
        for each in self.on_membership:
            each(membership)
        if self.me.raft_id in membership.removed:
            self._is_removed = True
            self._loop.call_soon(self.note_removal)  # once the replica has applied what says so

    def found_at(self, raft_id: int, address: str) -> None:
        """A member answers there, and the record says otherwise: it is dialled there until the record changes."""
        info = self._recorded(raft_id)
        if info is not None and address != self._address_of(info) and raft_id != self.me.raft_id:
            self._found_at[raft_id] = (info.raft_address, address)
            self._take_membership(self.replica.membership)

    def _address_of(self, info: MemberInfo) -> str:
        recorded, found = self._found_at.get(info.raft_id, ("", ""))
        return found if recorded == info.raft_address else info.raft_address

    def known(self, raft_id: int) -> MemberInfo | None:
        """What is known of a member, or of whoever took this node in, and where it is."""
        info = self._recorded(raft_id)
        if info is None or raft_id not in self._found_at:
            return info
        return replace(info, raft_address=self._address_of(info))

    def _recorded(self, raft_id: int) -> MemberInfo | None:
        return self.replica.membership.members.get(raft_id) or self.acquaintances.get(raft_id)

    @property
    def archivists(self) -> set[int]:
        """Who says that it could archive now, this node too."""
        able = {raft_id for raft_id, report in self.reports.items() if report.archives}
        return able | ({self.me.raft_id} if self.archives else set())

    @property
    def roomy(self) -> set[int]:
        """Who says that its disk has room, this node too."""
        able = {raft_id for raft_id, report in self.reports.items() if report.has_room}
        return able | ({self.me.raft_id} if self.replica.has_room else set())

    def silence(self, raft_id: int) -> float | None:
        """Seconds since a peer was heard, or first expected if it never was; None if nobody expects it."""
        heard = self._transport.last_heard(raft_id)
        seconds = heard if isfinite(heard) else self.liveness.silence(raft_id, self._loop.time())
        return seconds if isfinite(seconds) else None

    def refusals(self) -> dict[int, str]:
        """What those members said that do not speak with this node."""
        told = {peer: self._transport.refusal(peer) for peer in self.replica.membership.ids - {self.me.raft_id}}
        return {peer: refusal.message for peer, refusal in told.items() if refusal is not None}

    def _look_for_removal(self) -> None:
        """Who was removed may never be told by the log: it is sent no more of it. The others refuse it instead."""
        for peer in (self.replica.membership.ids or self.acquaintances.keys()) - {self.me.raft_id}:
            refusal = self._transport.refusal(peer)
            if refusal is not None and refusal.proven and refusal.reason == Reason.UNADMITTED:
                self.note_removal()

    def note_removal(self) -> None:
        """The log, or one of the cluster, says so. Whoever waits here is told at once: nothing comes any more."""
        self._is_removed = True
        if self._told_removed:
            return
        self._told_removed = True
        log.warning(REMOVED)
        self.replica.abandon(REMOVED)
        self._tell_ended()

    def _tell_ended(self) -> None:
        for each in self.on_ended:
            each()

    @property
    def removed(self) -> ScribeError | None:
        """Why this node is no member any more."""
        if self._is_removed:
            return ConsensusError(
                REMOVED,
                hint="stop it; to bring it back, start it on an empty folder: it joins as a new member",
            )
        return None

    def _send_snapshot(self, peer: int, index: int, frame: bytes) -> None:
        self.send_snapshot(peer, index, frame, self._loop.time())

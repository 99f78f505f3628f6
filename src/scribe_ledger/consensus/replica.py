"""``Replica``: one member's part in agreeing on a log, without sockets, files, clocks and threads.

Inputs go in by methods; then ``ready`` is called until it is None, and gives turns: what to send, to write, and to
send once that is durable. Entries are applied on the way, when committed and durable here, and whoever waits is told.

It owns the engine and the order between engine, log and ledger. It does not write, send, or know what a unit means;
``proposals``, ``taking``, ``reads``, ``changes``, ``applying``, ``restoring`` and ``outbox`` each have their own rules,
and are called from here.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from scribe_raft import Node, ProposalDropped, RaftError, RaftPanic, StepError

from scribe_ledger.consensus import changes, frames
from scribe_ledger.consensus.abdication import Barred, hand_over
from scribe_ledger.consensus.applying import Applier
from scribe_ledger.consensus.bundles import BUNDLE, MEMBERS, Header, encode_entry, encode_members
from scribe_ledger.consensus.exchange import ArrivedSnapshot, Counters, Progress, ReplicaSettings, Turn
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.outbox import Outbox
from scribe_ledger.consensus.panics import meaning_of
from scribe_ledger.consensus.proposals import Proposals
from scribe_ledger.consensus.reads import Reads
from scribe_ledger.consensus.restoring import Restoring
from scribe_ledger.consensus.starting import start_from
from scribe_ledger.consensus.taking import Taker
from scribe_ledger.errors import Conflict, ConsensusError, ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from scribe_raft import Ready

    from scribe_ledger.consensus.log.store import Contents
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.starting import Start
    from scribe_ledger.consensus.statemachine import StateMachine

__all__ = ["ArrivedSnapshot", "Counters", "Progress", "Replica", "ReplicaSettings", "Turn"]

P = ParamSpec("P")
R = TypeVar("R")


def _guarded(method: Callable[Concatenate[Replica, P], R]) -> Callable[Concatenate[Replica, P], R]:
    """A call into the engine: a broken invariant ends the replica, and whoever waits for it is told."""

    @wraps(method)
    def call(self: Replica, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.poisoned:
            raise ConsensusError(f"this member stopped: {self.poisoned}")
        try:
            return method(self, *args, **kwargs)
        except RaftPanic as error:
            meaning = meaning_of(error)
            self.poison(str(error) if meaning is None else meaning.message)
            if meaning is None:
                raise
            raise meaning from error

    return call


class Replica:
    """Called by one thread, and not from within the callbacks that it calls, but for ``submit`` and ``read``."""

    def __init__(
        self,
        raft_id: int,
        session: int,
        contents: Contents,
        machine: StateMachine,
        settings: ReplicaSettings,
        *,
        clock: Callable[[], int],
        seed: int | None = None,
    ) -> None:
        self.raft_id = raft_id
        self.counters = Counters()
        self.poisoned: str | None = None
        self._ended: str | None = None
        """Why nothing is asked of it any more."""
        self._barred: Barred | None = None
        self.unfit: Callable[[], AbstractSet[int]] = frozenset
        """Whom leadership must not be handed to."""
        self._session, self._machine, self._settings, self._clock, self._seed = session, machine, settings, clock, seed
        record = machine.membership
        membership = Membership.decode(record) if record else Membership(0, 0)
        start = start_from(contents, machine.position, membership)
        self.initial_write = start.initial_write
        self._node = self._new_node(start, machine.position, membership)
        self._proposals = Proposals(session, settings, self.counters)
        self._taker = Taker(machine, self.counters, self._propose_forwarded)
        self._reads = Reads(raft_id, session, settings, self.counters)
        self._changes = changes.Changes()
        self._applier = Applier(
            (raft_id, session), machine, membership, start.terms, self._proposals, self._changes, self.counters
        )
        self._restoring = Restoring(machine, self._applier, self.counters)
        self._outbox = Outbox()
        self._now = 0
        self._leader, self._role = 0, "follower"

    def _new_node(self, start: Start, applied: int, membership: Membership) -> Node:
        settings = self._settings
        return Node(
            self.raft_id,
            conf_state=membership.conf,
            hard_state=start.hard_state,
            entries=start.entries,
            truncated=start.truncated,
            applied=applied,
            election_tick=settings.election_ticks_min,
            election_tick_max=settings.election_ticks_max,
            heartbeat_tick=settings.heartbeat_ticks,
            max_message_bytes=settings.max_message_bytes,
            seed=self._seed,
        )

    # --- what happens to it ------------------------------------------------------------------------------------

    @_guarded
    def tick(self) -> None:
        """Time has passed."""
        self._now += 1
        self._applier.stalled = False
        if not self._must_not_stand():
            self._node.tick()
        leader = self._node.leader
        self._proposals.tick(self._now, leader)
        self._reads.tick(self._now, leader)
        self._changes.tick(self._now)
        if self._barred is not None:
            self._barred.look(self._node, self.membership, self.unfit(), self._now)
        elif self._node.is_leader:
            self._tidy_configuration()
        elif leader:
            for bundle in self._proposals.resendable(self._node.term):
                self._outbox.post(leader, self._proposals.frame(bundle))

    def _must_not_stand(self) -> bool:
        """The engine panics where the only voter wins at once, while it is still writing what another leader sent.

        And where somebody stands whose log is not yet told of a snapshot that was installed. Who is barred and the only
        voter needs nobody's vote.
        """
        if self._restoring.unlogged:
            return True
        held = self._outbox.writing or self._barred is not None
        return held and not self._node.is_leader and self.membership.voters == (self.raft_id,)

    @_guarded
    def receive(self, sender: int, frame: bytes | memoryview) -> None:
        """Takes a peer's frame. ``ValueError`` for what is malformed: then nothing has changed."""
        view = memoryview(frame)
        kind = view[0] if view else 0
        if kind == frames.RAFT:
            self._receive_message(sender, view[1:])
        elif self.is_stranger(sender):
            self.counters.refused += 1
        elif kind == frames.FORWARD:
            self._receive_bundle(sender, frames.decode_forward(view))
        elif kind == frames.FORWARDED:
            self._proposals.refused(frames.decode_forwarded(view))
        else:
            raise ValueError(f"a frame of kind {kind} is not for the replica")

    def is_stranger(self, raft_id: int) -> bool:
        """Whether it is in no configuration known here. Only Raft's own messages are heard from it: this node may lag
        behind, and not know its leader yet."""
        known = self._applier.ids
        return bool(known) and raft_id not in known

    def _receive_message(self, sender: int, message: memoryview) -> None:
        if not frames.is_snapshot(message) or self._restoring.receive(self._node, sender, bytes(message)):
            self._step(message, sender)

    def _step(self, message: bytes | memoryview, sender: int) -> None:
        barred = self._barred is not None
        if (barred or self._restoring.unlogged) and frames.is_timeout_now(message):
            return  # as in ``tick``; whoever hands over asks another, or again
        if barred and frames.is_vote(message):
            return  # it was asked for before
        try:
            self._node.step(message, sender=sender)
        except StepError:  # such as the answer of a member that was removed
            self.counters.refused += 1

    def _receive_bundle(self, sender: int, forward: frames.Forward) -> None:
        answer = self._taker.receive(self._node, sender, forward)
        if answer is not None:
            self._outbox.post(sender, frames.encode_forwarded(answer))

    def _propose_forwarded(self, origin: int, forward: frames.Forward) -> bool:
        return self._propose(BUNDLE, origin, forward.session, forward.sequence, forward.body)

    def _propose(self, kind: int, origin: int, session: int, sequence: int, body: bytes | memoryview) -> bool:
        """Appends an entry to the leader's log, with this moment's timestamp. False: the engine took nothing."""
        try:
            self._node.propose(encode_entry(Header(kind, origin, session, sequence, self._clock()), body))
        except ProposalDropped:
            return False
        return True

    @_guarded
    def report_unreachable(self, peer: int) -> None:
        """Something that was sent there is lost."""
        self._node.report_unreachable(peer)
        if peer == self._node.leader:
            self._proposals.resend()

    # --- what is asked of it -----------------------------------------------------------------------------------

    def submit(
        self, unit: bytes, local: object, done: Callable[[object], object], *, ticks: int, alone: bool = False
    ) -> None:
        """``done`` is called once, with the outcome or a ``ScribeError``. What is refused at once is raised."""
        if self._ended is not None:
            raise Unavailable(self._ended)
        self._machine.check(unit)
        self._proposals.submit(unit, local, done, ticks, alone)

    def read(self, done: Callable[[ScribeError | None], object], *, ticks: int) -> None:
        """``done(None)`` is called when what is read here from then on is linearizable."""
        if self._ended is not None:
            raise Unavailable(self._ended)
        self._reads.add(done, ticks)

    @_guarded
    def propose_change(
        self,
        wanted: Sequence[tuple[str, int]],
        infos: Sequence[MemberInfo],
        done: Callable[[object], object],
        *,
        ticks: int,
    ) -> None:
        """On the leader: a new configuration. ``done`` gets the membership when it holds, or a ``ScribeError``."""
        deadline = self._now + ticks
        self._changes.reshape(self._node, self.membership, wanted, infos, done, deadline)

    @_guarded
    def propose_members(self, infos: Sequence[MemberInfo], done: Callable[[object], object], *, ticks: int) -> None:
        """On the leader: what is known of members is newer. ``done`` as above."""
        if not self._node.is_leader:
            done(changes.not_leader(self._node.leader))
        elif self._changes.full or not self._propose(MEMBERS, self.raft_id, self._session, 0, encode_members(infos)):
            done(changes.full())
        else:
            self._changes.add(changes.Proposed(self.last_index, self._node.term, False, done, self._now + ticks))

    @_guarded
    def transfer(self, raft_id: int) -> None:
        """Begins to hand leadership over. Until it has worked, or an election timeout has passed, writes wait."""
        if not self._node.is_leader:
            raise changes.not_leader(self._node.leader)
        try:
            self._node.transfer_leader(raft_id)
        except RaftPanic:
            raise
        except RaftError as error:
            raise Conflict(f"leadership cannot go to node {raft_id:x}: {error}") from error

    @_guarded
    def campaign(self) -> None:
        """Stands for election now."""
        if self._barred is not None:
            raise ConsensusError("this node must not lead: its ledger is another than the cluster's")
        try:
            self._node.campaign()
        except RaftPanic:
            raise
        except RaftError as error:
            raise ConsensusError(f"this node cannot stand for election: {error}") from error

    @_guarded
    def bar(self, why: str) -> None:
        """Its ledger is not to be believed: it leads, stands and takes no more. It votes, and keeps the log."""
        if self._barred is None:
            self._barred = Barred(self._settings.election_ticks_min)
            self._outbox.canvasses = False
            self.abandon(why)
            self._barred.look(self._node, self.membership, self.unfit(), self._now)

    @property
    def has_room(self) -> bool:
        """Whether it takes other members' writes when it leads. Its own are its owner's to refuse."""
        return self._taker.has_room

    @has_room.setter
    def has_room(self, has_room: bool) -> None:
        self._taker.has_room = has_room

    def limit_room(self, fits: Callable[[int], bool]) -> None:
        """``fits`` says whether a bundle of that many bytes may be taken, as ``has_room`` whether any may."""
        self._taker.fits = fits

    # --- turns -------------------------------------------------------------------------------------------------

    @_guarded
    def ready(self) -> Turn | None:
        """The next turn, if there is something to do. To be called until it is None after every batch of inputs."""
        applier, reads, node = self._applier, self._reads, self._node
        if applier.waiting or applier.worked_off > node.applied_index:
            self._apply()
        if reads.answered:
            reads.applied(applier.applied)
        if self._proposals.queued:
            self._send_bundles()
        if reads.unasked:
            reads.ask(node.term, node.leader, node.read_index)
        write = self._restoring.take_write()
        if write is not None:
            return self._outbox.turn(write)
        ready = None if applier.backlogged else node.ready()
        if ready is None:
            return self._outbox.turn() if self._outbox.filled else None
        node.advance_append_async(ready)
        return self._turn_of(ready)

    def _apply(self) -> None:
        try:
            self._applier.run(self._node)
        except RaftPanic:
            raise
        except Exception as error:
            self.poison(f"an entry could not be applied: {error}")
            raise
        self._advance()

    def _advance(self) -> None:
        """Tells the engine what is applied. After a snapshot it must be durable in the log first."""
        worked_off = self._applier.worked_off
        if worked_off > self._node.applied_index and not self._restoring.unlogged:
            self._node.advance_apply(worked_off)

    def _send_bundles(self) -> None:
        node, proposals = self._node, self._proposals
        term, leader = node.term, node.leader
        if not leader or self.installing:  # a snapshot would hide what became of them
            return
        while (bundle := proposals.next_bundle(term)) is not None:
            if leader != self.raft_id:
                self._outbox.post(leader, proposals.frame(bundle))
            elif self._propose(BUNDLE, self.raft_id, self._session, bundle.sequence, bundle.body):
                self.counters.proposals += len(bundle.units)
            else:
                proposals.take_back(bundle)

    def _turn_of(self, ready: Ready) -> Turn:
        if ready.soft_state is not None:
            self._note_roles(*ready.soft_state)
        for index, context in ready.read_states:
            self._reads.answer(index, context)
        self._applier.take(ready.committed_entries)
        turn = self._outbox.turn_of(ready)
        if ready.snapshot is not None:
            self._restoring.told(ready.snapshot[0], turn.number)
        if not self._outbox.went_out(turn, ready):
            self._node.on_persist_ready(ready.number)
        return turn

    def _note_roles(self, leader: int, role: str) -> None:
        if self._role == "follower" != role:
            self.counters.elections += 1
        if leader not in {0, self._leader}:
            self.counters.leader_changes += 1
        self._leader, self._role = leader or self._leader, role

    @_guarded
    def persisted(self, number: int) -> None:
        """The write of that turn, and all before it, are durable."""
        last = self._outbox.persisted(number)
        self._restoring.persisted(number)
        if last:
            self._node.on_persist_ready(last)

    def _tidy_configuration(self) -> None:
        """On the leader: nobody else leaves a joint configuration, and one who is no voter must not go on leading."""
        membership = self.membership
        try:
            if membership.outgoing:
                self._node.propose_conf_change([])
            elif self.raft_id not in membership.voters:
                hand_over(self._node, membership, self.unfit())
        except RaftPanic:
            raise
        except RaftError:  # it is on its way already, or cannot be now: the next tick asks again
            return

    # --- snapshots ---------------------------------------------------------------------------------------------

    @_guarded
    def wants_snapshot(self) -> list[int]:
        """On the leader: the peers that turned out to need one since the last call."""
        return self._node.take_snapshots_wanted()

    @_guarded
    def offer_snapshot(self, index: int, data: bytes) -> bool:
        """What the peers get that need one. False: the log, or the members, have moved on; prepare a newer one."""
        if not max(self.membership.index, self._applier.begin) <= index <= self._node.applied_index or index == 0:
            return False
        self._node.set_snapshot(index, self.membership.conf, data)
        return True

    @_guarded
    def report_snapshot(self, peer: int, ok: bool) -> None:
        """What became of the snapshot that was sent there. Until then the leader sends that peer nothing."""
        self._node.report_snapshot(peer, ok)

    @property
    def here(self) -> Membership:
        """The membership record of a snapshot that is made now: at ``applied_index`` and its term."""
        return self._applier.here

    @property
    def snapshot_arrived(self) -> ArrivedSnapshot | None:
        """The last one that a leader announced and that nobody took up."""
        return self._restoring.arrived

    def take_snapshot_arrived(self) -> ArrivedSnapshot | None:
        arrived, self._restoring.arrived = self._restoring.arrived, None
        return arrived

    @property
    def installing(self) -> bool:
        return self._restoring.installing

    def begin_install(self, index: int) -> bool:
        """Stops applying, so that the machine can take a snapshot. False: there is nothing to gain any more."""
        return self._restoring.begin(index)

    @_guarded
    def finish_install(self, message: bytes | None) -> None:
        """The machine has taken it, and the membership record with it. None: it was given up, and is as before."""
        if message is None:
            self._restoring.give_up()
            return
        membership = self._restoring.finish()
        start = self._restoring.follow(self._node, message, membership)
        if start is not None:
            self._node = self._new_node(start, membership.index, membership)
            self._outbox.forget_readies()
            self._reads.forget_rounds()
        why = "this node was brought up to date by a snapshot, which hides what became of the write"
        self._proposals.hidden(why)
        self._changes.hidden(why)
        self._applier.tell_membership()

    # --- the log -----------------------------------------------------------------------------------------------

    @_guarded
    def compact(self, index: int) -> tuple[int, int] | None:
        """Forgets applied entries up to this one; index and term of the last that is gone, for the log's own cut."""
        upto = min(index, self._node.applied_index)
        if upto <= self._applier.begin:
            return None
        self._node.compact(upto)
        self._applier.forget(upto)
        return upto, self._applier.term_at(upto)

    def term_at(self, index: int) -> int:
        """Of an applied entry that is not forgotten."""
        return self._applier.term_at(index)

    # --- its end -----------------------------------------------------------------------------------------------

    def poison(self, why: str) -> None:
        """Ends it for good. Whoever waits is told; every later call raises."""
        if self.poisoned is None:
            self.poisoned = why
            self.abandon(f"this member stopped: {why}")

    def abandon(self, why: str) -> None:
        """Tells everybody who waits, and who asks from now on, that nothing more will come of it here."""
        self._ended = self._ended or why
        self._proposals.abandon(why)
        self._reads.abandon(why)
        self._changes.hidden(why)

    # --- what it is --------------------------------------------------------------------------------------------

    @property
    def on_membership(self) -> Callable[[Membership], None] | None:
        """Is called after every change of the membership."""
        return self._applier.on_membership

    @on_membership.setter
    def on_membership(self, hook: Callable[[Membership], None] | None) -> None:
        self._applier.on_membership = hook

    @property
    def membership(self) -> Membership:
        return self._applier.membership

    @property
    def term(self) -> int:
        return self._node.term

    @property
    def leader(self) -> int:
        """A Raft id; 0: nobody, as far as this node knows."""
        return self._node.leader

    @property
    def role(self) -> str:
        return self._node.role

    @property
    def is_leader(self) -> bool:
        return self._node.is_leader

    @property
    def commit_index(self) -> int:
        return self._node.commit_index

    @property
    def applied_index(self) -> int:
        """Of the last entry that readers see."""
        return self._applier.applied

    @property
    def last_index(self) -> int:
        return self._figure("last_index")

    @property
    def log_entries(self) -> int:
        return self._figure("log_entries")

    @property
    def log_bytes(self) -> int:
        return self._figure("log_bytes")

    def _figure(self, name: str) -> int:
        if self.poisoned:
            return 0
        figure: int = self._node.status()[name]
        return figure

    @property
    def waiting(self) -> tuple[int, int]:
        """Units that wait, and their bytes."""
        return self._proposals.units, self._proposals.unit_bytes

    def progress(self) -> dict[int, Progress]:
        """On the leader: how far every member is."""
        if self.poisoned:
            return {}
        peers = self._node.status()["progress"].items()
        return {
            peer: Progress(told["matched"], told["next"], told["state"], told["recently_active"])
            for peer, told in peers
        }

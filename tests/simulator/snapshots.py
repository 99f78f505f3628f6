"""``Snapshots``: how a member far behind gets the ledger, as ``consensus.catching_up`` does it, in simulated time.

The leader's message is small; the receiver stops applying, pulls the pieces, marks them as ready (durably), takes them,
and tells the engine. Transfers break off, and either end may crash at any point.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from scribe_ledger.consensus.catching_up import INSTALLED
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import Unavailable

if TYPE_CHECKING:
    from tests.simulator.member import Member

    from scribe_ledger.consensus.exchange import ArrivedSnapshot

LONGEST_SECONDS = 3.0
_ANSWER = struct.Struct(">BQB")


class Snapshots:
    """One for each life of a member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._sent: dict[int, float] = {}
        self._installing = False

    # --- the leader's end --------------------------------------------------------------------------------------

    def offer(self) -> None:
        member, now = self._member, self._member.world.now
        for peer in [peer for peer, until in self._sent.items() if now > until]:
            self._settle(peer, ok=False)
        if not member.replica.is_leader:
            self._sent.clear()
        elif member.replica.wants_snapshot():
            member.replica.offer_snapshot(member.machine.position, b"")
            member.turns.wake()

    def send(self, peer: int, index: int, frame: bytes) -> None:
        member = self._member
        if not member.simulation.network.send(member.raft_id, peer, [frame]):
            member.replica.report_snapshot(peer, False)
            return
        self._sent[peer] = member.world.now + LONGEST_SECONDS
        member.world.tell(f"{member.raft_id} tells {peer} of a snapshot at {index}")

    def lost(self, peer: int) -> None:
        self._settle(peer, ok=False)

    def receive(self, sender: int, frame: bytes) -> bool:
        """Whether it was a frame about a snapshot's fate."""
        if frame[0] != INSTALLED:
            return False
        self._settle(sender, ok=bool(_ANSWER.unpack(frame)[2]))
        return True

    def _settle(self, peer: int, *, ok: bool) -> None:
        if self._sent.pop(peer, None) is not None:
            self._member.replica.report_snapshot(peer, ok)
            self._member.turns.wake()

    def pieces(self, have: bytes, least: int) -> list[bytes]:
        """What a member with ``have`` lacks; as of now."""
        member = self._member
        machine, replica = member.machine, member.replica
        position = machine.position
        if position < least or replica.installing:
            raise Unavailable(f"this node is at position {position}, before {least}")
        record = replace(Membership.decode(machine.membership), index=position, term=replica.term_at(position)).encode()
        return list(machine.export(have, machine.extent.size, position, record))

    # --- the receiver's end ------------------------------------------------------------------------------------

    def look(self) -> None:
        member = self._member
        if member.replica.snapshot_arrived is None or self._installing:
            return
        arrived = member.replica.take_snapshot_arrived()
        assert arrived is not None
        if not member.replica.begin_install(arrived.index):
            self._answer(arrived, ok=False)
            return
        self._installing = True
        member.later(member.world.random.uniform(0.001, 0.1), lambda: self._fetch(arrived))

    def _fetch(self, arrived: ArrivedSnapshot) -> None:
        member, world = self._member, self._member.world
        source = member.simulation.members[arrived.sender]
        network = member.simulation.network
        reached = network.reaches(member.raft_id, source.raft_id) and network.reaches(source.raft_id, member.raft_id)
        if not reached or not source.running or source.paused_until > world.now or world.chance(network.weather.loss):
            self._give_up(arrived, "nobody answers")
            return
        member.machine.flush()
        try:
            pieces = source.snapshots.pieces(member.machine.describe(), arrived.index)
        except Unavailable as error:
            self._give_up(arrived, error.message)
            return
        life = source.incarnation
        whole = not world.chance(network.weather.loss)

        def fetched() -> None:
            if whole and source.running and source.incarnation == life:
                self._ready(arrived, pieces)
            else:
                self._give_up(arrived, "the transfer broke off")

        member.later(world.random.uniform(0.001, 0.3), fetched)

    def _give_up(self, arrived: ArrivedSnapshot, why: str) -> None:
        member = self._member
        member.world.tell(f"{member.raft_id} gives up the snapshot at {arrived.index}: {why}")
        self._installing = False
        member.replica.finish_install(None)
        self._answer(arrived, ok=False)

    def _ready(self, arrived: ArrivedSnapshot, pieces: list[bytes]) -> None:
        member = self._member
        member.incoming = pieces
        member.later(member.world.random.uniform(0.001, 0.1), lambda: self._take(arrived))

    def _take(self, arrived: ArrivedSnapshot) -> None:
        member = self._member
        assert member.incoming is not None
        member.machine.prove(iter(member.incoming))
        member.machine.take(iter(member.incoming))
        member.later(member.world.random.uniform(0.001, 0.1), lambda: self._flush(arrived))

    def _flush(self, arrived: ArrivedSnapshot) -> None:
        self._member.machine.flush()
        self._member.later(0.001, lambda: self._finish(arrived))

    def _finish(self, arrived: ArrivedSnapshot) -> None:
        member = self._member
        member.incoming = None
        member.step()
        self._installing = False
        member.simulation.counts["snapshots"] += 1
        member.world.tell(f"{member.raft_id} has the snapshot at {member.machine.position}")
        member.replica.finish_install(arrived.message)
        self._answer(arrived, ok=True)

    def _answer(self, arrived: ArrivedSnapshot, *, ok: bool) -> None:
        member = self._member
        frame = _ANSWER.pack(INSTALLED, arrived.index, ok)
        member.simulation.network.send(member.raft_id, arrived.sender, [frame])
        member.turns.wake()

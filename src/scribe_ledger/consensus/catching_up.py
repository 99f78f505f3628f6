"""``CatchingUp``: how a member that is too far behind for Raft's log gets the ledger, seen from both ends.

The leader's engine misses a snapshot for a peer; it is offered one of the present position. Its message is small: it
only says where the log goes on. The peer then stops applying, pulls the payload over a connection of its own, and
answers when it has installed it, or has given up; until then the leader sends it nothing. An incremental payload is
taken by the open ledger. A full one replaces the store's files, so the node begins again in place: ``on_full``.

One installation at a time. What fails is logged, and the leader asks again. A ledger that has other entries than the
leader's is not overwritten, and one that other members contradict is not taken: ``on_conflict`` is told. Who of them is
right is not for one member to say (``standing``). So this member stays as it is, and tries again: at once where another
member leads, after a pause where it is the same one.

A payload that is not what it says is removed before anything of it is written. The next one is asked of another voter,
which has what the leader has; the same member is asked again after a pause. Where all of them gave a bad one, this
member is ``stuck``: it goes on asking, and says so.

A member whose own ledger is in doubt offers nothing.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.snapshots.description import FULL
from scribe_ledger.consensus.snapshots.installing import Refused, install_incremental
from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    Corruption,
    ScribeError,
    StorageError,
    Unavailable,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from pathlib import Path

    from scribe_ledger.consensus.exchange import ArrivedSnapshot
    from scribe_ledger.consensus.gossip import Gossip
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.consensus.snapshots.fetching import Fetcher
    from scribe_ledger.consensus.statemachine import StateMachine

INSTALLED = 18
"""The first byte of the frame that says that a snapshot was installed, or was not."""
_INSTALLED = struct.Struct(">BQB")
LONGEST_SECONDS = 3600.0
"""Of one installation. Then the leader takes it for failed."""
NOTICE_SECONDS = 2.0
"""That a peer may take to begin."""
CONFLICT_PAUSE_SECONDS = 10.0
"""Before the same leader is asked again that had other entries, or whose snapshot others contradicted."""
REFUSED_PAUSE_SECONDS = 60.0
"""Before a member is asked again that gave a bad snapshot."""
log = structlog.get_logger("scribe.cluster")


class CatchingUp:
    """Used in the loop's thread."""

    def __init__(
        self,
        replica: Replica,
        machine: StateMachine,
        data_dir: Path,
        fetcher: Fetcher,
        *,
        send: Callable[[int, Sequence[bytes]], bool],
        spawn: Callable[[Coroutine[None, None, None]], object],
        wake: Callable[[], object],
        on_full: Callable[[], object],
        on_conflict: Callable[[ScribeError], object],
        clock: Callable[[], float],
        givers: Callable[[], Iterable[int]],
        known: Callable[[int], MemberInfo | None],
        may_give: Callable[[], bool] = lambda: True,
    ) -> None:
        """``givers``: who may be asked in a leader's place. ``known``: what is known of a member, with or without a
        record of the members. ``may_give``: whether this ledger is one to give."""
        self._replica = replica
        self._machine = machine
        self._data_dir = data_dir
        self._fetcher = fetcher
        self._send = send
        self._spawn = spawn
        self._wake = wake
        self._on_full = on_full
        self._on_conflict = on_conflict
        self._clock = clock
        self._givers = givers
        self._known = known
        self._may_give = may_give
        self._conflict: tuple[int, float] = (0, float("-inf"))
        """With whose ledger, and until when that one is not asked again."""
        self._refused: dict[int, float] = {}
        """Who gave a bad snapshot, and until when that one is not asked."""
        self._stuck: tuple[ScribeError | None, float] = (None, float("-inf"))
        """Why nobody was left to ask, and until when that counts."""
        self._last_refusal = ""
        self.giver = 0
        """Who was asked last for the payload of a snapshot."""
        self._other_giver = 0
        """Who is asked for the payload instead of the leader; 0: nobody."""
        self._sent: dict[int, float] = {}
        """Who was told, and when to stop waiting."""
        self._installing = False
        self.installed = {"incremental": 0, "full": 0}
        self.seconds = {"incremental": 0.0, "full": 0.0}
        self.refused = 0
        """Snapshots that were not what they said."""

    # --- the leader's end --------------------------------------------------------------------------------------

    def offer(self, now: float) -> None:
        """To be called each tick: offers who lacks one a snapshot of now."""
        replica = self._replica
        for peer in [peer for peer, until in self._sent.items() if now > until]:
            self._settle(peer, ok=False)
        if not replica.is_leader:
            self._sent.clear()
        elif self._may_give() and replica.wants_snapshot():
            replica.offer_snapshot(self._machine.position, b"")
            self._wake()

    def send(self, peer: int, index: int, frame: bytes, now: float) -> None:
        """Raft's message of a snapshot goes out; the payload is asked for by its receiver."""
        if not self._send(peer, [frame]):
            self._replica.report_snapshot(peer, False)
            return
        self._sent[peer] = now + LONGEST_SECONDS
        log.info("a member needs a snapshot", raft_id=str(peer), index=index)

    def on_report(self, gossip: Gossip) -> None:
        """A peer that was told, and does not install, has missed it, or has it already."""
        until = self._sent.get(gossip.info.raft_id)
        if until is not None and not gossip.installing and self._clock() - (until - LONGEST_SECONDS) > NOTICE_SECONDS:
            self._settle(gossip.info.raft_id, ok=False)

    def lost(self, peer: int) -> None:
        """The connection broke. If the peer still installs, it will say so by what it answers next."""
        self._settle(peer, ok=False)

    def on_installed(self, sender: int, frame: memoryview) -> None:
        if len(frame) != _INSTALLED.size:
            raise ValueError("a frame about an installation has another length")
        self._settle(sender, ok=bool(_INSTALLED.unpack(frame)[2]))

    def _settle(self, peer: int, *, ok: bool) -> None:
        if self._sent.pop(peer, None) is not None and not self._replica.poisoned:
            self._replica.report_snapshot(peer, ok)
            self._wake()

    # --- the receiver's end ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Takes up what a leader has announced. To be called after each round of turns."""
        if self._replica.snapshot_arrived is None or self._installing:
            return
        arrived = self._replica.take_snapshot_arrived()
        assert arrived is not None
        sender, until = self._conflict
        if arrived.sender == sender and self._clock() < until:
            return  # the leader takes the silence for a message that was lost, and says it again
        giver = self._giver_for(arrived.sender)
        if giver is None:
            self._stuck = self._nobody_left(), self._clock() + REFUSED_PAUSE_SECONDS
            return  # so here
        if not self._replica.begin_install(arrived.index):
            self._answer(arrived.sender, arrived.index, ok=False)
            return
        self._installing = True
        self._other_giver = giver if giver != arrived.sender else 0
        self._spawn(self._install(arrived))

    @property
    def stuck(self) -> ScribeError | None:
        """Why this member does not catch up, though it asks: an operator must look at those who give."""
        error, until = self._stuck
        return error if self._clock() < until else None

    def choose_giver(self) -> int:
        """Whom to ask for the payload now: whoever leads, unless that one's was bad."""
        self.giver = self._other_giver or self._replica.leader
        return self.giver

    def _giver_for(self, leader: int) -> int | None:
        """The leader, or another member in its place; None: all of them gave something bad a moment ago."""
        now, me = self._clock(), self._replica.raft_id
        self._refused = {each: until for each, until in self._refused.items() if now < until}
        return next((each for each in (leader, *self._givers()) if each != me and each not in self._refused), None)

    async def _install(self, arrived: ArrivedSnapshot) -> None:
        begun, machine, index = time.monotonic(), self._machine, arrived.index
        kind, taken = "", False
        try:
            extent = machine.extent
            log.info("fetching a snapshot", index=index, entries=extent.size)
            await asyncio.to_thread(machine.flush)  # what is fetched follows on this, also after a crash
            found = await self._fetcher.fetch(have=machine.describe(), size=extent.size, least=index)
            kind = found.kind
            if kind == FULL:
                log.info("a full snapshot was fetched: the node begins again", position=found.position)
                self._on_full()
                return
            await asyncio.shield(asyncio.to_thread(install_incremental, machine, self._data_dir))
            taken, self._stuck = True, (None, self._clock())
            self.installed[kind] += 1
            self.seconds[kind] += time.monotonic() - begun
            log.info("a snapshot was installed", position=found.position, entries=machine.extent.size)
        except Refused as error:
            self._refuse(error)
        except (Corruption, VerificationError, StorageError):
            raise  # it is for an operator to look at: trying again does not help
        except Conflict as error:
            self._conflict = arrived.sender, self._clock() + CONFLICT_PAUSE_SECONDS
            self._on_conflict(error)
        except ScribeError as error:
            if kind and isinstance(error, ConfigurationError):
                raise  # it asks for newer rules: see ``statemachine``
            log.warning("a snapshot could not be fetched: the leader will be asked again", error=str(error))
        finally:
            self._installing, self._other_giver = False, 0
            if kind != FULL:
                self._replica.finish_install(arrived.message if taken else None)
                self._answer(arrived.sender, index, ok=taken)
                self._wake()

    def _refuse(self, error: Refused) -> None:
        self.refused += 1
        self._refused[self.giver] = self._clock() + REFUSED_PAUSE_SECONDS
        self._last_refusal = error.message
        log.warning(
            "a snapshot is not what it says: it is removed",
            error=error.message,
            giver=self._label(self.giver),
            raft_id=str(self.giver),
        )

    def _nobody_left(self) -> ScribeError:
        labels = sorted((self._label(each) or 0, each) for each in self._refused)
        nodes = ", ".join(str(label or f"with Raft id {raft_id}") for label, raft_id in labels)
        return Unavailable(
            f"this node does not catch up: all that could give it a snapshot (node {nodes}) gave"
            f" one that is not what it says; the last: {self._last_refusal}",
            hint="run `scribe fsck` on a copy of the folder of each of them; they are asked again after a minute",
        )

    def _label(self, raft_id: int) -> int | None:
        info = self._known(raft_id)
        return None if info is None else info.node_id

    def _answer(self, peer: int, index: int, *, ok: bool) -> None:
        self._send(peer, [_INSTALLED.pack(INSTALLED, index, ok)])

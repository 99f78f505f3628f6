"""The leader's side of a forwarded bundle: which one is taken next from each member, and what is answered.

Bundles of one origin are taken in sequence, without gaps, each once in a term. What a leader took is in its log as long
as it leads, so the same frame may arrive as often as it likes. All is forgotten when leadership ends: another term
begins at what its origin calls the oldest. A bundle that some member could not read is never taken. Neither is one that
was refused because the disk here is nearly full: its writers were told so, and a copy of it may still be on its way.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from scribe_ledger.consensus.bundles import check_units, decode_units
from scribe_ledger.consensus.frames import MISSING, NO_ROOM, NOT_LEADER, NOT_NOW, UNREADABLE, Forwarded
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_raft import Node

    from scribe_ledger.consensus.exchange import Counters
    from scribe_ledger.consensus.frames import Forward
    from scribe_ledger.consensus.statemachine import StateMachine


class Verdict(Enum):
    TAKE = "take"
    KNOWN = "known"
    MISSING = "missing"
    REFUSED = "refused"


class Taking:
    def __init__(self) -> None:
        self._term = 0
        self._next: dict[int, tuple[int, int]] = {}
        """By origin: the newest session heard of, and the bundle that is next in it."""
        self._refused: dict[int, set[int]] = {}
        """By origin: the bundles of that session that were refused for good, until it says that it knows."""

    def lead(self, term: int) -> None:
        """This node leads in this term; nothing of earlier ones counts any more."""
        if term != self._term:
            self._term = term
            self._next, self._refused = {}, {}

    def consider(self, origin: int, forward: Forward) -> tuple[Verdict, int]:
        """What to do with a bundle of this term, and which one is next."""
        session, following = self._next.get(origin, (0, 0))
        if forward.session < session:
            return Verdict.KNOWN, 0  # of a process that is no more; nobody waits for it
        if forward.session > session:
            following = forward.first
            self._refused.pop(origin, None)
        following = max(following, forward.first)
        self._next[origin] = forward.session, following
        if forward.sequence in self._refused_of(origin, forward.first):
            return Verdict.REFUSED, following
        if forward.sequence == following:
            return Verdict.TAKE, following
        return (Verdict.KNOWN if forward.sequence < following else Verdict.MISSING), following

    def took(self, origin: int, forward: Forward) -> None:
        self._next[origin] = forward.session, forward.sequence + 1

    def refused(self, origin: int, forward: Forward) -> None:
        """It is never taken in this term, and the next one may be."""
        session, following = self._next[origin]
        self._next[origin] = session, max(following, forward.sequence + 1)
        self._refused.setdefault(origin, set()).add(forward.sequence)

    def _refused_of(self, origin: int, first: int) -> set[int]:
        """As many as may be under way at most: of those before ``first`` the origin has heard."""
        refused = self._refused.get(origin)
        if refused is None:
            return set()
        refused = self._refused[origin] = {sequence for sequence in refused if sequence >= first}
        return refused


class Taker:
    def __init__(self, machine: StateMachine, counters: Counters, propose: Callable[[int, Forward], bool]) -> None:
        self._machine, self._counters, self._propose = machine, counters, propose
        self.taking = Taking()
        self.has_room = True
        """Whether bundles are taken at all."""
        self.fits: Callable[[int], bool] = lambda _: True
        """Whether there is room for so many bytes beside what was taken since the disk was looked at."""

    def receive(self, node: Node, origin: int, forward: Forward) -> Forwarded | None:
        """Puts a bundle in the log of this term, where it may be. What is returned is to be answered."""
        count = check_units(forward.body)
        if not node.is_leader or node.term != forward.term:
            return self._refusal(node, forward, NOT_LEADER, 0)
        self.taking.lead(forward.term)
        verdict, following = self.taking.consider(origin, forward)
        if verdict is Verdict.KNOWN:
            return None
        if verdict is Verdict.MISSING:
            return self._refusal(node, forward, MISSING, following)
        if verdict is Verdict.REFUSED or not (self.has_room and self.fits(len(forward.body))):
            self.taking.refused(origin, forward)
            return self._refusal(node, forward, NO_ROOM, forward.sequence)
        reason = self._take(origin, forward, count)
        return self._refusal(node, forward, reason, following) if reason else None

    def _take(self, origin: int, forward: Forward, count: int) -> int:
        """Why not, or 0."""
        if not self._can_read(forward.body):
            return UNREADABLE
        if not self._propose(origin, forward):
            return NOT_NOW
        self.taking.took(origin, forward)
        self._counters.taken += 1
        self._counters.accepted_bytes += len(forward.body)
        self._counters.proposals += count
        return 0

    def _refusal(self, node: Node, forward: Forward, reason: int, following: int) -> Forwarded:
        self._counters.refused += 1
        return Forwarded(reason, forward.term, forward.session, following, node.leader)

    def _can_read(self, body: bytes | memoryview) -> bool:
        """Whether all units of a bundle may be in the log: one that ends its machine would end every member."""
        check = self._machine.check
        try:
            for unit in decode_units(bytes(body), 0):
                check(unit)
        except ScribeError:
            return False
        return True

"""Linearizable reads: those that wait share rounds of ReadIndex, and are let go when the round's index is applied.

A round's name is unique: Raft id, session, number. A round that is not answered is asked again under a new name, since
the engine loses rounds silently: after a while, and at once where term or leader changed.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.exchange import NEVER
from scribe_ledger.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.exchange import Counters, ReplicaSettings
    from scribe_ledger.errors import ScribeError

_CONTEXT = Struct(">QQQ")

Read = tuple["Callable[[ScribeError | None], object]", int]
"""Whom to tell, and the tick until which it may wait."""


class Round(NamedTuple):
    reads: list[Read]
    asked_at: int
    term: int
    leader: int


class Reads:
    def __init__(self, raft_id: int, session: int, settings: ReplicaSettings, counters: Counters) -> None:
        self._names = raft_id, session
        self._settings = settings
        self._counters = counters
        self._count = 0
        """Of rounds, ever."""
        self._waiting: list[Read] = []
        self._rounds: dict[bytes, Round] = {}
        self._answered: list[tuple[int, list[Read]]] = []
        """With the index that must be applied."""
        self._reads = 0
        self._soonest = NEVER
        self._now = 0

    @property
    def unasked(self) -> bool:
        """Whether there may be something to ask."""
        return bool(self._waiting or self._rounds)

    @property
    def answered(self) -> bool:
        """Whether some wait only for an entry to be applied."""
        return bool(self._answered)

    def add(self, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        if self._reads >= self._settings.max_waiting_reads:
            raise Overloaded(f"{self._reads:,} reads wait for the cluster already", hint="retry after a pause")
        deadline = self._now + ticks
        self._soonest = min(self._soonest, deadline)
        self._reads += 1
        self._waiting.append((done, deadline))

    def ask(self, term: int, leader: int, read_index: Callable[[bytes], bool]) -> None:
        """Begins a round for all that wait, if one may begin; first takes back those that a change has lost."""
        if self._rounds:
            self._take_back(lambda each: (each.term, each.leader) != (term, leader))
        if not self._waiting or not leader or len(self._rounds) >= self._settings.read_rounds:
            return
        context = _CONTEXT.pack(*self._names, self._count)
        if not read_index(context):
            return
        self._count += 1
        self._counters.read_rounds += 1
        reads, self._waiting = self._waiting, []
        self._rounds[context] = Round(reads, self._now, term, leader)

    def answer(self, index: int, context: bytes) -> None:
        """The engine's word: what is read once this index is applied is linearizable."""
        found = self._rounds.pop(context, None)
        if found is not None:
            self._answered.append((index, found.reads))

    def applied(self, index: int) -> None:
        """Lets go what waited for this index."""
        ready = [reads for at, reads in self._answered if at <= index]
        self._answered = [(at, reads) for at, reads in self._answered if at > index]
        for reads in ready:
            self._reads -= len(reads)
            self._counters.reads += len(reads)
            for done, _ in reads:
                done(None)

    def forget_rounds(self) -> None:
        """The engine was replaced, and knows of none."""
        self._take_back(lambda _: True)

    def _take_back(self, lost: Callable[[Round], bool]) -> None:
        for context in [context for context, each in self._rounds.items() if lost(each)]:
            self._waiting += self._rounds.pop(context).reads

    def tick(self, now: int, leader: int) -> None:
        self._now = now
        if self._rounds:
            self._take_back(lambda each: now - each.asked_at >= self._settings.read_retry_ticks)
        if now >= self._soonest:
            self._expire(leader)

    def _expire(self, leader: int) -> None:
        now, late = self._now, []
        groups = [self._waiting, *(each.reads for each in self._rounds.values()), *(each for _, each in self._answered)]
        for group in groups:
            late += [read for read in group if read[1] <= now]
            group[:] = [read for read in group if read[1] > now]
        self._soonest = min((read[1] for group in groups for read in group), default=NEVER)
        self._reads -= len(late)
        for done, _ in late:
            done(_not_confirmed(leader))

    def abandon(self, why: str) -> None:
        """This node stops: everybody is told."""
        groups = [self._waiting, *(each.reads for each in self._rounds.values()), *(each for _, each in self._answered)]
        self._waiting, self._rounds, self._answered, self._reads = [], {}, [], 0
        for done, _ in [read for group in groups for read in group]:
            done(Unavailable(why))


def _not_confirmed(leader: int) -> Unavailable:
    why = "no majority confirmed before the deadline that this node is up to date"
    if not leader:
        why = "the cluster had no leader before the deadline, so this node cannot know that it is up to date"
    return Unavailable(why, hint="retry, or read what this node has by asking for a stale read")

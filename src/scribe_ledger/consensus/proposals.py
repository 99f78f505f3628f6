"""The origin's side of a write: units wait, travel in bundles, and end, each once, in an outcome or an error.

Invariants: a bundle's name (session, sequence) is used once and in one term. All bundles under way are of one term, and
new ones are made in that term only. A bundle leaves in one of four ways: this node applies it; an entry of a later
term is applied first, so it is in no log and its units wait again, in their order, before all others; a snapshot hides
its fate; or the leader says that it never takes it. What is answered with ``unavailable`` is never sent any more.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from scribe_ledger.config.sections import MAKE_ROOM
from scribe_ledger.consensus.bundles import UNIT_OVERHEAD_BYTES, encode_units
from scribe_ledger.consensus.exchange import NEVER
from scribe_ledger.consensus.frames import NO_ROOM, NOT_LEADER, UNREADABLE, Forward, encode_forward
from scribe_ledger.errors import InvalidRequest, OutcomeUnknown, Overloaded, ScribeError, TooLarge, Unavailable
from scribe_ledger.model import MESSAGE_HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scribe_ledger.consensus.exchange import Counters, ReplicaSettings
    from scribe_ledger.consensus.frames import Forwarded

RETRY_HINT = "retry with the same request id: that settles whether it took effect"


Waiter = tuple[bytes, object, "Callable[[object], object]", int, bool]
"""One unit and who waits for it: unit, local, done, deadline, alone. A bare tuple: there is one for every write."""


class Bundle:
    """Units under way to the leader of one term, or in its log."""

    __slots__ = ("body", "local", "sent_at", "sequence", "term", "units", "waiters")

    def __init__(self, sequence: int, term: int, waiters: list[Waiter], now: int) -> None:
        self.sequence = sequence
        self.term = term
        self.units = [unit for unit, *_ in waiters]
        self.local: Sequence[object] = [local for _, local, *_ in waiters]
        self.body = encode_units(self.units)
        self.waiters: list[Waiter | None] = [*waiters]
        """None: answered already, at its deadline."""
        self.sent_at = now


class Proposals:
    def __init__(self, session: int, settings: ReplicaSettings, counters: Counters) -> None:
        self._session = session
        self._settings = settings
        self._counters = counters
        self._entry_bytes, self._entry_units = settings.max_entry_bytes, settings.max_entry_units
        self._waiting_max, self._bytes_max = settings.max_waiting_units, settings.max_waiting_bytes
        self._unit_bytes_max = settings.max_message_bytes - MESSAGE_HEAD_BYTES
        self._queue: deque[Waiter] = deque()
        self._under_way: dict[int, Bundle] = {}
        self._sequence = 0
        self._term = 0
        self._refused_term = 0
        self._held = False
        self._resend_from = 0
        self._units = self._bytes = 0
        self._soonest = NEVER
        """No unit's deadline is before this tick."""
        self._now = 0

    @property
    def queued(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._queue)

    @property
    def units(self) -> int:
        """That wait, sent or not."""
        return self._units

    @property
    def unit_bytes(self) -> int:
        return self._bytes

    def submit(self, unit: bytes, local: object, done: Callable[[object], object], ticks: int, alone: bool) -> None:
        size = len(unit)
        if size > self._unit_bytes_max:
            raise TooLarge(
                f"a write of {size:,} bytes; {self._unit_bytes_max:,} fit a message between members",
                hint="send several; a single value goes to the object store instead: set [storage] inline_max below"
                " that on all members",
            )
        if self._units >= self._waiting_max or self._bytes + size > self._bytes_max:
            raise Overloaded(f"{self._units:,} writes wait for the cluster already", hint="retry after a pause")
        deadline = self._now + ticks
        self._soonest = min(self._soonest, deadline)
        self._units += 1
        self._bytes += size
        self._counters.accepted_bytes += size
        self._queue.append((unit, local, done, deadline, alone))

    # --- sending -----------------------------------------------------------------------------------------------

    def next_bundle(self, term: int) -> Bundle | None:
        """Another bundle to send in this term, if one may be sent now. It counts as sent."""
        if not self._queue or self._held or term == self._refused_term:
            return None
        under_way = len(self._under_way)
        if under_way and (term != self._term or under_way >= self._settings.bundles_in_flight):
            return None  # the fate of those that were sent in another term is not known yet
        self._term = term
        self._sequence += 1
        bundle = Bundle(self._sequence, term, self._next_units(), self._now)
        self._under_way[bundle.sequence] = bundle
        self._counters.bundles += 1
        return bundle

    def _next_units(self) -> list[Waiter]:
        queue = self._queue
        first = queue.popleft()
        unit, _, _, _, alone = first
        waiters, room = [first], self._entry_bytes - len(unit)
        while queue and not alone and len(waiters) < self._entry_units:
            head = queue[0]
            unit, _, _, _, alone = head
            room -= len(unit) + UNIT_OVERHEAD_BYTES
            if room < 0 or alone:
                break
            waiters.append(queue.popleft())
        return waiters

    def take_back(self, bundle: Bundle) -> None:
        """The engine of this node took nothing: the units wait until the next tick."""
        del self._under_way[bundle.sequence]
        self._wait_again(bundle)
        self._held = True

    def frame(self, bundle: Bundle) -> bytes:
        """For the leader of its term."""
        self._counters.forwarded += len(bundle.units)
        first = next(iter(self._under_way))
        return encode_forward(Forward(bundle.term, first, self._session, bundle.sequence, bundle.body))

    def refused(self, answer: Forwarded) -> None:
        """The leader did not take a bundle. That it is lost is not said: the same one may have arrived twice."""
        if answer.session != self._session or answer.term != self._term:
            return
        if answer.reason == NOT_LEADER:
            self._refused_term = answer.term
        elif answer.reason == UNREADABLE:
            self._unreadable(answer.next)
        elif answer.reason == NO_ROOM:
            self._no_room(answer.next)
        else:
            self.resend(answer.next)

    def _unreadable(self, sequence: int) -> None:
        """The leader never takes this bundle. Its units are asked for one by one, and only what is to blame fails."""
        bundle = self._under_way.pop(sequence, None)
        if bundle is None:
            return
        waiters = [waiter for waiter in bundle.waiters if waiter is not None]
        if len(bundle.units) == 1:
            self._forget(bundle.units)
            hint = "all nodes need the same version of scribe-ledger: see `scribe cluster members`"
            _fail(waiters, InvalidRequest("the leader of the cluster cannot read this write", hint=hint))
            return
        bundle.waiters = [waiter and (*waiter[:-1], True) for waiter in bundle.waiters]
        self._wait_again(bundle)

    def _no_room(self, sequence: int) -> None:
        """The leader has not taken this bundle and never will: nothing of it is written, and its writers may know."""
        bundle = self._under_way.pop(sequence, None)
        if bundle is not None:
            self._forget(bundle.units)
            _fail(bundle.waiters, no_room())

    def resend(self, sequence: int = 1) -> None:
        """At the next tick, what is under way from this bundle on is sent to the same leader again."""
        self._resend_from = min(self._resend_from or sequence, sequence)

    def resendable(self, term: int) -> list[Bundle]:
        """What to send again now, to the leader of this term: after something was lost, or a long silence."""
        oldest = next(iter(self._under_way.values()), None)
        start, self._resend_from = self._resend_from, 0
        if oldest is None or oldest.term != term or term == self._refused_term:
            return []
        if self._now - oldest.sent_at >= self._settings.resend_ticks:
            start = oldest.sequence
        again = [bundle for bundle in self._under_way.values() if start and bundle.sequence >= start]
        for bundle in again:
            bundle.sent_at = self._now
        self._counters.bundles_resent += len(again)
        return again

    # --- ends --------------------------------------------------------------------------------------------------

    def find(self, sequence: int) -> Bundle | None:
        return self._under_way.get(sequence)

    def decided(self, bundle: Bundle, outcomes: Sequence[object]) -> None:
        """This node has applied it."""
        del self._under_way[bundle.sequence]
        self._forget(bundle.units)
        for waiter, outcome in zip(bundle.waiters, outcomes, strict=True):
            if waiter is not None:
                _, _, done, _, _ = waiter
                done(outcome)

    def entered(self, term: int) -> None:
        """An entry of this term is applied: bundles sent in earlier ones, and not applied, are in no log."""
        dead = [bundle for bundle in self._under_way.values() if bundle.term < term]
        for bundle in reversed(dead):
            del self._under_way[bundle.sequence]
            self._wait_again(bundle)
        self._counters.bundles_dead += len(dead)

    def _wait_again(self, bundle: Bundle) -> None:
        self._forget([unit for unit, waiter in zip(bundle.units, bundle.waiters, strict=True) if waiter is None])
        self._queue.extendleft(waiter for waiter in reversed(bundle.waiters) if waiter is not None)

    def hidden(self, why: str) -> None:
        """Nobody can tell any more what became of the bundles under way."""
        bundles, self._under_way = [*self._under_way.values()], {}
        for bundle in bundles:
            self._forget(bundle.units)
        _fail(chain.from_iterable(bundle.waiters for bundle in bundles), OutcomeUnknown(why, hint=RETRY_HINT))

    def abandon(self, why: str) -> None:
        """This node stops: everybody is told."""
        self.hidden(why)
        waiters, self._queue = [*self._queue], deque()
        self._forget([unit for unit, *_ in waiters])
        _fail(waiters, Unavailable(why))

    def _forget(self, units: Sequence[bytes]) -> None:
        self._units -= len(units)
        self._bytes -= sum(map(len, units))

    # --- time --------------------------------------------------------------------------------------------------

    def tick(self, now: int, leader: int) -> None:
        self._now = now
        self._held = False
        if now >= self._soonest:
            self._expire(leader)

    def _expire(self, leader: int) -> None:
        now = self._now
        late = [waiter for waiter in self._queue if _deadline(waiter) <= now]
        if late:
            self._queue = deque(waiter for waiter in self._queue if _deadline(waiter) > now)
            self._forget([unit for unit, *_ in late])
        unknown = self._expire_under_way()
        sent = chain.from_iterable(bundle.waiters for bundle in self._under_way.values())
        rest = chain(self._queue, (waiter for waiter in sent if waiter is not None))
        self._soonest = min(map(_deadline, rest), default=NEVER)
        _fail(late, _not_sent(leader))
        _fail(unknown, _not_confirmed(leader))

    def _expire_under_way(self) -> list[Waiter]:
        late = []
        for bundle in self._under_way.values():
            for at, waiter in enumerate(bundle.waiters):
                if waiter is not None and _deadline(waiter) <= self._now:
                    late.append(waiter)
                    bundle.waiters[at] = None
        return late


def _deadline(waiter: Waiter) -> int:
    return waiter[3]


def _fail(waiters: Iterable[Waiter | None], error: ScribeError) -> None:
    for waiter in waiters:
        if waiter is not None:
            _, _, done, _, _ = waiter
            done(error.again())


def _not_sent(leader: int) -> Unavailable:
    if not leader:
        hint = "a majority of the voting members must run and reach each other: see /cluster/members"
        return Unavailable("the cluster had no leader before the deadline; nothing was written", hint=hint)
    why = "the leader of the cluster took no more writes before the deadline; nothing was written"
    return Unavailable(why, hint="retry after a pause")


def no_room() -> Unavailable:
    return Unavailable(
        "the disk of the cluster's leader is nearly full, and it takes no writes; nothing was written",
        hint=f"where a voter has room it leads in a moment; else {MAKE_ROOM}",
    )


def _not_confirmed(leader: int) -> OutcomeUnknown:
    why = "the write was given to the leader, and not confirmed by a majority before the deadline"
    if not leader:
        why = "the write was given to a leader that was lost, and its fate was not known before the deadline"
    return OutcomeUnknown(why, hint=RETRY_HINT)

"""What is applied when: committed entries in their order, one atomic write each, and what follows from each.

Invariants: an entry is given to the state machine once, after it was given out by the engine (committed, and durable
here), never one at or below the position that the machine was found or installed at. A machine that is overloaded
stops the queue until the next tick: nothing is skipped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from scribe_raft import decode_conf_change

from scribe_ledger.consensus.abdication import abdicate
from scribe_ledger.consensus.bundles import BUNDLE, HEADER_BYTES, decode_header, decode_members, decode_units
from scribe_ledger.consensus.changes import known_members
from scribe_ledger.errors import Corruption, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_raft import Node

    from scribe_ledger.consensus.bundles import Header
    from scribe_ledger.consensus.changes import Changes
    from scribe_ledger.consensus.exchange import Counters
    from scribe_ledger.consensus.log.store import Entry
    from scribe_ledger.consensus.membership import MemberInfo, Membership
    from scribe_ledger.consensus.proposals import Proposals
    from scribe_ledger.consensus.statemachine import StateMachine

BACKLOG_ENTRIES_MAX = 1024
"""Committed, not applied. Beyond it the engine is not asked for more: the node falls silent until it catches up."""


class Applier:
    def __init__(
        self,
        names: tuple[int, int],
        machine: StateMachine,
        membership: Membership,
        terms: list[tuple[int, int]],
        proposals: Proposals,
        changes: Changes,
        counters: Counters,
    ) -> None:
        self._names = names
        self._machine = machine
        self._proposals = proposals
        self._changes = changes
        self._counters = counters
        self._queue: deque[Entry] = deque()
        self._installed = self.applied = self.worked_off = machine.position
        self.term = terms[-1][1]
        self._terms = terms
        self._reshaped: tuple[int, Membership] | None = None
        self._membership, self.ids = membership, membership.ids
        self.on_membership: Callable[[Membership], None] | None = None
        self.stalled = False
        self.stopped = False
        """While a snapshot is being installed."""

    # self.applied: what readers see. self.worked_off: the last entry of the engine's that is done with; behind the
    # other one only where an installed snapshot held entries that the engine gives out later.

    @property
    def membership(self) -> Membership:
        return self._membership

    @membership.setter
    def membership(self, membership: Membership) -> None:
        self._membership, self.ids = membership, membership.ids

    @property
    def waiting(self) -> int:
        """Entries that were given out and are not applied."""
        return len(self._queue)

    @property
    def backlogged(self) -> bool:
        return len(self._queue) >= BACKLOG_ENTRIES_MAX

    def take(self, committed: Sequence[Entry]) -> None:
        self._queue.extend(committed)

    def run(self, node: Node) -> None:
        """Applies what it may."""
        queue = self._queue
        while queue and not self.stalled and not self.stopped:
            if not self._apply(node, queue[0]):
                self.stalled = True
                self._counters.stalls += 1
                return
            queue.popleft()

    def _apply(self, node: Node, entry: Entry) -> bool:
        index, term, kind, data, _ = entry
        if kind:
            if not self._reshape(node, entry):
                return False
        elif data and index > self._installed and not self._apply_data(index, term, data):
            return False
        self.worked_off = index
        if index > self.applied:
            self._counters.entries_applied += 1
            self.applied = index
            if term > self.term:
                self._enter(index, term)
        elif self.term_at(index) != term:  # what an installed snapshot held: whoever cuts the log asks for it
            self._terms.insert(bisect_right(self._terms, index, key=lambda each: each[0]), (index, term))
        return True

    def _enter(self, index: int, term: int) -> None:
        self.term = term
        self._terms.append((index, term))
        self._proposals.entered(term)
        self._changes.entered(term)

    # --- the kinds of entries ----------------------------------------------------------------------------------

    def _apply_data(self, index: int, term: int, data: bytes) -> bool:
        try:
            header = decode_header(data)
            if header.kind == BUNDLE:
                return self._apply_bundle(index, header, data)
            infos = decode_members(data[HEADER_BYTES:])
        except (ValueError, KeyError, TypeError) as error:
            raise Corruption(f"entry {index:,} of the cluster's log cannot be read: {error}") from error
        return self._apply_members(index, term, infos)

    def _apply_bundle(self, index: int, header: Header, data: bytes) -> bool:
        ours = (header.origin, header.session) == self._names
        bundle = self._proposals.find(header.sequence) if ours else None
        units, local = (decode_units(data), None) if bundle is None else (bundle.units, bundle.local)
        try:
            outcomes = self._machine.apply(index, header.timestamp, units, local)
        except Overloaded:
            return False
        if bundle is not None:
            self._proposals.decided(bundle, outcomes)
        return True

    def _apply_members(self, index: int, term: int, infos: list[MemberInfo]) -> bool:
        membership = self.membership
        changed = membership.with_members(known_members(membership, infos), index=index, term=term)
        return self._record(changed)

    def _reshape(self, node: Node, entry: Entry) -> bool:
        index, _, kind, data, _ = entry
        if index <= self._installed:
            node.apply_conf_change(kind, data)  # the record that was installed has it already
            return True
        if self._reshaped is None or self._reshaped[0] != index:
            self._reshaped = index, self._reshape_engine(node, entry)
        return self._record(self._reshaped[1])

    def _reshape_engine(self, node: Node, entry: Entry) -> Membership:
        """Once, even where the record must be written again later."""
        index, term, kind, data, _ = entry
        _, _, context = decode_conf_change(kind, data)
        changed = self.membership.with_conf(node.apply_conf_change(kind, data), index=index, term=term)
        if node.is_leader and node.id not in changed.ids:
            abdicate(node, changed)
        return changed.with_members(known_members(changed, decode_members(context)), index=index, term=term)

    def _record(self, membership: Membership) -> bool:
        try:
            self._machine.set_membership(membership.index, membership.encode())
        except Overloaded:
            return False
        self.membership = membership
        self._changes.applied(membership.index, membership.term, membership)
        self.tell_membership()
        return True

    def tell_membership(self) -> None:
        if self.on_membership is not None:
            self.on_membership(self.membership)

    # --- places in the log -------------------------------------------------------------------------------------

    @property
    def begin(self) -> int:
        """The log begins after this entry."""
        return self._terms[0][0]

    def term_at(self, index: int) -> int:
        """Of an applied entry that is not forgotten."""
        return self._terms[bisect_right(self._terms, index, key=lambda each: each[0]) - 1][1]

    def forget(self, index: int) -> None:
        """The log begins after this entry now."""
        term = self.term_at(index)
        self._terms = [(index, term), *(each for each in self._terms if each[0] > index)]

    @property
    def here(self) -> Membership:
        """The record for a snapshot of what is applied."""
        return replace(self.membership, index=self.applied, term=self.term)

    def installed(self, membership: Membership) -> None:
        """The machine stands where a snapshot was taken, which is where its record stands."""
        self._installed = self.applied = membership.index
        self.membership = membership
        if membership.term > self.term:
            self.term = membership.term
            self._terms.append((membership.index, membership.term))

    def begin_after_installed(self) -> None:
        """The engine begins there too: what it gave out before is behind."""
        self._queue.clear()
        self.worked_off = self._installed
        self._terms = [(self._installed, self.membership.term)]

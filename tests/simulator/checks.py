"""``Checks``: what must be true at every step, over all members at once. It knows every entry, vote and root of a run.

Each check costs the same however long the run is, so all of them are made after every step.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, cast

from scribe_raft import describe
from tests.simulator.world import Violation

from scribe_ledger.ledger import wire
from scribe_ledger.ledger.receipts import Receipts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulator.log import WatchedLog

    from scribe_ledger.consensus.log.store import Entry
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.ledger.commands import Command

APPEND_ANSWER, VOTE_REQUEST, VOTE_ANSWER = PROMISES = 4, 5, 6
"""Raft's types of messages."""


class Checks:
    def __init__(self, *, watches_disks: bool = True) -> None:
        """Without an eye on the disks only what follows from a broken promise is found, and later."""
        self.watches_disks = watches_disks
        self.leaders: dict[int, int] = {}
        """By term."""
        self.commit = 1
        self.members_record = (0, b"")
        """Position and record of the newest membership that somebody applied."""
        self.roots: dict[int, bytes] = {}
        """By size of the ledger."""
        self.entries: dict[int, tuple[bytes, int, bytes | None]] = {}
        """By index of the ledger: key, version and value (None: a delete)."""
        self.versions: dict[tuple[bytes, int], bytes | None] = {}
        self._log: dict[tuple[int, int], tuple[bytes, int | None]] = {}
        self._committed: dict[int, tuple[int, int]] = {}
        self._applied: dict[int, bytes] = {}
        self._effects: dict[bytes, int] = {}
        self._votes: dict[tuple[int, int], int] = {}

    # --- Raft --------------------------------------------------------------------------------------------------

    def wrote(self, member: int, entry: Entry, term_before: int | None) -> None:
        """Log matching: one content for each index and term, and one entry before it."""
        index, term, kind, data, context = entry
        digest = sha256(b"%d %d" % (kind, len(data)) + data + context).digest()
        known = self._log.get((index, term))
        if known is None:
            self._log[index, term] = digest, term_before
            return
        if known[0] != digest or (None not in {known[1], term_before} and known[1] != term_before):
            raise Violation(f"log matching: member {member} has another entry {index} of term {term}")
        if known[1] is None:
            self._log[index, term] = digest, term_before

    def lead(self, member: int, term: int, log: WatchedLog) -> None:
        """Election safety, and leader completeness the first time that a leader is seen."""
        leader = self.leaders.setdefault(term, member)
        if leader != member:
            raise Violation(f"election safety: {leader} and {member} both lead in term {term}")

    def elected(self, member: int, term: int, log: WatchedLog) -> None:
        for index in range(log.truncated[0] + 1, self.commit + 1):
            entry_term, committed_in = self._committed.get(index, (0, term))
            if committed_in < term and log.term_at(index) != entry_term:
                raise Violation(
                    f"leader completeness: {member} leads in term {term} without the committed entry {index}"
                    f" of term {entry_term}"
                )

    def committed(self, member: int, replica: Replica, log: WatchedLog, seen: int) -> int:
        """What a member knows to be committed is the same entry everywhere; how far it was compared."""
        upto = min(replica.commit_index, log.last)
        for index in range(max(seen, log.truncated[0]) + 1, upto + 1):
            term = log.term_at(index)
            known = self._committed.setdefault(index, (term or 0, replica.term))
            if known[0] != term:
                raise Violation(f"member {member} has entry {index} of term {term} committed, others of {known[0]}")
        self.commit = max(self.commit, upto)
        return max(seen, upto)

    def sends(self, member: int, frame: bytes, log: WatchedLog) -> None:
        """Nothing is acknowledged that a crash could take back, and a vote is given once in a term."""
        if (
            not self.watches_disks
            or frame[0] != 1
            or frame[1] != 8
            or frame[2] not in {APPEND_ANSWER, VOTE_REQUEST, VOTE_ANSWER}
        ):
            return
        told = describe(frame[1:])
        if told["reject"]:
            return
        if frame[2] != APPEND_ANSWER:
            self._votes_for(member, member if frame[2] == VOTE_REQUEST else told["to"], told["term"], log)
        elif told["index"] > log.durable_last and told["term"] >= log.promised[0]:
            # One sync may hold an entry and a later leader's cut of it: then it is as if the word had gone before.
            raise Violation(f"member {member} acknowledges entry {told['index']}, and has {log.durable_last} durable")

    def _votes_for(self, member: int, candidate: int, term: int, log: WatchedLog) -> None:
        voted = self._votes.setdefault((member, term), candidate)
        if voted != candidate:
            raise Violation(f"member {member} votes for {voted} and for {candidate} in term {term}")
        durable_term, durable_vote = log.promised
        if durable_term < term or (durable_term == term and durable_vote != candidate):
            raise Violation(f"member {member} votes for {candidate} in term {term}, and a crash would take that back")

    # --- the ledger --------------------------------------------------------------------------------------------

    def applied(
        self, member: int, position: int, timestamp: int, units: Sequence[bytes], outcomes: Sequence[object]
    ) -> None:
        """State-machine safety: the same at a position everywhere. And: a unit takes effect at most once."""
        digest = sha256(b"%d %r" % (timestamp, [sha256(unit).digest() for unit in units])).digest()
        if self._same(member, position, digest):
            return
        for unit, outcome in zip(units, outcomes, strict=True):
            if isinstance(outcome, Receipts):
                self._take_effect(unit, outcome)

    def _take_effect(self, unit: bytes, receipts: Receipts) -> None:
        for command, receipt in zip(cast("Sequence[Command]", wire.decode(unit)), receipts, strict=True):
            if not receipt.created:
                continue
            self.entries[receipt.index] = command.key, receipt.version, command.value
            self.versions[command.key, receipt.version] = command.value
            if command.value is not None:
                first = self._effects.setdefault(command.value, receipt.index)
                if first != receipt.index:
                    raise Violation(f"{command.value!r} took effect twice: as entries {first} and {receipt.index}")

    def set_membership(self, member: int, position: int, record: bytes) -> None:
        self._same(member, position, sha256(b"members" + record).digest())
        self.members_record = max(self.members_record, (position, record))

    def _same(self, member: int, position: int, digest: bytes) -> bool:
        """Whether the position was applied before, by this member or another."""
        known = self._applied.setdefault(position, digest)
        if known != digest:
            raise Violation(f"state-machine safety: member {member} applies something else at position {position}")
        return known is not digest

    def root(self, member: int, size: int, root: bytes) -> None:
        known = self.roots.setdefault(size, root)
        if known != root:
            raise Violation(f"one root per size: member {member} has another root of {size} entries")

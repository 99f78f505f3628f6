"""The leader's side of a forwarded bundle: which one is taken next from each member.

Bundles of one origin are taken in sequence, without gaps, each once in a term. What a leader took is in its log as long
as it leads, so the same frame may arrive as often as it likes. All is forgotten when leadership ends: another term
begins at what its origin calls the oldest.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scribe_ledger.consensus.frames import Forward


class Verdict(Enum):
    TAKE = "take"
    KNOWN = "known"
    MISSING = "missing"


class Taking:
    def __init__(self) -> None:
        self._term = 0
        self._next: dict[int, tuple[int, int]] = {}
        """By origin: the newest session heard of, and the bundle that is next in it."""

    def lead(self, term: int) -> None:
        """This node leads in this term; nothing of earlier ones counts any more."""
        if term != self._term:
            self._term = term
            self._next = {}

    def consider(self, origin: int, forward: Forward) -> tuple[Verdict, int]:
        """What to do with a bundle of this term, and which one is next."""
        session, following = self._next.get(origin, (0, 0))
        if forward.session < session:
            return Verdict.KNOWN, 0  # of a process that is no more; nobody waits for it
        if forward.session > session:
            following = forward.first
        following = max(following, forward.first)
        self._next[origin] = forward.session, following
        if forward.sequence == following:
            return Verdict.TAKE, following
        return (Verdict.KNOWN if forward.sequence < following else Verdict.MISSING), following

    def took(self, origin: int, forward: Forward) -> None:
        self._next[origin] = forward.session, forward.sequence + 1

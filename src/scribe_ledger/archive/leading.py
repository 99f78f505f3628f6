"""``Leading``: whether this ledger's archiver is the one that archives: alone always, in a cluster on the leader.

Nothing rests on it for correctness: two archivers are harmless (``docs/design/0011-cold-tier.md``). It spares members
the work of being second, and keeps a node that is behind from judging what the store holds by what it has not applied.
"""

from __future__ import annotations

from typing import Protocol

from scribe_ledger.errors import Unavailable


class Leading(Protocol):
    """Asked from any thread."""

    @property
    def term(self) -> int:
        """For how long it has been so without a break, as a number that changes with every break; 0: it is not."""
        ...

    def catch_up(self) -> None:
        """Returns when this ledger has everything that was acknowledged before the call; else ``Unavailable``."""
        ...


class Alone:
    """A ledger that is no member's: nobody else archives it."""

    term = 1

    def catch_up(self) -> None:
        return


class Deposed(Unavailable):
    """Another leads now, and goes on with what this pass has left."""


class NotLeading(Unavailable):
    """Something was ordered that only the leader does. No pass has failed."""


def not_leading() -> NotLeading:
    return NotLeading("only the leader of the cluster archives", hint="order it again: any member has the leader do it")

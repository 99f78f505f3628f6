"""The seam between agreement and what is agreed on: what the replica asks of a ledger.

Units are bytes here. All methods but ``flush``, ``export``, ``prove`` and ``take`` are called by one thread, which must
not be kept waiting; those four run in another, beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from scribe_ledger.model import Extent as Extent  # noqa: PLC0414, TC001  # the protocol's own word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Outline(Protocol):
    """What a snapshot leads to: where its receiver is afterwards."""

    @property
    def position(self) -> int: ...

    @property
    def membership(self) -> bytes: ...

    @property
    def extent(self) -> Extent: ...


class StateMachine(Protocol):
    """A deterministic state machine with a store of its own, which is synced only when asked."""

    @property
    def position(self) -> int:
        """Of the last entry that changed something here. Entries after it may have been applied, to no effect."""
        ...

    @property
    def membership(self) -> bytes:
        """The record that was set last; empty before the first."""
        ...

    @property
    def extent(self) -> Extent: ...

    def root_at(self, size: int) -> bytes:
        """The root of its tree at a size that it has."""
        ...

    def check(self, unit: bytes) -> object:
        """Raises a ``ScribeError`` for a unit that would end this machine, or that it cannot read.

        Asked before a unit is proposed: in the log it would end every member, at each start again.
        """
        ...

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[object]:
        """Applies one entry in one atomic write, lets readers see it, and gives each unit's outcome.

        ``local`` are the same units as the objects that they were made of, on the node that made them. ``Overloaded``
        means that nothing was written and the same call may be repeated later; any other error ends the node.
        """
        ...

    def set_membership(self, position: int, record: bytes) -> None:
        """Writes the record, and the position with it. ``Overloaded`` as above."""
        ...

    def flush(self) -> int:
        """Makes durable what is applied; the position that a crash cannot take back any more."""
        ...

    # --- snapshots ---------------------------------------------------------------------------------------------

    def describe(self) -> bytes:
        """What this machine has, for ``export`` on another."""
        ...

    def export(self, have: bytes, stop: int, position: int, membership: bytes) -> Iterator[bytes]:
        """What a machine that has ``have`` lacks of the first ``stop`` entries, in pieces of some 100 KiB.

        ``Conflict`` if ``have`` is no prefix of this ledger. ``position`` and ``membership`` belong to that size.
        """
        ...

    @property
    def taken_in_part(self) -> bool:
        """Whether ``take`` was cut short: nothing is applied until it is called again with the same pieces."""
        ...

    def prove(self, pieces: Iterable[bytes]) -> Outline | None:
        """What ``take`` would lead to. Writes nothing; ``VerificationError`` if the pieces do not lead there.

        None where they were taken before. Nothing may be applied meanwhile, nor between this and ``take``.
        """
        ...

    def take(self, pieces: Iterable[bytes]) -> None:
        """Takes what ``export`` gave, all of it. What it has already is skipped, so it may be repeated after a crash.

        Nothing may be applied meanwhile. ``VerificationError`` if the entries do not give the root that was named.
        """
        ...

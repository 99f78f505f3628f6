"""``Looks``: a store as one process of a check looks at it, at what was found wrong once more.

A network may err, so a fault is what was wrong twice. Nothing that was right is read again. Where ``ENOUGH`` faults
stayed it is the store that is wrong, and the others are noted as they are seen: so the check of a store in which much
is damaged takes no longer for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.objects.store import ObjectStore

T = TypeVar("T")

ENOUGH = 32
"""Faults that stayed, for each process."""


class Looks:
    """For one thread at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._stayed = 0

    def twice(self, look: Callable[[ObjectStore], T], *, is_wrong: Callable[[T], bool]) -> T:
        """What a look gives, the second one if the first was wrong."""
        found = look(self.store)
        if is_wrong(found) and self._stayed < ENOUGH:
            found = look(self.store)
            self._stayed += is_wrong(found)
        return found


def is_missing(found: object) -> bool:
    return found is None


def is_fault(found: object) -> bool:
    """Of a look that gives what is wrong, or nothing."""
    return found is not None

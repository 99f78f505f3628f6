"""``WatchedMachine``: the production state machine on a store in memory; what it applies is compared with the others.

It may crash its member before and after each entry, and between the pieces of a snapshot.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import Overloaded
from scribe_ledger.ledger.reads import Reader
from scribe_ledger.ledger.replicated import ReplicatedMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.simulator.checks import Checks

    from scribe_ledger.ledger.replicated import Outcome
    from scribe_ledger.ledger.store import Store


class _NoArchive:
    evicted = 0


class WatchedMachine(ReplicatedMachine):
    def __init__(
        self, store: Store, member: int, checks: Checks, step: Callable[[], None], is_overloaded: Callable[[], bool]
    ) -> None:
        super().__init__(store)
        self._member, self._checks, self._step, self._is_overloaded = member, checks, step, is_overloaded
        self._reader = Reader(store, None, _NoArchive())  # type: ignore[arg-type]  # nothing is archived here

    def apply(
        self, position: int, timestamp: int, units: Sequence[bytes], local: Sequence[object] | None
    ) -> Sequence[Outcome]:
        self._before()
        outcomes = super().apply(position, timestamp, units, local)
        self._checks.applied(self._member, position, timestamp, units, outcomes)
        self._after()
        return outcomes

    def set_membership(self, position: int, record: bytes) -> None:
        self._before()
        super().set_membership(position, record)
        self._checks.set_membership(self._member, position, record)
        self._after()

    def _before(self) -> None:
        if self._is_overloaded():
            raise Overloaded("the machine takes a breath")
        self._step()

    def _after(self) -> None:
        extent = self.extent
        self._checks.root(self._member, extent.size, extent.root)
        self._step()

    def take(self, pieces: Iterable[bytes]) -> None:
        super().take(self._step_by_step(pieces))
        self._after()

    def _step_by_step(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._step()
            yield piece

    def look(self, key: bytes) -> tuple[int, bytes | None]:
        """What a reader sees now: version and value. None: deleted, or never there."""
        spot = self._reader.spot(key, self.machine.committed.size)
        if spot is None:
            return 0, None
        return spot.version, None if spot.deleted else self._reader.value(spot)

    def digest(self) -> bytes:
        """Of all that is compared at the end."""
        return sha256(repr((self.extent, self.position)).encode()).digest()

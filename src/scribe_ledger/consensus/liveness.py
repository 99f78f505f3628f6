"""``Liveness``: which members are heard from. Anything that a member sends counts as a sign of life.

Sans-IO: time comes in as monotonic seconds, and wall-clock milliseconds only for people. It decides nothing: votes and
terms do not depend on it. A member that was never heard counts from the moment that it was first expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

State = Literal["alive", "suspect", "failed"]

SUSPECT_SHARE = 0.6
"""Of the failure timeout: silence after which a member is under suspicion."""


class _Sign(NamedTuple):
    at: float
    wall_ms: int
    """0: never heard, only expected."""


class Liveness:
    def __init__(self, failure_timeout_ms: int) -> None:
        self._failed_after = failure_timeout_ms / 1000
        self._suspect_after = self._failed_after * SUSPECT_SHARE
        self._signs: dict[int, _Sign] = {}

    def expect(self, raft_ids: Iterable[int], now: float) -> None:
        """Exactly these are watched from now on."""
        self._signs = {raft_id: self._signs.get(raft_id, _Sign(now, 0)) for raft_id in raft_ids}

    def note(self, raft_id: int, now: float, wall_ms: int) -> None:
        """Something was heard. From whom nobody expects, it is not kept."""
        sign = self._signs.get(raft_id)
        if sign is not None and now >= sign.at:
            self._signs[raft_id] = _Sign(now, wall_ms)

    def silence(self, raft_id: int, now: float) -> float:
        """Seconds since it was heard, or first expected; infinite for whom nobody expects."""
        sign = self._signs.get(raft_id)
        return float("inf") if sign is None else now - sign.at

    def state(self, raft_id: int, now: float) -> State:
        silence = self.silence(raft_id, now)
        if silence >= self._failed_after:
            return "failed"
        return "suspect" if silence >= self._suspect_after else "alive"

    def states(self, now: float) -> dict[int, State]:
        return {raft_id: self.state(raft_id, now) for raft_id in self._signs}

    def last_heard_ms(self, raft_id: int) -> int:
        """Milliseconds since 1970; 0: never."""
        sign = self._signs.get(raft_id)
        return 0 if sign is None else sign.wall_ms

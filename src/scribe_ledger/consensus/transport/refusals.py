"""``Refusals`` counts and tells what was refused; ``Gate`` bounds how many strangers may be at the door at once."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.transport.contract import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scribe_ledger.consensus.transport.contract import Limits

log = structlog.get_logger("scribe.raft")
QUIET_SECONDS = 60.0
"""Between two lines about the same thing."""
_REMEMBERED = 256
"""Pairs of event and address. Beyond, lines about further addresses share one."""


class Refusals:
    """Counts everything, and logs the same reason from the same address once a minute at most."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._told: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    @property
    def counts(self) -> Mapping[str, int]:
        """By reason."""
        return dict(self._counts)

    def note(self, error: Refused, host: str) -> None:
        """Something was refused here."""
        self._counts[error.reason] += 1
        self.tell("a connection to the Raft port was refused", str(error.reason), host, error)

    def tell(self, event: str, reason: str, address: str, error: BaseException) -> None:
        """Logs without counting."""
        now = self._clock()
        while self._told and now - next(iter(self._told.values())) >= QUIET_SECONDS:
            self._told.popitem(last=False)
        key = (event, reason, address)
        if key not in self._told and len(self._told) >= _REMEMBERED:
            key = (event, reason, "")
        if key not in self._told:
            self._told[key] = now
            log.warning(event, reason=reason, address=address, error=str(error))


class Gate:
    """Who is still shaking hands, in total and by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._inside.total()

    def enter(self, host: str) -> None:
        """Raises ``Refused`` where that would be one too many; else ``leave`` must follow."""
        limits = self._limits
        if len(self) >= limits.waiting_handshakes or self._inside[host] >= limits.waiting_handshakes_per_address:
            raise Refused("too many connections have not proven themselves", reason=Reason.TOO_MANY)
        self._inside[host] += 1

    def leave(self, host: str) -> None:
        self._inside[host] -= 1
        if not self._inside[host]:
            del self._inside[host]

"""``LedgerRules``: the rules by which a member's ledger applies, and how a leader raises them: by a config entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.ledger.commands import configure
from scribe_ledger.ledger.wire import encode_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.member import Member
    from scribe_ledger.ledger.served import ServedLedger

RAISE_SECONDS = 3.0
"""For the entry to be agreed on; the steward thinks it over again after as long."""


class LedgerRules:
    def __init__(self, ledger: ServedLedger, member: Member) -> None:
        self._ledger = ledger
        self._member = member

    @property
    def version(self) -> int:
        return self._ledger.policy.apply_version

    def raise_to(self, version: int, done: Callable[[object], object]) -> None:
        """Whoever asks has made sure that every member knows them: one that does not stops."""
        unit = [configure({"apply_version": version})]
        self._member.submit(encode_unit(unit), unit, done, seconds=RAISE_SECONDS)

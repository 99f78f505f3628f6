"""Archiving by one of several: only who leads seals, and a pass ends where leadership does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.leading import Deposed
from scribe_ledger.errors import Unavailable
from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


class Term:
    """Leadership, as a test wants it."""

    def __init__(self, term: int) -> None:
        self.term = term
        self.caught_up = 0

    def catch_up(self) -> None:
        self.caught_up += 1


def test_who_does_not_lead_seals_nothing_and_says_so_when_ordered(tmp_path: Path) -> None:
    leading = Term(0)
    with ServedLedger.open(tmp_path / "data") as ledger:
        ledger.put("key", b"value")
        archiver = Archiver(ledger, ArchiveSettings(age_threshold_secs=0), leading=leading)
        assert not archiver.is_due()
        assert archiver.run_once().archived_size == 0
        with pytest.raises(Unavailable, match="only the leader"):
            archiver.run_once(everything=True)
        leading.term = 3
        assert archiver.is_due()
        assert archiver.run_once().archived_size == 1
        assert leading.caught_up == 1, "the store is judged by a ledger that has caught up"


def test_a_pass_ends_at_the_step_where_leadership_is_lost_and_another_finishes_it(tmp_path: Path) -> None:
    leading = Term(3)

    def depose(step: str) -> None:
        if step == "upload-segment":
            leading.term = 0

    with ServedLedger.open(tmp_path / "data") as ledger:
        ledger.put("key", b"value")
        archiver = Archiver(ledger, ArchiveSettings(age_threshold_secs=0), leading=leading, at_step=depose)
        with pytest.raises(Deposed):
            archiver.run_once(everything=True)
        assert ledger.manifest.archived_size == 0
        assert archiver.status.failures_in_a_row == 0, "that is no failure"
        archiver = Archiver(ledger, ArchiveSettings(age_threshold_secs=0), leading=Term(4))
        assert archiver.run_once(everything=True).archived_size == 1

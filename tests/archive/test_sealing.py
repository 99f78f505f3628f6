"""The entries of the next segment, gathered while one is written: when, and what becomes of them if things change."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import SEGMENT_SIZE, archiver, open_ledger
from tests.archive.stores import NotingStore

from scribe_ledger.archive import sealing
from scribe_ledger.archive.pacing import Stopping
from scribe_ledger.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.archive.work import Work
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.segments.writing import Group

pytestmark = pytest.mark.storage

PATIENCE_SECONDS = 20
SEGMENTS = 3


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ServedLedger]:
    """With entries for some segments."""
    with open_ledger(tmp_path / "ledger", NotingStore(tmp_path / "store")) as opened:
        while opened.pending.bytes < SEGMENTS * SEGMENT_SIZE:
            opened.put_many([(f"key {opened.size + place}", bytes(400)) for place in range(20)])
        yield opened
    assert gathering_threads() == []


def gathering_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("scribe-gather")]


class Gatherings:
    """Where entries began to be gathered ahead."""

    def __init__(self, ledger: ServedLedger, patch: pytest.MonkeyPatch) -> None:
        self.ahead: list[int] = []
        self.begun = threading.Semaphore(0)
        self.fault: Callable[[int], object] = lambda _: None
        self._read = ledger.groups
        patch.setattr(ledger, "groups", self._groups)

    def _groups(self, start: int, stop: int) -> Iterator[Group]:
        if threading.current_thread().name.startswith("scribe-gather"):
            self.ahead.append(start)
            self.begun.release()
        self.fault(start)
        return self._read(start, stop)


@pytest.fixture
def gatherings(ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> Gatherings:
    return Gatherings(ledger, monkeypatch)


def test_the_next_entries_are_gathered_while_a_segment_is_on_its_way(
    ledger: ServedLedger, gatherings: Gatherings
) -> None:
    size = ledger.size

    def at_step(step: str) -> None:
        if step == "seal" and ledger.manifest.archived_size == 0:
            assert gatherings.begun.acquire(timeout=PATIENCE_SECONDS)

    result = archiver(ledger, at_step).run_once(everything=True)
    segments = ledger.manifest.segments
    assert result.archived_size == size
    assert gatherings.ahead == [segment.first_index for segment in segments[1:]]
    assert all(segment.log_bytes >= SEGMENT_SIZE for segment in segments[:-1])


def test_nothing_is_gathered_ahead_while_somebody_writes(ledger: ServedLedger, gatherings: Gatherings) -> None:
    gatherings.fault = lambda start: ledger.put(f"foreground {start}", b"value")
    result = archiver(ledger).run_once()
    assert result.sealed >= 2
    assert gatherings.ahead == []


def test_what_cannot_be_gathered_ahead_fails_in_its_turn(ledger: ServedLedger, gatherings: Gatherings) -> None:
    def fault(start: int) -> None:
        if start:
            raise StorageError("unreadable")

    gatherings.fault = fault
    with pytest.raises(StorageError, match="unreadable"):
        archiver(ledger).run_once(everything=True)
    assert len(ledger.manifest.segments) == 1
    assert len(gatherings.ahead) == 1


def test_a_pass_that_ends_leaves_nobody_gathering(ledger: ServedLedger, gatherings: Gatherings) -> None:
    def at_step(step: str) -> None:
        if step == "upload-segment":
            assert gatherings.begun.acquire(timeout=PATIENCE_SECONDS)
            archive.stop()

    archive = archiver(ledger, at_step)
    with pytest.raises(Stopping):
        archive.run_once(everything=True)
    assert gathering_threads() == []
    assert archive.status.last_error == ""


def test_a_disk_that_fills_makes_the_next_segment_smaller_than_what_was_gathered(
    ledger: ServedLedger, gatherings: Gatherings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def room(work: Work, size: int) -> int:
        return size // 4 if work.ledger.manifest.segments else size

    monkeypatch.setattr(sealing, "room_to_seal", room)
    archiver(ledger).run_once(everything=True)
    first, second, *_ = ledger.manifest.segments
    assert gatherings.ahead
    assert second.log_bytes < first.log_bytes / 2
    assert ledger.manifest.archived_size == ledger.size

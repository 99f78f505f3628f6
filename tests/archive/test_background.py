"""Passes that follow one another: what ends archiving, what brings it back, and what a failure is forgotten by."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.archive.lost import archive, lose, opened
from tests.archive.rounds import archiver, await_until, open_ledger, write_round
from tests.archive.stores import NotingStore

from scribe_ledger.archive import background, room
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import Unavailable
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.archive.archiver import Archiver
    from scribe_ledger.ledger.served import ServedLedger

pytestmark = pytest.mark.storage


class ErringStore(NotingStore):
    """Over a network that may alter one byte of what is read next below a path, so many times."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.wrong: dict[str, int] = {}

    def get(self, path: str, *, max_size: int | None = None) -> bytes | None:
        found = super().get(path)
        for prefix, left in self.wrong.items():
            if found and left and path.startswith(prefix):
                self.wrong[prefix] = left - 1
                return found[:-9] + bytes([found[-9] ^ 1]) + found[-8:]
        return found


@pytest.fixture
def store(tmp_path: Path) -> ErringStore:
    return ErringStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: ErringStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)


def started(ledger: ServedLedger, **changes: Any) -> Archiver:
    found = archiver(ledger, age_threshold_secs=0, **changes)
    found.start()
    return found


# --- a network that errs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [paths.IDENTITY, paths.EPOCHS, paths.CHECKPOINTS])
def test_one_wrong_answer_is_no_damaged_object(tmp_path: Path, store: ErringStore, path: str) -> None:
    lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "new", promote=True)
    with opened(tmp_path / "new", store) as new:
        new.put("in the", "new epoch")
        archive(new)
        new.put("more", "to archive")
        store.wrong[path] = 1
        archive(new)
        assert store.wrong[path] == 0, "it was asked"
        assert new.manifest.archived_size == new.size


def test_one_wrong_answer_about_a_checkpoint_that_another_has_put_is_no_fork(
    tmp_path: Path, store: ErringStore
) -> None:
    with opened(tmp_path / "ledger", store, name="example.org/log") as ledger:
        ledger.put("first", "1")
        archive(ledger)
        ledger.put("second", "2")
        ours = ledger.checkpoint(at=2).text.encode()
        taken = store.put_bytes

        def late(path: str, content: bytes, *, replace: bool = False) -> bool:
            if path == paths.checkpoint_path(2):  # another is just before us
                taken(path, ours)
                store.wrong[path] = 1
            return taken(path, content, replace=replace)

        store.put_bytes = late  # type: ignore[method-assign]
        archive(ledger)
        assert store.wrong == {paths.checkpoint_path(2): 0}
        assert store.get(paths.CHECKPOINT) == ours


# --- archiving that has ended ----------------------------------------------------------------------------------


def test_archiving_that_has_ended_looks_again_and_goes_on_when_the_object_is_right(
    ledger: ServedLedger, store: ErringStore, caplog: pytest.LogCaptureFixture
) -> None:
    write_round(ledger, 0)
    archiver(ledger).run_once(everything=True)
    store.wrong[paths.IDENTITY] = 1 << 30
    write_round(ledger, 1)
    archive = started(ledger, check_interval_secs=0.02)
    try:
        await_until(lambda: archive.errors["corruption"] >= 3)
        status = archive.status
        assert (status.running, status.gave_up) == (False, True), "also between two looks"
        assert "scribe.json" in status.last_error
        said = [record for record in caplog.records if "archiving has stopped" in record.getMessage()]
        assert [record.levelno for record in said].count(logging.ERROR) == 1, "loud once, not at each look"
        assert ledger.put("small", "written all the same").created
        store.wrong.clear()
        await_until(lambda: archive.running and not archive.failing)
        await_until(lambda: ledger.manifest.archived_size == ledger.size)
        assert archive.failures_in_a_row == 0
        assert not archive.gave_up
    finally:
        archive.stop()


def test_a_pass_by_hand_that_goes_well_ends_the_pause(ledger: ServedLedger, store: ErringStore) -> None:
    write_round(ledger, 0)
    archiver(ledger).run_once(everything=True)
    store.wrong[paths.IDENTITY] = 1 << 30
    write_round(ledger, 1)
    archive = started(ledger, check_interval_secs=3600)
    try:
        await_until(lambda: archive.gave_up)
        store.wrong.clear()
        archive.run_once()
        assert archive.running
        write_round(ledger, 2)
        await_until(lambda: ledger.manifest.archived_size == ledger.size)
    finally:
        archive.stop()


# --- pauses ----------------------------------------------------------------------------------------------------


def test_a_store_that_is_back_ends_the_pause(
    ledger: ServedLedger, store: ErringStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 3600)
    store.down = True
    write_round_of_small_values(ledger)
    archive = started(ledger, check_interval_secs=3600)
    try:
        await_until(lambda: archive.failing)
        store.down = False
        archive.wake()
        await_until(lambda: ledger.manifest.archived_size == ledger.size)
        assert archive.runs["failed"] == 1
    finally:
        archive.stop()


def test_nobody_is_woken_who_waits_for_nothing(ledger: ServedLedger) -> None:
    archive = started(ledger, check_interval_secs=3600)
    try:
        await_until(lambda: archive.runs["ok"] == 1)
        archive.wake()
        assert not archive._background._woken
    finally:
        archive.stop()


def test_while_writes_are_refused_for_want_of_room_no_pause_is_long(
    ledger: ServedLedger, store: ErringStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 3600)
    monkeypatch.setattr(background, "URGENT_SECONDS", 0.02)
    disk, looks = SimpleNamespace(free=1 << 40), Counter[str]()

    def look(_: object) -> SimpleNamespace:
        looks["disk"] += 1
        return disk

    monkeypatch.setattr(room, "disk_usage", look)
    store.down = True
    write_round_of_small_values(ledger)
    archive = started(ledger, check_interval_secs=3600, disk_reserve=1 << 30)
    try:
        await_until(lambda: archive.failing)
        looks.clear()
        await_until(lambda: looks["disk"] >= 3)
        assert archive.runs["failed"] == 1, "there is room"
        disk.free = (1 << 30) - 1
        await_until(lambda: archive.runs["failed"] >= 3)
    finally:
        archive.stop()


def test_what_was_evicted_is_given_back_when_room_runs_short_later(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(free=1 << 40)
    monkeypatch.setattr(room, "disk_usage", lambda _: disk)
    write_round_of_small_values(ledger)
    archive = started(ledger, check_interval_secs=3600, hot_size=0, disk_reserve=1 << 30)
    try:
        await_until(lambda: ledger.evicted == ledger.size and archive.runs["ok"])
        assert ledger.reclaimable
        disk.free = (1 << 30) - 1
        await_until(lambda: not ledger.reclaimable)
        passes, looks = archive.runs.total(), Counter[str]()
        is_due = archive.is_due

        def look() -> bool:
            looks["due"] += 1
            return is_due()

        monkeypatch.setattr(archive, "is_due", look)
        await_until(lambda: looks["due"] >= 5)
        assert archive.runs.total() <= passes + 1, "once"
    finally:
        archive.stop()


def write_round_of_small_values(ledger: ServedLedger) -> None:
    ledger.put_many([(f"key {number}", "value") for number in range(50)])


# --- what a pass that goes well says of the store --------------------------------------------------------------


def test_a_pass_with_nothing_to_do_forgets_no_error_of_the_store(ledger: ServedLedger, store: ErringStore) -> None:
    write_round(ledger, 0)
    archive = archiver(ledger)
    archive.run_once(everything=True)
    archive.run_once()
    write_round(ledger, 1)
    store.down = True
    with pytest.raises(Unavailable):
        archive.run_once(everything=True)
    for failures in (2, 3):
        with pytest.raises(Unavailable):
            archive.run_once()  # nothing is due
        assert (archive.failures_in_a_row, archive.failing) == (failures, True)
    store.down = False
    archive.run_once()
    assert (archive.failures_in_a_row, archive.status.last_error) == (0, "")
    store.asked.clear()
    archive.run_once()
    assert store.asked == [], "who has nothing to ask for, and no error to ask about, asks nothing"


def test_nor_is_a_store_claimed_in_order_to_ask(ledger: ServedLedger, store: ErringStore) -> None:
    ledger.put("a", "1")
    archive = archiver(ledger, age_threshold_secs=1 << 40)
    store.down = True
    with pytest.raises(Unavailable):
        archive.run_once(everything=True)
    with pytest.raises(Unavailable):
        archive.run_once()
    store.down = False
    archive.run_once()
    assert (archive.failing, store.written) == (False, [])

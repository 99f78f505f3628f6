"""Passes of the archiver: what is sealed when, what an idle ledger costs, failures, and two archivers at once."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import (
    SEGMENT_SIZE,
    archiver,
    await_until,
    check_archived,
    check_ledger,
    open_ledger,
    settings,
    write_round,
)
from tests.archive.stores import NotingStore
from tests.ledger.opening import START

from scribe_ledger.archive import background, room
from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.pacing import Pace, Stopping
from scribe_ledger.archive.recovery import restore
from scribe_ledger.config import Config
from scribe_ledger.errors import Corruption, Forbidden, ScribeError, StorageError, Unavailable
from scribe_ledger.ledger.folder import UPLOADS
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects import paths, temporary
from scribe_ledger.objects.epochs import Superseded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.segments.writing import Group

pytestmark = pytest.mark.storage

PATIENCE_SECONDS = 20


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: NotingStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


def fill(ledger: ServedLedger, size: int) -> None:
    """Until so many bytes are pending, in batches of one group and a bit."""
    number = ledger.size
    while ledger.pending.bytes < size:
        ledger.put_many([(f"fill {number + place}", f"{number + place}".encode() * 40) for place in range(40)])
        number += 40


def temporary_files(ledger: ServedLedger) -> list[Path]:
    return [found for found in ledger.spool.iterdir() if found.name != UPLOADS]


# --- what is sealed, and when ----------------------------------------------------------------------------------


def test_entries_are_sealed_when_there_are_enough_bytes_of_them(ledger: ServedLedger) -> None:
    young = Archiver(ledger, settings(), clock=lambda: START)
    fill(ledger, SEGMENT_SIZE - 15_000)
    assert young.run_once().sealed == 0
    fill(ledger, SEGMENT_SIZE)
    assert young.run_once().sealed == 1
    segment = ledger.manifest.segments[0]
    assert SEGMENT_SIZE <= segment.log_bytes < SEGMENT_SIZE + 10_000
    assert ledger.pending.bytes < SEGMENT_SIZE


def test_a_backlog_becomes_segments_of_the_same_size_and_the_rest_waits(ledger: ServedLedger) -> None:
    fill(ledger, 4 * SEGMENT_SIZE)
    result = Archiver(ledger, settings(), clock=lambda: START).run_once()
    assert result.sealed == len(ledger.manifest.segments) == 3
    assert all(SEGMENT_SIZE <= segment.log_bytes < SEGMENT_SIZE + 10_000 for segment in ledger.manifest.segments)
    assert 0 < ledger.pending.entries < 100
    assert ledger.objects.stat(paths.checkpoint_path(result.archived_size)) is not None


def test_entries_are_sealed_when_they_are_old_enough(ledger: ServedLedger) -> None:
    write_round(ledger, 0)
    clock = [START]
    archive = Archiver(ledger, settings(age_threshold_secs=60), clock=lambda: clock[0])
    clock[0] = START + 59_999
    assert archive.run_once().sealed == 0
    assert not archive.is_due()
    clock[0] = START + 60_000
    assert archive.is_due()
    assert archive.run_once().archived_size == ledger.size


def test_entries_of_a_clock_that_was_ahead_are_sealed_when_they_have_waited_long_enough(ledger: ServedLedger) -> None:
    write_round(ledger, 0)
    seconds = [1000.0]
    archive = Archiver(ledger, settings(age_threshold_secs=60), clock=lambda: START - 10**9, timer=lambda: seconds[0])
    assert archive.status.lag_seconds == 0
    seconds[0] += 59
    assert not archive.is_due()
    seconds[0] += 1
    assert archive.is_due()
    assert archive.status.lag_seconds == 60
    assert archive.run_once().archived_size == ledger.size
    seconds[0] += 1000
    assert archive.status.lag_seconds == 0
    write_round(ledger, 1)
    assert not archive.is_due(), "how long nothing waited does not count"
    seconds[0] += 60
    assert archive.run_once().archived_size == ledger.size


def test_a_pass_for_everything_seals_what_is_small_and_young(ledger: ServedLedger) -> None:
    write_round(ledger, 0)
    archive = Archiver(ledger, settings(), clock=lambda: START)
    assert archive.run_once().sealed == 0
    assert archive.run_once(everything=True)[:3] == (2, ledger.size, 1)
    check_archived(ledger, 1)


def test_an_idle_ledger_asks_nothing_of_its_store_and_writes_nothing(
    ledger: ServedLedger, store: NotingStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    archive = archiver(ledger, grace_secs=3600)
    archive.run_once()
    assert store.written == []
    write_round(ledger, 0)
    archive.run_once(everything=True)
    version = ledger.manifest.version
    for _ in range(3):
        store.asked.clear()
        archive.run_once(everything=True)
        assert store.asked == []
    assert ledger.manifest.version == version
    again = archiver(ledger, grace_secs=3600)
    again.run_once()
    assert store.written == [], "a new process reads what there is, once, and finds it complete"
    store.asked.clear()
    again.run_once()
    assert store.asked == []
    assert caplog.records == []


def test_settings_come_from_a_configuration() -> None:
    assert ArchiveSettings.of(Config()) == ArchiveSettings(disk_reserve=Config().storage.disk_reserve)
    assert Config().storage.disk_reserve > 0
    config = Config.load(
        overrides={
            "storage.segment_size": 1000,
            "storage.hot_size": 5,
            "storage.disk_reserve": 1 << 30,
            "storage.tiering.age_threshold_secs": 7,
            "storage.tiering.enable_compression": False,
            "storage.tiering.compression_level": 3,
            "storage.tiering.archival_check_interval_secs": 9,
            "storage.tiering.enable_auto_archival": False,
        },
        environ={},
    )
    assert ArchiveSettings.of(config) == ArchiveSettings(
        segment_size=1000,
        hot_size=5,
        disk_reserve=1 << 30,
        age_threshold_secs=7,
        compression=None,
        compression_level=3,
        check_interval_secs=9,
        auto=False,
    )


# --- evicting --------------------------------------------------------------------------------------------------


def test_values_beyond_the_hot_size_leave_oldest_first_and_are_read_as_before(ledger: ServedLedger) -> None:
    archive = archiver(ledger, hot_size=10_000)
    for number in range(6):
        write_round(ledger, number)
        archive.run_once(everything=True)
    segments = ledger.manifest.segments
    kept = [segment for segment in segments if segment.stop > ledger.evicted]
    assert 0 < len(kept) < len(segments)
    assert sum(segment.log_bytes for segment in kept) <= 10_000
    assert sum(segment.log_bytes for segment in segments[-len(kept) - 1 :]) > 10_000
    check_ledger(ledger, 6)


def test_nothing_is_evicted_before_its_object_was_read_and_is_right(ledger: ServedLedger, store: NotingStore) -> None:
    write_round(ledger, 0)
    archiver(ledger, hot_size=1 << 30).run_once(everything=True)
    segment = ledger.manifest.segments[0]
    whole = (store.root / segment.path).read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    (store.root / segment.path).write_bytes(content)
    archive = archiver(ledger, hot_size=0)
    with pytest.raises(Corruption, match=segment.segment_id):
        archive.run_once()
    (store.root / segment.path).unlink()
    with pytest.raises(Corruption, match="is not in the object store"):
        archive.run_once()
    assert ledger.evicted == 0
    (store.root / segment.path).write_bytes(whole)
    check_ledger(ledger, 1)


# --- what goes wrong -------------------------------------------------------------------------------------------


def test_a_segment_that_exists_counts_only_with_the_same_bytes(ledger: ServedLedger, store: NotingStore) -> None:
    write_round(ledger, 0)

    class Cut(Exception):
        pass

    def cut(step: str) -> None:
        if step == "upload-segment":
            raise Cut

    with pytest.raises(Cut):
        archiver(ledger, cut).run_once(everything=True)
    (listed,) = store.list(paths.SEGMENTS)
    whole = (store.root / listed.path).read_bytes()
    (store.root / listed.path).write_bytes(whole[:-1] + b"?")
    with pytest.raises(Corruption, match="do not have the digest in its name"):
        archiver(ledger).run_once(everything=True)
    assert ledger.manifest.archived_size == 0
    (store.root / listed.path).write_bytes(whole)
    archiver(ledger).run_once(everything=True)
    check_archived(ledger, 1)


def test_a_store_that_is_down_fails_a_pass_and_never_a_write(ledger: ServedLedger, store: NotingStore) -> None:
    archive = archiver(ledger)
    store.down = True
    write_many_inline(ledger)
    with pytest.raises(Unavailable, match="down"):
        archive.run_once(everything=True)
    with pytest.raises(Unavailable, match="down"):
        archive.run_once(everything=True)
    status = archive.status
    assert (status.failures_in_a_row, status.store_ok, status.last_success) == (2, False, 0)
    assert "down" in status.last_error
    assert status.pending_entries == ledger.size
    assert status.lag_seconds > 0
    store.down = False
    archive.run_once(everything=True)
    status = archive.status
    assert (status.failures_in_a_row, status.store_ok, status.last_error) == (0, True, "")
    assert status.last_success > 0
    assert (status.pending_entries, status.pending_bytes, status.lag_seconds) == (0, 0, 0)
    assert (status.archived_size, status.segments, status.object_store) == (ledger.size, 1, store.url)


def write_many_inline(ledger: ServedLedger) -> None:
    ledger.put_many([(f"key {number}", b"value" * 20) for number in range(50)])


def test_a_full_disk_while_sealing_leaves_a_clear_error_and_a_ledger_that_serves(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_round(ledger, 0)

    def full(_descriptor: int, _data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = archiver(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(temporary, "write_all", full)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            archive.run_once(everything=True)
        assert "free space" in caught.value.hint
        assert not isinstance(caught.value, Corruption)
        assert temporary_files(ledger) == []
        assert "No space left" in archive.status.last_error
        assert "request" not in archive.status.last_error
    check_ledger(ledger, 1)
    write_round(ledger, 1)
    archive.run_once(everything=True)
    check_archived(ledger, 2)


def test_a_store_of_a_newer_epoch_ends_archiving_and_writing(
    ledger: ServedLedger, store: NotingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def superseded() -> None:
        raise Superseded("this ledger goes on elsewhere")

    write_round(ledger, 0)
    monkeypatch.setattr(ledger, "check_store", superseded)
    with pytest.raises(Superseded):
        archiver(ledger).run_once(everything=True)
    with pytest.raises(ScribeError, match="goes on elsewhere"):
        ledger.put("key", "value")
    assert ledger.get("round") == b"0"
    assert [path for path in store.written if path.startswith(paths.SEGMENTS)] == []
    assert "goes on elsewhere" in archiver(ledger).status.last_error, "also where no pass is begun, as after a restart"


def test_a_restored_ledger_that_was_not_promoted_leaves_the_store_alone(
    ledger: ServedLedger, store: NotingStore, tmp_path: Path
) -> None:
    archive = archiver(ledger, segment_size=1, grace_secs=1_000_000_000)
    for number in range(10):
        write_round(ledger, number)
        archive.run_once(everything=True)
    restore(store, tmp_path / "restored")
    store.asked.clear()
    with ServedLedger.open(tmp_path / "restored", object_store=store) as restored:
        assert restored.get("round") == b"9"
        with pytest.raises(Forbidden, match="read-only"):
            archiver(restored, segment_size=1 << 20).run_once()
    assert store.written == []


class Disk:
    """Stands for the one under the spool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.free = free
        monkeypatch.setattr(room, "disk_usage", self.usage)

    def usage(self, folder: Path) -> SimpleNamespace:
        assert folder.name == "spool"
        return SimpleNamespace(free=self.free)


def test_sealing_leaves_half_of_the_reserve_and_evicts_nevertheless(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_round(ledger, 0)
    archiver(ledger, hot_size=1 << 30).run_once(everything=True)
    archived = ledger.size
    write_round(ledger, 1)
    needed = ledger.pending.bytes
    disk = Disk(monkeypatch, 500_000 + needed - 1)
    archive = archiver(ledger, hot_size=0, disk_reserve=1_000_000)
    with pytest.raises(
        StorageError, match=f"{disk.free} bytes free.*about {needed} bytes.*500000, half of the reserve of 1000000"
    ) as caught:
        archive.run_once(everything=True)
    assert not isinstance(caught.value, Corruption)
    assert "disk_reserve" in caught.value.hint
    assert (ledger.manifest.archived_size, ledger.evicted) == (archived, archived)
    disk.free += 1
    assert archive.run_once(everything=True).archived_size == ledger.size == ledger.evicted
    check_ledger(ledger, 2)


def test_a_full_segment_needs_its_own_size_and_not_that_of_the_backlog(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 3 * SEGMENT_SIZE)
    disk = Disk(monkeypatch, 1 + SEGMENT_SIZE)
    assert archiver(ledger, disk_reserve=2).run_once(everything=True).sealed > 2
    fill(ledger, SEGMENT_SIZE)
    disk.free -= 1
    with pytest.raises(StorageError, match="reserve"):
        archiver(ledger, disk_reserve=2).run_once(everything=True)


def test_below_the_reserve_smaller_segments_make_room_where_no_full_one_fits(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing could be evicted, and writes would be refused for good."""
    monkeypatch.setattr(room, "LEAST_BYTES", SEGMENT_SIZE // 8)
    fill(ledger, 2 * SEGMENT_SIZE)
    Disk(monkeypatch, 500_000 + SEGMENT_SIZE // 4)
    result = archiver(ledger, hot_size=0, disk_reserve=1_000_000).run_once(everything=True)
    assert result.evicted == result.archived_size == ledger.size
    assert result.sealed >= 4


def test_values_are_evicted_after_each_segment(ledger: ServedLedger) -> None:
    seen: list[str] = []
    fill(ledger, 3 * SEGMENT_SIZE)
    result = archiver(ledger, seen.append, hot_size=0).run_once(everything=True)
    steps = [step for step in seen if step in {"sequence", "publish-checkpoint", "evict"}]
    assert steps == ["sequence", "publish-checkpoint", "evict"] * result.sealed
    assert result.evicted == ledger.size


def test_segments_are_not_merged_into_the_reserve(ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 1 << 30)
    archive = archiver(ledger, disk_reserve=1 << 20, segment_size=1 << 22)
    for number in range(7):
        write_round(ledger, number)
        assert archive.run_once(everything=True).compacted == 0
    write_round(ledger, 7)
    disk.free = (1 << 20) + 2 * sum(segment.size for segment in ledger.manifest.segments)
    with pytest.raises(StorageError, match="reserve of 1048576"):
        archive.run_once(everything=True)
    assert len(ledger.manifest.segments) == 8
    disk.free = 1 << 30
    assert archive.run_once().compacted == 8


def test_a_full_disk_in_a_process_of_its_own(tmp_path: Path) -> None:
    """With a real limit on the size of files, below that of the segment."""
    program = Path(__file__).parent / "killing" / "full_disk.py"
    done = subprocess.run(
        [sys.executable, program, tmp_path / "ledger"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {
        "kind": "storage",
        "names": True,
        "left": [],
        "written": True,
        "later": seen["size"],
        "sound": True,
        "size": seen["size"],
    }


# --- two at once -----------------------------------------------------------------------------------------------


def test_the_second_of_two_archivers_drops_what_the_first_has_archived(ledger: ServedLedger) -> None:
    write_round(ledger, 0)
    first = archiver(ledger)

    def meanwhile(step: str) -> None:
        if step == "upload-segment" and ledger.manifest.archived_size == 0:
            write_round(ledger, 1)  # so that the first seals another range
            first.run_once(everything=True)

    result = archiver(ledger, meanwhile).run_once(everything=True)
    assert (result.sealed, result.archived_size) == (0, ledger.size)
    assert len(ledger.manifest.segments) == 1
    check_ledger(ledger, 2)
    check_archived(ledger, 2)


def test_an_archiver_whose_entries_are_evicted_while_it_reads_them_was_second(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        ledger.put(f"key {number}", f"value {number}")
    read = ledger.groups

    def groups(start: int, stop: int) -> Iterator[Group]:
        for place, group in enumerate(read(start, stop)):
            if place == 4:
                monkeypatch.undo()
                archiver(ledger, hot_size=0).run_once(everything=True)
            yield group

    monkeypatch.setattr(ledger, "groups", groups)
    result = archiver(ledger, hot_size=0).run_once(everything=True)
    assert (result.sealed, result.archived_size) == (0, 10)
    assert temporary_files(ledger) == []
    assert [entry.value for entry in ledger.log()] == [f"value {number}".encode() for number in range(10)]


def test_what_cannot_be_read_is_no_other_archiver(ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def groups(*_: int) -> Iterator[Group]:
        raise Corruption("unreadable")

    write_round(ledger, 0)
    monkeypatch.setattr(ledger, "groups", groups)
    with pytest.raises(Corruption, match="unreadable"):
        archiver(ledger).run_once(everything=True)


@pytest.mark.no_cover
def test_two_archivers_at_once_and_a_writer_come_to_the_same_ledger(ledger: ServedLedger) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def archive() -> None:
        own = archiver(ledger, age_threshold_secs=0, grace_secs=1.5)
        try:
            while not done.is_set():
                own.run_once()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=archive) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(24):
            write_round_in_spite_of_that(ledger, number)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert failures == []
    archiver(ledger).run_once(everything=True)
    check_ledger(ledger, 24)
    check_archived(ledger, 24)


def write_round_in_spite_of_that(ledger: ServedLedger, number: int) -> None:
    """With so little grace a value that is being put may be taken for a stray: the put is refused, and tried again."""
    while True:
        try:
            write_round(ledger, number)
        except Unavailable:
            continue
        return


# --- in the background -----------------------------------------------------------------------------------------


def test_the_background_archives_what_is_due_without_being_asked(ledger: ServedLedger) -> None:
    archive = archiver(ledger, check_interval_secs=3600)
    archive.start()
    try:
        await_until(lambda: archive.status.last_success)
        fill(ledger, SEGMENT_SIZE)
        await_until(lambda: ledger.manifest.archived_size)
        assert archive.status.running
    finally:
        archive.stop()
    assert not archive.status.running


def test_nothing_happens_in_the_background_where_it_is_not_wanted(ledger: ServedLedger) -> None:
    archive = archiver(ledger, auto=False, age_threshold_secs=0)
    archive.start()
    write_round(ledger, 0)
    assert (archive.status.enabled, archive.status.running) == (False, False)
    assert ledger.manifest.archived_size == 0
    archive.run_once()
    assert ledger.manifest.archived_size == ledger.size
    archive.stop()


def test_the_background_tries_again_when_the_store_is_back(
    ledger: ServedLedger, store: NotingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)
    archive = archiver(ledger, age_threshold_secs=0, check_interval_secs=0.05)
    store.down = True
    write_many_inline(ledger)
    archive.start()
    try:
        await_until(lambda: archive.status.failures_in_a_row >= 3)
        assert archive.status.running
        assert ledger.put("still", "writable").index == 50
        store.down = False
        await_until(lambda: ledger.manifest.archived_size == 51)
        await_until(lambda: archive.status.store_ok)
    finally:
        archive.stop()


def test_a_fork_ends_archiving_loudly_and_the_ledger_goes_on(
    ledger: ServedLedger, store: NotingStore, caplog: pytest.LogCaptureFixture
) -> None:
    write_round(ledger, 0)

    def foreign(step: str) -> None:
        if step == "publish-tiles":
            text = ledger.checkpoint().text.splitlines(keepends=True)
            text[2] = b64encode(bytes(32)).decode() + "\n"
            store.put_bytes(paths.checkpoint_path(ledger.size), "".join(text).encode())

    archive = archiver(ledger, foreign, age_threshold_secs=0)
    archive.start()
    try:
        await_until(lambda: not archive.status.running)
    finally:
        archive.stop()
    assert "forked" in archive.status.last_error
    assert any(record.levelno == logging.ERROR and "forked" in record.message for record in caplog.records)
    write_round(ledger, 1)
    check_ledger(ledger, 2)


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_a_look_that_fails_is_a_pass_that_fails_and_is_tried_again(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: int) -> None:
        raise StorageError("cannot read: Input/output error")

    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)
    write_round(ledger, 0)
    archive = Archiver(ledger, settings(check_interval_secs=3600), clock=lambda: START)
    archive.start()
    try:
        await_until(lambda: archive.status.last_success)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "entry_at", unreadable)
            await_until(lambda: archive.runs["failed"] >= 2)
        await_until(lambda: archive.runs["ok"] >= 2)
        assert archive.status.running
        assert archive.status.last_error == ""
    finally:
        archive.stop()


def test_a_pass_that_breaks_down_is_tried_again(
    ledger: ServedLedger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)
    broken = [True]

    def no_thread(step: str) -> None:
        if step == "sequence" and broken[0]:
            broken[0] = False
            raise RuntimeError("can't start new thread")

    write_round(ledger, 0)
    archive = archiver(ledger, no_thread, check_interval_secs=3600)
    archive.start()
    try:
        await_until(lambda: archive.status.last_success)
        assert archive.runs == {"ok": 1, "failed": 1}
        assert archive.status.running
    finally:
        archive.stop()
    check_archived(ledger, 1)
    (line,) = errors_in(caplog)
    assert "can't start new thread" in line


def test_a_panic_ends_the_background_loudly_and_a_pass_that_goes_well_begins_it_anew(
    ledger: ServedLedger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """As those of native libraries."""

    broken = [True]

    def panic(step: str) -> None:
        if step == "upload-segment" and broken[0]:
            broken[0] = False
            raise Panic("called unwrap on None")

    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)
    write_round(ledger, 0)
    archive = archiver(ledger, panic, check_interval_secs=3600, age_threshold_secs=0, grace_secs=3600)
    assert not archive.gave_up
    archive.start()
    try:
        await_until(lambda: archive.status.gave_up)
        assert not archive.status.running
        assert "unwrap on None" in archive.status.last_error
        assert [line for line in errors_in(caplog) if "unwrap on None" in line] == errors_in(caplog) != []
        archive.run_once()
        assert (archive.status.running, archive.status.gave_up, archive.status.last_error) == (True, False, "")
        write_round(ledger, 1)
        await_until(lambda: ledger.manifest.archived_size == ledger.size)
    finally:
        archive.stop()
    archive._background.resume()
    assert (archive.status.running, archive.status.gave_up) == (False, False), "it was told to stop"


def test_a_pass_in_the_background_that_did_something_says_what(
    ledger: ServedLedger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(background, "LOOK_SECONDS", 0.01)
    archive = archiver(ledger, check_interval_secs=0.05, hot_size=0)
    archive.start()
    try:
        await_until(lambda: archive.runs["ok"] >= 3)
        assert caplog.records == []
        write_round(ledger, 0)
        await_until(lambda: ledger.evicted == ledger.size and caplog.records)
    finally:
        archive.stop()
    text = " ".join(record.getMessage() for record in caplog.records if record.name == "scribe.archive")
    assert f"archived {ledger.size} entries: 1 segments sealed" in text
    assert f"{ledger.size} values evicted" in text


def test_a_pass_ends_between_two_pieces_of_work_when_the_archiver_stops(ledger: ServedLedger) -> None:
    write_round(ledger, 0)
    archive = archiver(ledger)
    archive.stop()
    with pytest.raises(Stopping):
        archive.run_once(everything=True)
    assert temporary_files(ledger) == []
    assert archive.status.last_error == ""
    check_ledger(ledger, 1)


def test_an_archiver_that_breaks_down_says_so(ledger: ServedLedger) -> None:
    write_round(ledger, 0)

    def broken(_: str) -> None:
        raise ZeroDivisionError("a bug")

    archive = archiver(ledger, broken)
    with pytest.raises(ZeroDivisionError):
        archive.run_once(everything=True)
    assert "a bug" in archive.status.last_error
    assert archive.runs == {"ok": 0, "failed": 1}


# --- giving way ------------------------------------------------------------------------------------------------


class Rests:
    """Stands for the event of stopping, and notes how long was rested."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return False

    def is_set(self) -> bool:
        return False


def test_work_gives_way_to_writes_unless_the_backlog_is_long(ledger: ServedLedger) -> None:
    seconds = [0.0]
    rests = Rests()
    pace = Pace(ledger, SEGMENT_SIZE, rests, timer=lambda: seconds[0])  # type: ignore[arg-type]
    seconds[0] += 0.01
    pace()
    assert rests.seconds == [], "nobody writes"
    expected = []
    for segments, rest in ((0, 0.02), (2, 0.01)):
        fill(ledger, segments * SEGMENT_SIZE + 1)
        ledger.put("more", str(segments))
        seconds[0] += 0.01
        pace()
        expected.append(pytest.approx(rest))
        assert rests.seconds == expected
    fill(ledger, 4 * SEGMENT_SIZE)
    seconds[0] += 0.01
    pace()
    assert rests.seconds == expected, "the archive would fall behind"


def test_work_gives_way_to_readers_however_long_the_backlog_is(ledger: ServedLedger) -> None:
    seconds, answers = [0.0], [0.0]
    rests = Rests()
    fill(ledger, 5 * SEGMENT_SIZE)
    pace = Pace(
        ledger,
        SEGMENT_SIZE,
        rests,  # type: ignore[arg-type]
        answers=lambda: answers[0],
        timer=lambda: seconds[0],
    )
    for _ in range(2):
        answers[0] += 0.001
        seconds[0] += 0.01
        pace()
        seconds[0] += 0.01
        pace()
    assert rests.seconds == [pytest.approx(0.02)] * 2


def test_archived_values_whose_store_is_not_there_are_unavailable_and_not_damaged(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "data", object_store=(tmp_path / "objects").as_uri()) as ledger:
        ledger.put("k", b"value")
        Archiver(ledger, ArchiveSettings(hot_size=0)).run_once(everything=True)
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    with ServedLedger.open(tmp_path / "data", object_store=(tmp_path / "objects").as_uri()) as ledger:
        with pytest.raises(Unavailable, match="is not the object store") as refused:
            assert ledger.get("k")
        assert "[storage] object_store" in refused.value.hint

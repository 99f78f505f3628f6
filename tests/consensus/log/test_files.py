"""``FileLog`` and its disk: segments, figures, a disk that is full or fails, and processes that are killed."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.consensus.log.logs import contents_after, load, open_log, segments, writes

from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.errors import StorageError

pytestmark = pytest.mark.consensus
WRITER = Path(__file__).with_name("endless_writer.py")


def test_segments_whose_entries_are_cut_are_deleted_and_no_others(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, 1024)
    for write in writes(100):
        log.write(write)
    log.sync()
    before = segments(tmp_path)
    assert len(before) > 10
    assert log.disk_bytes == sum(path.stat().st_size for path in before)
    log.cut(50, 1)
    after = segments(tmp_path)
    assert 0 < len(after) < len(before)
    assert after == before[-len(after) :]
    assert log.disk_bytes == sum(path.stat().st_size for path in after)
    log.cut(100, 1)
    assert segments(tmp_path) == before[-1:]
    log.close()
    assert load(tmp_path, 1024).truncated == (100, 1)


def test_segments_before_a_reset_go_with_the_next_cut(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path, 1024)
    for write in writes(60):
        log.write(write)
    log.write(LogWrite([(11, 2, 0, b"", b"")], (2, 2, 11), reset=(10, 2)))
    log.sync()
    log.cut(11, 2)
    assert len(segments(tmp_path)) == 1
    log.close()
    assert load(tmp_path, 1024) == ((11, 2), (2, 2, 11), [])


def test_a_segment_is_synced_before_the_next_one_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = open_log(tmp_path, 1024)
    synced: list[tuple[int, int]] = []
    sync = os.fdatasync

    def noting(descriptor: int) -> None:
        sync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, len(segments(tmp_path))))

    monkeypatch.setattr(os, "fdatasync", noting)
    for write in writes(40):
        log.write(write)
    expected = [(path.stat().st_ino, count) for count, path in enumerate(segments(tmp_path), 1)]
    assert len(expected) > 3
    assert synced == expected[:-1]
    log.sync()
    assert synced == expected
    log.close()


def test_a_write_larger_than_a_segment_has_one_to_itself(tmp_path: Path) -> None:
    given = [*writes(3), LogWrite([(4, 1, 0, bytes(50_000), b"")]), LogWrite([(5, 1, 0, b"x", b"")])]
    log, _ = open_log(tmp_path, 1024)
    for write in given:
        log.write(write)
    log.sync()
    log.close()
    assert load(tmp_path, 1024) == contents_after(given)


def test_what_a_crash_left_of_a_new_segment_or_mark_is_removed(tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / "segment.new").write_bytes(b"half")
    (tmp_path / "cut.new").write_bytes(b"half")
    load(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]


@pytest.mark.parametrize(("call", "reason"), [("fdatasync", errno.EIO), ("pwrite", errno.ENOSPC)])
def test_after_a_failure_nothing_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, reason: int
) -> None:
    first, second, third = writes(3)
    log, _ = open_log(tmp_path)
    log.write(first)
    log.sync()

    def failing(*_: object) -> int:
        raise OSError(reason, os.strerror(reason))

    def write_and_sync(write: LogWrite) -> None:
        log.write(write)
        log.sync()

    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing)
        with pytest.raises(StorageError, match=os.strerror(reason)):
            write_and_sync(second)
    for attempt in (log.write, write_and_sync):
        with pytest.raises(StorageError, match="before this one failed"):
            attempt(third)
    with pytest.raises(StorageError, match="before this one failed"):
        log.sync()
    log.close()
    assert load(tmp_path) in (contents_after([first]), contents_after([first, second]))


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: whole(fd, data[:100], offset))
    log, _ = open_log(tmp_path)
    for write in writes(20):
        log.write(write)
    log.sync()
    log.close()
    assert load(tmp_path) == contents_after(writes(20))


def test_a_closed_log_is_refused_and_closed_once(tmp_path: Path) -> None:
    log, _ = open_log(tmp_path)
    log.close()
    log.close()
    for refused in (partial(log.write, writes(1)[0]), log.sync, partial(log.cut, 1, 1)):
        with pytest.raises(StorageError, match="closed"):
            refused()


def test_a_process_that_is_killed_in_the_middle_of_writes_loses_nothing_it_told(tmp_path: Path) -> None:
    chance = random.Random(6)
    told = 0
    for _ in range(3):
        enough = chance.randrange(1, 150)
        with subprocess.Popen([sys.executable, WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for number, line in enumerate(writer.stdout):
                told = int(line)
                if number == enough:
                    writer.send_signal(signal.SIGKILL)  # what is in the pipe by then was told too
        assert writer.returncode == -signal.SIGKILL
        contents = load(tmp_path, 1 << 18)
        last = contents.truncated[0] + len(contents.entries)
        assert last >= told
        assert contents.hard_state[2] == last - 1
        assert [entry[0] for entry in contents.entries] == list(range(contents.truncated[0] + 1, last + 1))
        assert all(entry[3] == b"%d" % entry[0] * (entry[0] % 1500) for entry in contents.entries)
    assert contents.truncated[0] > 0

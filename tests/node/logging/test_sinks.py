"""Log files turn over by size, keep as many as they should, and never cut a line in two."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from shutil import rmtree

import pytest

from scribe_ledger.node.logging import RotatingFile
from scribe_ledger.node.logging.sinks import Console

pytestmark = pytest.mark.http


def lines(first: int, last: int) -> bytes:
    """Ten bytes each."""
    return b"".join(b"line %04d\n" % number for number in range(first, last))


def test_a_full_file_becomes_the_first_old_one(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=100, keep=2)
    file.write(lines(0, 35))
    file.close()
    assert path.read_bytes() == lines(30, 35)
    assert (tmp_path / "node.log.1").read_bytes() == lines(20, 30)
    assert (tmp_path / "node.log.2").read_bytes() == lines(10, 20)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["node.log", "node.log.1", "node.log.2"]


def test_lines_are_not_cut_and_files_not_exceeded(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=95, keep=100)
    for number in range(50):
        file.write(lines(number, number + 1))
    file.close()
    files = [path, *(tmp_path / f"node.log.{number}" for number in range(1, 6))]
    assert all(each.stat().st_size <= 95 for each in files)
    assert b"".join(each.read_bytes() for each in reversed(files)) == lines(0, 50)


def test_a_line_above_the_limit_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=20, keep=5)
    file.write(lines(0, 1) + b"x" * 100 + b"\n" + lines(1, 2))
    file.close()
    assert (tmp_path / "node.log.2").read_bytes() == lines(0, 1)
    assert (tmp_path / "node.log.1").read_bytes() == b"x" * 100 + b"\n"
    assert path.read_bytes() == lines(1, 2)


def test_it_goes_on_where_the_last_process_ended(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    for first in (0, 6):
        file = RotatingFile(path, rotate_bytes=100, keep=1)
        file.write(lines(first, first + 6))
        file.close()
    assert (tmp_path / "node.log.1").read_bytes() == lines(0, 10)
    assert path.read_bytes() == lines(10, 12)


def test_zero_means_never_and_none(tmp_path: Path) -> None:
    forever = RotatingFile(tmp_path / "forever.log", rotate_bytes=0, keep=5)
    forever.write(lines(0, 1000))
    forever.close()
    none_kept = RotatingFile(tmp_path / "none.log", rotate_bytes=100, keep=0)
    none_kept.write(lines(0, 15))
    none_kept.close()
    assert (tmp_path / "forever.log").read_bytes() == lines(0, 1000)
    assert (tmp_path / "none.log").read_bytes() == lines(10, 15)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_is_made_and_the_file_is_not_for_all(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "deep" / "node.log"
    RotatingFile(path, rotate_bytes=0, keep=0).close()
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("rotate_bytes", [0, 100])
def test_a_file_that_was_moved_or_removed_is_made_anew(tmp_path: Path, rotate_bytes: int) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=rotate_bytes, keep=2)
    file.write(lines(0, 5))
    path.rename(tmp_path / "moved")
    file.write(lines(5, 9))
    assert path.read_bytes() == lines(5, 9)
    path.unlink()
    file.write(lines(9, 12))
    assert path.read_bytes() == lines(9, 12)
    path.rename(tmp_path / "moved too")
    path.touch()  # as other programs do that rotate logs
    file.write(lines(12, 14))
    file.close()
    assert path.read_bytes() == lines(12, 14)
    assert (tmp_path / "moved").read_bytes() == lines(0, 5)


def test_a_folder_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "node.log"
    file = RotatingFile(path, rotate_bytes=100, keep=2)
    file.write(lines(0, 5))
    rmtree(path.parent)
    file.write(lines(5, 25))
    file.close()
    assert (path.parent / "node.log.1").read_bytes() == lines(5, 15)
    assert path.read_bytes() == lines(15, 25)


def test_a_file_that_goes_while_it_is_rotated_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=100, keep=2)
    replace = Path.replace

    def too_late(self: Path, target: Path) -> Path:
        if self == path:
            path.unlink()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", too_late)
    file.write(lines(0, 15))
    file.close()
    assert path.read_bytes() == lines(10, 15)


def test_a_file_that_was_emptied_has_room_again(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=100, keep=2)
    file.write(lines(0, 10))
    os.truncate(path, 0)
    file.write(lines(10, 20))
    file.close()
    assert path.read_bytes() == lines(10, 20)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["node.log"]


class FullDisk:
    """``os.write`` with room for so many bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [20, 25, 30])
def test_a_line_that_a_full_disk_cut_is_ended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path = tmp_path / "node.log"
    file = RotatingFile(path, rotate_bytes=0, keep=0)
    disk = FullDisk(monkeypatch)
    disk.room = room
    for number in (0, 4):
        with pytest.raises(OSError, match="No space left"):
            file.write(lines(number, number + 4))
    disk.room = 1000
    file.write(lines(10, 12))
    file.write(lines(12, 14))
    file.close()
    assert path.read_bytes() == (lines(0, 4)[:room] + b"\n" * (room % 10 > 0) + lines(10, 14))


def test_a_line_that_the_process_before_cut_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_bytes(lines(0, 9) + b"torn")
    file = RotatingFile(path, rotate_bytes=105, keep=1)
    file.write(lines(9, 11))
    file.close()
    assert (tmp_path / "node.log.1").read_bytes() == lines(0, 9) + b"torn\n" + lines(9, 10)
    assert path.read_bytes() == lines(10, 11)


def test_a_console_ends_a_line_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, given = os.pipe()
    console = Console(given)
    disk = FullDisk(monkeypatch)
    disk.room = 5
    with pytest.raises(OSError, match="No space left"):
        console.write(lines(0, 1))
    disk.room = 100
    console.write(lines(1, 2))
    os.close(given)
    assert os.read(taken, 100) == b"line \n" + lines(1, 2)
    os.close(taken)

"""Log files turn over by size, keep as many as they should, and never cut a line in two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scribe_ledger.node.logging import RotatingFile

if TYPE_CHECKING:
    from pathlib import Path

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

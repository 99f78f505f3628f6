"""The record of what a folder uploaded: nothing that is not its own, whatever became of the file."""

from __future__ import annotations

import shutil
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.objects import uploads as module
from scribe_ledger.objects.temporary import remove_abandoned
from scribe_ledger.objects.uploads import Uploads

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage

FIRST, SECOND, THIRD = (sha256(name).digest() for name in (b"first", b"second", b"third"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


def test_a_value_is_due_by_its_last_upload_also_after_opening_again(path: Path) -> None:
    uploads = Uploads(path)
    assert uploads.due(1000) == []
    for digest, time in ((SECOND, 20), (FIRST, 10), (THIRD, 15), (THIRD, 30)):
        uploads.note(digest, time)
    for each in (uploads, Uploads(path)):
        assert each.due(9) == []
        assert each.due(10) == [FIRST]
        assert each.due(29) == [FIRST, SECOND]
        assert each.due(30) == [FIRST, SECOND, THIRD]
        assert each.digests() == {FIRST, SECOND, THIRD}


def test_what_is_settled_is_forgotten_and_what_came_since_is_not(path: Path) -> None:
    uploads = Uploads(path)
    for digest, time in ((FIRST, 10), (SECOND, 20), (FIRST, 30)):
        uploads.note(digest, time)
    uploads.forget([FIRST, SECOND], 20)
    assert uploads.due(100) == Uploads(path).due(100) == [FIRST]
    uploads.forget([FIRST], 30)
    assert uploads.digests() == frozenset()
    uploads.note(SECOND, 5)  # the clock went back
    assert uploads.due(5) == [SECOND]


def test_nothing_is_read_while_nothing_can_be_due(path: Path) -> None:
    uploads = Uploads(path)
    uploads.note(FIRST, 10)
    assert uploads.due(10) == [FIRST]
    path.unlink()
    path.mkdir()  # whoever reads it now is told
    assert uploads.due(9) == []


@pytest.mark.parametrize("cut", [1, 20, 43])
def test_a_torn_tail_costs_one_record(path: Path, cut: int) -> None:
    Uploads(path).note(FIRST, 10)
    Uploads(path).note(SECOND, 20)
    path.write_bytes(path.read_bytes()[:-cut])
    uploads = Uploads(path)
    assert uploads.digests() == {FIRST}
    uploads.note(THIRD, 30)
    assert uploads.digests() == {FIRST, THIRD}


def test_a_damaged_record_and_a_block_of_zeros_are_passed_over(path: Path) -> None:
    uploads = Uploads(path)
    for digest in (FIRST, SECOND, THIRD):
        uploads.note(digest, 10)
    content = bytearray(path.read_bytes())
    content[-44 - 10] ^= 1
    path.write_bytes(content + bytes(88))
    assert uploads.digests() == {FIRST, THIRD}


def test_a_copy_of_the_file_is_nobodys_record(path: Path, tmp_path: Path) -> None:
    uploads = Uploads(path)
    uploads.note(FIRST, 10)
    (tmp_path / "copy").mkdir()
    shutil.copy2(path, tmp_path / "copy" / "uploads")
    copied = Uploads(tmp_path / "copy" / "uploads")
    assert copied.due(100) == []
    copied.note(SECOND, 20)
    assert copied.digests() == {SECOND}
    path.rename(tmp_path / "moved")
    assert Uploads(tmp_path / "moved").digests() == {FIRST}


def test_the_file_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 2)
    uploads = Uploads(path)
    for digest in (FIRST, SECOND, THIRD):
        uploads.note(digest, 10)
    assert uploads.digests() == {FIRST, SECOND}


def test_cleaning_the_spool_leaves_it(path: Path, tmp_path: Path) -> None:
    Uploads(path).note(FIRST, 10)
    remove_abandoned(tmp_path)
    assert Uploads(path).digests() == {FIRST}

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NoReturn

import pytest

from scribe_ledger.errors import StorageError
from scribe_ledger.objects.temporary import TemporaryFile, remove_abandoned

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage


def test_file_is_private_and_gone_after_close(tmp_path: Path) -> None:
    with TemporaryFile(tmp_path) as file:
        file.write(b"abc")
        assert file.path.read_bytes() == b"abc"
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_file_is_gone_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), TemporaryFile(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_close_leaves_a_file_that_was_moved_away(tmp_path: Path) -> None:
    with TemporaryFile(tmp_path) as file:
        file.write(b"abc")
        file.path.rename(tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == b"abc"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with TemporaryFile(tmp_path) as file:
        file.write(b"0123456789")
        assert file.path.read_bytes() == b"0123456789"


def test_remove_abandoned_takes_only_files_that_nobody_holds(tmp_path: Path) -> None:
    (tmp_path / "0123.partial").write_bytes(b"left by a crash")
    (tmp_path / "notes.txt").write_bytes(b"not ours")
    with TemporaryFile(tmp_path) as held:
        assert remove_abandoned(tmp_path) == 1
        assert held.path.exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([held.path.name, "notes.txt"])
    assert remove_abandoned(tmp_path) == 0


def test_a_cleaner_between_creation_and_lock_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = os.open
    created: list[str] = []

    def open_then_clean(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = open_file(path, flags, mode)
        if flags & os.O_CREAT and not created:
            created.append(path.name)
            assert remove_abandoned(tmp_path) == 1
        return descriptor

    monkeypatch.setattr(os, "open", open_then_clean)
    with TemporaryFile(tmp_path) as file:
        assert file.path.exists()
        assert file.path.name not in created


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing") as caught:
        TemporaryFile(tmp_path / "missing")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_full_disk_is_named_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with TemporaryFile(tmp_path) as file:
        monkeypatch.setattr(os, "write", fail)
        with pytest.raises(StorageError) as caught:
            file.write(b"abc")
    assert str(file.path) in caught.value.message
    assert "No space left" in caught.value.message
    assert "free space" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)

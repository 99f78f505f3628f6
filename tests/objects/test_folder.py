from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from scribe_ledger.errors import InvalidRequest, StorageError, Unavailable
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from tests.objects.conftest import RecordSystemCalls

pytestmark = pytest.mark.storage


def content(store: FolderStore, path: str) -> bytes | None:
    file = store.open(path)
    if file is None:
        return None
    with file:
        return file.read()


def test_put_bytes_then_open(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    assert store.put_bytes("a/b/c", b"one")
    assert content(store, "a/b/c") == b"one"
    found = store.stat("a/b/c")
    assert found is not None
    assert found.size == 3


@pytest.mark.parametrize("how", ["bytes", "file", "many"])
def test_a_folder_that_is_made_late_is_an_empty_store_until_the_first_write(tmp_path: Path, how: str) -> None:
    store = FolderStore(tmp_path / "objects", late=True)
    assert content(store, "a/b") is None
    assert store.stat("a/b") is None
    assert [*store.list("")] == []
    assert store.delete("a/b") == 1
    assert not (tmp_path / "objects").exists()
    (tmp_path / "source").write_bytes(b"one")
    if how == "bytes":
        store.put_bytes("a/b", b"one")
    elif how == "file":
        store.put_file("a/b", tmp_path / "source")
    else:
        store.put_many([("a/b", b"one")])
    assert content(FolderStore(tmp_path / "objects", create=False), "a/b") == b"one"


def test_a_folder_that_is_opened_late_may_be_mounted_until_the_first_write(tmp_path: Path) -> None:
    root, mounted = tmp_path / "objects", tmp_path / "mounted"
    FolderStore(mounted).put_bytes("a/b", b"one")
    root.mkdir()
    store = FolderStore(root, late=True)
    assert content(store, "a/b") is None
    assert list(root.iterdir()) == []
    root.rmdir()
    mounted.rename(root)
    assert content(store, "a/b") == b"one"
    store.check()


def test_put_file_moves_or_copies_the_source(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    (tmp_path / "source").write_bytes(b"one")
    assert store.put_file("a/b", tmp_path / "source")
    assert content(store, "a/b") == b"one"


def test_put_leaves_an_object_that_exists(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    assert store.put_bytes("a", b"one")
    assert not store.put_bytes("a", b"two")
    assert content(store, "a") == b"one"


def test_replace_puts_a_whole_new_object_and_leaves_readers_alone(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    store.put_bytes("a", b"one")
    reading = store.open("a")
    assert reading is not None
    (tmp_path / "source").write_bytes(b"two")
    assert store.put_file("a", tmp_path / "source", replace=True)
    assert content(store, "a") == b"two"
    with reading:
        assert reading.read() == b"one"


def test_only_one_of_many_puts_creates(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    start = threading.Barrier(8)
    created: list[int] = []

    def put(number: int) -> None:
        start.wait()
        if store.put_bytes("a/b/c", b"%d" % number):
            created.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    assert content(store, "a/b/c") == b"%d" % created[0]


def test_missing_objects(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    store.put_bytes("a", b"a file where others want a folder")
    assert store.open("b") is None
    assert store.stat("b") is None
    assert store.delete("b") == 1
    assert store.open("a/b") is None
    assert store.stat("a/b") is None
    assert list(store.list("b")) == []


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    store.put_bytes("a/b", b"")
    assert store.stat("a") is None
    with pytest.raises(StorageError, match=r"cannot open .*/a"):
        store.open("a")


def test_list_is_in_order_and_knows_no_temporary_files(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    paths = ["a/b/2", "a/b/1", "a/b.c", "a/c", "a/b1/x", "d/e"]
    for path in paths:
        store.put_bytes(path, b"")
    (tmp_path / "objects/a/Foreign (1)").mkdir()
    (tmp_path / "objects/a/Foreign (1)/file").touch()
    assert [found.path for found in store.list("a")] == sorted(
        [*(path for path in paths if path.startswith("a")), "a/Foreign (1)/file"]
    )


def test_delete(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    store.put_bytes("a/b", b"")
    assert store.delete("a/b") == 1
    assert store.stat("a/b") is None
    assert store.delete("a/b") == 1
    assert store.put_bytes("a/b", b"again")


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside", ".partial/x"])
def test_a_path_that_leads_out_of_the_store_is_refused(tmp_path: Path, path: str) -> None:
    store = FolderStore(tmp_path / "objects")
    with pytest.raises(InvalidRequest):
        store.open(path)
    with pytest.raises(InvalidRequest):
        store.put_bytes(path, b"")
    with pytest.raises(InvalidRequest):
        store.list(path)
    with pytest.raises(InvalidRequest):
        store.delete(path)


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "deep/objects")
    store.put_bytes("a/b/c", b"")
    for path in [tmp_path / "deep", *(tmp_path / "deep").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_put_syncs_bytes_then_names_then_the_folder(tmp_path: Path, record_system_calls: RecordSystemCalls) -> None:
    root = tmp_path / "objects"
    store = FolderStore(root)
    calls = record_system_calls(root)
    store.put_bytes("a/b/first", b"1")
    assert calls == [
        "sync .partial/*",
        "mkdir a", "sync .",
        "mkdir a/b", "sync a",
        "link a/b/first", "sync a/b",
    ]  # fmt: skip
    calls.clear()
    store.put_bytes("a/b/second", b"2")
    assert calls == ["sync .partial/*", "link a/b/second", "sync a/b"]


def test_a_new_process_syncs_folders_that_it_finds(tmp_path: Path, record_system_calls: RecordSystemCalls) -> None:
    root = tmp_path / "objects"
    FolderStore(root).put_bytes("a/b/first", b"1")
    store = FolderStore(root)
    calls = record_system_calls(root)
    store.put_bytes("a/b/second", b"2")
    assert [call for call in calls if call.startswith("sync")] == ["sync .partial/*", "sync .", "sync a", "sync a/b"]


def test_an_object_that_exists_is_durable_when_put_says_so(
    tmp_path: Path, record_system_calls: RecordSystemCalls
) -> None:
    root = tmp_path / "objects"
    store = FolderStore(root)
    store.put_bytes("a/b", b"1")
    calls = record_system_calls(root)
    assert not store.put_bytes("a/b", b"1")
    assert calls[-1] == "sync a"


def test_opening_syncs_the_name_of_the_root(tmp_path: Path, record_system_calls: RecordSystemCalls) -> None:
    calls = record_system_calls(tmp_path)
    FolderStore(tmp_path / "new/objects")
    assert calls[:4] == ["mkdir new", "sync .", "mkdir new/objects", "sync new"]


def test_another_filesystem_costs_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_system_calls: RecordSystemCalls
) -> None:
    root = tmp_path / "objects"
    store = FolderStore(root)
    source = tmp_path / "source"
    source.write_bytes(bytes(3_000_000))
    pretend_other_filesystem(monkeypatch, source)
    calls = record_system_calls(root)
    assert store.put_file("a", source)
    assert calls == [f"sync {source}", "link a", "sync .partial/*", "link a", "sync ."]
    assert not store.put_file("a", source)
    assert store.put_file("a", source, replace=True)
    assert content(store, "a") == bytes(3_000_000)
    assert list((root / ".partial").iterdir()) == []


def test_a_real_other_filesystem(tmp_path: Path) -> None:
    folders = [Path("/dev/shm"), Path("/var/tmp"), Path("/tmp")]
    others = [each for each in folders if each.is_dir() and each.stat().st_dev != tmp_path.stat().st_dev]
    if not others:
        pytest.skip("there is no second filesystem here")
    store = FolderStore(tmp_path / "objects")
    source = others[0] / f"scribe-test-{os.getpid()}"
    try:
        source.write_bytes(b"abc")
        assert store.put_file("a", source)
        assert store.put_file("b", source, replace=True)
    finally:
        source.unlink()
    assert content(store, "a") == content(store, "b") == b"abc"


def test_a_filesystem_without_hard_links_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    store = FolderStore(tmp_path / "objects")
    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StorageError, match="no hard links"):
        store.put_bytes("a", b"")
    assert store.put_bytes("a", b"", replace=True)


def test_a_sync_that_fails_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store = FolderStore(tmp_path / "objects")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="Input/output error") as caught:
        store.put_bytes("a/b", b"")
    assert "system log" in caught.value.hint
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


def test_a_folder_whose_sync_failed_is_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_system_calls: RecordSystemCalls
) -> None:
    root = tmp_path / "objects"
    store = FolderStore(root)
    calls = record_system_calls(root, fail_at="sync a")
    with pytest.raises(StorageError):
        store.put_bytes("a/b/c", b"")
    assert calls[-1] == "sync a"
    monkeypatch.undo()
    calls = record_system_calls(root)
    store.put_bytes("a/b/c", b"")
    assert "sync a" in calls


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "objects").touch()
    with pytest.raises(StorageError, match="open the object store"):
        FolderStore(tmp_path / "objects")


def pretend_other_filesystem(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    link, replace = os.link, os.replace

    def link_within(old: Path, new: Path) -> None:
        if Path(old) == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(old, new)

    def replace_within(old: Path, new: Path) -> None:
        if Path(old) == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(old, new)

    monkeypatch.setattr(os, "link", link_within)
    monkeypatch.setattr(os, "replace", replace_within)


def test_nothing_is_written_into_a_folder_that_stands_where_another_was_opened(tmp_path: Path) -> None:
    """As when a mount goes away under a running process."""
    store = FolderStore(tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="store"):
        store.put_bytes("a", b"1")
    (tmp_path / "store").mkdir()
    with pytest.raises(Unavailable, match="not the folder that was opened"):
        store.put_bytes("a", b"1")
    with pytest.raises(Unavailable, match="not the folder that was opened"):
        store.check()
    (tmp_path / "source").write_bytes(b"2")
    with pytest.raises(Unavailable, match="not the folder that was opened"):
        store.put_file("a", tmp_path / "source")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_store_whose_folder_is_gone_says_what_to_do(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "objects")
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="is not there any more") as gone:
        store.put_bytes("name", b"x")
    assert "mount it" in gone.value.hint
    (tmp_path / "elsewhere").rename(tmp_path / "objects")
    assert store.put_bytes("name", b"x")

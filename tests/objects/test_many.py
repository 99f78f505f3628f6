"""Many small objects at once, into a folder and into a real S3 server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.many import PUT_THREADS, put_many
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.s3_server import S3Server

    from scribe_ledger.objects.store import ObjectStore

pytestmark = [pytest.mark.storage, pytest.mark.s3]

OBJECTS = [(f"tile/0/x{number % 3:03}/{number:03}", b"%d" % number) for number in range(40)]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
        return
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.bucket()
    opened = open_object_store(bucket.url, bucket.options())
    yield opened
    opened.close()


def test_all_objects_are_there_afterwards(store: ObjectStore) -> None:
    assert put_many(store, OBJECTS) == []
    assert {listed.path: store.get(listed.path) for listed in store.list("tile")} == dict(OBJECTS)
    assert put_many(store, []) == []


def test_those_that_exist_stay_as_they_are_and_are_named(store: ObjectStore) -> None:
    store.put_bytes(OBJECTS[7][0], b"old")
    store.put_bytes(OBJECTS[9][0], OBJECTS[9][1])
    assert put_many(store, OBJECTS) == [OBJECTS[7][0], OBJECTS[9][0]]
    assert store.get(OBJECTS[7][0]) == b"old"
    assert store.get(OBJECTS[8][0]) == OBJECTS[8][1]
    assert put_many(store, OBJECTS[7:8]) == [OBJECTS[7][0]]


def test_what_is_no_path_of_an_object_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidRequest):
        put_many(store, [("tile/0/000", b""), ("../outside", b"")])


def test_no_temporary_file_stays_in_a_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    put_many(store, OBJECTS)
    put_many(store, OBJECTS)
    assert list((tmp_path / "store" / ".partial").iterdir()) == []


def test_several_threads_may_put_the_same_objects_at_once(store: ObjectStore) -> None:
    taken: list[list[str]] = []
    threads = [threading.Thread(target=lambda: taken.append(put_many(store, OBJECTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for paths in taken for path in paths) == sorted(path for path, _ in OBJECTS * 3)
    assert all(store.get(path) == content for path, content in OBJECTS)


def test_requests_under_way_are_bounded() -> None:
    class Counting:
        under_way = most = 0
        changed = threading.Condition()

        def put_bytes(self, _path: str, _content: bytes) -> bool:
            with self.changed:
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.most >= PUT_THREADS, 5)
                self.under_way -= 1
            return True

    store = Counting()
    assert put_many(store, OBJECTS) == []  # type: ignore[arg-type]
    assert store.most == PUT_THREADS

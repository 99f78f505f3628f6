"""A restored ledger is the archived one, to the byte; and a store that is not whole is refused, its object named."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.archive.hiding import HidingStore
from tests.archive.lost import LARGE, NAME, archive, bystander, everything, lose, opened, published, write
from tests.faulty_proxy import Fault
from tests.objects.remote import rig_on
from tests.s3_server import S3Server, needs_versitygw

from scribe_ledger import Config, Ledger
from scribe_ledger.archive.covering import read_directory
from scribe_ledger.archive.promotion import promote
from scribe_ledger.archive.recovery import restore, restore_if_needed
from scribe_ledger.errors import (
    ConfigurationError,
    Corruption,
    Forbidden,
    NotFound,
    ScribeError,
    StorageError,
    Unavailable,
)
from scribe_ledger.ledger.folder import IDENTITY, KEY, RESTORING
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import Unlisted
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import encode_identity, read_identity
from scribe_ledger.objects.opening import open_object_store
from scribe_ledger.segments.merging import merge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
        return
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.bucket()
    opened_store = open_object_store(f"{bucket.url}/some/prefix", bucket.options())
    yield opened_store
    opened_store.close()


# --- what is there again ---------------------------------------------------------------------------------------


def test_everything_archived_is_as_before(tmp_path: Path, any_store: ObjectStore) -> None:
    size = lose(tmp_path / "lost", any_store, overwrite="version", deletes="tombstone")
    with opened(tmp_path / "lost", any_store) as ledger:
        before = everything(ledger, size)
        checkpoints = {at: ledger.checkpoint(at) for at in published(any_store)}
        last = ledger.entry_at(size - 1)
        public_key, ledger_id = ledger.public_key, ledger.ledger_id

    restored = restore(any_store, tmp_path / "new")

    assert (restored.size, restored.origin, restored.ledger_id, restored.epoch) == (size, NAME, ledger_id, 0)
    assert (restored.timestamp, restored.public_key, restored.read_only) == (last.timestamp, public_key, True)
    assert restored.checkpoint == checkpoints[size]
    with opened(tmp_path / "new", any_store, create=False) as ledger:
        assert ledger.size == size
        assert everything(ledger, size) == before
        assert {at: ledger.checkpoint(at) for at in checkpoints} == checkpoints
        assert ledger.checkpoint() == ledger.published == checkpoints[size]
        assert ledger.get("never archived") is None
        assert ledger.verify().problems == []
        assert [found.stop for found in ledger.manifest.segments][-1] == ledger.manifest.archived_size == size
        assert ledger.pending.entries == ledger.pending.bytes == 0


def test_the_manifest_is_as_before(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)
    restore(store, tmp_path / "new")
    with opened(tmp_path / "lost", store) as lost, opened(tmp_path / "new", store) as new:
        assert new.manifest.segments == lost.manifest.segments
        assert new.manifest.store_id == lost.manifest.store_id
        assert new.manifest.archived_bytes == lost.manifest.archived_bytes


def test_policies_of_creation_are_as_before(tmp_path: Path, store: FolderStore) -> None:
    with opened(tmp_path / "lost", store, overwrite="forbid") as ledger:
        ledger.put("key", "once")
        archive(ledger)
        policy = ledger.policy
    restore(store, tmp_path / "new", promote=True)
    with opened(tmp_path / "new", store) as ledger:
        assert ledger.policy == policy
        with pytest.raises(Forbidden, match="second version"):
            ledger.put("key", "twice")


def test_segments_that_were_merged_and_orphans_are_told_apart(tmp_path: Path, store: FolderStore) -> None:
    size = lose(tmp_path / "lost", store, segment_size=6 << 10)
    with opened(tmp_path / "lost", store) as ledger:
        small = [found.path for found in ledger.manifest.segments]
        archive(ledger, segment_size=1 << 20)  # merges, and leaves the small ones in place for a while
        merged = [found.path for found in ledger.manifest.segments]
        size = ledger.size
    assert len(merged) < len(small)
    assert set(small) <= {found.path for found in store.list(paths.SEGMENTS)}
    restored = restore(store, tmp_path / "new")
    assert restored.size == size
    with opened(tmp_path / "new", store) as ledger:
        assert [found.path for found in ledger.manifest.segments] == merged
        assert ledger.verify().ok


def test_the_objects_of_the_lost_folder_itself_are_a_source(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Ledger.open(data, name=NAME):
        pass
    size = lose(data, FolderStore(data / "objects"))
    for child in data.iterdir():
        if child.name != "objects":
            shutil.rmtree(child) if child.is_dir() else child.unlink()

    assert restore(FolderStore(data / "objects", create=False), data).size == size
    with Ledger.open(data) as ledger:
        assert ledger.get("large") == LARGE + b"\2"
        assert ledger.verify().ok


# --- read-only -------------------------------------------------------------------------------------------------


def test_a_restored_ledger_is_read_only(tmp_path: Path, store: FolderStore) -> None:
    size = lose(tmp_path / "lost", store)
    restore(store, tmp_path / "new")
    assert not (tmp_path / "new" / KEY).exists()
    with opened(tmp_path / "new", store) as ledger:
        for attempt in (
            lambda: ledger.put("key", "value"),
            lambda: ledger.put("large", LARGE),
            lambda: ledger.delete("text"),
            lambda: ledger.configure(deletes="forbid"),
            lambda: ledger.put_many([("a", b"1"), ("b", b"2")]),
        ):
            with pytest.raises(Forbidden, match="read-only") as refused:
                attempt()
            assert "--promote" in refused.value.hint
        assert not ledger.stats()["writable"]
        assert ledger.size == size
        assert ledger.get("text") == b"part 2"


def test_a_size_that_nobody_signed_has_no_checkpoint(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)
    restore(store, tmp_path / "new")
    with opened(tmp_path / "new", store) as ledger:
        unsigned = published(store)[0] + 1
        with pytest.raises(Forbidden, match="no signed checkpoint"):
            ledger.checkpoint(unsigned)
        with pytest.raises(Forbidden, match="no signed checkpoint"):
            ledger.prove("text", at=unsigned)
        ledger.prove("key/0001", at=published(store)[0])


def test_a_snapshot_of_a_restored_ledger_is_read_only_too(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)
    restore(store, tmp_path / "new")
    with opened(tmp_path / "new", store) as ledger:
        ledger.snapshot(tmp_path / "copy")
        before = ledger.checkpoint()
    with opened(tmp_path / "copy", store) as ledger:
        assert ledger.checkpoint() == before
        with pytest.raises(Forbidden):
            ledger.put("key", "value")


# --- what is refused -------------------------------------------------------------------------------------------


def needed(store: ObjectStore) -> list[str]:
    """The objects that a restore cannot do without: not the tiles, copies and earlier checkpoints."""
    newest = paths.checkpoint_path(published(store)[-1])
    kept = (paths.IDENTITY, paths.SEGMENTS, paths.BLOBS, newest)
    return [found.path for found in store.list("") if found.path.startswith(kept)]


def refused(store: ObjectStore, path: Path, **options: Any) -> ScribeError:
    with pytest.raises(ScribeError) as error:
        restore(store, path, **options)
    assert not (path / IDENTITY).exists(), "it must not be taken for a ledger"
    return error.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all kinds of objects, to be copied by each test."""
    folder = tmp_path_factory.mktemp("whole")
    lose(folder / "lost", FolderStore(folder / "store"), parts=2)
    return folder / "store"


@pytest.mark.no_cover
def test_every_object_that_is_missing_is_named(tmp_path: Path, whole: Path) -> None:
    objects = needed(FolderStore(whole))
    assert {path.partition("/")[0] for path in objects} == {"scribe.json", "segments", "checkpoints", "blobs"}
    for number, path in enumerate(objects):
        store = FolderStore(shutil.copytree(whole, tmp_path / f"store {number}"))
        store.delete(path)
        error = refused(store, tmp_path / f"new {number}")
        assert path in str(error), path


@pytest.mark.no_cover
def test_every_object_that_is_altered_is_named(tmp_path: Path, whole: Path) -> None:
    for number, path in enumerate(needed(FolderStore(whole))):
        store = FolderStore(shutil.copytree(whole, tmp_path / f"store {number}"))
        content = bytearray((store.root / path).read_bytes())
        content[len(content) // 2] ^= 1
        (store.root / path).write_bytes(content)
        error = refused(store, tmp_path / f"new {number}")
        assert path in str(error), (path, error)


@pytest.mark.no_cover
def test_every_object_that_is_cut_short_is_named(tmp_path: Path, whole: Path) -> None:
    for number, path in enumerate(needed(FolderStore(whole))):
        store = FolderStore(shutil.copytree(whole, tmp_path / f"store {number}"))
        content = (store.root / path).read_bytes()
        (store.root / path).write_bytes(content[: len(content) // 2])
        assert path in str(refused(store, tmp_path / f"new {number}"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("ledger_id", "0" * 32), ("origin", "example.org/another"), ("vkey", "no key"), ("format", 2), ("policies", 1)],
)
def test_an_identity_that_was_altered_is_refused(tmp_path: Path, whole: Path, field: str, value: object) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    content = store.get(paths.IDENTITY)
    assert content is not None
    fields = orjson.loads(content)
    assert field in fields
    store.put_bytes(paths.IDENTITY, orjson.dumps(fields | {field: value}), replace=True)
    error = refused(store, tmp_path / "new")
    assert paths.IDENTITY in str(error) or fields["ledger_id"] in str(error)


def test_values_are_read_unless_told_not_to(tmp_path: Path, whole: Path) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    path = next(found.path for found in store.list(paths.BLOBS) if paths.digest_of_blob_path(found.path))
    content = bytearray((store.root / path).read_bytes())
    content[-1] ^= 1
    (store.root / path).write_bytes(content)
    assert path in str(refused(store, tmp_path / "new"))
    restore(store, tmp_path / "quick", check_values=False)
    store.delete(path)
    assert path in str(refused(store, tmp_path / "quick 2", check_values=False))


def test_a_checkpoint_that_is_no_text_is_told_in_words(tmp_path: Path, whole: Path) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    path = paths.checkpoint_path(published(store)[-1])
    store.put_bytes(path, b"\xff", replace=True)
    assert "it is no text" in str(refused(store, tmp_path / "new"))


def test_nobody_is_told_to_write_to_what_is_being_restored(tmp_path: Path, whole: Path) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    path = next(found.path for found in store.list(paths.BLOBS))
    store.delete(path)
    error = refused(store, tmp_path / "new")
    assert path in error.message
    assert error.hint.startswith("restore the object from a copy")
    assert "put" not in error.hint


def test_a_segment_of_another_ledger_is_named(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store, parts=1)
    with bystander(tmp_path / "other", FolderStore(tmp_path / "other store")) as other:
        theirs = other.manifest.segments[0]
        content = other.objects.get(theirs.path)
    ours = next(found.path for found in store.list(paths.SEGMENTS) if f"-{theirs.last_index:020d}-" in found.path)
    store.delete(ours)
    assert content is not None
    store.put_bytes(theirs.path, content)
    error = refused(store, tmp_path / "new")
    assert theirs.path in str(error)
    assert "is of the ledger" in str(error)


def forked(tmp_path: Path, store: FolderStore) -> str:
    """A store with a segment that a copy of the ledger sealed over the range of another one; its path."""
    with opened(tmp_path / "lost", store, name=NAME) as ledger:
        ledger.put("first", "same")
        archive(ledger)
    shutil.copytree(tmp_path / "lost", tmp_path / "fork")
    shutil.copytree(store.root, tmp_path / "fork store")
    for folder, where in (("lost", store), ("fork", FolderStore(tmp_path / "fork store"))):
        with opened(tmp_path / folder, where) as ledger:
            ledger.put("second", f"of {folder}")
            archive(ledger, segment_size=1)
            if folder == "fork":
                theirs = ledger.manifest.segments[-1].path
                content = where.get(theirs)
                assert content is not None
                store.put_bytes(theirs, content)
    return theirs


def test_of_two_segments_of_one_range_the_tree_tells_the_right_one(tmp_path: Path, store: FolderStore) -> None:
    forked(tmp_path, store)
    store.delete(paths.MANIFEST)  # which would have told
    restore(store, tmp_path / "new")
    with opened(tmp_path / "new", store) as ledger:
        assert ledger.get("second") == b"of lost"
        assert ledger.verify().ok


def test_a_segment_of_a_fork_is_named(tmp_path: Path, store: FolderStore) -> None:
    theirs = forked(tmp_path, store)
    right = [found.path for found in store.list(paths.SEGMENTS) if found.path[:51] == theirs[:51]]
    assert len(right) == 2
    store.delete(next(path for path in right if path != theirs))
    error = refused(store, tmp_path / "new")
    assert theirs in str(error) or "names it" in str(error)
    store.delete(paths.MANIFEST)
    assert theirs in str(refused(store, tmp_path / "new"))


def left_over(store: FolderStore, content: bytes, size: int, *, digest: bytes | None = None) -> str:
    """An object under the name of a segment that has the entries of all others."""
    path = paths.segment_path(0, size - 1, sha256(content).digest() if digest is None else digest)
    store.put_bytes(path, content)
    return path


def wide_segment(folder: Path, size: int) -> bytes:
    """A sound segment of another ledger, with as many entries."""
    where = FolderStore(folder / "wide store")
    with opened(folder / "wide", where, name="example.org/another") as ledger:
        ledger.put_many([(f"key/{number}", b"theirs") for number in range(size)])
        archive(ledger, segment_size=1 << 30)
        content = where.get(ledger.manifest.segments[0].path)
    assert content is not None
    return content


@pytest.mark.parametrize("manifest", ["there", "gone"])
def test_what_is_left_over_does_no_harm(tmp_path: Path, whole: Path, manifest: str) -> None:
    """Damaged, of another ledger, or under a name of other bytes, and with more entries than any that is live."""
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    size = published(store)[-1]
    theirs = wide_segment(tmp_path, size)
    for content, digest in ((b"junk", None), (theirs, None), (theirs[:3000], sha256(theirs).digest())):
        left_over(store, content, size, digest=digest)
    if manifest == "gone":
        store.delete(paths.MANIFEST)  # so that nothing tells them from the live ones, but what is in them
    assert restore(store, tmp_path / "new").size == size
    with opened(tmp_path / "new", store) as ledger:
        assert len(ledger.manifest.segments) > 2
        assert ledger.verify().ok


@pytest.mark.parametrize("at", [0, 1])
def test_a_merged_segment_that_was_left_over_stands_in_for_a_live_one(tmp_path: Path, whole: Path, at: int) -> None:
    """Also where some that it holds were taken over already; then it all begins anew."""
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    identity, live = read_identity(store), read_directory(store).live
    assert identity is not None
    parts = [(store.root / segment.path, segment) for segment in live]
    with merge(parts, ledger_id=identity.ledger_id, folder=tmp_path) as merged:
        store.put_file(merged.segment.path, merged.path)
    content = bytearray((store.root / live[at].path).read_bytes())
    content[len(content) // 2] ^= 1
    (store.root / live[at].path).write_bytes(content)

    assert restore(store, tmp_path / "new").size == live[-1].stop
    with opened(tmp_path / "new", store) as ledger:
        assert [segment.path for segment in ledger.manifest.segments] == [merged.segment.path]
        assert ledger.verify().ok


def test_the_first_error_is_told_where_nothing_stands_in(tmp_path: Path, whole: Path) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    live = read_directory(store).live
    left_over(store, b"junk", live[-1].stop)
    (store.root / live[1].path).write_bytes(b"damaged")
    error = refused(store, tmp_path / "new")
    assert store.place(live[1].path) in str(error)
    assert "is corrupt" in str(error)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ledger_id": "0" * 32}, "says that the ledger is 0{32}, and all segments are of"),
        ({"policies": {"nverwrite": "forbid"}}, "has policies that this program does not know: .*'nverwrite'"),
        ({"policies": {"overwrite": "gorbid"}}, "has policies that this program does not know: .*'gorbid'"),
    ],
)
def test_what_only_scribe_json_can_have_wrong_is_not_blamed_on_others(
    tmp_path: Path, whole: Path, changes: dict[str, Any], why: str
) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    claim(store, **changes)
    error = refused(store, tmp_path / "new")
    assert isinstance(error, Corruption)
    assert re.search(rf"{store.place(paths.IDENTITY)} {why}", str(error))


def claim(store: FolderStore, **changes: Any) -> None:
    """Another ``scribe.json``, whose digest is right."""
    found = read_identity(store)
    assert found is not None
    store.put_bytes(paths.IDENTITY, encode_identity(replace(found, **changes)), replace=True)


def test_a_policy_that_the_log_tells_counts_and_not_that_of_scribe_json(tmp_path: Path, whole: Path) -> None:
    store = FolderStore(shutil.copytree(whole, tmp_path / "store"))
    claim(store, policies={"overwrite": "forbid", "deletes": "forbid"})
    restore(store, tmp_path / "new")
    with opened(tmp_path / "new", store) as ledger:
        assert ledger.policy.choices() == {"overwrite": "forbid", "deletes": "tombstone"}


def test_a_store_without_a_ledger_is_refused(tmp_path: Path, store: FolderStore) -> None:
    assert "scribe.json" in str(refused(store, tmp_path / "new"))
    with opened(tmp_path / "lost", store, name=NAME) as ledger:
        ledger.adopt_store()
    assert isinstance(refused(store, tmp_path / "new"), NotFound)
    assert not (tmp_path / "new").exists()


def test_a_missing_checkpoint_is_noticed_by_the_copies_of_it(tmp_path: Path, whole: Path) -> None:
    """Without that, the log would end early and look whole."""
    newest = paths.checkpoint_path(published(FolderStore(whole))[-1])
    for number, copies in enumerate(([paths.CHECKPOINT], [paths.MANIFEST], [])):
        store = FolderStore(shutil.copytree(whole, tmp_path / f"store {number}"))
        for path in (newest, *copies):
            store.delete(path)
        assert newest in str(refused(store, tmp_path / f"new {number}"))


@pytest.mark.parametrize("stale", [(), (paths.CHECKPOINT,), (paths.CHECKPOINT, paths.MANIFEST)])
def test_a_listing_that_lacks_the_newest_checkpoint_gives_no_shorter_ledger(
    tmp_path: Path, stale: tuple[str, ...]
) -> None:
    """Whatever else tells of it: the copy of it, the manifest that was put after it, the segment that ends there."""
    store = HidingStore(tmp_path / "store")
    size = lose(tmp_path / "lost", store, parts=1)
    older = {path: store.get(path) or b"" for path in stale}
    restore(store, tmp_path / "earlier")
    with opened(tmp_path / "lost", store) as ledger:
        write(ledger, 1)
        archive(ledger, segment_size=1 << 20)
        larger = ledger.size
    for path, content in older.items():
        store.put_bytes(path, content, replace=True)
    newest = paths.checkpoint_path(larger)
    store.hide(newest)
    for is_promoted in (False, True):
        with pytest.raises(Unlisted, match=newest):
            restore(store, tmp_path / "new", promote=is_promoted)
    with pytest.raises(Unlisted, match=newest):
        promote(store, tmp_path / "earlier")
    assert store.stat(paths.epoch_path(1)) is None
    store.hide(newest, times=1)
    assert restore(store, tmp_path / "new").size == larger > size


@pytest.mark.s3
@needs_versitygw
def test_a_listed_checkpoint_that_is_not_found_once_is_looked_for_again(tmp_path: Path, s3_server: S3Server) -> None:
    with rig_on(s3_server) as rig:
        size = lose(tmp_path / "lost", rig.store, parts=2)
        newest = paths.checkpoint_path(published(rig.store)[-1])
        rig.proxy.fail(Fault.NOT_FOUND, method="GET", path=newest)
        assert restore(rig.store, tmp_path / "new").size == size
        rig.proxy.fail(Fault.NOT_FOUND, times=None, method="GET", path=newest)
        with pytest.raises(Corruption, match=f"{newest} is listed"):
            restore(rig.store, tmp_path / "another")


def test_a_key_that_is_known_is_compared(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store, parts=1)
    with opened(tmp_path / "lost", store) as ledger:
        public_key = ledger.public_key
    with bystander(tmp_path / "other", FolderStore(tmp_path / "other store")) as other:
        assert other.public_key in str(refused(store, tmp_path / "new", public_key=other.public_key))
    restore(store, tmp_path / "new", public_key=public_key)


def test_a_folder_with_a_ledger_is_refused(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store, parts=1)
    with pytest.raises(StorageError, match="its own key") as error:
        restore(store, tmp_path / "lost", promote=True)
    assert "empty" not in error.value.hint
    with bystander(tmp_path / "other", FolderStore(tmp_path / "other store")):
        pass
    with pytest.raises(StorageError, match="another ledger"):
        restore(store, tmp_path / "other", promote=True)


def test_a_restore_that_is_done_is_not_done_again(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store, parts=1)
    first = restore(store, tmp_path / "new")
    again = restore(store, tmp_path / "new")
    assert (first.repeated, again) == (False, first._replace(repeated=True))
    assert not restore(store, tmp_path / "new", promote=True).repeated


def test_a_promotion_that_is_done_is_not_done_again(tmp_path: Path, store: FolderStore) -> None:
    """Whoever promoted into another folder then would fence the ledger of the first."""
    lose(tmp_path / "lost", store, parts=1)
    first = restore(store, tmp_path / "new", promote=True)
    with opened(tmp_path / "new", store) as ledger:
        ledger.put("key", "in the new epoch")
        size = ledger.size
    before = {found.path for found in store.list("")}

    again = restore(store, tmp_path / "new", promote=True)

    assert (again.repeated, first.repeated) == (True, False)
    assert (again.epoch, again.public_key, again.size) == (1, first.public_key, size)
    assert {found.path for found in store.list("")} == before
    with pytest.raises(StorageError, match=r"promoted already \(there is nothing") as error:
        restore(store, tmp_path / "new")
    assert "start the node on it" in error.value.hint
    with pytest.raises(StorageError, match=r"goes on as .*/e1'") as error:
        restore(store, tmp_path / "lost", promote=True)
    assert "empty" not in str(error.value)
    restore(store, tmp_path / "newer", promote=True)
    with pytest.raises(StorageError, match=r"promoted already, as .*/e1'; but .* goes on as .*/e2'") as error:
        restore(store, tmp_path / "new", promote=True)
    assert "empty" not in str(error.value)


# --- interrupted -----------------------------------------------------------------------------------------------


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 4, 7])
@pytest.mark.no_cover
def test_a_restore_that_was_interrupted_goes_on(tmp_path: Path, store: FolderStore, after: int) -> None:
    size = lose(tmp_path / "lost", store)
    calls: list[tuple[str, int, int]] = []

    def stop_after(part: str, done: int, total: int) -> None:
        calls.append((part, done, total))
        if len(calls) == after:
            raise Interrupt

    with pytest.raises(Interrupt):
        restore(store, tmp_path / "new", progress=stop_after)
    assert (tmp_path / "new" / RESTORING).exists()
    with pytest.raises(StorageError, match="being restored") as error:
        opened(tmp_path / "new", store)
    assert "scribe restore" in error.value.hint
    done = calls[-1][1] if calls[-1][0] == "entries" else size

    again: list[int] = []
    restore(store, tmp_path / "new", progress=lambda part, at, _: again.append(at) if part == "entries" else None)
    assert not [at for at in again if at < done], "what was taken over is not taken over again"
    with opened(tmp_path / "lost", store) as lost, opened(tmp_path / "new", store) as new:
        assert everything(new, size) == everything(lost, size)
        assert new.verify().ok
    assert not (tmp_path / "new" / RESTORING).exists()


@pytest.mark.s3
@needs_versitygw
def test_a_store_that_fails_on_the_way_is_gone_on_with(tmp_path: Path) -> None:
    with S3Server(tmp_path / "server") as server:
        bucket = server.bucket()
        remote = open_object_store(bucket.url, bucket.options(max_retries=0))
        size = lose(tmp_path / "lost", remote)

        def kill(*_: object) -> None:
            server.kill()

        with pytest.raises(Unavailable):
            restore(remote, tmp_path / "new", progress=kill)
        with pytest.raises(Unavailable):
            restore(remote, tmp_path / "new")
        server.start()
        assert restore(remote, tmp_path / "new").size == size
        with opened(tmp_path / "new", remote) as ledger:
            assert ledger.get("large") == LARGE + b"\2"
        remote.close()


def test_a_half_folder_is_not_filled_from_another_store(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)

    def stop(*_: object) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        restore(store, tmp_path / "new", progress=stop)
    another = FolderStore(tmp_path / "other store")
    with bystander(tmp_path / "other", another), pytest.raises(ConfigurationError, match="half restored from"):
        restore(another, tmp_path / "new")


def test_a_store_that_was_merged_meanwhile_is_noticed(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store, segment_size=6 << 10)
    calls: list[int] = []

    def stop_after_a_segment(_part: str, done: int, _total: int) -> None:
        calls.append(done)
        if len(calls) == 3:
            raise Interrupt

    with pytest.raises(Interrupt):
        restore(store, tmp_path / "new", progress=stop_after_a_segment)
    with opened(tmp_path / "lost", store) as ledger:
        small = [found.path for found in ledger.manifest.segments]
        archive(ledger, segment_size=1 << 20)
        merged = {found.path for found in ledger.manifest.segments}
    for path in {*small} - merged:
        store.delete(path)
    with pytest.raises(Corruption) as error:
        restore(store, tmp_path / "new")
    assert "remove the folder" in error.value.hint
    shutil.rmtree(tmp_path / "new")
    restore(store, tmp_path / "new")


def test_more_that_was_archived_meanwhile_is_taken_over_too(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)

    def stop(*_: object) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        restore(store, tmp_path / "new", progress=stop)
    with opened(tmp_path / "lost", store) as ledger:
        write(ledger, 3)
        archive(ledger)
        size = ledger.size
    assert restore(store, tmp_path / "new").size == size


KILL = Path(__file__).with_name("kill_in_restore.py")


@pytest.mark.parametrize("step", ["1", "3", "8", "save_identity", "remove"])
@pytest.mark.no_cover
def test_a_restore_that_was_killed_goes_on(tmp_path: Path, store: FolderStore, step: str) -> None:
    size = lose(tmp_path / "lost", store)
    killed = subprocess.run(
        [sys.executable, KILL, store.root, tmp_path / "new", step], capture_output=True, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    with pytest.raises(StorageError, match="being restored"):
        opened(tmp_path / "new", store)
    assert restore(store, tmp_path / "new").size == size
    with opened(tmp_path / "lost", store) as lost, opened(tmp_path / "new", store) as new:
        assert everything(new, size) == everything(lost, size)
        assert new.verify().ok
        assert new.manifest.segments == lost.manifest.segments
    assert [*(tmp_path / "new" / "spool").iterdir()] == [], "what it left behind is cleared away"


# --- a node on an empty folder ---------------------------------------------------------------------------------


def settings(folder: Path, store: FolderStore | None) -> Config:
    overrides = {"node.data_dir": str(folder)} | ({} if store is None else {"storage.object_store": store.url})
    return Config.load(os.devnull, environ={}, overrides=overrides)


def test_a_node_on_an_empty_folder_restores_it(tmp_path: Path, store: FolderStore) -> None:
    assert restore_if_needed(settings(tmp_path / "new", store)) is None, "nobody has used that store"
    size = lose(tmp_path / "lost", store)
    restored = restore_if_needed(settings(tmp_path / "new", store))
    assert restored is not None
    assert restored.size == size
    assert restore_if_needed(settings(tmp_path / "new", store)) is None, "it has a ledger now"
    assert restore_if_needed(settings(tmp_path / "lost", store)) is None


def test_a_node_goes_on_with_a_restore_that_was_cut_short(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "lost", store)

    def stop(*_: object) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        restore_if_needed(settings(tmp_path / "new", store), progress=stop)
    assert restore_if_needed(settings(tmp_path / "new", store)) is not None


def test_a_node_without_a_store_of_its_own_never_founds_a_second_ledger(tmp_path: Path) -> None:
    """Its folder was lost but for the archive in it: that is for an operator to decide."""
    data = tmp_path / "data"
    assert restore_if_needed(settings(data, None)) is None
    lose(data, FolderStore(data / "objects"))
    (data / IDENTITY).unlink()
    with pytest.raises(ConfigurationError, match="is the archive of one") as error:
        restore_if_needed(settings(data, None))
    assert "scribe restore --from" in error.value.hint


def test_a_node_whose_store_cannot_be_asked_does_not_go_on(tmp_path: Path, store: FolderStore) -> None:
    shutil.rmtree(store.root)
    store.root.write_text("not a folder")
    with pytest.raises(StorageError):
        restore_if_needed(settings(tmp_path / "new", store))
    assert not (tmp_path / "new").exists()

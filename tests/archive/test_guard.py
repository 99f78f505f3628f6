"""The store refuses whoever came back too late: the old node, an older copy of a folder, another ledger."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.archive.hiding import HidingStore
from tests.archive.lost import NAME, archive, bystander, lose, opened, published, write
from tests.faulty_proxy import Fault
from tests.objects.remote import rig_on

from scribe_ledger import AsyncLedger, Ledger
from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import ConfigurationError, Corruption, Forbidden, Unavailable
from scribe_ledger.ledger.guard import Superseded
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import Unlisted
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import StoreIdentity, encode_identity, read_identity

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage


def read(store: ObjectStore) -> StoreIdentity:
    found = read_identity(store)
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_store_of_its_own_lets_a_ledger_write(tmp_path: Path, store: FolderStore) -> None:
    with opened(tmp_path / "ledger", store, name=NAME) as ledger:
        ledger.check_store()  # nobody's store
        write(ledger, 0)
        ledger.check_store()  # claimed, and empty
        archive(ledger)
        ledger.check_store()  # level with it
        ledger.put("more", "than the store has")
        ledger.check_store()


def test_another_ledgers_store_is_refused(tmp_path: Path, store: FolderStore) -> None:
    with bystander(tmp_path / "other", store):
        pass
    with opened(tmp_path / "ledger", store, name=NAME) as ledger, pytest.raises(ConfigurationError, match="another"):
        ledger.check_store()


def test_an_older_copy_of_a_folder_is_refused(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "ledger", store, parts=1)
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    with opened(tmp_path / "ledger", store) as ledger:
        write(ledger, 1)
        archive(ledger)
        newer = ledger.size
    with opened(tmp_path / "copy", store) as copy:
        with pytest.raises(Superseded, match=str(newer)) as error:
            copy.check_store()
        assert "older copy" in str(error.value)
        assert "scribe restore" in error.value.hint


def test_an_archiver_that_is_refused_lets_nobody_write_and_everybody_read(tmp_path: Path, store: FolderStore) -> None:
    size = lose(tmp_path / "ledger", store, parts=1)
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    with opened(tmp_path / "ledger", store) as ledger:
        write(ledger, 1)
        archive(ledger)
    before = sorted(found.path for found in store.list(""))
    with opened(tmp_path / "copy", store) as copy:
        copy._guarded = True  # as if the store had not answered
        copy.put("written", "before the archiver looked")
        archiver = Archiver(copy, ArchiveSettings(segment_size=1, age_threshold_secs=1 << 40, auto=False))
        with pytest.raises(Forbidden):
            archiver.run_once(everything=True)
        with pytest.raises(Forbidden, match="older copy"):
            copy.put("written", "after")
        assert copy.get("written") == b"before the archiver looked"
        assert copy.get("text") == b"part 0"
        assert copy.checkpoint().size > size
    assert sorted(found.path for found in store.list("")) == before, "and nothing of it got into the store"


def test_the_old_node_is_refused_after_a_promotion(tmp_path: Path, store: FolderStore) -> None:
    size = lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "new", promote=True)
    with opened(tmp_path / "old", store) as old:
        with pytest.raises(Superseded, match="epoch 1") as error:
            old.check_store()
        assert f"{NAME}/e1" in str(error.value)
        assert str(size) in str(error.value)
    with opened(tmp_path / "new", store) as new:
        new.check_store()
        new.put("a", "b")
        archive(new)
        new.check_store()


def test_a_folder_that_was_restored_and_not_promoted_is_refused_too(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "late")
    restore(store, tmp_path / "new", promote=True)
    with opened(tmp_path / "late", store) as late, pytest.raises(Superseded, match="epoch 1"):
        late.check_store()


def test_a_fork_of_one_size_is_refused(tmp_path: Path, store: FolderStore) -> None:
    with opened(tmp_path / "ledger", store, name=NAME) as ledger:
        ledger.put("first", "same")
        archive(ledger)
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    with opened(tmp_path / "ledger", store) as ledger:
        ledger.put("second", "here")
        archive(ledger)
    with opened(tmp_path / "copy", store) as copy:
        copy._guarded = True  # as if the store had not answered
        copy.put("second", "there")
        with pytest.raises(Superseded, match="forked"):
            copy.check_store()


def test_an_epoch_that_was_removed_is_noticed(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "new", promote=True)
    store.delete(paths.epoch_path(1))
    with opened(tmp_path / "new", store) as new, pytest.raises(Corruption, match="epochs/0000000001"):
        new.check_store()


def test_a_checkpoint_that_the_ledger_never_signed_is_named(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "old", store, parts=1)
    with bystander(tmp_path / "other", FolderStore(tmp_path / "other store")) as other:
        theirs = other.checkpoint()
    forged = paths.checkpoint_path(10**6)
    store.put_bytes(forged, theirs.text.encode())
    with opened(tmp_path / "old", store) as old, pytest.raises(Corruption, match=forged):
        old.check_store()


def test_a_copy_of_the_store_is_not_adopted(tmp_path: Path, store: FolderStore) -> None:
    """Two stores of one ledger differ in their random id."""
    lose(tmp_path / "ledger", store, parts=1)
    second = FolderStore(tmp_path / "second")
    with opened(tmp_path / "fresh", second, name=NAME) as fresh:
        fresh.adopt_store()
    with opened(tmp_path / "ledger", second) as ledger, pytest.raises(ConfigurationError):
        ledger.adopt_store()


# --- whoever writes, with a node or without -----------------------------------------------------------------------


def test_a_library_on_an_older_copy_writes_nothing(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "data", object_store=(tmp_path / "store").as_uri()) as ledger:
        ledger.put("a", "1")
        ledger.snapshot(tmp_path / "copy")
        ledger.put("b", "2")
        archive(ledger)
    with Ledger.open(tmp_path / "copy", object_store=(tmp_path / "store").as_uri()) as copy:
        for write in (
            lambda: copy.put("c", "3"),
            lambda: copy.put_many([("c", "3")]),
            lambda: copy.delete("a"),
            lambda: copy.put_stream("c", [b"3"]),
        ):
            with pytest.raises(Superseded, match="older copy"):
                write()
        assert (copy.size, copy.get("a")) == (1, b"1")


async def refused(path: Path, store: str) -> None:
    async with await AsyncLedger.open(path, object_store=store) as copy:
        with pytest.raises(Superseded, match="older copy"):
            await copy.put("c", "3")


def test_so_does_one_for_an_event_loop(tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    with ServedLedger.open(tmp_path / "data", object_store=store) as ledger:
        ledger.put("a", "1")
        ledger.snapshot(tmp_path / "copy")
        ledger.put("b", "2")
        archive(ledger)
    asyncio.run(refused(tmp_path / "copy", store))


def test_a_store_that_does_not_answer_keeps_nobody_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with ServedLedger.open(tmp_path / "data") as ledger:

        def fail() -> None:
            raise Unavailable("no answer")

        monkeypatch.setattr(ledger.objects, "check", fail)
        assert ledger.put("a", "1").created
        assert "no answer" in caplog.text


def test_a_store_that_is_gone_or_another_is_never_taken_for_an_unused_one(tmp_path: Path) -> None:
    """A mount that went away leaves an empty folder, and an archive there would be evicted to nowhere."""
    mount = tmp_path / "mount"
    with opened(tmp_path / "data", FolderStore(mount), name=NAME) as ledger:
        ledger.put("a", "1")
        archive(ledger)
        mount.rename(tmp_path / "away")
        mount.mkdir()
        with pytest.raises(Unavailable, match=r"scribe\.json"):
            ledger.check_store()
        ledger.put("b", "2")
        with pytest.raises(Unavailable, match=r"scribe\.json"):
            archive(ledger)
        assert list(mount.rglob("*")) == []
        with bystander(tmp_path / "other", FolderStore(mount)) as other:
            archive(other)
        with pytest.raises(ConfigurationError, match="not of this ledger"):
            ledger.check_store()


@pytest.mark.parametrize("field", ["ledger_id", "store_id", "vkey"])
def test_what_only_scribe_json_says_ends_archiving_and_no_write(tmp_path: Path, store: FolderStore, field: str) -> None:
    """Nothing signs that file, so it proves nothing of this ledger; and once it is right all goes on."""
    with bystander(tmp_path / "other", FolderStore(tmp_path / "other store")) as other:
        theirs = replace(read(other.objects), store_id="0" * 32)
    lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "new", promote=True)  # so that there is an epoch whose signature would not hold
    path, checked = ("old", "vkey") if field == "vkey" else ("new", field)
    if field == "vkey":
        store.delete(paths.epoch_path(1))
    with opened(tmp_path / path, store) as ledger:
        ledger.put("before", "1")
        archiver = Archiver(ledger, ArchiveSettings(segment_size=1, age_threshold_secs=1 << 40, auto=False))
        archiver.run_once(everything=True)
        ledger.put("more", "to archive")
        right = store.get("scribe.json") or b""
        ours = read(store)
        changes = {checked: getattr(theirs, checked)} | ({"origin": theirs.origin} if checked == "vkey" else {})
        store.put_bytes("scribe.json", encode_identity(replace(ours, **changes)), replace=True)
        with pytest.raises(ConfigurationError, match=r"scribe\.json") as error:
            archiver.run_once(everything=True)
        assert "bring the object back from a copy" in error.value.hint
        ledger.put("small", "written all the same")
        if checked != "vkey":
            with pytest.raises(ConfigurationError):
                ledger.put("large", b"l" * 3000)
        store.put_bytes("scribe.json", right, replace=True)
        archiver.run_once(everything=True)
        ledger.put("large", b"l" * 3000)
        assert ledger.manifest.archived_size == ledger.size - 1


def test_a_copy_of_the_ledger_s_own_store_with_another_id_is_refused(tmp_path: Path, store: FolderStore) -> None:
    with opened(tmp_path / "data", store, name=NAME) as ledger:
        ledger.put("a", "1")
        archive(ledger)
        found = read_identity(store)
        assert found is not None
        store.put_bytes("scribe.json", encode_identity(replace(found, store_id="0" * 32)), replace=True)
        with pytest.raises(ConfigurationError, match="0" * 32):
            ledger.check_store()


def test_a_pass_that_was_cut_short_in_a_later_epoch_is_finished_by_the_next(tmp_path: Path, store: FolderStore) -> None:
    lose(tmp_path / "old", store, parts=1)
    restore(store, tmp_path / "new", promote=True)
    settings = ArchiveSettings(segment_size=1 << 20, age_threshold_secs=1 << 40, auto=False)

    def die(step: str) -> None:
        if step == "sequence":
            raise KeyboardInterrupt

    with opened(tmp_path / "new", store) as new:
        new.put("b", "2")
        archive(new)
        new.put("c", "3")
        with pytest.raises(KeyboardInterrupt):
            Archiver(new, settings, at_step=die).run_once(everything=True)
    with opened(tmp_path / "new", store) as new:
        new.put("d", "4")
        Archiver(new, settings).run_once(everything=True)
        assert new.manifest.archived_size == new.size
        new.check_store()


@pytest.mark.parametrize("moment", [paths.EPOCHS, paths.CHECKPOINTS])
def test_what_is_published_while_the_guard_looks_is_neither_missing_nor_another_s(
    tmp_path: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    with opened(tmp_path / "data", store, name=NAME) as ledger:
        ledger.put("a", "1")
        archive(ledger)
        listing = store.list

        def late(prefix: str, *, after: str = "") -> object:
            found = list(listing(prefix, after=after))
            if prefix != moment:
                return iter(found)
            monkeypatch.undo()
            ledger.put("b", "2")
            archive(ledger)
            return iter(found)

        monkeypatch.setattr(store, "list", late)
        ledger.check_store()
        assert ledger.manifest.archived_size == 2


# --- listings that are none, or lack something --------------------------------------------------------------------


@pytest.fixture
def hiding(tmp_path: Path) -> HidingStore:
    return HidingStore(tmp_path / "store")


def contents(store: FolderStore) -> dict[str, bytes | None]:
    return {path: FolderStore.get(store, path) for path in sorted(found.path for found in FolderStore.list(store, ""))}


@pytest.mark.parametrize("hidden", ["", paths.EPOCHS], ids=["everything", "epochs"])
def test_an_epoch_that_no_listing_shows_fences_the_old_node(tmp_path: Path, hiding: HidingStore, hidden: str) -> None:
    lose(tmp_path / "old", hiding, parts=1)
    restore(hiding, tmp_path / "new", promote=True)
    with opened(tmp_path / "new", hiding) as new:
        write(new, 1)
        archive(new)
    before = contents(hiding)
    hiding.hide(hidden)
    with opened(tmp_path / "old", hiding) as old:
        with pytest.raises(Superseded, match="epoch 1"):
            archive(old)
        with pytest.raises(Superseded, match="epoch 1"):
            old.put("written", "by the old node")
    assert contents(hiding) == before


@pytest.mark.s3
def test_an_answer_that_is_no_listing_lets_no_old_node_write(tmp_path: Path, s3_server: S3Server) -> None:
    with rig_on(s3_server) as rig:
        lose(tmp_path / "old", rig.store, parts=1)
        restore(rig.store, tmp_path / "new", promote=True)
        with opened(tmp_path / "new", rig.store) as new:
            write(new, 1)
            archive(new)
        rig.proxy.heal()
        rig.proxy.fail(Fault.NO_LISTING, times=None, query="list-type")
        assert list(rig.store.list("")) == [], "nothing tells it from a listing of nothing"
        with opened(tmp_path / "old", rig.store) as old, pytest.raises(Superseded, match="epoch 1"):
            archive(old)
        assert rig.proxy.count(method="PUT") == rig.proxy.count(method="POST") == 0


def test_an_older_copy_is_refused_where_the_listing_lacks_the_newest_checkpoint(
    tmp_path: Path, hiding: HidingStore
) -> None:
    lose(tmp_path / "ledger", hiding, parts=1)
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    with opened(tmp_path / "ledger", hiding) as ledger:
        write(ledger, 1)
        archive(ledger)
    for hidden in (paths.checkpoint_path(published(hiding)[-1]), ""):
        hiding.hide(hidden)
        with opened(tmp_path / "copy", hiding) as copy, pytest.raises(Superseded, match="older copy"):
            copy.check_store()


@pytest.mark.parametrize("copied", [True, False])
def test_a_listing_without_what_this_ledger_published_is_none(
    tmp_path: Path, hiding: HidingStore, copied: bool
) -> None:
    """Whether its own checkpoint is known by ``checkpoint``, or by its own archived end alone."""
    size = lose(tmp_path / "ledger", hiding, parts=1)
    if not copied:
        hiding.delete(paths.CHECKPOINT)
    before = contents(hiding)
    hiding.hide("")
    with opened(tmp_path / "ledger", hiding) as ledger:
        with pytest.raises(Unlisted, match=paths.checkpoint_path(size)):
            archive(ledger)
        assert contents(hiding) == before
        ledger.put("small", "written all the same")
        hiding.hide()
        archive(ledger)
        assert published(hiding)[-1] == ledger.size


def test_a_listing_that_lacked_something_once_is_no_reason(tmp_path: Path, hiding: HidingStore) -> None:
    lose(tmp_path / "ledger", hiding, parts=1)
    with opened(tmp_path / "ledger", hiding) as ledger:
        hiding.hide(paths.CHECKPOINTS, times=1)
        ledger.check_store()


def test_a_copy_of_a_later_epochs_checkpoint_is_a_doubt(tmp_path: Path, hiding: HidingStore) -> None:
    lose(tmp_path / "old", hiding, parts=1)
    restore(hiding, tmp_path / "new", promote=True)
    with opened(tmp_path / "new", hiding) as new:
        new.put("a", "b")
        archive(new)
    hiding.delete(paths.epoch_path(1))
    hiding.hide(paths.checkpoint_path(published(hiding)[-1]))
    with opened(tmp_path / "old", hiding) as old, pytest.raises(Corruption, match="epochs/0000000001"):
        old.check_store()


def test_the_guard_costs_the_same_however_much_was_archived(tmp_path: Path, hiding: HidingStore) -> None:
    with opened(tmp_path / "ledger", hiding, name=NAME) as ledger:
        costs = set()
        for number in range(4):
            ledger.put("key", str(number))
            archive(ledger)
            hiding.asked = 0
            ledger.check_store()
            costs.add(hiding.asked)
    # scribe.json; the listing of epochs, and the first; `checkpoint`, the listing from there, and the newest
    assert costs == {6}

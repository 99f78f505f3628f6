"""What is published, from what a store has already, and what is taken for a fork."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.archive.hiding import HidingStore
from tests.archive.rounds import archiver, check_archived, open_ledger, write_round
from tests.archive.stores import NotingStore

from scribe_ledger.archive.publishing import _tiles, largest_checkpoint
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import Corruption, Unavailable
from scribe_ledger.merkle.checkpoint import Checkpoint
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.note import Verifier
from scribe_ledger.merkle.tiles import decode_bundle, parse_tile_path
from scribe_ledger.objects import paths
from scribe_ledger.objects.epochs import Superseded
from scribe_ledger.objects.failures import Failure, Kind
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.ledger.served import ServedLedger

pytestmark = pytest.mark.storage


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: NotingStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


def grow(ledger: ServedLedger, entries: int) -> None:
    """To exactly so many."""
    start = ledger.size
    ledger.put_many([(f"key {number}", f"value {number}") for number in range(start, entries)])


@pytest.mark.parametrize("sizes", [(1,), (256,), (255, 256, 257), (100, 300, 65_536 + 700), (512, 65_536)])
def test_each_published_size_has_all_tiles_of_its_tree_and_no_other(
    ledger: ServedLedger, store: NotingStore, sizes: tuple[int, ...]
) -> None:
    archive = archiver(ledger, segment_size=1 << 26)
    partial = set()
    for size in sizes:
        grow(ledger, size)
        archive.run_once(everything=True)
        tiles = [parse_tile_path(listed.path) for listed in store.list(paths.TILES)]
        partial |= {(size >> 8 * level) % 256 for level in range(3)} - {0}
        for level in (None, 0, 1, 2):
            full = {tile.index for tile in tiles if tile.level == level and tile.width == 256}
            assert full == set(range(size >> 8 * ((level or 0) + 1)))
        assert {tile.width for tile in tiles} - {256} == partial
    for listed in store.list(paths.TILES):
        tile, content = parse_tile_path(listed.path), store.get(listed.path)
        assert content is not None
        if tile.level is None:
            first = tile.index * 256
            assert decode_bundle(content) == ledger.leaves(first, first + tile.width)
            content = b"".join(map(hash_leaf, decode_bundle(content)))
        assert content == ledger.tile(tile.level or 0, tile.index, tile.width)


def test_the_checkpoint_is_that_of_the_archived_end_and_signed(ledger: ServedLedger, store: NotingStore) -> None:
    archive = archiver(ledger, age_threshold_secs=0)
    write_round(ledger, 0)

    def more(step: str) -> None:
        if step == "sequence":
            write_round(ledger, 1)

    archiver(ledger, more).run_once(everything=True)
    archived = ledger.manifest.archived_size
    assert archived < ledger.size
    content = store.get(paths.checkpoint_path(archived))
    assert content is not None
    checkpoint = Checkpoint.parse(content.decode())
    checkpoint.verify(Verifier.parse(ledger.public_key))
    assert (checkpoint.size, checkpoint.root) == (archived, ledger.checkpoint(at=archived).root)
    assert store.get(paths.CHECKPOINT) == content
    archive.run_once(everything=True)
    check_archived(ledger, 2)


def test_publishing_goes_on_from_the_largest_checkpoint_of_the_store(ledger: ServedLedger, store: NotingStore) -> None:
    grow(ledger, 1000)
    archiver(ledger).run_once(everything=True)
    grow(ledger, 1300)
    store.asked.clear()
    archiver(ledger).run_once(everything=True)  # a new process, which remembers nothing
    tiles = [parse_tile_path(path) for path in store.written if path.startswith("tile/")]
    assert {tile.index for tile in tiles if tile.level == 0} == {3, 4, 5}
    assert largest_checkpoint(store, 1300) == largest_checkpoint(store, 5000) == 1300


TILES_OF_600 = ["tile/0/000", "tile/entries/001", "tile/1/000.p/2", "tile/entries/002.p/88"]


@pytest.mark.parametrize("path", TILES_OF_600)
def test_a_tile_of_another_log_that_a_checkpoint_covers_is_a_fork(
    ledger: ServedLedger, store: NotingStore, path: str
) -> None:
    grow(ledger, 600)

    def published_meanwhile(step: str) -> None:
        if step == "guard":
            archiver(ledger, segment_size=1 << 26, hot_size=1 << 30).run_once(everything=True)
            (store.root / path).write_bytes(b"something else")

    slow = archiver(ledger, segment_size=1 << 26, hot_size=1 << 30)
    slow._term = slow._leading.term  # it has been at work before, and has seen this much
    slow._publisher._published = 0
    slow._at_step = published_meanwhile
    with pytest.raises(Corruption, match=f"{path}.* forked"):
        slow.run_once(everything=True)
    assert store.get(path) == b"something else"


@pytest.mark.parametrize("path", TILES_OF_600)
def test_a_tile_that_no_checkpoint_covers_is_replaced(ledger: ServedLedger, store: NotingStore, path: str) -> None:
    grow(ledger, 600)
    store.put_bytes(path, b"something else")
    archiver(ledger, segment_size=1 << 26).run_once(everything=True)
    assert store.get(path) == dict(_tiles(ledger, 0, 600))[path]
    assert largest_checkpoint(store, 600) == 600


def test_tiles_of_an_unknown_store_are_not_replaced(ledger: ServedLedger, store: NotingStore) -> None:
    """Whose the store is, is asked once more when bytes differ: a promotion may have come after the guard."""
    grow(ledger, 600)
    store.put_bytes("tile/0/000", b"something else")

    def promoted(step: str) -> None:
        if step == "sequence":
            ledger.check_store = superseded  # type: ignore[method-assign]

    def superseded() -> None:
        raise Superseded("this ledger goes on elsewhere")

    with pytest.raises(Superseded):
        archiver(ledger, promoted, segment_size=1 << 26).run_once(everything=True)
    assert store.get("tile/0/000") == b"something else"


@pytest.mark.parametrize("promote", [True, False], ids=["restored", "a copy"])
def test_who_goes_on_after_a_loss_while_tiles_were_published_can_archive(
    store: NotingStore, tmp_path: Path, promote: bool
) -> None:
    """The lost node put tiles of 400 entries, and no checkpoint: the ledger that goes on has others there."""
    with open_ledger(tmp_path / "lost", store) as lost:
        grow(lost, 100)
        archiver(lost, hot_size=1 << 30).run_once(everything=True)
        lost.close()
        shutil.copytree(tmp_path / "lost", tmp_path / "next")
    with open_ledger(tmp_path / "lost", store) as lost:
        grow(lost, 400)

        def loss(step: str) -> None:
            if step == "publish-tiles":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            archiver(lost, loss).run_once(everything=True)
    if promote:
        shutil.rmtree(tmp_path / "next")
        assert restore(store, tmp_path / "next", promote=True).size == 100
    with open_ledger(tmp_path / "next", store) as ledger:
        ledger.put_many([(f"other {number}", f"value {number}") for number in range(300, 700)])
        archiver(ledger).run_once(everything=True)
        for path, content in _tiles(ledger, 0, ledger.size):
            assert store.get(path) == content
        assert restore(store, tmp_path / "again").size == ledger.size == 500


def test_no_tile_is_replaced_that_a_checkpoint_covers_which_the_listing_lacks(tmp_path: Path) -> None:
    """Nor does the copy of it tell: whoever published was ended before that. The segment that it had put does."""
    store = HidingStore(tmp_path / "store")
    with open_ledger(tmp_path / "newer", store) as newer:
        grow(newer, 100)
        archiver(newer, hot_size=1 << 30).run_once(everything=True)
        newer.close()
        shutil.copytree(tmp_path / "newer", tmp_path / "older")
    with open_ledger(tmp_path / "newer", store) as newer:
        grow(newer, 400)
        copy = store.get(paths.CHECKPOINT) or b""
        archiver(newer).run_once(everything=True)
    store.put_bytes(paths.CHECKPOINT, copy, replace=True)
    store.hide(paths.checkpoint_path(400))
    tiles = {found.path: store.get(found.path) for found in store.list(paths.TILES)}
    with open_ledger(tmp_path / "older", store) as older:
        older.put_many([(f"other {number}", f"value {number}") for number in range(500)])
        with pytest.raises(Corruption, match=f"{paths.checkpoint_path(400)}.* forked"):
            archiver(older).run_once(everything=True)
    assert {path: store.get(path) for path in tiles} == tiles


def test_no_tile_is_replaced_where_a_listing_lacks_this_ledgers_own_segment(tmp_path: Path) -> None:
    store = HidingStore(tmp_path / "store")
    store.hide(paths.SEGMENTS)
    with open_ledger(tmp_path / "ledger", store) as ledger:
        grow(ledger, 600)
        store.put_bytes("tile/0/000", b"something else")
        with pytest.raises(Unavailable, match="listing lacks it"):
            archiver(ledger, segment_size=1 << 26).run_once(everything=True)
        assert store.get("tile/0/000") == b"something else"
        store.hide()
        archiver(ledger, segment_size=1 << 26).run_once()
        assert store.get("tile/0/000") == dict(_tiles(ledger, 0, 600))["tile/0/000"]


def test_a_policy_that_forbids_replacing_what_was_left_is_told_in_words(tmp_path: Path) -> None:
    class CreateOnly(FolderStore):
        def put_bytes(self, path: str, content: bytes, *, replace: bool = False) -> bool:
            if replace and path.startswith(paths.TILES):
                raise Unavailable(f"cannot write {path}") from Failure(Kind.REFUSED, "status 403 AccessDenied")
            return super().put_bytes(path, content, replace=replace)

    store = CreateOnly(tmp_path / "store")
    with open_ledger(tmp_path / "ledger", store) as ledger:
        grow(ledger, 300)
        for path in ("tile/0/000", "tile/entries/000"):
            store.put_bytes(path, b"something else")
        with pytest.raises(
            Unavailable, match=r"left .*tile/\S+, and 1 more .* let it be replaced .*AccessDenied"
        ) as error:
            archiver(ledger).run_once(everything=True)
        assert "If-None-Match" in error.value.hint
        for path in ("tile/0/000", "tile/entries/000"):
            store.delete(path)
        archiver(ledger).run_once()
        assert largest_checkpoint(store, 300) == 300


def test_a_checkpoint_of_another_log_is_a_fork(ledger: ServedLedger, store: NotingStore, tmp_path: Path) -> None:
    grow(ledger, 10)
    with open_ledger(tmp_path / "other", NotingStore(tmp_path / "other store")) as other:
        other.put_many([(f"key {number}", "something else") for number in range(10)])
        text = other.checkpoint().text

    def foreign(step: str) -> None:
        if step == "publish-tiles":
            store.put_bytes(paths.checkpoint_path(10), text.encode())

    with pytest.raises(Corruption, match="forked"):
        archiver(ledger, foreign).run_once(everything=True)


def test_a_copy_of_the_manifest_lists_what_is_live(ledger: ServedLedger, store: NotingStore) -> None:
    archive = archiver(ledger)
    for number in range(9):
        write_round(ledger, number)
        archive.run_once(everything=True)
        copy = orjson.loads(store.get(paths.MANIFEST) or b"")
        assert copy["segments"] == ledger.manifest.to_json()["segments"]
        assert (copy["ledger_id"], copy["archived_size"]) == (ledger.ledger_id, ledger.size)
        assert all(store.stat(each["path"]) is not None for each in copy["segments"])


def test_copies_that_were_not_replaced_in_time_are_replaced_by_the_next_process(
    ledger: ServedLedger, store: NotingStore
) -> None:
    archive = archiver(ledger)
    write_round(ledger, 0)
    archive.run_once(everything=True)
    old = {path: store.get(path) or b"" for path in (paths.CHECKPOINT, paths.MANIFEST)}
    write_round(ledger, 1)
    archive.run_once(everything=True)
    for path, content in old.items():
        store.put_bytes(path, content, replace=True)
    archiver(ledger).run_once()
    check_archived(ledger, 2)
    assert orjson.loads(store.get(paths.MANIFEST) or b"")["archived_size"] == ledger.size

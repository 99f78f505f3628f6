"""The check of a store: one that is whole passes, and every object that is broken is named, and nothing else."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import orjson
import pytest

from scribe_ledger.archive.archiver import Archiver, ArchiveSettings
from scribe_ledger.archive.check.looking import Looks
from scribe_ledger.archive.check.signed import check_owner
from scribe_ledger.archive.check.store import Report, check_store_contents
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import StorageError
from scribe_ledger.ledger.records import U64
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import encode_identity, read_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage

LARGE = b"large value " * 100_000
"""More than a chunk."""
SETTINGS = ArchiveSettings(segment_size=32 << 10, age_threshold_secs=1 << 40, auto=False)


def fill(ledger: ServedLedger, *, start: int = 0, count: int = 600) -> None:
    """Every kind of entry, over some full tiles."""
    ledger.put_many([(f"key/{number:05}", b"value %d" % number) for number in range(start, start + count)])
    ledger.put("again", b"%d" % start, content_type="text/plain", metadata={"team": "red"})
    ledger.put("gone", b"soon %d" % start)
    ledger.delete("gone")
    ledger.put("large", LARGE + b"%d" % start)
    ledger.put("empty", b"", dedupe=False)


class Archive(NamedTuple):
    ledger: ServedLedger
    archiver: Archiver

    @property
    def store(self) -> ObjectStore:
        return self.ledger.objects

    def archive(self) -> None:
        self.archiver.run_once(everything=True)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Two passes of the archiver, with several segments each."""
    with ServedLedger.open(tmp_path / "ledger", name="example.org/log") as ledger:
        made = Archive(ledger, Archiver(ledger, SETTINGS))
        fill(ledger)
        made.archive()
        fill(ledger, start=1000, count=40)
        made.archive()
        yield made


def check(archive: Archive, **options: object) -> Report:
    return check_store_contents(archive.store, **options)  # type: ignore[arg-type]


def faults(archive: Archive, **options: object) -> list[str]:
    report = check(archive, **options)
    assert report.ok == (not report.faults)
    assert report.to_json()["ok"] is report.ok
    return [fault.place for fault in report.faults]


def file_of(archive: Archive, path: str) -> Path:
    store = archive.store
    assert isinstance(store, FolderStore)
    return store.root / path


def listed(archive: Archive, prefix: str) -> list[str]:
    return [found.path for found in archive.store.list(prefix)]


# --- whole stores ----------------------------------------------------------------------------------------------


def test_a_whole_store_passes(archive: Archive) -> None:
    report = check(archive)
    assert (report.faults, report.warnings) == ([], [])
    assert (report.size, report.root) == (archive.ledger.size, archive.ledger.root(archive.ledger.size))
    assert report.counts.entries == archive.ledger.size
    assert report.counts.segments == len(archive.ledger.manifest.segments) > 3
    assert report.counts.checkpoints == len(listed(archive, "checkpoints"))
    assert report.counts.blobs == 2
    assert report.counts.objects == len(listed(archive, ""))
    assert report.to_json()["ledger_id"] == archive.ledger.ledger_id


def test_a_whole_store_passes_beside_its_ledger(archive: Archive) -> None:
    archive.ledger.put("pending", LARGE)
    report = check(archive, ledger=archive.ledger)
    assert (report.faults, report.warnings) == ([], [])


def test_processes_find_the_same(archive: Archive) -> None:
    segment = listed(archive, "segments")[1]
    file_of(archive, segment).unlink()
    alone, together = check(archive, jobs=1), check(archive, jobs=2)
    assert alone.to_json() | {"seconds": 0} == together.to_json() | {"seconds": 0}
    assert [fault.place for fault in together.faults] == [segment]


def test_a_store_that_nothing_was_published_in_passes(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "ledger") as ledger:
        ledger.adopt_store()
        report = check_store_contents(ledger.objects)
        assert report.ok
        assert [warning.place for warning in report.warnings] == ["checkpoints"]


def test_a_checkpoint_of_the_end_of_a_segment_that_is_gone_is_missed_beside_the_ledger_too(archive: Archive) -> None:
    first = paths.checkpoint_path(archive.ledger.manifest.segments[0].stop)
    file_of(archive, first).unlink()
    report = check(archive, ledger=archive.ledger, **later(86_500))
    assert [fault.place for fault in report.faults] == [first]
    assert report.removed == []
    file_of(archive, paths.MANIFEST).unlink()  # nothing else tells then that it was there
    assert check(archive).ok


def test_a_compacted_store_passes(archive: Archive) -> None:
    for number in range(8):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    replaced = archive.ledger.replaced_segments()
    assert len(replaced) == 8
    assert faults(archive) == []
    assert faults(archive, ledger=archive.ledger) == []
    assert [warning.what for warning in check(archive).warnings] == [
        "not live: manifest.json lists others for its entries"
    ] * 8
    assert check(archive, ledger=archive.ledger).warnings == []


def test_a_checkpoint_of_the_end_of_a_merged_segment_is_missed_beside_the_ledger(archive: Archive) -> None:
    for number in range(8):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    gone = paths.checkpoint_path(archive.ledger.replaced_segments()[2].segment.stop)
    before = listed(archive, "tile")
    file_of(archive, gone).unlink()
    report = check(archive, ledger=archive.ledger, **later(86_500))
    assert [(fault.place, fault.what.partition(":")[0]) for fault in report.faults] == [(gone, "missing")]
    assert [warning.place for warning in report.warnings] == ["repair"], "its partial tiles are no orphans"
    assert listed(archive, "tile") == before


def test_a_change_of_the_manifest_that_is_gone_is_named_and_the_rest_is_checked(archive: Archive) -> None:
    checkpoint = listed(archive, "checkpoints")[0]
    file_of(archive, checkpoint).unlink()
    write = archive.ledger.hot_store.batch()
    write.delete(Table.MANIFEST, b"c" + U64.pack(2))
    archive.ledger.hot_store.write(write)
    assert faults(archive, ledger=archive.ledger) == ["the manifest", checkpoint]


def test_progress_goes_to_the_end(archive: Archive) -> None:
    seen: list[tuple[int, int]] = []
    check(archive, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (archive.ledger.size, archive.ledger.size)


# --- damage ----------------------------------------------------------------------------------------------------


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def every_path(archive: Archive) -> list[str]:
    return [path for path in listed(archive, "") if path not in ("manifest.json", "checkpoint")]


@pytest.mark.no_cover
def test_any_object_that_is_gone_is_named(archive: Archive) -> None:
    for path in every_path(archive):
        file = file_of(archive, path)
        content = file.read_bytes()
        file.unlink()
        report = check(archive)
        assert [fault.place for fault in report.faults] == [path], path
        assert not [warning for warning in report.warnings if "orphan" in warning.what], "what belongs to it is none"
        file.write_bytes(content)
    assert faults(archive) == []


@pytest.mark.no_cover
def test_any_object_with_a_flipped_byte_is_named(archive: Archive) -> None:
    for path in every_path(archive):
        file = file_of(archive, path)
        content = file.read_bytes()
        for at in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            file.write_bytes(flip(content, at))
            found = faults(archive)
            if path.startswith("checkpoints/"):
                assert found[0] == path, (path, at)
            else:
                assert found == [path], (path, at)
        file.write_bytes(content)
    assert faults(archive) == []


@pytest.mark.no_cover
def test_an_object_that_was_cut_or_grew_is_named(archive: Archive) -> None:
    for path in every_path(archive):
        file = file_of(archive, path)
        content = file.read_bytes()
        for changed in (content[:-1], content[: len(content) // 2], b"", content + b"x"):
            file.write_bytes(changed)
            assert faults(archive) == [path], (path, len(changed))
        file.write_bytes(content)


@pytest.mark.parametrize("prefix", ["segments", "tile/0", "tile/entries", "blobs", "checkpoints"])
def test_objects_that_were_swapped_are_both_named(archive: Archive, prefix: str) -> None:
    first, second = [path for path in listed(archive, prefix) if not path.endswith(".chunks")][:2]
    one, two = file_of(archive, first).read_bytes(), file_of(archive, second).read_bytes()
    file_of(archive, first).write_bytes(two)
    file_of(archive, second).write_bytes(one)
    assert sorted(faults(archive)) == sorted([first, second])


def test_scribe_json_is_held_against_everything(archive: Archive) -> None:
    file = file_of(archive, paths.IDENTITY)
    content = file.read_bytes()
    found = read_identity(archive.store)
    assert found is not None
    other = str(Signer.generate("example.org/log").verifier)
    checkpoints = listed(archive, "checkpoints")
    cases: list[tuple[dict[str, object], list[str], list[str]]] = [
        ({"ledger_id": "0" * 32}, [paths.IDENTITY], [paths.IDENTITY]),
        ({"store_id": "0" * 32}, [paths.MANIFEST], [paths.IDENTITY, paths.MANIFEST]),
        ({"origin": "example.org/other"}, [paths.IDENTITY], [paths.IDENTITY]),
        ({"vkey": other}, [*checkpoints, paths.CHECKPOINT], [*checkpoints, paths.CHECKPOINT, paths.IDENTITY]),
        ({"vkey": "no key"}, [paths.IDENTITY], [paths.IDENTITY]),
        ({"policies": {"nverwrite": "forbid"}}, [paths.IDENTITY], [paths.IDENTITY]),
        ({"policies": {"overwrite": "forbid", "deletes": "tombstone"}}, [], [paths.IDENTITY]),
    ]
    for changes, alone, beside in cases:
        file.write_bytes(encode_identity(replace(found, **changes)))  # type: ignore[arg-type]
        assert sorted(faults(archive)) == sorted(alone), changes
        assert sorted(faults(archive, ledger=archive.ledger)) == sorted(beside), changes
    file.write_bytes(content)
    assert faults(archive, ledger=archive.ledger) == []


def test_policies_that_were_changed_since_the_store_was_claimed_are_not_held_against_it(archive: Archive) -> None:
    archive.ledger.configure(overwrite="forbid")
    assert faults(archive, ledger=archive.ledger) == [], "the entry is not archived yet"
    archive.archive()
    assert faults(archive, ledger=archive.ledger) == [], "an entry in the store counts"


def test_a_restored_ledger_knows_when_its_store_was_claimed(archive: Archive, tmp_path: Path) -> None:
    restore(archive.store, tmp_path / "new")
    found = read_identity(archive.store)
    assert found is not None
    with ServedLedger.open(tmp_path / "new", object_store=archive.store) as ledger:
        assert faults(archive, ledger=ledger) == []
        file_of(archive, paths.IDENTITY).write_bytes(encode_identity(replace(found, created=found.created + 1)))
        assert faults(archive, ledger=ledger) == [paths.IDENTITY]


# --- the beginning of an epoch -----------------------------------------------------------------------------------


@pytest.fixture
def promoted(archive: Archive, tmp_path: Path) -> Iterator[ServedLedger]:
    """The ledger of the store in its first epoch, which the old key has endorsed."""
    restore(archive.store, tmp_path / "promoted", promote=True, old_key=signer_of(archive))
    with ServedLedger.open(tmp_path / "promoted", object_store=archive.store) as ledger:
        yield ledger


def test_an_epoch_that_the_ledger_knows_and_the_store_lacks_is_named(archive: Archive, promoted: ServedLedger) -> None:
    assert faults(archive, ledger=promoted) == []
    file_of(archive, paths.epoch_path(1)).unlink()
    assert faults(archive) == [], "nothing in the store tells that it was there"
    assert faults(archive, ledger=promoted) == [paths.epoch_path(1)]


def test_an_epoch_that_is_gone_is_named_in_place_of_its_checkpoints(archive: Archive, promoted: ServedLedger) -> None:
    for number in range(2):
        promoted.put("key", b"%d" % number)
        Archiver(promoted, SETTINGS).run_once(everything=True)
    assert faults(archive, ledger=promoted) == []
    file_of(archive, paths.epoch_path(1)).unlink()
    assert faults(archive, ledger=promoted)[0] == paths.epoch_path(1)
    report = check(archive)
    assert report.faults[0].place == paths.epoch_path(1)
    assert not [fault for fault in report.faults if fault.place.startswith("checkpoint")]


@pytest.mark.usefixtures("promoted")
def test_a_folder_that_a_promotion_has_replaced_is_told_by_the_epoch(archive: Archive) -> None:
    assert faults(archive, ledger=archive.ledger) == [paths.epoch_path(1)]


def test_an_epoch_that_somebody_else_began_is_named(archive: Archive, promoted: ServedLedger, tmp_path: Path) -> None:
    file_of(archive, paths.epoch_path(1)).unlink()
    restore(archive.store, tmp_path / "other", promote=True)
    assert faults(archive, ledger=promoted) == [paths.epoch_path(1)]


@pytest.mark.usefixtures("promoted")
def test_a_flipped_bit_in_any_byte_of_an_epoch_is_noticed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    path = paths.epoch_path(1)
    content = file_of(archive, path).read_bytes()
    get, altered = archive.store.get, bytearray(content)
    monkeypatch.setattr(archive.store, "get", lambda asked: bytes(altered) if asked == path else get(asked))
    for at in range(len(content)):
        altered[:] = content
        altered[at] ^= 1 << at % 8
        report = Report("")
        check_owner(Looks(archive.store), report, "")
        assert [fault.place for fault in report.faults] == [path], (at, bytes(altered))


def test_a_checkpoint_by_another_key_is_named(archive: Archive) -> None:
    size = archive.ledger.size
    forged = sign_checkpoint(Signer.generate("example.org/log"), size, archive.ledger.root(size))
    file_of(archive, paths.checkpoint_path(size)).write_text(forged.text)
    assert faults(archive) == [paths.checkpoint_path(size)]


def signer_of(archive: Archive) -> Signer:
    return Signer.parse((archive.ledger.path / "ledger.key").read_text().strip())


def test_a_root_that_was_signed_and_is_none_of_this_log_is_named(archive: Archive) -> None:
    size = archive.ledger.size
    forged = sign_checkpoint(signer_of(archive), size, bytes(32))
    file_of(archive, paths.checkpoint_path(size)).write_text(forged.text)
    assert paths.checkpoint_path(size) in faults(archive)
    early = paths.checkpoint_path(3)
    file_of(archive, paths.checkpoint_path(size)).write_text(archive.ledger.checkpoint(at=size).text)
    file_of(archive, early).write_text(sign_checkpoint(signer_of(archive), 3, bytes(32)).text)
    assert faults(archive) == [early]


def test_the_key_that_the_caller_trusts_must_be_the_stores(archive: Archive) -> None:
    assert faults(archive, public_key=archive.ledger.public_key) == []
    other = str(Signer.generate("example.org/log").verifier)
    assert faults(archive, public_key=other) == [paths.IDENTITY]


# --- two accounts of one range: the signed root decides ----------------------------------------------------------


def forge_segment(archive: Archive, tmp_path: Path, *, at: int = 1, ledger_id: str = "") -> str:
    """A segment under a name that is right, one of whose entries never was. It takes the place of the true one."""
    from scribe_ledger.merkle.leaf import decode_leaf, encode_leaf
    from scribe_ledger.segments.writing import gather, seal

    true = archive.ledger.manifest.segments[at]
    groups = [*archive.ledger.groups(true.first_index, true.stop)]
    leaf = decode_leaf(groups[0].leaves[7])
    groups[0].leaves[7] = encode_leaf(leaf._replace(metadata={"who": "mallory"}))
    with seal(gather(groups), ledger_id=ledger_id or archive.ledger.ledger_id, folder=tmp_path) as sealed:
        file_of(archive, true.path).unlink()
        archive.store.put_file(sealed.segment.path, sealed.path)
        manifest = orjson.loads(file_of(archive, paths.MANIFEST).read_bytes())
        manifest["segments"][at] = sealed.segment.to_json()
        file_of(archive, paths.MANIFEST).write_bytes(orjson.dumps(manifest))
        return sealed.segment.path


def test_a_segment_of_entries_that_never_were_is_named_and_not_its_tiles(archive: Archive, tmp_path: Path) -> None:
    forged = forge_segment(archive, tmp_path)
    report = check(archive)
    assert [fault.place for fault in report.faults] == [forged]
    assert "entry 263 is not the entry of the signed tree" in report.faults[0].what
    assert report.size == archive.ledger.size


def test_one_segment_that_names_another_ledger_is_named_and_not_scribe_json(archive: Archive, tmp_path: Path) -> None:
    assert faults(archive) == []
    forged = forge_segment(archive, tmp_path, at=0, ledger_id="0" * 32)
    assert faults(archive) == [forged]


def test_without_tiles_the_root_shows_that_a_segment_is_forged(archive: Archive, tmp_path: Path) -> None:
    forge_segment(archive, tmp_path)
    for path in listed(archive, "tile"):
        file_of(archive, path).unlink()
    found = faults(archive)
    assert set(listed(archive, "checkpoints")[1:]) <= set(found)
    assert listed(archive, "checkpoints")[0] not in found


def test_a_tile_and_its_bundle_may_both_lie(archive: Archive) -> None:
    from scribe_ledger.merkle.hashing import hash_leaf
    from scribe_ledger.merkle.tiles import decode_bundle, encode_bundle

    tile, bundle = file_of(archive, "tile/0/001"), file_of(archive, "tile/entries/001")
    leaves = decode_bundle(bundle.read_bytes())
    leaves[9] = leaves[9].replace(b"value", b"VALUE").replace(b"key/", b"KEY/")
    bundle.write_bytes(encode_bundle(leaves))
    tile.write_bytes(b"".join(map(hash_leaf, leaves)))
    assert sorted(faults(archive)) == ["tile/0/001", "tile/entries/001"]


# --- manifest.json ---------------------------------------------------------------------------------------------


@pytest.mark.no_cover
def test_a_copy_of_the_manifest_that_lies_is_named(archive: Archive) -> None:
    file = file_of(archive, paths.MANIFEST)
    content = file.read_bytes()

    def changed(**fields: object) -> bytes:
        document = orjson.loads(content)
        document["segments"][0] |= fields
        return orjson.dumps(document)

    first = orjson.loads(content)["segments"][0]
    without = orjson.loads(content)
    del without["segments"][1]
    lies = [
        changed(count=first["count"] - 1),
        changed(min_key="zzz"),
        changed(max_key=""),
        changed(size=1),
        changed(log_bytes=1),
        changed(merkle_root="00" * 32),
        changed(timestamp=7),
        changed(sha256="00" * 32),
        changed(last_index=first["last_index"] + 1),
        orjson.dumps(without),
        orjson.dumps(orjson.loads(content) | {"archived_size": 1}),
        orjson.dumps(orjson.loads(content) | {"store_id": "another"}),
        b"[]",
        b"",
    ]
    for lie in lies:
        file.write_bytes(lie)
        assert faults(archive) == [paths.MANIFEST], lie[:300]
        assert faults(archive, ledger=archive.ledger) == [paths.MANIFEST], lie[:300]


def test_a_manifest_that_names_what_is_not_there_lies_if_others_have_its_entries(archive: Archive) -> None:
    file = file_of(archive, paths.MANIFEST)
    document = orjson.loads(file.read_bytes())
    first = document["segments"][0]
    name = first["segment_id"][:42] + "0" * 64
    document["segments"][0] |= {"segment_id": name, "path": f"segments/{name}.parquet", "sha256": "00" * 32}
    file.write_bytes(orjson.dumps(document))
    assert faults(archive) == [paths.MANIFEST]


def test_copies_that_are_behind_are_no_fault(archive: Archive) -> None:
    copies = {name: file_of(archive, name).read_bytes() for name in (paths.MANIFEST, paths.CHECKPOINT)}
    fill(archive.ledger, start=5000, count=10)
    archive.archive()
    for name, content in copies.items():
        file_of(archive, name).write_bytes(content)
    for report in (check(archive), check(archive, ledger=archive.ledger)):
        assert report.ok
        assert {warning.place for warning in report.warnings} >= copies.keys()
        assert all(warning.what.startswith("it is behind") for warning in report.warnings if warning.place in copies)


def test_without_a_copy_of_the_manifest_names_are_the_directory(archive: Archive) -> None:
    file_of(archive, paths.MANIFEST).unlink()
    report = check(archive)
    assert report.ok
    assert [warning.place for warning in report.warnings] == [paths.MANIFEST]
    gone = archive.ledger.manifest.segments[1]
    file_of(archive, gone.path).unlink()
    assert faults(archive) == [f"entries {gone.first_index} to {gone.last_index}"]


# --- beside the ledger -----------------------------------------------------------------------------------------


def test_a_store_that_is_ahead_of_the_ledger_is_a_fault(archive: Archive, tmp_path: Path) -> None:
    archive.ledger.snapshot(tmp_path / "copy")
    archive.ledger.put("later", b"value")
    archive.archive()
    with ServedLedger.open(tmp_path / "copy", object_store=archive.store) as old:
        found = faults(archive, ledger=old)
    assert paths.checkpoint_path(archive.ledger.size) in found
    assert paths.MANIFEST in found


def test_another_ledgers_store_is_a_fault(archive: Archive, tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "other", name="example.org/log") as other:
        found = faults(archive, ledger=other)
    assert paths.IDENTITY in found


# --- after a disaster ------------------------------------------------------------------------------------------


def test_a_restored_ledger_passes_and_a_damaged_handover_is_named(archive: Archive, tmp_path: Path) -> None:
    restore(archive.store, tmp_path / "restored")
    with ServedLedger.open(tmp_path / "restored", object_store=archive.store) as restored:
        assert faults(archive, ledger=restored) == []
        assert [str(problem) for problem in restored.verify().problems] == []
    restore(archive.store, tmp_path / "promoted", promote=True)
    with ServedLedger.open(tmp_path / "promoted", object_store=archive.store) as promoted:
        fill(promoted, start=9000, count=300)
        Archiver(promoted, SETTINGS).run_once(everything=True)
        assert faults(archive, ledger=promoted) == []
        assert promoted.verify().ok
        size, public_key = promoted.size, promoted.public_key
    report = check(archive, public_key=public_key)
    assert (report.faults, report.size, report.origin) == ([], size, "example.org/log/e1")
    (distrust,) = check(archive, public_key=archive.ledger.public_key).faults
    assert (distrust.place, public_key in distrust.what) == (paths.epoch_path(1), True)
    handover = file_of(archive, paths.epoch_path(1))
    content = handover.read_bytes()
    for at in (40, len(content) // 2, len(content) - 9):
        handover.write_bytes(flip(content, at))
        assert faults(archive)[0] == paths.epoch_path(1)
    handover.write_bytes(content)
    late = sign_checkpoint(signer_of(archive), size + 1, bytes(32))
    archive.store.put_bytes(paths.checkpoint_path(size + 1), late.text.encode())
    report = check(archive)
    assert (report.faults, [warning.place for warning in report.warnings]) == ([], [paths.checkpoint_path(size + 1)])


def test_a_process_that_is_killed_is_an_error_and_no_verdict(archive: Archive) -> None:
    with pytest.raises(StorageError, match="a process of the check was killed"):
        check(archive, jobs=2, reopen=die_at_once)


def die_at_once() -> ObjectStore:
    """What a worker calls to open its store."""
    os._exit(1)


# --- orphans ---------------------------------------------------------------------------------------------------

FOREIGN = "somebody/elses.txt"
UNWANTED = sha256(b"unwanted").digest()


def add_orphans(archive: Archive, tmp_path: Path) -> dict[str, str]:
    """One of each kind, by name."""
    from scribe_ledger.segments.writing import gather, seal

    groups = archive.ledger.groups(0, archive.ledger.manifest.segments[0].stop)
    with seal(gather(groups), ledger_id=archive.ledger.ledger_id, folder=tmp_path, compression=None) as sealed:
        archive.store.put_file(sealed.segment.path, sealed.path)
    archive.store.put_bytes(paths.blob_path(UNWANTED), b"unwanted")
    archive.store.put_bytes(paths.chunk_digests_path(UNWANTED), b"no matter")
    archive.store.put_bytes("tile/0/000.p/77", b"no matter")
    archive.store.put_bytes(FOREIGN, b"no matter")
    return {
        "segment": sealed.segment.path,
        "blob": paths.blob_path(UNWANTED),
        "chunks": paths.chunk_digests_path(UNWANTED),
        "tile": "tile/0/000.p/77",
        "foreign": FOREIGN,
    }


def later(seconds: float) -> dict[str, object]:
    return {"clock": lambda: time.time() + seconds, "repair": True}


def test_orphans_are_warned_of_and_stay(archive: Archive, tmp_path: Path) -> None:
    orphans = add_orphans(archive, tmp_path)
    before = listed(archive, "")
    for ledger in (None, archive.ledger):
        report = check(archive, ledger=ledger)
        assert report.ok
        assert sorted(warning.place for warning in report.warnings) == sorted(orphans.values())
    assert listed(archive, "") == before


def test_it_is_said_which_segments_that_are_not_live_are_damaged(archive: Archive, tmp_path: Path) -> None:
    orphan = add_orphans(archive, tmp_path)["segment"]
    wide = paths.segment_path(0, archive.ledger.size - 1, UNWANTED)
    archive.store.put_bytes(wide, b"cut short")
    for ledger in (None, archive.ledger):
        report = check(archive, ledger=ledger)
        told = {warning.place: warning.what for warning in report.warnings}
        assert report.ok
        assert "damaged" not in told[orphan]
        assert "do not have the digest in its name" in told[wide]


def test_a_repair_beside_the_ledger_removes_all_that_is_ours_after_the_grace_period(
    archive: Archive, tmp_path: Path
) -> None:
    orphans = add_orphans(archive, tmp_path)
    archive.ledger.uploads.note(UNWANTED, 0)
    before = listed(archive, "")
    assert check(archive, ledger=archive.ledger, **later(86_000)).removed == []
    assert listed(archive, "") == before
    report = check(archive, ledger=archive.ledger, **later(86_500))
    ours = set(orphans.values()) - {FOREIGN}
    assert set(report.removed) == ours
    assert set(listed(archive, "")) == set(before) - ours
    assert [*archive.ledger.removals()] == []
    assert archive.ledger.verify().ok
    again = check(archive, ledger=archive.ledger, **later(86_500))
    assert (again.ok, again.removed, [warning.place for warning in again.warnings]) == (True, [], [FOREIGN])


def test_a_repair_leaves_large_values_that_another_folder_may_have_uploaded(archive: Archive, tmp_path: Path) -> None:
    """A copy of this folder may be alive on the same store, with entries that this one does not know."""
    orphans = add_orphans(archive, tmp_path)
    report = check(archive, ledger=archive.ledger, **later(86_500))
    assert set(report.removed) == {orphans["segment"], orphans["tile"]}
    told = {warning.place: warning.what for warning in report.warnings}
    assert "did not upload it" in told[orphans["blob"]]
    assert "did not upload it" in told[orphans["chunks"]]


def test_a_repair_of_a_store_alone_removes_only_what_is_certain(archive: Archive, tmp_path: Path) -> None:
    """A large value may belong to an entry that is not archived; a segment may have been made live a moment ago."""
    archive.ledger.put("pending", LARGE + b"pending")
    orphans = add_orphans(archive, tmp_path)
    assert set(check(archive, **later(86_500)).removed) == {orphans["tile"]}
    file = file_of(archive, paths.MANIFEST)
    archive.store.put_bytes(paths.MANIFEST, file.read_bytes(), replace=True)
    assert check(archive, **later(86_500)).removed == [orphans["segment"]]
    assert archive.ledger.verify().ok


def test_a_replaced_segment_has_its_grace_period_from_when_it_was_replaced(archive: Archive) -> None:
    """However old it is: until then it was live, and somebody may be reading it."""
    for number in range(7):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    for path in listed(archive, "segments"):
        os.utime(file_of(archive, path), (0, 0))
    archive.ledger.put("small", b"last")
    archive.archive()
    live = {segment.path for segment in archive.ledger.manifest.segments}
    replaced = set(listed(archive, "segments")) - live
    assert len(replaced) == 8
    assert check(archive, repair=True).removed == []
    file = file_of(archive, paths.MANIFEST)
    archive.store.put_bytes(paths.MANIFEST, file.read_bytes(), replace=True)
    assert set(check(archive, **later(86_500)).removed) == replaced


def test_a_restored_ledger_is_held_against_the_store_of_one_that_went_on_longer(
    archive: Archive, tmp_path: Path
) -> None:
    """Its manifest counts versions anew, and has the same segments."""
    for number in range(8):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    restore(archive.store, tmp_path / "restored")
    with ServedLedger.open(tmp_path / "restored", object_store=archive.store) as restored:
        assert restored.manifest.version < archive.ledger.manifest.version
        assert check(archive, ledger=restored).faults == []


def test_what_was_archived_since_a_restore_is_no_fault_of_the_restored_folder(archive: Archive, tmp_path: Path) -> None:
    restore(archive.store, tmp_path / "restored")
    with ServedLedger.open(tmp_path / "restored", object_store=archive.store) as restored:
        for number in range(8):
            archive.ledger.put("small", b"%d" % number)
            archive.archive()
        for replaced in archive.ledger.replaced_segments():
            archive.store.delete(replaced.segment.path)
        report = check(archive, ledger=restored)
        assert (report.faults, [warning.place for warning in report.warnings]) == ([], [paths.CHECKPOINTS])
        assert report.size == archive.ledger.size
        before = listed(archive, "")
        add_orphans(archive, tmp_path)
        check(archive, ledger=restored, **later(86_500))
        assert set(before) <= set(listed(archive, "")), "what it does not know is not left over"
        restore(archive.store, tmp_path / "promoted", promote=True)
        report = check(archive, ledger=restored)
        assert report.ok
        assert paths.epoch_path(1) in [warning.place for warning in report.warnings]
        early = paths.checkpoint_path(restored.size)
        file_of(archive, early).write_text(sign_checkpoint(signer_of(archive), restored.size, bytes(32)).text)
        assert early in faults(archive, ledger=restored)


def test_a_segment_that_a_restored_folder_was_made_from_may_have_been_merged(archive: Archive, tmp_path: Path) -> None:
    for number in range(7):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    restore(archive.store, tmp_path / "restored")
    with ServedLedger.open(tmp_path / "restored", object_store=archive.store) as restored:
        archive.ledger.put("small", b"last")
        archive.archive()
        gone = [replaced.segment.path for replaced in archive.ledger.replaced_segments()]
        assert {segment.path for segment in restored.manifest.segments} & set(gone)
        for path in gone:
            archive.store.delete(path)
        assert faults(archive, ledger=restored) == []


def test_replaced_segments_are_left_to_the_ledger(archive: Archive) -> None:
    for number in range(8):
        archive.ledger.put("small", b"%d" % number)
        archive.archive()
    before = listed(archive, "segments")
    assert check(archive, ledger=archive.ledger, **later(86_500)).removed == []
    assert listed(archive, "segments") == before


def test_nothing_is_removed_from_a_store_with_faults(archive: Archive, tmp_path: Path) -> None:
    add_orphans(archive, tmp_path)
    file_of(archive, "tile/0/000").unlink()
    before = listed(archive, "")
    report = check(archive, ledger=archive.ledger, **later(86_500))
    assert not report.ok
    assert report.removed == []
    assert listed(archive, "") == before


def test_what_is_not_published_yet_is_no_orphan(archive: Archive) -> None:
    """As after a kill between two steps of the archiver."""

    def die(step: str) -> None:
        if step == "publish-tiles":
            raise KeyboardInterrupt

    fill(archive.ledger, start=5000, count=300)
    with pytest.raises(KeyboardInterrupt):
        Archiver(archive.ledger, SETTINGS, at_step=die).run_once(everything=True)
    before = listed(archive, "")
    for ledger in (None, archive.ledger):
        report = check(archive, ledger=ledger, **later(86_500))
        assert report.ok, report.faults
        assert report.removed == []
        assert report.warnings
    assert listed(archive, "") == before


# --- the report ------------------------------------------------------------------------------------------------


def test_a_report_keeps_a_bounded_number_of_faults() -> None:
    from scribe_ledger.archive.check.report import MAX_FINDINGS

    report = Report("file:///somewhere")
    for number in range(MAX_FINDINGS + 5):
        report.fault(f"place {number}", "wrong")
        report.fault(f"place {number}", "wrong again")
        report.warn("place", "strange")
    assert (len(report.faults), report.more_faults) == (MAX_FINDINGS, 10)
    assert (len(report.warnings), report.more_warnings) == (MAX_FINDINGS, 5)


def test_checkpoints_parse() -> None:
    """The forgeries above would prove nothing if they were refused for their form."""
    forged = sign_checkpoint(Signer.generate("example.org/log"), 3, bytes(32))
    assert Checkpoint.parse(forged.text).size == 3

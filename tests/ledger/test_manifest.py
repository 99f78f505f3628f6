"""The manifest as ledger state: what each change does, what is refused, and what survives."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    Corruption,
    Forbidden,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from scribe_ledger.ledger import commands
from scribe_ledger.ledger import manifest as manifests
from scribe_ledger.ledger.manifest import Adopt, Archive, Change, Retire, Retired, change_from_json, change_to_json
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.ledger.store import Table
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.storage

ENTRIES = 100


def segment(first: int, stop: int, *, name: str = "", size: int = 1000) -> Segment:
    """What the manifest is told of a segment. Whether there is an object is not its business."""
    return Segment(
        segment_id=name or f"{first}-{stop}",
        first_index=first,
        last_index=stop - 1,
        min_key=b"",
        max_key=b"\xff",
        count=stop - first,
        size=size,
        log_bytes=10 * (stop - first),
        path=f"segments/{name or first}.parquet",
        sha256=bytes(32),
        merkle_root=bytes(32),
        timestamp=0,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ServedLedger]:
    with ServedLedger.open(tmp_path / "data", inline_max=1000) as opened:
        opened.put_many([(f"key {number}", b"value") for number in range(ENTRIES)])
        yield opened


def archive(ledger: ServedLedger, *added: Segment, replaced: tuple[str, ...] = ()) -> None:
    ledger.change_manifest(Archive(ledger.manifest.version, added, replaced))


# --- what a change does ----------------------------------------------------------------------------------------


def test_segments_follow_one_another_and_are_found_by_index(ledger: ServedLedger) -> None:
    root, size = ledger.checkpoint().root, ledger.size
    archive(ledger, segment(0, 40))
    archive(ledger, segment(40, 60), segment(60, 90))
    manifest = ledger.manifest
    assert (manifest.version, manifest.archived_size, manifest.archived_bytes) == (2, 90, 900)
    found = [manifest.find(index) for index in (0, 39, 40, 59, 60, 89, 90)]
    assert [each and each.first_index for each in found] == [0, 0, 40, 40, 60, 60, None]
    assert (ledger.size, ledger.checkpoint().root) == (size, root)


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ([], "no segment"),
        ([segment(1, 50)], "ends at entry 0"),
        ([segment(0, ENTRIES + 1)], "ledger has 100"),
        ([segment(0, 10), segment(11, 20)], "does not follow"),
        ([segment(0, 10)._replace(count=9)], "does not follow"),
        ([segment(0, 0)], "does not follow"),
    ],
)
def test_a_segment_without_a_place_is_refused_and_changes_nothing(
    ledger: ServedLedger, added: list[Segment], reason: str
) -> None:
    before = ledger.manifest
    with pytest.raises(Conflict, match=reason):
        archive(ledger, *added)
    assert ledger.manifest is before
    ledger.put("still", "writable")


def test_two_archivers_with_the_same_plan_archive_once(ledger: ServedLedger) -> None:
    base = ledger.manifest.version
    ledger.change_manifest(Archive(base, (segment(0, 50, name="mine"),)))
    with pytest.raises(Conflict, match="ends at entry 50"):
        ledger.change_manifest(Archive(base, (segment(0, 50, name="theirs"),)))
    assert [each.segment_id for each in ledger.manifest.segments] == ["mine"]


def test_a_merged_segment_takes_the_place_of_those_it_names(ledger: ServedLedger) -> None:
    for start in range(0, 50, 10):
        archive(ledger, segment(start, start + 10))
    archive(ledger, segment(10, 40, name="merged"), replaced=("10-20", "20-30", "30-40"))
    manifest = ledger.manifest
    assert [each.segment_id for each in manifest.segments] == ["0-10", "merged", "40-50"]
    assert (manifest.archived_size, manifest.archived_bytes, manifest.starts) == (50, 500, (0, 10, 40))
    replaced = ledger.replaced_segments()
    assert [each.segment.segment_id for each in replaced] == ["10-20", "20-30", "30-40"]
    assert not any(each.being_removed for each in replaced)


@pytest.mark.parametrize(
    ("added", "replaced"),
    [
        (segment(0, 20), ("0-10", "20-30")),
        (segment(0, 20), ("10-20", "0-10")),
        (segment(0, 30), ("0-10", "10-20")),
        (segment(10, 20, name="other"), ("gone",)),
        (segment(20, 60), ("20-30", "30-40", "40-50", "50-60")),
    ],
)
def test_a_replacement_of_anything_but_live_neighbours_is_refused(
    ledger: ServedLedger, added: Segment, replaced: tuple[str, ...]
) -> None:
    for start in range(0, 50, 10):
        archive(ledger, segment(start, start + 10))
    before = ledger.manifest
    with pytest.raises(Conflict):
        archive(ledger, added, replaced=replaced)
    assert ledger.manifest is before


def test_a_replaced_segment_is_removed_in_two_steps(ledger: ServedLedger) -> None:
    archive(ledger, segment(0, 10), segment(10, 20))
    with pytest.raises(Conflict, match="was not replaced"):
        ledger.change_manifest(Retire(segments=("0-10",)))
    archive(ledger, segment(0, 20), replaced=("0-10", "10-20"))
    with pytest.raises(Conflict, match="nobody said"):
        ledger.change_manifest(Retired(segments=("0-10",)))
    ledger.change_manifest(Retire(segments=("0-10",)))
    assert [(each.segment.segment_id, each.being_removed) for each in ledger.replaced_segments()] == [
        ("0-10", True),
        ("10-20", False),
    ]
    ledger.change_manifest(Retired(segments=("0-10",)))
    assert [each.segment.segment_id for each in ledger.replaced_segments()] == ["10-20"]


def test_the_difference_between_versions_leaves_out_what_came_and_went(ledger: ServedLedger) -> None:
    archive(ledger, segment(0, 10))
    before = ledger.manifest
    archive(ledger, segment(10, 20))
    archive(ledger, segment(20, 30))
    archive(ledger, segment(0, 20), replaced=("0-10", "10-20"))
    added, removed = ledger.manifest_difference(before.version)
    assert [each.segment_id for each in added] == ["20-30", "0-20"]
    assert removed == ["0-10"]
    assert ledger.manifest_difference(ledger.manifest.version) == ([], [])
    everything, nothing = ledger.manifest_difference(0)
    assert {each.segment_id for each in everything} == {each.segment_id for each in ledger.manifest.segments}
    assert nothing == []
    with pytest.raises(InvalidRequest, match="has version 4"):
        ledger.manifest_difference(5)


@pytest.mark.parametrize(
    "change",
    [
        Adopt("store"),
        Archive(3, (segment(0, 10)._replace(min_key=b"\xff\0"),), ("a", "b")),
        Retire(("a",), (bytes(32),)),
        Retired(("a",), (b"\1" * 32,)),
    ],
)
def test_a_change_survives_its_written_form(change: Change) -> None:
    assert change_from_json(change_to_json(change)) == change


# --- state -----------------------------------------------------------------------------------------------------


def test_the_manifest_is_as_it_was_after_opening_again(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "data") as ledger:
        ledger.put_many([(f"key {number}", b"value") for number in range(ENTRIES)])
        ledger.adopt_store()
        archive(ledger, segment(0, 10), segment(10, 20), segment(20, 50))
        archive(ledger, segment(0, 20), replaced=("0-10", "10-20"))
        before, replaced = ledger.manifest, ledger.replaced_segments()
    with ServedLedger.open(tmp_path / "data") as ledger:
        assert ledger.manifest == before
        assert ledger.replaced_segments() == replaced


def test_the_same_changes_give_the_same_digest_and_others_another(tmp_path: Path) -> None:
    digests = []
    for name, names in (("a", ("x", "y")), ("b", ("x", "y")), ("c", ("y", "x"))):
        with ServedLedger.open(tmp_path / name) as ledger:
            ledger.put_many([(f"key {number}", b"value") for number in range(ENTRIES)])
            for place, segment_name in enumerate(names):
                archive(ledger, segment(10 * place, 10 * place + 10, name=segment_name))
            digests.append(ledger.manifest.digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_change_that_was_not_synced_is_not_seen(tmp_path: Path) -> None:
    store = MemoryStore()
    with ServedLedger.open(tmp_path / "data", open_store=lambda _: store) as ledger:
        ledger.put("key", "value")
        seen: list[int] = []
        store.on_sync = lambda: seen.append(ledger.manifest.version)
        archive(ledger, segment(0, 1))
        assert seen == [0]
        assert ledger.manifest.version == 1


def test_a_missing_change_is_corruption_and_never_a_short_answer(ledger: ServedLedger) -> None:
    for start in range(0, 30, 10):
        archive(ledger, segment(start, start + 10))
    batch = ledger._store.batch()
    batch.delete(Table.MANIFEST, b"c" + (2).to_bytes(8, "big"))
    ledger._store.write(batch)
    with pytest.raises(Corruption, match="version 2 of the manifest"):
        ledger.manifest_difference(0)


def test_a_change_of_the_manifest_does_not_wait_for_writers_to_rest(tmp_path: Path) -> None:
    """Writers hand the lead from one to the next; a change must not wait until there is none."""
    with ServedLedger.open(tmp_path / "data") as ledger:
        ledger.put("first", "value")
        stop = threading.Event()

        def write(name: int) -> None:
            number = 0
            while not stop.is_set():
                ledger.put(f"{name} {number}", b"value")
                number += 1

        writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
        for writer in writers:
            writer.start()
        try:
            for store_id in ["store"] * 20:
                ledger.change_manifest(Adopt(store_id))
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        assert ledger.manifest.version == 20
        assert ledger.verify().ok


# --- the store -------------------------------------------------------------------------------------------------


def test_the_first_large_value_adopts_the_store(ledger: ServedLedger) -> None:
    assert ledger.manifest == manifests.EMPTY
    ledger.put("large", b"v" * 2000)
    assert ledger.manifest.store_id
    assert ledger.adopt_store().ledger_id == ledger.ledger_id


def test_another_ledger_s_store_is_refused(tmp_path: Path) -> None:
    shared = FolderStore(tmp_path / "shared")
    with ServedLedger.open(tmp_path / "one", object_store=shared, inline_max=10) as one:
        one.put("large", b"v" * 20)
    with ServedLedger.open(tmp_path / "two", object_store=shared, inline_max=10) as two:
        with pytest.raises(ConfigurationError, match="holds the objects of"):
            two.put("large", b"v" * 20)
        assert two.size == 0


def test_a_store_that_is_not_the_one_of_before_is_refused_and_a_copy_of_it_is_not(tmp_path: Path) -> None:
    with ServedLedger.open(tmp_path / "data", inline_max=10) as ledger:
        ledger.put("large", b"v" * 20)
    other = (tmp_path / "other").as_uri()
    with (
        ServedLedger.open(tmp_path / "data", object_store=other, inline_max=10) as ledger,
        pytest.raises(Unavailable, match="is not the object store that this ledger's objects are in"),
    ):
        ledger.put("large again", b"w" * 20)
    FolderStore(tmp_path / "other").put_bytes(
        "scribe.json", (tmp_path / "data" / "objects" / "scribe.json").read_bytes()
    )
    with ServedLedger.open(tmp_path / "data", object_store=other, inline_max=10) as ledger:
        ledger.put("large again", b"w" * 20)


# --- large values that are being removed -----------------------------------------------------------------------


def test_a_large_value_that_an_entry_has_cannot_be_removed(ledger: ServedLedger) -> None:
    digest = ledger.put("large", b"v" * 2000).sha256
    with pytest.raises(Conflict, match="refers to the large value"):
        ledger.change_manifest(Retire(blobs=(digest,)))


def test_a_put_of_a_value_that_is_being_removed_waits_until_it_is_gone(ledger: ServedLedger) -> None:
    ledger.adopt_store()
    with ledger.begin_value() as spooler:
        spooler.write(b"v" * 2000)
        with spooler.finish_spooled() as spooled:
            early = ledger.keep_value(spooled)  # uploaded before, and put only after, the removal
            digest = spooled.blob.sha256
    ledger.change_manifest(Retire(blobs=(digest,)))
    assert [*ledger.removals()] == [digest]
    with pytest.raises(Overloaded, match="being removed"):
        ledger.put("large", b"v" * 2000)
    ledger.change_manifest(Retired(blobs=(digest,)))
    assert [*ledger.removals()] == []
    with pytest.raises(Overloaded, match="being removed"):
        ledger.write([commands.put("large", early)])
    assert ledger.put("large", b"v" * 2000).created
    assert ledger.get("large") == b"v" * 2000


# --- refusing --------------------------------------------------------------------------------------------------


def test_a_ledger_that_must_not_grow_says_why_and_still_reads(ledger: ServedLedger) -> None:
    ledger.refuse_writes(Forbidden("a newer epoch has taken over", hint="stop this node"))
    for write in (
        lambda: ledger.put("key", "value"),
        lambda: ledger.delete("key 1"),
        lambda: archive(ledger, segment(0, 1)),
        lambda: ledger.evict(0),
    ):
        with pytest.raises(Forbidden, match="newer epoch"):
            write()
    assert ledger.get("key 1") == b"value"
    assert ledger.checkpoint().size == ENTRIES
    assert ledger.failure is not None

"""A wrong answer is asked for once more wherever an archive is read: only what is wrong twice is wrong in the store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest
from tests.archive.erring import ErringStore, Fault
from tests.archive.lost import LARGE, NAME, archive, opened, write

from scribe_ledger.archive.check import looking
from scribe_ledger.archive.check.store import Report, check_store_contents
from scribe_ledger.archive.recovery import restore
from scribe_ledger.errors import Corruption
from scribe_ledger.objects import paths
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore

pytestmark = pytest.mark.storage

FAULTS: list[Fault] = ["altered", "missing", "unseen"]


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A ledger of several segments, its store, and its size. Nobody writes to them."""
    path = tmp_path_factory.mktemp("lost")
    with opened(path / "ledger", FolderStore(path / "store"), name=NAME) as ledger:
        for part in range(2):
            write(ledger, part)
            archive(ledger)
        return path / "ledger", path / "store", ledger.size


@pytest.fixture
def erring(lost: tuple[Path, Path, int]) -> ErringStore:
    return ErringStore(FolderStore(lost[1]))


def as_store(erring: ErringStore) -> ObjectStore:
    return cast("ObjectStore", erring)


def check(erring: ErringStore) -> Report:
    return check_store_contents(as_store(erring))


def places(report: Report) -> list[str]:
    return [fault.place for fault in report.faults]


# --- a restore, and reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_asks_once_more(
    erring: ErringStore, fault: Fault, lost: tuple[Path, Path, int], tmp_path: Path
) -> None:
    erring.err(fault)
    assert restore(as_store(erring), tmp_path / "new").size == lost[2]
    assert any(path.startswith(paths.SEGMENTS) for path in erring.reads)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_reads_of_what_is_archived_ask_once_more(
    erring: ErringStore, fault: Fault, after: int, lost: tuple[Path, Path, int]
) -> None:
    """The first answer is the footer of a segment, or the first chunk of a large value."""
    with opened(lost[0], FolderStore(lost[1])) as ledger:
        before = [entry.value for entry in ledger.log()]
    with opened(lost[0], as_store(erring), max_cache_size=0) as ledger:
        erring.err(fault, paths.SEGMENTS, paths.BLOBS, after=after)
        assert ledger.get("text") == b"part 1"
        assert ledger.get("large") == LARGE + b"\1"
        erring.err(fault, paths.SEGMENTS, paths.BLOBS, after=after)
        assert [entry.value for entry in ledger.log()] == before


def test_a_cold_read_takes_more_requests_only_where_an_answer_was_wrong(
    erring: ErringStore, lost: tuple[Path, Path, int]
) -> None:
    counts = []
    faults: list[tuple[Fault, int]] = [("", 0), ("altered", 0), ("altered", 1)]
    for fault, after in faults:
        with opened(lost[0], as_store(erring), cold_cache_size=1 << 20) as ledger:
            erring.err(fault, paths.SEGMENTS, after=after)
            assert ledger.get("text") == b"part 1"
            counts.append(len(erring.reads))
            assert ledger.get("text") == b"part 1"
            assert len(erring.reads) == counts[-1]
    assert counts == [2, 3, 3]


def test_what_is_wrong_twice_is_named(erring: ErringStore, lost: tuple[Path, Path, int]) -> None:
    with opened(lost[0], as_store(erring), cold_cache_size=1 << 20) as ledger:
        entry = ledger.entry("large")
        assert entry is not None
        segment, blob = ledger.manifest.segments[-1].path, paths.blob_path(entry.sha256)
        erring.err("altered", always=[segment, blob])
        with pytest.raises(Corruption, match=segment):
            ledger.get("text")
        with pytest.raises(Corruption, match=blob):
            ledger.get("large")
        assert Counter(erring.reads) == {segment: 2, blob: 2, f"{blob}.chunks": 1}


def test_a_segment_that_was_merged_and_merged_again_is_looked_for_anew(tmp_path: Path) -> None:
    """A folder that was restored reads on while the ledger that it came from goes on archiving."""
    store = FolderStore(tmp_path / "store")
    with opened(tmp_path / "ledger", store, name=NAME) as ledger:
        ledger.put("key", "value")
        archive(ledger)
        restore(store, tmp_path / "restored")
        with opened(tmp_path / "restored", store, max_cache_size=0) as restored:
            assert restored.get("key") == b"value"
            for _ in range(2):
                first = ledger.manifest.segments[0]
                while ledger.manifest.segments[0] == first:
                    ledger.put("key", str(ledger.size))
                    archive(ledger, segment_size=1 << 20)
                for replaced in ledger.replaced_segments():
                    store.delete(replaced.segment.path)
                assert restored.get("key") == b"value"


# --- the check -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_check_finds_no_fault_in_what_was_wrong_once(
    erring: ErringStore, fault: Fault, lost: tuple[Path, Path, int]
) -> None:
    whole = check(erring)
    erring.err(fault)
    report = check(erring)
    assert (report.faults, report.warnings, report.size) == ([], whole.warnings, lost[2])
    assert report.counts == whole.counts


@pytest.mark.parametrize("fault", ["altered", "missing"])
def test_an_object_that_stays_wrong_is_one_fault_and_the_check_goes_on(erring: ErringStore, fault: Fault) -> None:
    """Missing it is in the listing, and a look finds it: as if it were removed meanwhile."""
    check(erring)
    reads = Counter(erring.reads)
    wrong = [next(erring.list(prefix)).path for prefix in (paths.SEGMENTS, paths.BLOBS, "tile/0")]
    wrong += [[*erring.list(prefix)][-1].path for prefix in ("tile/entries", paths.CHECKPOINTS)]
    for path in wrong:
        erring.err(fault, always=[path])
        assert places(check(erring)) == [path]
        assert Counter(erring.reads)[path] <= 2 * reads[path]
    erring.err(fault, always=wrong)
    assert sorted(places(check(erring))) == sorted(wrong)


def test_a_check_of_a_store_in_which_much_is_gone_is_hardly_longer(
    erring: ErringStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "ENOUGH", 3)
    tiles = [each.path for each in erring.list(paths.TILES)]
    check(erring)
    whole = len(erring.reads)
    erring.err("missing", always=tiles)
    assert sorted(places(check(erring))) == sorted(tiles)
    assert len(erring.reads) <= whole + 2 * 3


def test_what_a_listing_leaves_out_is_found_by_what_was_made_from_it(
    erring: ErringStore, lost: tuple[Path, Path, int]
) -> None:
    whole = check(erring)
    checkpoints = [each.path for each in erring.list(paths.CHECKPOINTS)]
    segments = [each.path for each in erring.list(paths.SEGMENTS)]
    for unlisted in (
        checkpoints[-1:],
        checkpoints[:1],
        checkpoints,
        segments[-1:],
        segments,
        [*checkpoints, *segments],
    ):
        erring.unlisted = unlisted
        report = check(erring)
        assert (report.faults, report.warnings, report.size) == ([], [], lost[2])
        assert report.counts.checkpoints == whole.counts.checkpoints
    erring.unlisted = checkpoints[-1:]
    for missing in ([paths.CHECKPOINT], [paths.CHECKPOINT, paths.MANIFEST]):
        erring.err("missing", always=missing)
        report = check(erring)
        assert (report.faults, report.size) == ([], lost[2])
    erring.err("missing", always=[paths.CHECKPOINT, checkpoints[-1]])
    assert places(check(erring)) == checkpoints[-1:]

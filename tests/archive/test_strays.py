"""What a repair leaves where a request to delete it may arrive late: whatever may come again under the same name."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from tests.archive.rounds import INLINE_MAX, archiver, open_ledger, write_round
from tests.archive.stores import NotingStore

from scribe_ledger.archive.check.store import check_store_contents
from scribe_ledger.errors import Overloaded
from scribe_ledger.ledger.manifest import Retire
from scribe_ledger.objects import paths
from scribe_ledger.segments.writing import gather, seal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.archive.check.report import Report
    from scribe_ledger.ledger.served import ServedLedger

pytestmark = pytest.mark.storage

VALUE = b"large" * INLINE_MAX
DIGEST = sha256(VALUE).digest()


class LateStore(NotingStore):
    """A bucket, as far as deletions go: ``tries`` is how often they are asked for."""

    late_secs = 1000.0
    tries = 1

    def delete(self, path: str) -> int:
        super().delete(path)
        return self.tries


@pytest.fixture
def store(tmp_path: Path) -> LateStore:
    return LateStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: LateStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        for number in range(3):
            write_round(opened, number)
            archiver(opened, hot_size=1 << 20).run_once(everything=True)
        yield opened


def repair(ledger: ServedLedger, **options: Any) -> Report:
    return check_store_contents(
        ledger.objects, ledger=ledger, repair=True, clock=lambda: time.time() + 90_000, **options
    )


def upload(ledger: ServedLedger) -> None:
    with ledger.begin_value() as spooler:
        spooler.write(VALUE)
        ledger.keep_value(spooler.finish())


def leave_segment(ledger: ServedLedger, folder: Path, start: int, stop: int) -> str:
    """As an archiver does that is killed before the manifest knows it."""
    groups = ledger.groups(start, stop)
    with seal(gather(groups), ledger_id=ledger.ledger_id, folder=folder, compression=None) as sealed:
        ledger.objects.put_file(sealed.segment.path, sealed.path)
    return sealed.segment.path


def test_a_value_whose_removal_is_sure_may_be_put_again(ledger: ServedLedger) -> None:
    upload(ledger)
    assert repair(ledger).removed == [paths.blob_path(DIGEST), paths.chunk_digests_path(DIGEST)]
    assert ledger.put("key", VALUE).created


def test_one_whose_removal_took_several_tries_waits_for_the_archiver(ledger: ServedLedger, store: LateStore) -> None:
    upload(ledger)
    store.tries = 2
    assert repair(ledger).removed == [paths.blob_path(DIGEST), paths.chunk_digests_path(DIGEST)]
    with pytest.raises(Overloaded):
        ledger.put("key", VALUE)


def test_what_an_archiver_began_to_remove_is_left_to_the_next(ledger: ServedLedger, store: LateStore) -> None:
    upload(ledger)
    ledger.change_manifest(Retire(blobs=(DIGEST,)))
    report = repair(ledger)
    assert (report.removed, report.warnings) == ([], [])
    with pytest.raises(Overloaded):
        ledger.put("key", VALUE)


def test_chunk_digests_alone_go_in_two_steps_as_well(ledger: ServedLedger, store: LateStore) -> None:
    upload(ledger)
    store.delete(paths.blob_path(DIGEST))
    store.tries = 2
    assert repair(ledger).removed == [paths.chunk_digests_path(DIGEST)]
    assert [*ledger.removals()] == [DIGEST]


def test_a_segment_stays_that_the_archiver_may_make_again(ledger: ServedLedger, tmp_path: Path) -> None:
    first, second = ledger.manifest.segments[:2]
    merged = leave_segment(ledger, tmp_path, 0, second.stop)
    alone = leave_segment(ledger, tmp_path, 0, first.stop)
    archived = ledger.size
    write_round(ledger, 3)
    pending = leave_segment(ledger, tmp_path, archived, ledger.size)
    report = repair(ledger)
    assert report.removed == [alone]
    assert {warning.place for warning in report.warnings} == {merged, pending}

"""Archiving into a real S3 server behind a proxy that goes wrong: nothing is lost, nothing wrong is stored or read."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import archiver, await_until, check_archived, check_ledger, now, open_ledger, write_round
from tests.faulty_proxy import Fault, FaultyProxy

from scribe_ledger.archive.archiver import Archiver
from scribe_ledger.archive.publishing import _tiles
from scribe_ledger.errors import Corruption, ScribeError, Unavailable
from scribe_ledger.objects import paths
from scribe_ledger.objects.opening import open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.s3_server import S3Server

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.objects.store import ObjectStore

pytestmark = [pytest.mark.storage, pytest.mark.s3, pytest.mark.no_cover]

ROUNDS = 12
PLACES = ("segments", "tile", "checkpoints", "checkpoint", "manifest.json", "scribe.json", "blobs", "")
OF_OTHER_TESTS = (Fault.WAIT, Fault.NOT_FOUND, Fault.NO_LISTING, Fault.NO_END)
READ_FAULTS = (Fault.TRUNCATE, Fault.SHORT, Fault.FLIP)
"""What goes wrong with an answer: only a read has one that matters."""


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_server.endpoint) as opened:
        yield opened


@pytest.fixture
def store(s3_server: S3Server, proxy: FaultyProxy) -> Iterator[ObjectStore]:
    bucket = s3_server.bucket()
    options = bucket.options(endpoint=proxy.endpoint, timeout_secs=0.5, max_retries=2, pool_size=4)
    opened = open_object_store(bucket.url, options)
    yield opened
    opened.close()


@pytest.fixture
def ledger(tmp_path: Path, store: ObjectStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


@pytest.mark.parametrize(
    "fault", [fault for fault in Fault if fault not in OF_OTHER_TESTS], ids=lambda fault: fault.name
)
def test_whatever_goes_wrong_with_requests_the_archive_becomes_right(
    ledger: ServedLedger, proxy: FaultyProxy, fault: Fault
) -> None:
    chance = random.Random(fault.value)
    failed: list[ScribeError] = []
    for number in range(ROUNDS):
        write_round(ledger, number)
        for _ in range(2):
            method = "GET" if fault in READ_FAULTS else chance.choice(["", "PUT", "GET"])
            proxy.fail(fault, times=chance.choice([1, 1, 2, 4]), method=method, path=chance.choice(PLACES))
        try:
            archiver(ledger).run_once(everything=True)  # a new one, that must look at the store
        except (Unavailable, Corruption) as error:
            failed.append(error)
        proxy.heal()
    assert fault in READ_FAULTS or {type(error) for error in failed} == {Unavailable}
    archiver(ledger).run_once(everything=True)
    check_ledger(ledger, ROUNDS)
    check_archived(ledger, ROUNDS)
    assert ledger.evicted > 0


def test_a_bucket_that_slows_down_in_the_middle_of_publishing_is_published_to_in_the_end(
    ledger: ServedLedger, proxy: FaultyProxy
) -> None:
    ledger.put_many([(f"key {number}", "value") for number in range(5000)])
    proxy.fail(Fault.SLOW_DOWN, times=3, path="tile/entries/007")
    with pytest.raises(Unavailable, match="tile/entries/007"):
        archiver(ledger, segment_size=1 << 20).run_once(everything=True)
    assert ledger.manifest.archived_size == 5000
    archiver(ledger, segment_size=1 << 20).run_once()
    check_archived_tiles(ledger)


def check_archived_tiles(ledger: ServedLedger) -> None:
    for path, content in _tiles(ledger, 0, ledger.size):
        assert ledger.objects.get(path) == content


def test_a_bucket_that_is_gone_fails_no_write(ledger: ServedLedger, proxy: FaultyProxy, s3_server: S3Server) -> None:
    archive = archiver(ledger)
    ledger.put("before", "1")
    archive.run_once(everything=True)
    proxy.fail(Fault.RESET, times=None)
    ledger.put_many([(f"key {number}", "value") for number in range(100)])
    with pytest.raises(Unavailable):
        archive.run_once(everything=True)
    assert archive.status.pending_entries == 100
    assert not archive.status.store_ok
    assert ledger.get("key 5") == b"value"
    proxy.heal()
    archive.run_once(everything=True)
    assert archive.status.pending_entries == 0


@pytest.mark.parametrize("path", [paths.MANIFEST, paths.CHECKPOINT])
def test_a_copy_that_arrives_late_is_replaced_when_none_can_come_any_more(
    ledger: ServedLedger, store: ObjectStore, proxy: FaultyProxy, path: str
) -> None:
    """The first try was given up and hangs on its way, until a newer copy was put."""
    waited, copies = 0.0, list[bytes | None]()

    def hold_the_first(step: str) -> None:
        if step == "publish-checkpoint" and not copies:
            proxy.fail(Fault.WAIT, method="PUT", path=f"/{path}")

    settings = archiver(ledger).settings
    archive = Archiver(ledger, settings, clock=lambda: now() + int(waited * 1000), at_step=hold_the_first)
    for number in range(2):
        ledger.put("key", str(number))
        archive.run_once(everything=True)
        copies.append(store.get(path))
    proxy.release()
    await_until(lambda: store.get(path) == copies[0])
    asked = proxy.count()
    archive.run_once()
    assert proxy.count() == asked, "no pass asks for it all the time"
    waited = store.late_secs + 10
    archive.run_once()
    assert store.get(path) == copies[1]
    waited *= 2
    archive.run_once()
    asked = proxy.count()
    waited *= 2
    archive.run_once()
    assert proxy.count() == asked, "nothing was put since"

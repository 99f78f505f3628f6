"""What leaves the store, when, and what happens to those who want it back meanwhile."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import INLINE_MAX, archiver, check_archived, check_ledger, open_ledger, write_round
from tests.archive.stores import NotingStore

from scribe_ledger.errors import Overloaded
from scribe_ledger.ledger.manifest import Retire
from scribe_ledger.objects import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.ledger.served import ServedLedger

pytestmark = pytest.mark.storage

VALUE = b"large" * INLINE_MAX
DIGEST = sha256(VALUE).digest()
PATH = paths.blob_path(DIGEST)


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: NotingStore) -> Iterator[ServedLedger]:
    with open_ledger(tmp_path / "ledger", store) as opened:
        yield opened


def upload(ledger: ServedLedger, value: bytes = VALUE) -> None:
    """Without putting it."""
    with ledger.begin_value() as spooler:
        spooler.write(value)
        ledger.keep_value(spooler.finish())


def make_old(store: NotingStore, path: str, seconds: int) -> None:
    then = time.time() - seconds
    os.utime(store.root / path, (then, then))


def test_a_value_that_nothing_refers_to_goes_after_the_grace_time(ledger: ServedLedger, store: NotingStore) -> None:
    upload(ledger)
    make_old(store, PATH, 50)
    assert archiver(ledger, grace_secs=100).run_once().removed == 0
    assert store.stat(PATH) is not None
    make_old(store, PATH, 150)
    assert archiver(ledger, grace_secs=100).run_once().removed == 1
    assert store.stat(PATH) is None
    assert store.stat(paths.chunk_digests_path(DIGEST)) is None
    assert ledger.blobs_being_removed() == []


def test_a_value_that_an_entry_refers_to_stays(ledger: ServedLedger, store: NotingStore) -> None:
    ledger.put("key", VALUE)
    ledger.delete("key")
    assert archiver(ledger).run_once().removed == 0
    assert ledger.get("key", version=1) == VALUE
    assert store.stat(PATH) is not None


def test_the_store_is_searched_once_in_a_grace_time(ledger: ServedLedger, store: NotingStore) -> None:
    clock = [int(time.time() * 1000)]
    archive = archiver(ledger, grace_secs=100)
    archive._clock = lambda: clock[0]
    archive.run_once()
    assert ("list", paths.BLOBS) in store.asked
    store.asked.clear()
    clock[0] += 99_000
    archive.run_once()
    assert store.asked == []
    clock[0] += 1_000
    archive.run_once()
    assert store.asked == [("list", paths.BLOBS)]


def test_a_put_of_a_value_that_is_being_removed_is_refused_and_succeeds_afterwards(ledger: ServedLedger) -> None:
    upload(ledger)
    refused = []

    def put(step: str) -> None:
        if step in ("retire", "remove"):
            with pytest.raises(Overloaded):
                ledger.put("key", VALUE)
            refused.append(step)

    assert archiver(ledger, put).run_once().removed == 1
    assert refused == ["retire", "remove"]
    assert ledger.get("key") is None
    assert ledger.put("key", VALUE).created
    assert ledger.get("key") == VALUE
    assert archiver(ledger).run_once().removed == 0
    assert ledger.get("key") == VALUE


def test_an_upload_that_began_before_the_removal_does_not_count(ledger: ServedLedger) -> None:
    upload(ledger)
    with ledger.begin_value() as spooler:
        spooler.write(VALUE)
        kept = ledger.keep_value(spooler.finish())
    assert archiver(ledger).run_once().removed == 1
    with pytest.raises(Overloaded):
        put_kept(ledger, kept)
    assert ledger.put("key", VALUE).created
    assert ledger.get("key") == VALUE


def put_kept(ledger: ServedLedger, kept: object) -> None:
    from scribe_ledger.ledger import commands

    command = commands.with_value(commands.put("key", b""), kept)  # type: ignore[arg-type]
    ledger.write([command])


def test_a_value_that_is_put_between_the_look_and_the_command_stays(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(ledger)
    other = b"other" * INLINE_MAX
    upload(ledger, other)
    change = ledger.change_manifest

    def put_first(command: object) -> object:
        if isinstance(command, Retire) and ledger.get("key") is None:
            ledger.put("key", VALUE)
        return change(command)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "change_manifest", put_first)
    assert archiver(ledger).run_once().removed == 1
    assert ledger.get("key") == VALUE
    assert ledger.objects.stat(paths.blob_path(sha256(other).digest())) is None


def test_what_a_process_left_half_removed_is_finished(ledger: ServedLedger, store: NotingStore) -> None:
    upload(ledger)

    class Cut(Exception):
        pass

    def cut(step: str) -> None:
        if step == "retire":
            raise Cut

    with pytest.raises(Cut):
        archiver(ledger, cut).run_once()
    assert ledger.blobs_being_removed() == [DIGEST]
    assert store.stat(PATH) is not None
    archiver(ledger, grace_secs=3600).run_once()
    assert ledger.blobs_being_removed() == []
    assert store.stat(PATH) is None


def test_replaced_segments_go_and_readers_find_the_new_ones(ledger: ServedLedger, store: NotingStore) -> None:
    archive = archiver(ledger, hot_size=0)
    for number in range(10):
        write_round(ledger, number)
        archive.run_once(everything=True)
    assert ledger.replaced_segments() == []
    assert {listed.path for listed in store.list(paths.SEGMENTS)} == {
        segment.path for segment in ledger.manifest.segments
    }
    assert len(ledger.manifest.segments) < 10
    check_ledger(ledger, 10)
    check_archived(ledger, 10)

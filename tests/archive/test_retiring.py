"""What leaves the store, when, and what happens to those who want it back meanwhile."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from tests.archive.rounds import (
    INLINE_MAX,
    archiver,
    await_until,
    check_archived,
    check_ledger,
    now,
    open_ledger,
    settings,
    write_round,
)
from tests.archive.stores import NotingStore
from tests.faulty_proxy import Fault
from tests.ledger.opening import Clock
from tests.objects.remote import rig_on

from scribe_ledger.archive.archiver import Archiver
from scribe_ledger.archive.check.store import check_store_contents
from scribe_ledger.archive.recovery import restore
from scribe_ledger.archive.retiring import FRESH_SECS, OTHERS_LATE_SECS
from scribe_ledger.errors import Overloaded, Unavailable
from scribe_ledger.ledger.manifest import Retire
from scribe_ledger.ledger.served import ServedLedger
from scribe_ledger.objects import paths
from scribe_ledger.objects.failures import Failure, Kind
from scribe_ledger.objects.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3_server import S3Server

    from scribe_ledger.objects.store import ObjectStore

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


def later(archive: Archiver, seconds: float) -> Archiver:
    """The same, when so much time has passed."""
    archive._clock = lambda: int((time.time() + seconds) * 1000)
    return archive


def test_a_value_that_nothing_refers_to_goes_after_the_grace_time(ledger: ServedLedger, store: NotingStore) -> None:
    upload(ledger)
    archive = archiver(ledger, grace_secs=100)
    assert later(archive, 50).run_once().removed == 0
    assert store.stat(PATH) is not None
    assert later(archive, 150).run_once().removed == 1
    assert store.stat(PATH) is None
    assert store.stat(paths.chunk_digests_path(DIGEST)) is None
    assert [*ledger.removals()] == []
    assert ledger.uploads.digests() == frozenset()


def test_a_value_that_an_entry_refers_to_stays(ledger: ServedLedger, store: NotingStore) -> None:
    ledger.put("key", VALUE)
    ledger.delete("key")
    assert archiver(ledger).run_once().removed == 0
    assert ledger.get("key", version=1) == VALUE
    assert store.stat(PATH) is not None


def test_the_store_is_never_searched_and_what_became_an_entry_is_forgotten(
    ledger: ServedLedger, store: NotingStore
) -> None:
    ledger.put("key", VALUE)
    assert ledger.uploads.digests() == {DIGEST}
    store.asked.clear()
    assert archiver(ledger).run_once().removed == 0
    assert ("list", paths.BLOBS) not in store.asked
    assert ledger.uploads.digests() == frozenset()


def test_it_is_removed_by_the_next_process_too(tmp_path: Path, store: NotingStore) -> None:
    with open_ledger(tmp_path / "ledger", store) as first:
        upload(first)
    with open_ledger(tmp_path / "ledger", store) as second:
        assert archiver(second).run_once().removed == 1
    assert store.stat(PATH) is None


@pytest.mark.parametrize("how", ["snapshot", "plain copy", "promoted"])
def test_a_copy_leaves_what_the_ledger_needs_that_it_came_from(tmp_path: Path, store: NotingStore, how: str) -> None:
    """Both have one store, and the copy does not know what was acknowledged since."""
    copy = tmp_path / "copy"
    with open_ledger(tmp_path / "ledger", store) as ledger:
        upload(ledger)
        ledger.put("small", b"value")
        if how == "promoted":
            archiver(ledger, grace_secs=1e10).run_once(everything=True)
        ledger.snapshot(copy)
        upload(ledger)
    if how == "plain copy":
        shutil.rmtree(copy)
        shutil.copytree(tmp_path / "ledger", copy)
    with open_ledger(tmp_path / "ledger", store) as ledger:
        ledger.put("large", VALUE)
        if how == "promoted":
            shutil.rmtree(copy)
            restore(store, copy, promote=True)
        with ServedLedger.open(copy, object_store=store, inline_max=INLINE_MAX) as copied:
            assert archiver(copied).run_once().removed == 0
            assert (
                check_store_contents(store, ledger=copied, repair=True, clock=lambda: time.time() + 1e6).removed == []
            )
        assert ledger.get("large") == VALUE


def test_a_copy_does_not_finish_what_another_began_to_remove(tmp_path: Path, store: NotingStore) -> None:
    with open_ledger(tmp_path / "ledger", store) as ledger:
        upload(ledger)

        def copy(step: str) -> None:
            if step == "retire":
                ledger.snapshot(tmp_path / "copy")

        archiver(ledger, copy).run_once()
        ledger.put("large", VALUE)
        with ServedLedger.open(tmp_path / "copy", object_store=store, inline_max=INLINE_MAX) as copied:
            assert [*copied.removals()] == [DIGEST]
            assert archiver(copied).run_once().removed == 0
            assert [*copied.removals()] == []
            assert copied.put("mine", VALUE).created
        assert ledger.get("large") == VALUE


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


def test_puts_that_come_between_one_try_and_the_next_do_not_fail_the_pass(
    ledger: ServedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [b"%d" % number * 2 * INLINE_MAX for number in range(4)]
    for value in values:
        upload(ledger, value)
    change = ledger.change_manifest
    tries: list[object] = []

    def put_one_first(command: object) -> object:
        if isinstance(command, Retire) and len(tries) < 3:
            ledger.put(f"key {len(tries)}", values[len(tries)])
            tries.append(command)
        return change(command)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "change_manifest", put_one_first)
    assert archiver(ledger).run_once().removed == 1
    assert [ledger.get(f"key {number}") for number in range(3)] == values[:3]
    assert ledger.objects.stat(paths.blob_path(sha256(values[3]).digest())) is None


class DenyingStore(NotingStore):
    """``deny`` is what every deletion meets."""

    deny: Failure | None = None

    def delete(self, path: str) -> int:
        self._note("delete", path)
        if self.deny is not None:
            raise Unavailable(f"cannot delete {path}: {self.deny}", hint="a right") from self.deny
        return FolderStore.delete(self, path)


def refusal(tries: int = 1) -> Failure:
    failure = Failure(Kind.REFUSED, "status 403 AccessDenied")
    failure.tries = tries
    return failure


def test_a_deletion_that_the_store_refuses_is_reported_once_and_holds_up_nobody(tmp_path: Path) -> None:
    store = DenyingStore(tmp_path / "store")
    other = b"other" * INLINE_MAX
    with open_ledger(tmp_path / "ledger", store) as ledger:
        upload(ledger)
        upload(ledger, other)
        store.deny = refusal()
        archive = archiver(ledger)
        with pytest.raises(
            Unavailable, match=r"2 objects that are not needed stay in the store: .*AccessDenied"
        ) as caught:
            archive.run_once()
        assert caught.value.hint == "a right"
        assert [*ledger.removals()] == []
        store.asked.clear()
        assert archive.run_once().removed == 0
        assert {operation for operation, _ in store.asked} == {"get", "list"}, "whether it may write there, and no more"
        store.asked.clear()
        assert archive.run_once().removed == 0
        assert store.asked == []
        assert ledger.put("key", VALUE).created
    store.deny = None
    with open_ledger(tmp_path / "ledger", store) as ledger:
        assert archiver(ledger).run_once().removed == 1
        assert ledger.get("key") == VALUE
        assert store.stat(paths.blob_path(sha256(other).digest())) is None


@pytest.mark.parametrize("unknown", [Failure(Kind.PASSING, "timed out"), refusal(tries=2)], ids=["time-out", "retried"])
def test_a_deletion_whose_outcome_is_unknown_stays_pending_and_is_tried_again(tmp_path: Path, unknown: Failure) -> None:
    store = DenyingStore(tmp_path / "store")
    with open_ledger(tmp_path / "ledger", store) as ledger:
        upload(ledger)
        store.deny = unknown
        archive = archiver(ledger)
        with pytest.raises(Unavailable):
            archive.run_once()
        assert [*ledger.removals()] == [DIGEST]
        with pytest.raises(Overloaded):
            ledger.put("key", VALUE)
        store.deny = None
        assert archive.run_once().removed >= 1
        assert [*ledger.removals()] == []
        assert store.stat(PATH) is None
        assert ledger.put("key", VALUE).created


# --- deletions that may arrive late ----------------------------------------------------------------------------


LATE_SECS = 1000


class LateStore(NotingStore):
    """A deletion may arrive late. ``tries`` is how often the next ones are asked for, 0: in vain."""

    late_secs = LATE_SECS

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tries: list[int] = []

    def delete(self, path: str) -> int:
        tries = self.tries.pop(0) if self.tries else 1
        if not tries:
            self._note("delete", path)
            raise Unavailable(f"cannot delete {path}") from Failure(Kind.PASSING, "timed out")
        super().delete(path)
        return tries


@contextmanager
def opened_at(folder: Path, store: ObjectStore, seconds: float = 0) -> Iterator[ServedLedger]:
    """So much later than now."""
    with open_ledger(folder, store) as ledger:
        clock_of(ledger).now = now()
        wait(ledger, seconds)
        yield ledger


def clock_of(ledger: ServedLedger) -> Clock:
    assert isinstance(ledger._clock, Clock)
    return ledger._clock


def by_one_clock(ledger: ServedLedger, at_step: Callable[[str], None] = lambda _: None) -> Archiver:
    return Archiver(ledger, settings(), clock=clock_of(ledger), at_step=at_step)


def wait(ledger: ServedLedger, seconds: float) -> None:
    clock_of(ledger).now += int(seconds * 1000)


def deletions(store: NotingStore) -> list[str]:
    return [path for kind, path in store.asked if kind == "delete"]


def check_waits_and_goes(ledger: ServedLedger, archive: Archiver) -> None:
    """``VALUE`` may be put when no deletion of it can arrive any more, and not before."""
    for _ in range(2):
        assert archive.run_once().removed == 0
        assert [*ledger.removals()] == [DIGEST]
        with pytest.raises(Overloaded, match="just being removed"):
            ledger.put("key", VALUE)
        wait(ledger, LATE_SECS)  # and FRESH_SECS are to come
    archive.run_once()
    assert [*ledger.removals()] == []
    assert ledger.put("key", VALUE).created
    archive.run_once()
    assert ledger.get("key") == VALUE


@pytest.mark.s3
def test_a_deletion_that_arrives_late_takes_no_value_that_was_put_again(s3_server: S3Server, tmp_path: Path) -> None:
    with rig_on(s3_server, timeout_secs=1) as rig, opened_at(tmp_path / "ledger", rig.store) as ledger:
        upload(ledger)
        archive = by_one_clock(ledger)
        rig.proxy.fail(Fault.WAIT, method="DELETE", path=DIGEST.hex())
        assert archive.run_once().removed == 1
        with pytest.raises(Overloaded):
            ledger.put("key", VALUE)
        assert rig.direct.stat(PATH) is not None
        rig.proxy.release()
        await_until(lambda: rig.direct.stat(PATH) is None)
        wait(ledger, rig.store.late_secs + FRESH_SECS + 1)
        archive.run_once()
        assert ledger.put("key", VALUE).created
        assert ledger.get("key") == VALUE


@pytest.mark.parametrize("tries", [[2, 1], [1, 2], [0], [1, 0]], ids=str)
def test_a_value_waits_until_no_deletion_of_it_can_arrive_any_more(tmp_path: Path, tries: list[int]) -> None:
    store = LateStore(tmp_path / "store")
    with opened_at(tmp_path / "ledger", store) as ledger:
        upload(ledger)
        archive = by_one_clock(ledger)
        store.tries = tries.copy()
        if 0 in tries:
            with pytest.raises(Unavailable):
                archive.run_once()
        else:
            assert archive.run_once().removed == 1
        check_waits_and_goes(ledger, archive)


def test_so_does_one_that_an_ended_process_was_removing(tmp_path: Path) -> None:
    """It may have sent its request. How long that is ago the ledger knows, over any number of processes."""
    store = LateStore(tmp_path / "store")

    def end(step: str) -> None:
        if step == "retire":
            raise KeyboardInterrupt

    with opened_at(tmp_path / "ledger", store) as ledger:
        upload(ledger)
        with pytest.raises(KeyboardInterrupt):
            by_one_clock(ledger, end).run_once()
    for seconds in (0, LATE_SECS):
        with opened_at(tmp_path / "ledger", store, seconds) as ledger:
            assert by_one_clock(ledger).run_once().removed == 0
            with pytest.raises(Overloaded):
                ledger.put("key", VALUE)
    assert deletions(store) == []
    with opened_at(tmp_path / "ledger", store, LATE_SECS + FRESH_SECS) as ledger:
        assert by_one_clock(ledger).run_once().removed >= 1
        assert [*ledger.removals()] == []
        assert ledger.put("key", VALUE).created


def test_so_does_one_that_another_member_or_folder_was_removing(tmp_path: Path, store: NotingStore) -> None:
    """Of a folder too: the other process may be alive, and in the middle of it."""
    with opened_at(tmp_path / "ledger", store) as ledger:
        upload(ledger)

        def copy(step: str) -> None:
            if step == "retire":
                ledger.snapshot(tmp_path / "copy")

        by_one_clock(ledger, copy).run_once()
    with opened_at(tmp_path / "copy", store) as copied:
        archive = by_one_clock(copied)
        for _ in range(2):
            archive.run_once()
            assert [*copied.removals()] == [DIGEST]
            wait(copied, OTHERS_LATE_SECS)
        archive.run_once()
        assert [*copied.removals()] == []
        assert copied.put("key", VALUE).created


def test_a_store_that_fails_makes_only_those_wait_that_it_was_asked_for(tmp_path: Path) -> None:
    store = LateStore(tmp_path / "store")
    with opened_at(tmp_path / "ledger", store) as ledger:
        values = [b"%d" % number * 2 * INLINE_MAX for number in range(3)]
        for value in values:
            upload(ledger, value)
            wait(ledger, 1)
        archive = by_one_clock(ledger)
        store.tries = [1, 1, 0]
        with pytest.raises(Unavailable):
            archive.run_once()
        assert [*ledger.removals()] == [sha256(values[1]).digest()]
        assert ledger.put("first", values[0]).created
        assert archive.run_once().removed == 1
        assert store.stat(paths.blob_path(sha256(values[2]).digest())) is None
        wait(ledger, LATE_SECS + FRESH_SECS)
        assert archive.run_once().removed >= 1
        assert ledger.put("second", values[1]).created
        assert (ledger.get("first"), ledger.get("second")) == (values[0], values[1])


def test_no_deletion_begins_long_after_the_time_that_the_ledger_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LateStore(tmp_path / "store")
    with opened_at(tmp_path / "ledger", store) as ledger:
        for number in range(3):
            upload(ledger, b"%d" % number * 2 * INLINE_MAX)
        ages = []
        delete = store.delete

        def delete_slowly(path: str) -> int:
            digest = paths.digest_of_blob_path(path)
            if digest is not None:
                ages.append(clock_of(ledger).now - ledger.removals()[digest])
            wait(ledger, 0.6 * FRESH_SECS)
            return delete(path)

        monkeypatch.setattr(store, "delete", delete_slowly)
        assert by_one_clock(ledger).run_once().removed == 3
        assert ages == [0, 0, 0]
        assert [*ledger.removals()] == []


def test_segments_that_the_store_refuses_to_delete_are_let_go(tmp_path: Path) -> None:
    store = DenyingStore(tmp_path / "store")
    with open_ledger(tmp_path / "ledger", store) as ledger:
        archive = archiver(ledger, hot_size=0, grace_secs=1e10)
        for number in range(10):
            write_round(ledger, number)
            archive.run_once(everything=True)
        replaced = [each.segment.path for each in ledger.replaced_segments()]
        assert replaced
        store.deny = refusal()
        with pytest.raises(Unavailable, match="stay in the store"):
            archiver(ledger).run_once()
        assert ledger.replaced_segments() == []
        assert all(store.stat(path) for path in replaced)
        check_ledger(ledger, 10)


def test_what_a_process_left_half_removed_is_finished(ledger: ServedLedger, store: NotingStore) -> None:
    upload(ledger)

    class Cut(Exception):
        pass

    def cut(step: str) -> None:
        if step == "retire":
            raise Cut

    with pytest.raises(Cut):
        archiver(ledger, cut).run_once()
    assert [*ledger.removals()] == [DIGEST]
    assert store.stat(PATH) is not None
    archiver(ledger, grace_secs=3600).run_once()
    assert [*ledger.removals()] == []
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

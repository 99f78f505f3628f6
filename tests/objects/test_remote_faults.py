"""What a remote store does when the server fails it: a real one, behind a proxy that goes wrong on command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faulty_proxy import Fault
from tests.objects.remote import Rig, rig_on
from tests.ports import free_ports
from tests.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, needs_versitygw

from scribe_ledger.errors import Corruption, StorageError, Unavailable
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects import remote
from scribe_ledger.objects.blobs import BlobStore
from scribe_ledger.objects.failures import Failure, Kind
from scribe_ledger.objects.opening import open_object_store
from scribe_ledger.objects.paths import BLOBS, blob_path, chunk_digests_path, digest_of_blob_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scribe_ledger.objects.store import ObjectStore

pytestmark = [pytest.mark.storage, pytest.mark.s3]

ROOT = Path(__file__).parents[2]
LARGE = bytes(range(256)) * (3 * remote.MULTIPART_BYTES // 256) + b"end"

NOBODY = f"http://127.0.0.1:{free_ports(1)[0]}"
"""Where nobody listens."""

OPERATIONS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get("a/b"),
    "range": lambda store: store.get_range("a/b", 10, 50),
    "stat": lambda store: store.stat("a/b"),
    "list": lambda store: list(store.list("a")),
    "create": lambda store: store.put_bytes("new", b"new"),
    "replace": lambda store: store.put_bytes("a/b", b"other" * 20, replace=True),
    "delete": lambda store: store.delete("a/b") > 0,  # how often it asked is its answer
}
READS = ("get", "range", "stat", "list")
QUICK = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.RESET, Fault.RESET_AFTER)


@pytest.fixture
def rig(s3_server: S3Server) -> Iterator[Rig]:
    with rig_on(s3_server, timeout_secs=10) as rig:
        rig.direct.put_bytes("a/b", b"0123456789" * 10)
        yield rig


@pytest.fixture
def impatient(s3_server: S3Server) -> Iterator[Rig]:
    """With a time-out that a test can wait for."""
    with rig_on(s3_server, timeout_secs=0.5) as rig:
        rig.direct.put_bytes("a/b", b"0123456789" * 10)
        yield rig


def check(store: ObjectStore) -> None:
    store.check()


def values_in(rig: Rig) -> dict[bytes, int]:
    """Digests and sizes of what lies there under a digest."""
    return {digest: found.size for found in rig.direct.list(BLOBS) if (digest := digest_of_blob_path(found.path))}


# --- sockets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool_size", [2, 5])
def test_there_are_never_more_sockets_than_pool_size(s3_server: S3Server, tmp_path: Path, pool_size: int) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    with rig_on(s3_server, pool_size=pool_size) as rig:

        def use(number: int) -> None:
            rig.store.put_bytes(f"a/{number}", bytes(1000))
            assert rig.store.get(f"a/{number}") == bytes(1000)
            assert rig.store.stat("none") is None
            if number % 20 == 0:
                rig.store.put_file(f"large/{number}", tmp_path / "large")
                rig.store.check()
                assert rig.store.get_range(f"large/{number}", 0, 5) == LARGE[:5]
                assert any(rig.store.list("a"))

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(use, range(60)))
        assert rig.proxy.count() > 180
        assert rig.proxy.most_sockets <= pool_size


def test_requests_wait_for_a_slot_and_then_go_on(s3_server: S3Server) -> None:
    with rig_on(s3_server, pool_size=3) as rig, ThreadPoolExecutor(5) as threads:
        rig.proxy.fail(Fault.WAIT, times=2)
        answers = [threads.submit(rig.store.get, "a") for _ in range(5)]
        rig.proxy.wait_until(lambda: rig.proxy.count() == 2)
        assert rig.proxy.open_sockets == 2
        rig.proxy.release()
        assert [answer.result(30) for answer in answers] == [None] * 5
        assert rig.proxy.most_sockets == 2


def test_closing_lets_the_sockets_go(s3_server: S3Server) -> None:
    with rig_on(s3_server) as rig:
        rig.store.get("a")
        rig.store.close()
        rig.proxy.wait_until(lambda: rig.proxy.open_sockets == 0)
        with pytest.raises(StorageError, match="was closed"):
            rig.store.get("a")


# --- one fault, then well again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", QUICK)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_passing_fault_is_not_noticed(rig: Rig, fault: Fault, operation: str) -> None:
    expected = OPERATIONS[operation](rig.direct) if operation in READS else True
    rig.proxy.fail(fault)
    assert OPERATIONS[operation](rig.store) == expected
    assert len(rig.pauses) == 1
    if operation == "create":
        assert rig.direct.get("new") == b"new"


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.SHORT])
@pytest.mark.parametrize("operation", ["get", "range", "list"])
def test_an_answer_that_breaks_off_is_asked_for_again(rig: Rig, fault: Fault, operation: str) -> None:
    expected = OPERATIONS[operation](rig.direct)
    rig.proxy.fail(fault)
    assert OPERATIONS[operation](rig.store) == expected
    assert rig.proxy.count() == 2


@pytest.mark.parametrize("fault", [Fault.TIMEOUT, Fault.TIMEOUT_AFTER])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_time_out_is_not_noticed(impatient: Rig, fault: Fault, operation: str) -> None:
    expected = OPERATIONS[operation](impatient.direct) if operation in READS else True
    impatient.proxy.fail(fault)
    assert OPERATIONS[operation](impatient.store) == expected
    assert len(impatient.pauses) == 1


def test_a_listing_goes_on_where_it_failed(rig: Rig) -> None:
    names = [f"many/{number:04}" for number in range(1050)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: rig.direct.put_bytes(name, b""), names))
    rig.proxy.fail(Fault.SLOW_DOWN, times=2, query="continuation-token")
    assert [found.path for found in rig.store.list("many")] == names
    assert len(rig.pauses) >= 1


@needs_versitygw
def test_a_listing_whose_pages_repeat_has_each_object_once_and_an_end(rig: Rig) -> None:
    names = [f"some/{number:03}" for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: rig.direct.put_bytes(name, b""), names))
    rig.proxy.fail(Fault.NO_END)
    assert [found.path for found in rig.store.list("some")] == names
    assert rig.proxy.count() == 2
    rig.proxy.fail(Fault.NO_END, times=None)
    with pytest.raises(Unavailable, match=f"listing of {rig.store.url}/some goes back to '{names[0]}'"):
        list(rig.store.list("some"))
    assert rig.proxy.count() < 50


# --- a create-only put whose answer is lost ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.TIMEOUT_AFTER, Fault.RESET_AFTER])
def test_a_put_whose_answer_is_lost_was_ours_all_the_same(impatient: Rig, fault: Fault) -> None:
    impatient.proxy.fail(fault, method="PUT")
    assert impatient.store.put_bytes("epochs/1", b"ours")
    assert impatient.direct.get("epochs/1") == b"ours"
    assert impatient.proxy.count(method="PUT") == 2


def test_a_put_that_fails_and_then_finds_anothers_object_was_not_ours(rig: Rig) -> None:
    rig.direct.put_bytes("epochs/1", b"theirs")
    rig.proxy.fail(Fault.SLOW_DOWN, method="PUT")
    assert not rig.store.put_bytes("epochs/1", b"ours")
    assert rig.direct.get("epochs/1") == b"theirs"


# --- a fault that stays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_retries", "tries"), [(0, 1), (1, 1), (3, 3)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_max_retries_tries_one_error_names_object_and_store(
    s3_server: S3Server, operation: str, max_retries: int, tries: int
) -> None:
    with rig_on(s3_server, max_retries=max_retries) as rig:
        rig.proxy.fail(Fault.SLOW_DOWN, times=None)
        with pytest.raises(Unavailable) as caught:
            OPERATIONS[operation](rig.store)
        assert rig.proxy.count() == tries
        named = "new" if operation == "create" else "a" if operation == "list" else "a/b"
        assert f"{rig.store.url}/{named}" in caught.value.message
        assert "SlowDown" in caught.value.message
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("jitter", "pauses"), [(0.0, [0.05, 0.1, 0.2, 0.4]), (1.0, [0.1, 0.2, 0.4, 0.8]), (0.5, [0.075, 0.15, 0.3, 0.6])]
)
def test_pauses_double_and_are_spread(s3_server: S3Server, jitter: float, pauses: list[float]) -> None:
    bucket, waited = s3_server.bucket(), list[float]()
    options = bucket.options(endpoint=NOBODY, max_retries=5)
    store = open_object_store(bucket.url, options, sleep=waited.append, jitter=lambda: jitter)
    with pytest.raises(Unavailable, match=r"cannot read s3://bucket\S+/a after 5 tries: .*refused"):
        store.get("a")
    assert waited == pytest.approx(pauses)


def test_pauses_do_not_grow_without_end(s3_server: S3Server) -> None:
    bucket, waited = s3_server.bucket(), list[float]()
    options = bucket.options(endpoint=NOBODY, max_retries=12)
    store = open_object_store(bucket.url, options, sleep=waited.append, jitter=lambda: 1.0)
    with pytest.raises(Unavailable):
        store.get("a")
    assert max(waited) == remote.MAX_PAUSE_SECONDS


def test_nobody_holds_a_slot_while_waiting_for_the_next_try(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    with rig_on(s3_server, pool_size=1) as rig:
        looked: list[object] = []
        options = bucket.options(endpoint=rig.proxy.endpoint, pool_size=1)
        store: ObjectStore = open_object_store(bucket.url, options, sleep=lambda _: looked.append(store.stat("a")))
        rig.proxy.fail(Fault.SLOW_DOWN)
        assert store.get("a") is None
        assert looked == [None]
        store.close()


def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    with S3Server(tmp_path / "server") as server:
        bucket = server.bucket()
        store = open_object_store(bucket.url, bucket.options(), sleep=lambda _: None)
        store.put_bytes("a", b"1")
        server.kill()
        for fails in (
            lambda: store.get("a"),
            lambda: store.put_bytes("b", b"2"),
            lambda: list(store.list("")),
            store.check,
        ):
            with pytest.raises(Unavailable, match=bucket.url):
                fails()
        server.start()
        if bucket.folder.is_dir():  # moto forgets
            assert store.get("a") == b"1"
        store.close()


# --- refusals: at once, and never taken for "absent" --------------------------------------------------------------


def refusals(store: ObjectStore) -> Iterator[Unavailable]:
    for operation in (*OPERATIONS.values(), check):
        with pytest.raises(Unavailable) as caught:
            operation(store)
        yield caught.value


@needs_versitygw
def test_wrong_credentials_are_an_error_at_once_without_a_secret(s3_server: S3Server) -> None:
    wrong = "another-secret-that-no-message-may-show"
    with rig_on(s3_server, secret_access_key=wrong) as rig:
        for number, error in enumerate(refusals(rig.store), 1):
            assert rig.proxy.count() == number
            assert "403" in error.message
            assert "credentials" in error.hint
            shown = "".join(traceback.format_exception(error))
            for secret in (wrong, SECRET_KEY, ACCESS_KEY, "StringToSign", "Signature="):
                assert secret not in shown
        assert rig.pauses == []


def test_a_missing_bucket_is_an_error_at_once_and_nothing_is_absent(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    store = open_object_store("s3://no-such-bucket/base", bucket.options(), sleep=lambda _: pytest.fail("it waits"))
    for error in refusals(store):
        assert "no-such-bucket" in error.message
        assert "no such bucket" in error.hint
    store.close()


@pytest.mark.parametrize("fault", [Fault.EXPIRED, Fault.DENIED])
def test_credentials_that_expire_and_are_renewed(rig: Rig, fault: Fault) -> None:
    rig.proxy.fail(fault, times=None)
    for number, error in enumerate(refusals(rig.store), 1):
        assert rig.proxy.count() == number
        assert error.kind == "unavailable"
        assert "credentials" in error.hint
    rig.proxy.heal()
    assert rig.store.get("a/b") == b"0123456789" * 10


# --- the check ---------------------------------------------------------------------------------------------------


def test_the_check_asks_once(rig: Rig) -> None:
    rig.proxy.fail(Fault.ERROR_500)
    with pytest.raises(Unavailable, match=f"cannot use {rig.store.url}: status 500"):
        rig.store.check()
    rig.store.check()
    assert rig.proxy.count() == 2
    assert rig.pauses == []


def test_the_check_does_not_wait_for_a_server_that_hangs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK_SECONDS", 0.3)
    rig.proxy.fail(Fault.TIMEOUT)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.3 seconds"):
        rig.store.check()
    assert time.monotonic() - began < 5
    rig.store.check()


def test_the_check_does_not_wait_for_slots(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CHECK_SECONDS", 0.3)
    with rig_on(s3_server, pool_size=1) as rig, ThreadPoolExecutor(1) as thread:
        rig.proxy.fail(Fault.WAIT)
        busy = thread.submit(rig.store.get, "a")
        rig.proxy.wait_until(lambda: rig.proxy.count() == 1)
        with pytest.raises(Unavailable, match=r"all slots were taken|no answer"):
            rig.store.check()
        rig.proxy.release()
        busy.result(30)
        rig.store.check()


def test_who_has_a_slow_link_is_told_what_to_raise(s3_server: S3Server) -> None:
    with rig_on(s3_server, timeout_secs=0.3, max_retries=1) as rig:
        rig.proxy.fail(Fault.TIMEOUT)
        with pytest.raises(Unavailable, match=r"cannot read .*TimedOut \(8 MiB .* object_store_timeout_secs"):
            rig.store.get("a/b")


# --- large objects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [False, True])
def test_a_large_object_goes_in_parts(rig: Rig, tmp_path: Path, replace: bool) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    assert rig.store.put_file("large", tmp_path / "large", replace=replace)
    assert rig.proxy.count(method="PUT", query="partNumber") == 4
    assert rig.proxy.count(method="PUT") == 4
    assert rig.direct.get("large") == LARGE


def test_a_large_object_that_exists_is_not_sent_again(rig: Rig) -> None:
    rig.direct.put_bytes("large", b"there")
    assert not rig.store.put_bytes("large", LARGE)
    assert rig.proxy.count(method="PUT") == rig.proxy.count(method="POST") == 0
    assert rig.direct.get("large") == b"there"


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.SLOW_DOWN, Fault.RESET, Fault.RESET_AFTER])
def test_a_part_that_fails_is_sent_again_and_nothing_is_left(rig: Rig, fault: Fault) -> None:
    rig.proxy.fail(fault, query="partNumber=2")
    assert rig.store.put_bytes("large", LARGE)
    assert rig.direct.get("large") == LARGE
    assert rig.proxy.count(method="DELETE", query="uploadId") == 1
    assert len(rig.pauses) == 1


def test_a_large_put_that_fails_for_good_is_given_up_cleanly(rig: Rig) -> None:
    rig.proxy.fail(Fault.SLOW_DOWN, times=None, query="partNumber=3")
    with pytest.raises(Unavailable, match=r"cannot write s3://\S+/base/large after 3 tries: status 503 SlowDown"):
        rig.store.put_bytes("large", LARGE)
    assert rig.proxy.count(method="POST", query="uploads") == 3
    assert rig.proxy.count(method="DELETE", query="uploadId") == 3
    assert rig.direct.stat("large") is None
    assert [found.path for found in rig.direct.list("")] == ["a/b"]


def test_a_large_put_whose_end_is_not_answered_finds_its_object(s3_server: S3Server) -> None:
    with rig_on(s3_server, timeout_secs=2) as rig:
        rig.proxy.fail(Fault.TIMEOUT_AFTER, method="POST", query="uploadId")
        assert not rig.store.put_bytes("large", LARGE), "who has put it, the digest says"
        assert rig.direct.get("large") == LARGE
        assert rig.proxy.count(method="POST", query="uploads") == 1


# --- large values in a bucket ------------------------------------------------------------------------------------


VALUE = bytes(range(256)) * (CHUNK_BYTES // 256) * 3 + b"end"


@pytest.fixture
def blobs(rig: Rig, tmp_path: Path) -> BlobStore:
    return BlobStore(rig.store, tmp_path / "spool")


def test_a_value_is_read_chunk_by_chunk(rig: Rig, blobs: BlobStore) -> None:
    blob = blobs.store(io.BytesIO(VALUE))[:3]
    path = blob_path(blob[0])
    rig.proxy.heal()
    assert b"".join(blobs.iter_chunks(*blob)) == VALUE
    assert rig.proxy.count(path=path) <= 6  # digests, size, four chunks
    rig.proxy.heal()
    assert b"".join(blobs.iter_chunks(*blob, start=10, stop=20)) == VALUE[10:20]
    assert rig.proxy.count(path=path) == 3
    assert values_in(rig) == {blob[0]: len(VALUE)}
    assert all(map(rig.direct.delete, (path, chunk_digests_path(blob[0]))))
    assert [found.path for found in rig.direct.list("")] == ["a/b"]


def test_a_value_is_uploaded_again_only_if_nothing_refers_to_it(rig: Rig, blobs: BlobStore) -> None:
    blobs.store([VALUE])
    rig.proxy.heal()
    blobs.store([VALUE], is_referenced=lambda _: True)
    assert rig.proxy.count(method="PUT") == 0
    blobs.store([VALUE], is_referenced=lambda _: False)
    assert rig.proxy.count(method="PUT") == 2
    assert rig.direct.delete(blob_path(blobs.store([VALUE]).sha256))
    rig.proxy.heal()
    blobs.store([VALUE], is_referenced=lambda _: True)
    assert rig.proxy.count(method="PUT") == 2, "referred to, but not there"


def test_a_byte_that_changes_on_the_way_is_no_wrong_value(rig: Rig, blobs: BlobStore) -> None:
    blob = blobs.store([VALUE])[:3]
    rig.proxy.fail(Fault.FLIP, path=blob_path(blob[0]), times=None)
    with pytest.raises(Corruption, match=f"s3://.*{blob[0].hex()}"):
        blobs.read(*blob)
    rig.proxy.heal()
    assert blobs.read(*blob) == VALUE


def test_a_byte_that_changes_on_the_way_once_is_fetched_again(rig: Rig, blobs: BlobStore) -> None:
    blob = blobs.store([VALUE])[:3]
    rig.proxy.heal()
    rig.proxy.fail(Fault.FLIP, path=chunk_digests_path(blob[0]))
    with blobs.open(*blob) as reader:
        rig.proxy.fail(Fault.FLIP, path=blob_path(blob[0]))
        assert reader.read() == VALUE
    chunks = -(-len(VALUE) // CHUNK_BYTES)
    assert len(rig.proxy.requests) == 2 + 1 + chunks + 1, "digests, size and chunks, and what was wrong once more"


def test_a_store_that_is_away_is_no_missing_value(rig: Rig, blobs: BlobStore) -> None:
    blob = blobs.store([VALUE])[:3]
    reader = blobs.open(*blob)
    rig.proxy.fail(Fault.ERROR_500, times=None)
    with pytest.raises(Unavailable):
        reader.read()
    with pytest.raises(Unavailable):
        blobs.open(*blob)
    with pytest.raises(Unavailable):
        blobs.store([b"another"])
    rig.proxy.heal()
    assert reader.read() == VALUE
    reader.close()


@needs_versitygw
def test_many_threads_store_the_same_value_in_a_bucket(rig: Rig, blobs: BlobStore) -> None:
    together = threading.Barrier(6)

    def keep(_: int) -> bytes:
        together.wait(30)
        return blobs.store([VALUE]).sha256

    with ThreadPoolExecutor(6) as threads:
        digests = set(threads.map(keep, range(6)))
    assert values_in(rig).keys() == digests
    assert rig.direct.get(blob_path(digests.pop())) == VALUE


def test_a_large_object_passes_in_constant_memory(s3_server: S3Server, tmp_path: Path) -> None:
    bucket, source = s3_server.bucket(), tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(256 << 20)
    credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    command = [sys.executable, "-m", "tests.objects.upload_large", bucket.url, s3_server.endpoint, str(source)]
    done = subprocess.run(
        command, env=os.environ | credentials, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) < 96 << 20


@pytest.mark.parametrize("faults", [[], [Fault.SLOW_DOWN], [Fault.RESET_AFTER, Fault.ERROR_500]], ids=len)
def test_a_deletion_says_how_often_it_was_asked_for(rig: Rig, faults: list[Fault]) -> None:
    for fault in faults:
        rig.proxy.fail(fault)
    assert rig.store.delete("a/b") == 1 + len(faults)
    assert rig.direct.stat("a/b") is None


@pytest.mark.parametrize(("faults", "tries"), [([Fault.DENIED], 1), ([Fault.RESET_AFTER, Fault.DENIED], 2)])
def test_a_refused_deletion_says_whether_it_may_have_happened_before(rig: Rig, faults: list[Fault], tries: int) -> None:
    for fault in faults:
        rig.proxy.fail(fault)
    with pytest.raises(Unavailable) as caught:
        rig.store.delete("a/b")
    cause = caught.value.__cause__
    assert isinstance(cause, Failure)
    assert (cause.kind, cause.tries) == (Kind.REFUSED, tries)
    assert (rig.direct.stat("a/b") is None) == (tries > 1)

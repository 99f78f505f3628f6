from __future__ import annotations

import errno
import io
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.errors import Corruption, StorageError, Unavailable
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.blobs import Blob, BlobStore, SpooledBlob
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.identity import StoreIdentity, encode_identity
from scribe_ledger.objects.paths import blob_path, chunk_digests_path, digest_of_blob_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.objects.conftest import RecordSystemCalls

pytestmark = pytest.mark.storage

VALUE = random.Random(1).randbytes(2 * CHUNK_BYTES + 1000)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(FolderStore(tmp_path / "objects"), tmp_path / "spool")


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def values_in(tmp_path: Path) -> list[str]:
    return [path for path in files_under(tmp_path / "objects") if digest_of_blob_path(path)]


def value_file(tmp_path: Path, blob: Blob) -> Path:
    return tmp_path / "objects" / blob_path(blob.sha256)


def digests_file(tmp_path: Path, blob: Blob) -> Path:
    return tmp_path / "objects" / chunk_digests_path(blob.sha256)


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1]
)
def test_values_of_all_sizes_come_back(blobs: BlobStore, tmp_path: Path, size: int) -> None:
    value = random.Random(size).randbytes(size)
    blob = blobs.store([value])
    assert blob == Blob(sha256(value).digest(), size, chunk_root(chunk_digests(value)))
    assert blobs.read(*blob[:3]) == value
    assert b"".join(blobs.iter_chunks(*blob[:3])) == value
    blobs.check(*blob[:3])
    assert files_under(tmp_path) == ["objects/" + blob_path(blob.sha256), "objects/" + chunk_digests_path(blob.sha256)]


def test_streams_and_iterables_are_the_same(blobs: BlobStore) -> None:
    assert blobs.store(io.BytesIO(VALUE)) == blobs.store([VALUE[:5], VALUE[5:]]) == blobs.store([VALUE])


def test_spool_gives_small_values_back_and_keeps_large_ones(blobs: BlobStore, tmp_path: Path) -> None:
    assert blobs.spool(io.BytesIO(b"small"), inline_max=5) == b"small"
    spooled = blobs.spool(io.BytesIO(b"larger"), inline_max=5)
    assert isinstance(spooled, SpooledBlob)
    with spooled:
        assert values_in(tmp_path) == []
        blob = blobs.keep(spooled)
    assert blobs.read(*blob[:3]) == b"larger"
    assert files_under(tmp_path / "spool") == []


def test_a_spooled_value_that_is_not_kept_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    spooled = blobs.spool([VALUE], inline_max=0)
    assert isinstance(spooled, SpooledBlob)
    spooled.close()
    assert files_under(tmp_path) == []


def test_storing_is_in_constant_memory(blobs: BlobStore) -> None:
    chunk = bytes(CHUNK_BYTES)
    tracemalloc.start()
    try:
        blob = blobs.store(chunk for _ in range(64))
        _, peak_storing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        blobs.check(*blob[:3])
        with blobs.open(*blob[:3]) as reader:
            while reader.read(100_000):
                pass
        _, peak_reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blob.size == 64 * CHUNK_BYTES
    assert peak_storing < 6 * CHUNK_BYTES
    assert peak_reading < 4 * CHUNK_BYTES


def test_chunk_digests_are_durable_before_the_value_is_seen(
    blobs: BlobStore, tmp_path: Path, record_system_calls: RecordSystemCalls
) -> None:
    calls = record_system_calls(tmp_path)
    blob = blobs.store([b"abc"])
    path = f"objects/{blob_path(blob.sha256)}"
    folder = str(Path(path).parent)
    assert calls[:3] == ["sync objects/.partial/*", "mkdir objects/blobs", "sync objects"]
    assert calls[-6:] == [
        f"sync {Path(folder).parent}",
        f"replace {path}.chunks",
        f"sync {folder}",
        "sync spool/*",
        f"replace {path}",
        f"sync {folder}",
    ]


@pytest.mark.parametrize("fail_at", ["sync spool/*", "sync objects/.partial/*", "sync objects"])
def test_a_sync_that_fails_fails_the_store(
    blobs: BlobStore, tmp_path: Path, record_system_calls: RecordSystemCalls, fail_at: str
) -> None:
    record_system_calls(tmp_path, fail_at=fail_at)
    with pytest.raises(StorageError) as caught:
        blobs.store([VALUE])
    assert isinstance(caught.value.__cause__, OSError)
    assert values_in(tmp_path) == []
    assert files_under(tmp_path / "spool") == []


@pytest.mark.parametrize("room", [0, 1000, CHUNK_BYTES, len(VALUE), len(VALUE) + 10])
def test_a_full_disk_fails_the_store_and_leaves_nothing(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    write = os.write
    rest = room

    def write_while_there_is_room(descriptor: int, data: memoryview) -> int:
        nonlocal rest
        if rest == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[:rest])
        rest -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    with pytest.raises(StorageError) as caught:
        blobs.store([VALUE])
    assert str(tmp_path) in caught.value.message
    assert "free space" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("error", [ConnectionResetError("the sender is gone"), KeyboardInterrupt()])
def test_an_error_of_the_sender_is_passed_on_and_leaves_nothing(
    blobs: BlobStore, tmp_path: Path, error: BaseException
) -> None:
    def pieces() -> Iterator[bytes]:
        yield VALUE
        raise error

    with pytest.raises(type(error)) as caught:
        blobs.store(pieces())
    assert caught.value is error
    assert files_under(tmp_path) == []


def test_many_threads_store_the_same_value(blobs: BlobStore, tmp_path: Path) -> None:
    start = threading.Barrier(8)
    results: list[Blob | BaseException] = []

    def store() -> None:
        start.wait()
        try:
            blob = blobs.store([VALUE])
            blobs.check(*blob[:3])
            results.append(blob)
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=store) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    blob = Blob(sha256(VALUE).digest(), len(VALUE), chunk_root(chunk_digests(VALUE)))
    assert results == [blob] * 8
    assert files_under(tmp_path) == ["objects/" + blob_path(blob.sha256), "objects/" + chunk_digests_path(blob.sha256)]


def test_a_crash_at_any_system_call_leaves_a_whole_blob_or_none(tmp_path: Path) -> None:
    driver = Path(__file__).with_name("crash_at_every_system_call.py")
    done = subprocess.run([sys.executable, driver, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    crashes, absent, whole = map(int, done.stdout.split())
    assert crashes == absent + whole
    assert absent > 15
    assert whole >= 2


def test_opening_removes_what_a_crash_left_and_nothing_in_use(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.begin(inline_max=0) as spooler:
        spooler.write(VALUE)
        (tmp_path / "spool/0123.partial").write_bytes(b"left by a crash")
        again = BlobStore(FolderStore(tmp_path / "objects"), tmp_path / "spool")
        assert len(files_under(tmp_path / "spool")) == 1
        (tmp_path / "spool/0123.partial").write_bytes(b"left by a crash")
        assert again.clean_spool() == 1
        with spooler.finish_spooled() as spooled:
            blob = blobs.keep(spooled)
    assert again.read(*blob[:3]) == VALUE


# --- a value that comes again ------------------------------------------------------------------------------------


def test_a_referenced_blob_is_reused(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    before = value_file(tmp_path, blob).stat().st_ino
    asked: list[bytes] = []

    def is_referenced(digest: bytes) -> bool:
        asked.append(digest)
        return True

    assert blobs.store([VALUE], is_referenced=is_referenced) == blob
    assert asked == [blob.sha256]
    assert value_file(tmp_path, blob).stat().st_ino == before
    assert files_under(tmp_path / "spool") == []


def test_a_blob_that_nothing_refers_to_is_not_believed(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    file = value_file(tmp_path, blob)
    file.write_bytes(bytes(len(VALUE)))
    assert blobs.store([VALUE], is_referenced=lambda _: False) == blob
    assert blobs.read(*blob[:3]) == VALUE
    file.write_bytes(bytes(len(VALUE)))
    assert blobs.store([VALUE]) == blob
    assert blobs.read(*blob[:3]) == VALUE


@pytest.mark.parametrize("damage", ["cut", "missing", "digests altered", "digests missing"])
def test_a_referenced_blob_that_is_damaged_is_replaced(blobs: BlobStore, tmp_path: Path, damage: str) -> None:
    blob = blobs.store([VALUE])
    match damage:
        case "cut":
            os.truncate(value_file(tmp_path, blob), 10)
        case "missing":
            value_file(tmp_path, blob).unlink()
        case "digests altered":
            flip_byte(digests_file(tmp_path, blob), 70)
        case "digests missing":
            digests_file(tmp_path, blob).unlink()
    assert blobs.store([VALUE], is_referenced=lambda _: True) == blob
    assert blobs.read(*blob[:3]) == VALUE


def test_who_reads_while_a_blob_is_replaced_reads_on(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    with blobs.open(*blob[:3]) as reader:
        begin = reader.read(10)
        blobs.store([VALUE])
        value_file(tmp_path, blob).unlink()
        assert begin + reader.read() == VALUE


# --- damage ------------------------------------------------------------------------------------------------------


def flip_byte(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0x10
    file.write_bytes(content)


def assert_corrupt(blobs: BlobStore, blob: Blob, message: str) -> None:
    for look in (blobs.read, blobs.check):
        with pytest.raises(Corruption, match=message) as caught:
            look(*blob[:3])
        assert blob.sha256.hex() in caught.value.message


@pytest.mark.parametrize("at", [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES, len(VALUE) - 1])
def test_an_altered_byte_is_found_and_its_chunk_named(blobs: BlobStore, tmp_path: Path, at: int) -> None:
    blob = blobs.store([VALUE])
    flip_byte(value_file(tmp_path, blob), at)
    assert_corrupt(blobs, blob, f"chunk {at // CHUNK_BYTES} of the value")


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(VALUE) - 1, len(VALUE) + 1, 2 * len(VALUE)])
def test_a_cut_or_grown_value_is_found_when_opened(blobs: BlobStore, tmp_path: Path, size: int) -> None:
    blob = blobs.store([VALUE])
    os.truncate(value_file(tmp_path, blob), size)
    chunk = min(size, len(VALUE)) // CHUNK_BYTES
    message = f"has {size} bytes instead of {len(VALUE)}, wrong from chunk {chunk} on"
    assert_corrupt(blobs, blob, message)
    with pytest.raises(Corruption, match=message):
        blobs.open(*blob[:3])


def test_an_empty_value_that_grew_is_found(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([b""])
    value_file(tmp_path, blob).write_bytes(b"x")
    assert_corrupt(blobs, blob, "has 1 bytes instead of 0")


def test_a_missing_value_is_corruption_and_never_absent(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    value_file(tmp_path, blob).unlink()
    assert_corrupt(blobs, blob, rf"the value /.*{blob.sha256.hex()} is missing, though the ledger holds an entry")


def test_missing_chunk_digests_are_corruption(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    digests_file(tmp_path, blob).unlink()
    assert_corrupt(
        blobs, blob, rf"the file of chunk digests /.*{blob.sha256.hex()}\.chunks is missing, though the ledger"
    )


def test_a_blob_that_was_never_stored_is_corruption(blobs: BlobStore) -> None:
    assert_corrupt(blobs, Blob(sha256(b"never").digest(), 5, bytes(32)), "is missing")


def test_altered_chunk_digests_are_found(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    for at in (0, 9, 20, 30, 60, 100, -1):
        flip_byte(digests_file(tmp_path, blob), at)
        assert_corrupt(blobs, blob, "chunk digests .* is damaged")
        flip_byte(digests_file(tmp_path, blob), at)
    blobs.check(*blob[:3])


def test_cut_and_grown_chunk_digests_are_found(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    size = digests_file(tmp_path, blob).stat().st_size
    for changed in (size + 1, size + 32, 10 * size, size - 1, size - 32, 56, 0):
        os.truncate(digests_file(tmp_path, blob), changed)
        assert_corrupt(blobs, blob, "chunk digests .* is damaged")


def test_chunk_digests_of_another_value_are_found(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    other = blobs.store([VALUE[::-1]])
    digests_file(tmp_path, blob).write_bytes(digests_file(tmp_path, other).read_bytes())
    assert_corrupt(blobs, blob, f"is not that of the entry: it is for {other.sha256.hex()}")


def test_another_value_with_its_chunk_digests_is_found(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    other = blobs.store([VALUE[::-1]])
    value_file(tmp_path, blob).write_bytes(VALUE[::-1])
    assert_corrupt(blobs, blob, "chunk 0 of the value")
    digests_file(tmp_path, blob).write_bytes(digests_file(tmp_path, other).read_bytes())
    assert_corrupt(blobs, blob, "is not that of the entry")


def test_an_entry_with_another_size_or_chunk_root_does_not_open(blobs: BlobStore) -> None:
    blob = blobs.store([VALUE])
    with pytest.raises(Corruption, match="is not that of the entry"):
        blobs.open(blob.sha256, blob.size, bytes(32))
    with pytest.raises(Corruption, match="is not that of the entry"):
        blobs.open(blob.sha256, blob.size - 1, blob.chunk_root)
    with pytest.raises(Corruption, match="is damaged"):  # the file is read no further than such a value needs
        blobs.open(blob.sha256, 1, blob.chunk_root)
    with pytest.raises(Corruption, match="is not that of the entry"):
        blobs.open(blob.sha256, 1 << 60, blob.chunk_root)


def test_a_file_that_cannot_be_read_is_a_storage_error(blobs: BlobStore, tmp_path: Path) -> None:
    blob = blobs.store([VALUE])
    value_file(tmp_path, blob).unlink()
    value_file(tmp_path, blob).mkdir()
    with pytest.raises(StorageError, match="Is a directory") as caught:
        blobs.open(*blob[:3])
    assert str(value_file(tmp_path, blob)) in caught.value.message


def test_a_value_that_is_missing_from_another_store_is_not_damaged(tmp_path: Path) -> None:
    objects = FolderStore(tmp_path / "objects")
    blobs = BlobStore(objects, tmp_path / "spool", store_id=lambda: "1" * 32)
    with pytest.raises(Unavailable, match="is not the object store") as refused:
        blobs.open(bytes(32), 1, bytes(32))
    assert "[storage] object_store" in refused.value.hint
    identity = StoreIdentity(ledger_id="a" * 32, store_id="1" * 32, origin="o", vkey="k", created=1)
    objects.put_bytes("scribe.json", encode_identity(identity))
    with pytest.raises(Corruption, match="is missing"):
        blobs.open(bytes(32), 1, bytes(32))

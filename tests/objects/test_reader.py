from __future__ import annotations

import io
import os
import random
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scribe_ledger.errors import Corruption, RangeNotSatisfiable
from scribe_ledger.merkle.chunks import chunk_digests
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.blobs import Blob, BlobReader, BlobStore
from scribe_ledger.objects.chunk_file import ChunkDigests
from scribe_ledger.objects.folder import FolderStore
from scribe_ledger.objects.paths import blob_path, chunk_digests_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.storage

VALUE = random.Random(2).randbytes(3 * CHUNK_BYTES + 123)
NEAR_A_CHUNK = [chunk * CHUNK_BYTES + near for chunk in range(1, 4) for near in (-1, 0, 1)]
POSITIONS = st.integers(0, len(VALUE) + 10) | st.sampled_from([0, len(VALUE) - 1, len(VALUE), *NEAR_A_CHUNK])
SIZES = st.sampled_from([0, 1, 2, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 1 << 60])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def blobs(folder: Path) -> BlobStore:
    return BlobStore(FolderStore(folder / "objects"), folder / "spool")


@pytest.fixture(scope="module")
def blob(blobs: BlobStore) -> Blob:
    return blobs.store([VALUE])


@given(st.tuples(POSITIONS, POSITIONS).map(sorted))
def test_any_range_is_that_of_the_value(blobs: BlobStore, blob: Blob, bounds: list[int]) -> None:
    start, stop = bounds
    if start > len(VALUE):
        with pytest.raises(RangeNotSatisfiable):
            blobs.iter_chunks(*blob[:3], start=start, stop=stop)
        return
    pieces = list(blobs.iter_chunks(*blob[:3], start=start, stop=stop))
    assert b"".join(pieces) == VALUE[start:stop]
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)


@given(st.lists(st.tuples(st.sampled_from(["seek", "ahead", "from end", "read", "readinto"]), POSITIONS, SIZES)))
def test_a_reader_behaves_like_a_file_in_memory(
    blobs: BlobStore, blob: Blob, steps: list[tuple[str, int, int]]
) -> None:
    model = io.BytesIO(VALUE)
    with blobs.open(*blob[:3]) as reader:
        for step, position, size in steps:
            match step:
                case "seek":
                    assert reader.seek(position) == model.seek(position)
                case "ahead":
                    assert reader.seek(position, io.SEEK_CUR) == model.seek(position, io.SEEK_CUR)
                case "from end":
                    assert reader.seek(-min(position, len(VALUE)), io.SEEK_END) == model.seek(
                        -min(position, len(VALUE)), io.SEEK_END
                    )
                case "read":
                    assert reader.read(size) == model.read(size)
                case "readinto":
                    ours, theirs = bytearray(size % (1 << 30)), bytearray(size % (1 << 30))
                    assert reader.readinto(ours) == model.readinto(theirs)
                    assert ours == theirs
            assert reader.tell() == model.tell()


def test_a_reader_is_a_seekable_binary_file(blobs: BlobStore, blob: Blob) -> None:
    with blobs.open(*blob[:3]) as reader:
        assert isinstance(reader, io.RawIOBase)
        assert (reader.readable(), reader.seekable(), reader.writable()) == (True, True, False)
        assert reader.size == len(VALUE)
        assert reader.read() == VALUE
        assert reader.read() == b""
        reader.seek(0)
        assert reader.readall() == VALUE
        reader.seek(0)
        assert io.BufferedReader(reader).readline() == VALUE[: VALUE.index(b"\n") + 1]
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


@pytest.mark.parametrize(("offset", "whence"), [(-1, io.SEEK_SET), (-len(VALUE) - 1, io.SEEK_END), (0, 9)])
def test_seeking_before_the_beginning_is_refused(blobs: BlobStore, blob: Blob, offset: int, whence: int) -> None:
    with blobs.open(*blob[:3]) as reader, pytest.raises(ValueError, match="cannot seek"):
        reader.seek(offset, whence)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (len(VALUE) + 1, None), (0, -1)])
def test_a_range_that_is_none_is_refused_at_once(blobs: BlobStore, blob: Blob, start: int, stop: int | None) -> None:
    with pytest.raises(RangeNotSatisfiable):
        blobs.iter_chunks(*blob[:3], start=start, stop=stop)


def test_reading_forward_reads_each_chunk_once(blobs: BlobStore, blob: Blob, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    checked_chunk = BlobReader._checked_chunk

    def count(reader: BlobReader, number: int) -> bytes:
        asked.append(number)
        return checked_chunk(reader, number)

    monkeypatch.setattr(BlobReader, "_checked_chunk", count)
    with blobs.open(*blob[:3]) as reader:
        while reader.read(10_000):
            pass
    assert asked == [0, 1, 2, 3]


# --- damage: each test has a store of its own ------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> tuple[BlobStore, Blob, Path]:
    blobs = BlobStore(FolderStore(tmp_path / "objects"), tmp_path / "spool")
    blob = blobs.store([VALUE])
    return blobs, blob, tmp_path / "objects" / blob_path(blob.sha256)


def flip_byte(file: Path, at: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes([VALUE[at] ^ 1]))


def test_chunks_before_the_damage_are_good_and_the_damage_stays(stored: tuple[BlobStore, Blob, Path]) -> None:
    blobs, blob, file = stored
    flip_byte(file, 2 * CHUNK_BYTES + 7)
    with blobs.open(*blob[:3]) as reader:
        assert reader.read(2 * CHUNK_BYTES) == VALUE[: 2 * CHUNK_BYTES]
        for _ in range(2):
            with pytest.raises(Corruption, match="chunk 2 of the value"):
                reader.read(1)
            assert reader.tell() == 2 * CHUNK_BYTES
        reader.seek(3 * CHUNK_BYTES)
        assert reader.read() == VALUE[3 * CHUNK_BYTES :]


def test_a_range_beside_the_damage_is_good_and_one_in_its_chunk_is_not(stored: tuple[BlobStore, Blob, Path]) -> None:
    blobs, blob, file = stored
    flip_byte(file, CHUNK_BYTES)
    assert b"".join(blobs.iter_chunks(*blob[:3], start=10, stop=CHUNK_BYTES)) == VALUE[10:CHUNK_BYTES]
    with pytest.raises(Corruption, match="chunk 1 of the value"):
        list(blobs.iter_chunks(*blob[:3], start=2 * CHUNK_BYTES - 1, stop=2 * CHUNK_BYTES))


def test_damage_after_opening_is_found(stored: tuple[BlobStore, Blob, Path]) -> None:
    blobs, blob, file = stored
    with blobs.open(*blob[:3]) as reader:
        reader.read(1)
        flip_byte(file, CHUNK_BYTES)
        os.truncate(file, 3 * CHUNK_BYTES)
        reader.seek(CHUNK_BYTES)
        with pytest.raises(Corruption, match="chunk 1 of the value"):
            reader.read(1)
        reader.seek(3 * CHUNK_BYTES)
        with pytest.raises(Corruption, match="chunk 3 of the value"):
            reader.read(1)


def test_a_full_read_withholds_the_last_chunk_until_the_digest_holds(tmp_path: Path) -> None:
    """An entry may name the chunk root of one value and the digest of another: each chunk holds, the whole does not."""
    blobs = BlobStore(FolderStore(tmp_path / "objects"), tmp_path / "spool")
    blobs.store([VALUE])
    claimed = sha256(b"another value").digest()
    digests = ChunkDigests(sha256=claimed, size=len(VALUE), digests=b"".join(chunk_digests(VALUE)))
    file = tmp_path / "objects" / blob_path(claimed)
    file.parent.mkdir(parents=True)
    file.write_bytes(VALUE)
    (tmp_path / "objects" / chunk_digests_path(claimed)).write_bytes(digests.encode())
    entry = Blob(claimed, len(VALUE), digests.root())

    pieces = blobs.iter_chunks(*entry[:3])
    assert b"".join(next(pieces) for _ in range(3)) == VALUE[: 3 * CHUNK_BYTES]
    with pytest.raises(Corruption, match="though each of its chunks holds"):
        next(pieces)

    with blobs.open(*entry[:3]) as reader:
        for _ in range(2):
            reader.seek(0)
            with pytest.raises(Corruption, match="though each of its chunks holds"):
                reader.read()
    assert b"".join(blobs.iter_chunks(*entry[:3], start=3 * CHUNK_BYTES)) == VALUE[3 * CHUNK_BYTES :]


def test_an_empty_value_under_a_wrong_digest_is_found(tmp_path: Path) -> None:
    blobs = BlobStore(FolderStore(tmp_path / "objects"), tmp_path / "spool")
    claimed = sha256(b"not empty").digest()
    digests = ChunkDigests(sha256=claimed, size=0, digests=b"")
    file = tmp_path / "objects" / blob_path(claimed)
    file.parent.mkdir(parents=True)
    file.touch()
    (tmp_path / "objects" / chunk_digests_path(claimed)).write_bytes(digests.encode())
    with pytest.raises(Corruption, match="has the digest"):
        blobs.open(claimed, 0, digests.root())

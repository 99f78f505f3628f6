from __future__ import annotations

import io
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.spool import Blob, SpooledBlob, Spooler, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

pytestmark = pytest.mark.storage


def spool(folder: Path, pieces: Iterable[bytes], *, inline_max: int) -> bytes | SpooledBlob:
    with Spooler(folder, inline_max=inline_max) as spooler:
        for piece in pieces:
            spooler.write(piece)
        return spooler.finish()


@pytest.mark.parametrize("inline_max", [0, 10, CHUNK_BYTES, 3 * CHUNK_BYTES])
def test_a_value_of_inline_max_stays_in_memory(tmp_path: Path, inline_max: int) -> None:
    value = bytes(range(256)) * (inline_max // 256) + bytes(inline_max % 256)
    assert spool(tmp_path, [value], inline_max=inline_max) == value
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inline_max", [0, 10, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_a_value_over_inline_max_goes_to_a_file(tmp_path: Path, inline_max: int) -> None:
    value = b"x" * (inline_max + 1)
    spooled = spool(tmp_path, [value[:7], b"", value[7:]], inline_max=inline_max)
    assert isinstance(spooled, SpooledBlob)
    with spooled:
        assert spooled.path.read_bytes() == value
        assert spooled.blob == Blob(sha256(value).digest(), len(value), chunk_root(chunk_digests(value)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("piece_size", [99_991, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
def test_how_a_value_is_cut_into_pieces_makes_no_difference(tmp_path: Path, piece_size: int) -> None:
    value = bytes(range(251)) * 10_000
    pieces = [value[at : at + piece_size] for at in range(0, len(value), piece_size)]
    spooled = spool(tmp_path, pieces, inline_max=0)
    assert isinstance(spooled, SpooledBlob)
    with spooled:
        assert spooled.path.read_bytes() == value
        assert spooled.blob == Blob(sha256(value).digest(), len(value), chunk_root(chunk_digests(value)))


def test_size_counts_what_came_so_far(tmp_path: Path) -> None:
    with Spooler(tmp_path, inline_max=4) as spooler:
        spooler.write(b"abc")
        assert spooler.size == 3
        spooler.write(memoryview(b"defg"))
        assert spooler.size == 7


def test_leaving_unfinished_removes_the_file(tmp_path: Path) -> None:
    with Spooler(tmp_path, inline_max=0) as spooler:
        spooler.write(bytes(CHUNK_BYTES))
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_stream_is_read_in_chunks_to_its_end() -> None:
    value = bytes(2 * CHUNK_BYTES + 1)
    assert [len(piece) for piece in pieces_of(io.BytesIO(value))] == [CHUNK_BYTES, CHUNK_BYTES, 1]


def test_a_stream_that_does_not_block_is_not_taken_for_ended() -> None:
    class NothingYet(io.RawIOBase):
        def read(self, size: int | None = -1, /) -> bytes | None:
            return None

    stream: BinaryIO = NothingYet()  # type: ignore[assignment]
    with pytest.raises(InvalidRequest, match="does not block"):
        list(pieces_of(stream))


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), "abc"])
def test_a_value_that_is_no_stream_is_refused(value: Iterable[bytes]) -> None:
    with pytest.raises(InvalidRequest, match="streamed"):
        list(pieces_of(value))

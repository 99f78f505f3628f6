from __future__ import annotations

from hashlib import sha256

import pytest

from scribe_ledger.errors import Corruption, StorageError
from scribe_ledger.merkle.chunks import chunk_digests, chunk_root
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.chunk_file import ChunkDigests, chunk_count, decode_chunk_digests, encoded_size

pytestmark = pytest.mark.storage

VALUE = bytes(CHUNK_BYTES) + b"abc"
DIGESTS = ChunkDigests(sha256=sha256(VALUE).digest(), size=len(VALUE), digests=b"".join(chunk_digests(VALUE)))


def with_checksum(body: bytes) -> bytes:
    return body + sha256(body).digest()


def test_the_format_is_pinned() -> None:
    fields = [
        "534c4348554e4b53",  # SLCHUNKS
        "0001",  # version
        "0001",  # SHA-256
        "00100000",  # chunk size
        "0000000000100003",  # value size
        "3b6404689f6fb3b40515a0385428aa00378bf8008a3ba2ba2ea03a2209fc80b7",  # by sha256sum, like those below
        "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]
    body = bytes.fromhex("".join(fields))
    assert DIGESTS.encode() == with_checksum(body)


def test_digests_come_back() -> None:
    found = decode_chunk_digests(DIGESTS.encode(), place="the file")
    assert (found.sha256, found.size, found.root()) == (DIGESTS.sha256, len(VALUE), chunk_root(chunk_digests(VALUE)))
    assert len(found) == 2
    assert found[1] == sha256(b"abc").digest()


@pytest.mark.parametrize(
    ("size", "count"), [(0, 0), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (3 * CHUNK_BYTES, 3)]
)
def test_chunk_count(size: int, count: int) -> None:
    assert chunk_count(size) == count
    assert encoded_size(size) == 56 + 32 * count + 32


def test_every_flipped_bit_is_found() -> None:
    content = DIGESTS.encode()
    for at in range(len(content)):
        altered = bytearray(content)
        altered[at] ^= 1 << at % 8
        with pytest.raises(Corruption, match="the file is damaged"):
            decode_chunk_digests(bytes(altered), place="the file")


def test_every_cut_is_found() -> None:
    content = DIGESTS.encode()
    for length in range(len(content)):
        with pytest.raises(Corruption, match="the file is damaged"):
            decode_chunk_digests(content[:length], place="the file")
    with pytest.raises(Corruption, match="the file is damaged"):
        decode_chunk_digests(content + b"\0", place="the file")


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_wrong_number_of_digests_is_found_under_a_good_checksum(length: int) -> None:
    body = DIGESTS.encode()[:56] + bytes(length)
    with pytest.raises(Corruption, match="digests for a value of"):
        decode_chunk_digests(with_checksum(body), place="the file")


@pytest.mark.parametrize(("at", "what"), [(9, "format 2"), (11, "hash 2"), (15, "chunks of 1048578 bytes")])
def test_a_later_format_is_not_called_damage(at: int, what: str) -> None:
    body = bytearray(DIGESTS.encode()[:-32])
    body[at] = 2
    with pytest.raises(StorageError, match=what) as caught:
        decode_chunk_digests(with_checksum(bytes(body)), place="the file")
    assert not isinstance(caught.value, Corruption)
    assert "later version" in caught.value.hint

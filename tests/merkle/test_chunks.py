from __future__ import annotations

from hashlib import sha256

import pytest
from tests.merkle import example, reference

from scribe_ledger.merkle import EMPTY_ROOT, chunk_digests, chunk_root

pytestmark = pytest.mark.crypto

MIB = 1 << 20


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 17])
def test_chunk_root_is_over_the_digests_of_chunks_of_a_mebibyte(size: int) -> None:
    value = example.pattern(size)
    digests = [sha256(value[at : at + MIB]).digest() for at in range(0, size, MIB)]
    assert chunk_digests(value) == digests
    assert chunk_root(digests) == reference.root([sha256(b"\0" + digest).digest() for digest in digests])


def test_chunk_root_of_one_chunk_is_neither_its_digest_nor_that_of_the_value() -> None:
    value = b"small"
    assert chunk_root(chunk_digests(value)) == sha256(b"\0" + sha256(value).digest()).digest()


def test_no_chunks_have_the_empty_root() -> None:
    assert chunk_digests(b"") == []
    assert chunk_root([]) == EMPTY_ROOT

from __future__ import annotations

from hashlib import sha256

import pytest

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.objects.paths import (
    blob_path,
    checked_path,
    chunk_digests_path,
    digest_of_blob_path,
    digest_of_chunk_digests_path,
)

pytestmark = pytest.mark.storage

ABC = sha256(b"abc").digest()
ABC_PATH = "blobs/sha256/ba/78/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_blob_path_is_the_digest_under_two_levels() -> None:
    assert blob_path(ABC) == ABC_PATH
    assert chunk_digests_path(ABC) == ABC_PATH + ".chunks"


def test_paths_lead_back_to_digests() -> None:
    assert digest_of_blob_path(ABC_PATH) == ABC
    assert digest_of_chunk_digests_path(ABC_PATH + ".chunks") == ABC
    assert digest_of_blob_path(ABC_PATH + ".chunks") is None
    assert digest_of_chunk_digests_path(ABC_PATH) is None


@pytest.mark.parametrize(
    "path",
    [
        ABC_PATH.replace("/ba/78/", "/ba/79/"),
        ABC_PATH.upper(),
        ABC_PATH[:-1],
        ABC_PATH + "\n",
        "x/" + ABC_PATH,
        "",
    ],
)
def test_a_path_in_the_wrong_place_is_no_blob(path: str) -> None:
    assert digest_of_blob_path(path) is None


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_digest_of_another_length_has_no_path(length: int) -> None:
    with pytest.raises(InvalidRequest, match="32 bytes"):
        blob_path(bytes(length))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a\0b", "a\n", "A", "é"]
)
def test_only_plain_relative_paths_are_paths(path: str) -> None:
    with pytest.raises(InvalidRequest, match="not the path of an object"):
        checked_path(path)

from __future__ import annotations

from hashlib import sha256

import pytest

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.tiles import bundle_path, tile_path
from scribe_ledger.objects.paths import (
    CHECKPOINT,
    IDENTITY,
    MANIFEST,
    blob_path,
    checked_path,
    checkpoint_path,
    chunk_digests_path,
    digest_of_blob_path,
    digest_of_chunk_digests_path,
    epoch_path,
    parse_checkpoint_path,
    parse_epoch_path,
    range_of_segment_path,
    segment_path,
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


# --- the archive -------------------------------------------------------------------------------------------------

LAST = 2**64 - 1


@pytest.mark.parametrize("bounds", [(0, 0), (0, 99), (1_000, LAST)])
def test_segment_paths_lead_back_and_are_ordered_as_the_log_is(bounds: tuple[int, int]) -> None:
    path = segment_path(*bounds, ABC)
    assert checked_path(path) == path
    assert range_of_segment_path(path) == (*bounds, ABC)
    assert path < segment_path(bounds[0] + 1, LAST, bytes(32))


def test_a_segment_path_is_first_last_and_digest() -> None:
    assert segment_path(7, 12, ABC) == f"segments/{7:020}-{12:020}-{ABC.hex()}.parquet"


@pytest.mark.parametrize(("first", "last"), [(-1, 0), (2, 1), (0, LAST + 1)])
def test_a_segment_of_no_range_has_no_path(first: int, last: int) -> None:
    with pytest.raises(InvalidRequest):
        segment_path(first, last, ABC)
    assert range_of_segment_path(f"segments/{abs(first + 9):020}-{min(last, 1):020}-{ABC.hex()}.parquet") is None


@pytest.mark.parametrize("size", [0, 1, 256, LAST])
def test_checkpoint_paths_lead_back(size: int) -> None:
    path = checkpoint_path(size)
    assert checked_path(path) == path == f"checkpoints/{size:020}"
    assert parse_checkpoint_path(path) == size


@pytest.mark.parametrize("epoch", [0, 1, 9_999_999_999])
def test_epoch_paths_lead_back(epoch: int) -> None:
    path = epoch_path(epoch)
    assert checked_path(path) == path == f"epochs/{epoch:010}"
    assert parse_epoch_path(path) == epoch


@pytest.mark.parametrize("number", [-1, LAST + 1])
def test_impossible_numbers_have_no_path(number: int) -> None:
    with pytest.raises(InvalidRequest):
        checkpoint_path(number)
    with pytest.raises(InvalidRequest):
        epoch_path(number)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoints/1",
        f"checkpoints/{LAST + 1}",
        "checkpoints/0000000000000000000x",
        f"checkpoints/{1:021}",
        "epochs/1",
        f"epochs/{1:011}",
        "epochs/-000000001",
        "segments/x.parquet",
        f"{segment_path(0, 1, ABC)}.tmp",
    ],
)
def test_what_is_no_path_of_the_archive_leads_nowhere(path: str) -> None:
    assert parse_checkpoint_path(path) is None
    assert parse_epoch_path(path) is None
    assert range_of_segment_path(path) is None


@pytest.mark.parametrize(
    "path", [IDENTITY, CHECKPOINT, MANIFEST, tile_path(0, 1_234_067), tile_path(63, 0, 9), bundle_path(1_000_000, 255)]
)
def test_other_objects_have_paths_of_a_store_too(path: str) -> None:
    assert checked_path(path) == path

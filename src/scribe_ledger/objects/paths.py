"""Every path of an object store, computed here and nowhere else.

Paths are relative, slash-separated and made of lower-case letters, digits, dots, dashes and underscores, so that the
same path is valid in a folder, in a bucket and in a URL. They come from digests and numbers, never from keys or names
that a user chose.
"""

from __future__ import annotations

import re

from scribe_ledger.errors import InvalidRequest
from scribe_ledger.merkle.hashing import HASH_BYTES

BLOBS = "blobs/sha256"
"""The folder of all blobs; ``sha256`` stands in the path so that another hash algorithm can stand beside it."""

IDENTITY = "scribe.json"
"""Whose store it is."""

CHECKPOINT = "checkpoint"
"""A copy of the newest checkpoint for tile clients; nobody's authority."""

MANIFEST = "manifest.json"
"""What is live, for analysts and for recovery; nobody's authority."""

SEGMENTS = "segments"
CHECKPOINTS = "checkpoints"
EPOCHS = "epochs"
TILES = "tile"
"""The folder of tiles and entry bundles, whose paths ``merkle.tiles`` makes."""

_CHUNKS_SUFFIX = ".chunks"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_SEGMENT_OBJECT = re.compile(r"segments/([0-9]{20})-([0-9]{20})-([0-9a-f]{64})\.parquet")
_CHECKPOINT = re.compile(r"checkpoints/([0-9]{20})")
_EPOCH = re.compile(r"epochs/([0-9]{10})")
_MAX_INDEX = (1 << 64) - 1
_MAX_EPOCH = 10**10 - 1
_PART = r"[a-z0-9_][a-z0-9._-]*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")


def blob_path(sha256: bytes) -> str:
    """Where the value with this digest lies."""
    if len(sha256) != HASH_BYTES:
        raise InvalidRequest(f"a SHA-256 digest has {HASH_BYTES} bytes, not {len(sha256)}")
    name = sha256.hex()
    return f"{BLOBS}/{name[:2]}/{name[2:4]}/{name}"


def chunk_digests_path(sha256: bytes) -> str:
    """Where the digests of that value's chunks lie: beside it."""
    return blob_path(sha256) + _CHUNKS_SUFFIX


def digest_of_blob_path(path: str) -> bytes | None:
    """The digest a blob's path stands for; None if no blob has this path."""
    match = _BLOB.fullmatch(path)
    return bytes.fromhex(match[3]) if match else None


def digest_of_chunk_digests_path(path: str) -> bytes | None:
    """The digest of the blob that a file of chunk digests belongs to; None if it is no such path."""
    return digest_of_blob_path(path.removesuffix(_CHUNKS_SUFFIX)) if path.endswith(_CHUNKS_SUFFIX) else None


def segment_path(first_index: int, last_index: int, sha256: bytes) -> str:
    """Where the segment of that range and digest lies. The name tells both, so that a listing is a directory."""
    if len(sha256) != HASH_BYTES:
        raise InvalidRequest(f"a SHA-256 digest has {HASH_BYTES} bytes, not {len(sha256)}")
    if not 0 <= first_index <= last_index <= _MAX_INDEX:
        raise InvalidRequest(f"no segment reaches from {first_index} to {last_index}")
    return f"{SEGMENTS}/{first_index:020d}-{last_index:020d}-{sha256.hex()}.parquet"


def before_segments_from(first_index: int) -> str:
    """Where a listing of the segments that begin at an index, or later, is to start: behind all earlier ones."""
    return f"{SEGMENTS}/{first_index:020d}"


def range_of_segment_path(path: str) -> tuple[int, int, bytes] | None:
    """First index, last index and digest that a segment's path stands for; None if no segment has this path."""
    match = _SEGMENT_OBJECT.fullmatch(path)
    if match is None or not int(match[1]) <= int(match[2]) <= _MAX_INDEX:
        return None
    return int(match[1]), int(match[2]), bytes.fromhex(match[3])


def segment_id_of_path(path: str) -> str:
    """The name of a segment: that of its object."""
    return path.removeprefix(f"{SEGMENTS}/").removesuffix(".parquet")


def checkpoint_path(size: int) -> str:
    """Where the signed checkpoint of an archived end lies."""
    if not 0 <= size <= _MAX_INDEX:
        raise InvalidRequest(f"no tree has {size} leaves")
    return f"{CHECKPOINTS}/{size:020}"


def parse_checkpoint_path(path: str) -> int | None:
    """The size that a checkpoint's path stands for; None if no checkpoint has this path."""
    match = _CHECKPOINT.fullmatch(path)
    return int(match[1]) if match and int(match[1]) <= _MAX_INDEX else None


def epoch_path(epoch: int) -> str:
    """Where the handover to an epoch lies."""
    if not 0 <= epoch <= _MAX_EPOCH:
        raise InvalidRequest(f"there is no epoch {epoch}")
    return f"{EPOCHS}/{epoch:010}"


def parse_epoch_path(path: str) -> int | None:
    """The number of the epoch that a path stands for; None if no epoch has this path."""
    match = _EPOCH.fullmatch(path)
    return int(match[1]) if match else None


def checked_path(path: str) -> str:
    """The path itself, if it is one that this module could have made: no ``..``, no hidden file, no absolute path."""
    if not _PATH.fullmatch(path):
        raise InvalidRequest(f"{path!r} is not the path of an object")
    return path

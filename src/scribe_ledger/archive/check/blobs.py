"""The check of one large value: all its bytes, and the file of its chunk digests, against what its entry says."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.looking import is_fault
from scribe_ledger.archive.check.report import Finding
from scribe_ledger.errors import Corruption, StorageError
from scribe_ledger.merkle.chunks import chunk_root
from scribe_ledger.model import CHUNK_BYTES
from scribe_ledger.objects.chunk_file import ChunkDigests, decode_chunk_digests, encoded_size
from scribe_ledger.objects.durable import read_up_to
from scribe_ledger.objects.paths import blob_path, chunk_digests_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from scribe_ledger.archive.check.looking import Looks
    from scribe_ledger.objects.store import ObjectStore


class BlobRef(NamedTuple):
    """What an entry says of its large value."""

    sha256: bytes
    size: int
    chunk_root: bytes
    entry: int
    """The index of one entry that refers to it."""


def check_blobs(looks: Looks, blobs: Sequence[BlobRef]) -> list[Finding]:
    return [finding for blob in blobs for finding in check_blob(looks, blob)]


def check_blob(looks: Looks, blob: BlobRef) -> list[Finding]:
    """Everything that is wrong with a large value. It holds one chunk in memory, and 32 bytes for each."""
    said = looks.twice(partial(_digests_in_store, blob), is_wrong=lambda found: isinstance(found, Finding))
    digests = said if isinstance(said, ChunkDigests) else None
    findings = [said] if isinstance(said, Finding) else []
    wrong = looks.twice(partial(_check_bytes, blob, digests), is_wrong=is_fault)
    if wrong is not None:
        findings.append(Finding(blob_path(blob.sha256), f"{wrong}; entry {blob.entry} refers to it"))
    return findings


def _digests_in_store(blob: BlobRef, store: ObjectStore) -> ChunkDigests | Finding:
    path = chunk_digests_path(blob.sha256)
    content = store.get_range(path, 0, encoded_size(blob.size) + 1)
    if content is None:
        return Finding(path, f"missing; entry {blob.entry} needs it")
    try:
        digests = decode_chunk_digests(content, place=path)
    except (Corruption, StorageError) as error:
        return Finding(path, error.message.removeprefix(f"{path} "))
    if (digests.sha256, digests.size, digests.root()) != (blob.sha256, blob.size, blob.chunk_root):
        return Finding(path, f"it has other digests than entry {blob.entry} says")
    return digests


def _check_bytes(blob: BlobRef, digests: ChunkDigests | None, store: ObjectStore) -> str | None:
    """What is wrong with the bytes; where the chunk digests hold, it is told by the chunk."""
    file = store.open(blob_path(blob.sha256))
    if file is None:
        return "missing"
    try:
        return _wrong_bytes(file, blob, digests)
    except Corruption:  # it was removed while it was read
        return "missing"


def _wrong_bytes(file: BinaryIO, blob: BlobRef, digests: ChunkDigests | None) -> str | None:
    whole, found, size = sha256(), list[bytes](), 0
    with closing(file):
        while chunk := read_up_to(file, CHUNK_BYTES):
            digest = sha256(chunk).digest()
            if digests is not None and (len(found) >= len(digests) or digests[len(found)] != digest):
                return f"it is not what was written, from chunk {len(found)} on"
            whole.update(chunk)
            found.append(digest)
            size += len(chunk)
            if size > blob.size:
                break
    if size != blob.size:
        return f"it has {'more' if size > blob.size else f'{size} bytes, fewer'} than the {blob.size} that were written"
    if whole.digest() != blob.sha256 or chunk_root(found) != blob.chunk_root:
        return "its bytes do not have its digest"
    return None

"""The chunk root: one hash in the leaf under which a part of a large value can be checked without the rest.

A value is cut into chunks of 1 MiB, the last one shorter. The chunk root is the RFC 6962 root of a tree whose leaf
data are the SHA-256 digests of the chunks, 32 bytes each, in order.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.tree import root_of
from scribe_ledger.model import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence


def chunk_root(digests: Sequence[bytes]) -> bytes:
    """The chunk root over the digests of a value's chunks."""
    return root_of([hash_leaf(digest) for digest in digests])


def chunk_digests(value: bytes) -> list[bytes]:
    view = memoryview(value)
    return [sha256(view[at : at + CHUNK_BYTES]).digest() for at in range(0, len(view), CHUNK_BYTES)]

"""RFC 6962 hashing: the three hash functions that every root, proof and tile comes down to."""

from __future__ import annotations

import struct
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
ZERO_HASH = bytes(HASH_BYTES)
_PAIR = struct.Struct("64s")


def hash_leaf(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def hash_pairs(hashes: bytes) -> bytes:
    """One level up: the parents of an even run of concatenated hashes, concatenated."""
    return b"".join([sha256(b"\x01" + pair).digest() for (pair,) in _PAIR.iter_unpack(hashes)])

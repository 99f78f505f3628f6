"""A ledger of six entries with fixed keys, whose every byte is the same on each run: for vectors and for tampering."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from scribe_ledger.merkle import (
    EMPTY_EDGE,
    Checkpoint,
    ConsistencyProof,
    HistoryProof,
    Inclusion,
    Leaf,
    Nodes,
    Proof,
    Signer,
    chunk_digests,
    chunk_root,
    cosign,
    encode_leaf,
    grow,
    hash_leaf,
    sign_checkpoint,
)
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.model import Kind

START = 1_767_225_600_000
"""2026-01-01, in milliseconds."""


def fixed_signer(name: str) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def pattern(size: int) -> bytes:
    """Bytes that anybody can make again: 0 to 250, over and over."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def put(
    index: int,
    key: bytes,
    value: bytes,
    version: int,
    previous: int | None,
    content_type: str = "",
    metadata: dict[str, str] | None = None,
    *,
    chunked: bool = False,
) -> Leaf:
    root = chunk_root(chunk_digests(value)) if chunked else ZERO_HASH
    return Leaf(
        Kind.PUT,
        index,
        START + index,
        version,
        previous,
        len(value),
        sha256(value).digest(),
        root,
        key,
        content_type,
        metadata or {},
    )


CONFIG = b'{"overwrite":"version"}'
BIG = pattern((2 << 20) + 1)
VALUES = [CONFIG, b"Alice Smith", b"Bob Jones", b"v2", BIG, None]
LEAVES = [
    Leaf(Kind.CONFIG, 0, START, 0, None, len(CONFIG), sha256(CONFIG).digest(), ZERO_HASH, b"", "", {}),
    put(1, b"user:alice", b"Alice Smith", 1, None, "text/plain", {"team": "red"}),
    put(2, b"user:bob", b"Bob Jones", 1, None),
    put(3, b"user:alice", b"v2", 2, 1, "text/plain; charset=utf-8", {"model": "größer-3", "team": "red"}),
    put(4, b"model\x00weights", BIG, 1, None, "application/octet-stream", chunked=True),
    Leaf(Kind.DELETE, 5, START + 5, 3, 3, 0, ZERO_HASH, ZERO_HASH, b"user:alice", "", {}),
]
SIZE = len(LEAVES)
LOG_KEY = fixed_signer("example.com/ledger")
NODE_KEY = fixed_signer("example.com/node-1")
OTHER_NODE_KEY = fixed_signer("example.com/node-2")
PUBLIC_KEY = str(LOG_KEY.verifier)


def _no_full_tile(level: int, index: int) -> bytes:
    raise AssertionError(f"{level}/{index}: so small a tree has no full tile")


NODES = Nodes(grow(EMPTY_EDGE, [hash_leaf(encode_leaf(leaf)) for leaf in LEAVES])[0], _no_full_tile)


def checkpoint(size: int = SIZE) -> Checkpoint:
    return sign_checkpoint(LOG_KEY, size, NODES.root(size))


def cosigned_checkpoint(size: int = SIZE) -> Checkpoint:
    return cosign(checkpoint(size), NODE_KEY, START // 1000 + 60)


def inclusion(index: int, size: int = SIZE) -> Inclusion:
    return Inclusion(index, encode_leaf(LEAVES[index]), tuple(NODES.inclusion(index, size)))


def proof(index: int, size: int = SIZE) -> Proof:
    return Proof(*inclusion(index, size), checkpoint(size))


def history() -> HistoryProof:
    return HistoryProof((inclusion(5), inclusion(3), inclusion(1)), checkpoint())


def consistency(old_size: int, new_size: int = SIZE) -> ConsistencyProof:
    return ConsistencyProof(old_size, new_size, tuple(NODES.consistency(old_size, new_size)))

"""A plain Merkle tree over key-value pairs, with no ledger around it: commit to a mapping, prove one of its pairs.

The leaves are the pairs sorted by key, each ``u64 length ‖ key ‖ u64 length ‖ value`` (big-endian), so that no two
pairs share a leaf; the hashing is RFC 6962. Equal mappings have equal roots, whatever order they were given in.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import InvalidRequest, VerificationError
from scribe_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, hash_leaf, hash_pairs
from scribe_ledger.merkle.proof import root_from_inclusion

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTH = struct.Struct(">Q")


class PairProof(NamedTuple):
    """Shows that a tree holds ``key`` with ``value``. The root vouches for that pair; ``position`` and ``size`` say how
    the siblings are put together, and are not vouched for beyond it."""

    key: bytes
    value: bytes
    position: int
    size: int
    siblings: tuple[bytes, ...]


class MerkleTree:
    """An immutable tree over pairs; build it with ``from_pairs``."""

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        self._pairs = dict(sorted(pairs.items()))
        self._positions = {key: position for position, key in enumerate(self._pairs)}
        self._rows = [b"".join([_hash_pair(key, value) for key, value in self._pairs.items()])]
        while len(row := self._rows[-1]) > HASH_BYTES:
            paired = len(row) - len(row) % (2 * HASH_BYTES)
            self._rows.append(hash_pairs(row[:paired]) + row[paired:])

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[bytes | str, bytes | str]]) -> MerkleTree:
        mapping: dict[bytes, bytes] = {}
        for given_key, value in pairs:
            key = _to_bytes(given_key)
            if key in mapping:
                raise InvalidRequest(f"the key {key[:80]!r} stands twice", hint="a tree has one pair a key")
            mapping[key] = _to_bytes(value)
        return cls(mapping)

    def __len__(self) -> int:
        return len(self._pairs)

    def root_hash(self) -> bytes:
        return self._rows[-1] or EMPTY_ROOT

    def get_proof(self, key: bytes | str) -> PairProof | None:
        """The proof of a key's pair, or None where the tree has no such key."""
        key = _to_bytes(key)
        position = self._positions.get(key)
        if position is None:
            return None
        siblings = []
        for height, row in enumerate(self._rows):
            at = (position >> height ^ 1) * HASH_BYTES
            if at < len(row):  # a last node without a sibling rises as it is
                siblings.append(row[at : at + HASH_BYTES])
        return PairProof(key, self._pairs[key], position, len(self), tuple(siblings))

    @staticmethod
    def verify_proof(proof: PairProof, root: bytes) -> bool:
        """Whether the proof leads to ``root``. Needs no tree."""
        try:
            leaf_hash = _hash_pair(proof.key, proof.value)
            return root_from_inclusion(proof.position, proof.size, leaf_hash, proof.siblings) == root
        except VerificationError:
            return False


def _hash_pair(key: bytes, value: bytes) -> bytes:
    return hash_leaf(b"".join((_LENGTH.pack(len(key)), key, _LENGTH.pack(len(value)), value)))


def _to_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))

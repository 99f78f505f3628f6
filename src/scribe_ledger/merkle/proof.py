"""Checking Merkle proofs with nothing but hashes: the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.

Every proof has exactly one right length, which follows from the sizes: a longer or shorter one is refused before any
hash is computed. Failures raise VerificationError.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle.hashing import EMPTY_ROOT, HASH_BYTES, hash_node

if TYPE_CHECKING:
    from collections.abc import Sequence


def verify_inclusion(index: int, size: int, leaf_hash: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """The leaf is entry ``index`` of the tree with that size and root."""
    if root_from_inclusion(index, size, leaf_hash, proof) != root:
        raise VerificationError(f"the inclusion proof of entry {index} does not lead to the root of size {size}")


def root_from_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that the proof leads to, which the caller compares with one it trusts."""
    if not 0 <= index < size:
        raise VerificationError(f"a tree of {size} entries has no entry {index}")
    # The way up meets the tree's right edge after `inner` steps. Below, the bits of the index say on which side the
    # sibling is; on the edge all siblings are on the left, one for each bit set.
    inner = (index ^ size - 1).bit_length()
    _check_count(proof, inner + (index >> inner).bit_count(), f"the inclusion proof of entry {index}")
    _check_lengths((leaf_hash, *proof))
    node = leaf_hash
    for height, sibling in enumerate(proof):
        if height >= inner or index >> height & 1:
            node = sha256(b"\x01" + sibling + node).digest()
        else:
            node = sha256(b"\x01" + node + sibling).digest()
    return node


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """The tree with ``new_root`` begins with the tree of ``old_root``: nothing was changed or taken away."""
    if not 0 <= old_size <= new_size:
        raise VerificationError(f"a tree of {new_size} entries does not begin with one of {old_size}")
    if (old_size == 0 and old_root != EMPTY_ROOT) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise VerificationError("the root given for size 0 is not that of an empty tree")
    if old_size == new_size and old_root != new_root:
        raise VerificationError(f"two different roots are given for size {old_size}")
    _check_lengths((old_root, new_root, *proof))
    what = f"the consistency proof from {old_size} to {new_size}"
    if old_size in (0, new_size):
        _check_count(proof, 0, what)
        return
    # Both roots are computed on the way up from the last perfect subtree of the old tree, which both trees share. Where
    # it is the whole old tree, the old root stands for its hash; else its hash is the proof's first.
    height = (old_size & -old_size).bit_length() - 1
    index = old_size - 1 >> height
    inner = (index ^ new_size - 1 >> height).bit_length()
    way_up = inner + (index >> inner).bit_count()
    _check_count(proof, way_up + (index > 0), what)
    shared, siblings = (proof[0], proof[1:]) if index else (old_root, proof)
    old = new = shared
    for step, sibling in enumerate(siblings):
        if step >= inner or index >> step & 1:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
        else:
            new = hash_node(new, sibling)  # lies beyond the old tree
    if old != old_root:
        raise VerificationError(f"{what} does not lead to the old root")
    if new != new_root:
        raise VerificationError(f"{what} does not lead to the new root")


def _check_count(proof: Sequence[bytes], expected: int, what: str) -> None:
    if len(proof) != expected:
        raise VerificationError(f"{what} has {len(proof)} hashes, not {expected}")


def _check_lengths(hashes: tuple[bytes, ...]) -> None:
    if set(map(len, hashes)) != {HASH_BYTES}:
        raise VerificationError(f"the proof holds a hash that does not have {HASH_BYTES} bytes")

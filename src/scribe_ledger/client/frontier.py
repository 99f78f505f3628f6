"""The right edge of a growing Merkle tree: enough to add leaves and to know the root, and no more than one hash a bit.

It lets a reader follow the log from any size: the hashes of a consistency proof from that size hold the edge there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle.hashing import EMPTY_ROOT, hash_node

if TYPE_CHECKING:
    from collections.abc import Sequence


class Frontier:
    """The roots of the perfect subtrees that make up a tree, the largest first."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise VerificationError(f"a tree of {size} entries has {size.bit_count()} peaks, not {len(peaks)}")
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def of_proof(cls, old_size: int, new_size: int, hashes: Sequence[bytes]) -> Frontier:
        """The edge at the old size of a consistency proof. Whether it is right shows when its root is verified.

        The proof leaves the old root out where the old tree is one perfect subtree: such a size has no edge here.
        """
        assert 0 < old_size < new_size
        assert not has_no_edge(old_size)
        height = (old_size & -old_size).bit_length() - 1
        index = old_size - 1 >> height
        inner = (index ^ new_size - 1 >> height).bit_length()
        left = [sibling for step, sibling in enumerate(hashes[1:]) if step >= inner or index >> step & 1]
        return cls(old_size, [*reversed(left), *hashes[:1]])

    def append(self, leaf_hash: bytes) -> None:
        node, size = leaf_hash, self.size
        while size & 1:
            node = hash_node(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = hash_node(peak, root)
        return root


def has_no_edge(size: int) -> bool:
    """Whether no consistency proof from this size holds its edge: 0 needs none, and a power of two is left out."""
    return size & (size - 1) == 0


def nearest_edge(size: int) -> int:
    """The largest size up to this one whose edge can be had."""
    if not has_no_edge(size):
        return size
    return size - 1 if size > 2 else 0

"""RFC 6962, section 2.1, as it is written there: recursive, slow and obviously right. The tests' second opinion."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    if not leaf_hashes:
        return sha256().digest()
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    split = _split(len(leaf_hashes))
    return sha256(b"\x01" + root(leaf_hashes[:split]) + root(leaf_hashes[split:])).digest()


def inclusion(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    if len(leaf_hashes) == 1:
        return []
    split = _split(len(leaf_hashes))
    if index < split:
        return [*inclusion(index, leaf_hashes[:split]), root(leaf_hashes[split:])]
    return [*inclusion(index - split, leaf_hashes[split:]), root(leaf_hashes[:split])]


def consistency(old_size: int, leaf_hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if old_size == len(leaf_hashes):
        return [] if whole else [root(leaf_hashes)]
    split = _split(len(leaf_hashes))
    if old_size <= split:
        return [*consistency(old_size, leaf_hashes[:split], whole), root(leaf_hashes[split:])]
    return [*consistency(old_size - split, leaf_hashes[split:], False), root(leaf_hashes[:split])]


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1

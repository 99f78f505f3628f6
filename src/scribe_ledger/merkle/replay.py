"""The whole log, replayed: all leaves in order make up the signed root, and each key's versions follow one another.

Whoever has replayed a log knows what no proof can show: which keys are not in it, and which entry of a key is the
newest. It reads no values and does no I/O. It remembers one number for each key, so its memory grows with the keys,
not with the entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import SerializationError, VerificationError
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.leaf import decode_leaf
from scribe_ledger.merkle.tree import EMPTY_EDGE, edge_root, grow
from scribe_ledger.model import Kind, show_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.leaf import Leaf

_VERSION_BITS = 64


class Newest(NamedTuple):
    """A key's newest entry."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    version: int
    deleted: bool


class Replay:
    """Takes the leaves of one log from the first on. What does not hold raises ``VerificationError`` at once."""

    def __init__(self, head: Checkpoint) -> None:
        """``head`` is a checkpoint whose signature the caller has checked."""
        self._head = head
        self._edge = EMPTY_EDGE
        self._timestamp = 0
        self._newest: dict[bytes, int] = {}
        self.live_keys = 0

    @property
    def size(self) -> int:
        """How many leaves were taken."""
        return self._edge.size

    @property
    def keys(self) -> int:
        return len(self._newest)

    def newest(self, key: bytes) -> Newest | None:
        """What the leaves so far say of a key; None if none of them is of it."""
        packed = self._newest.get(key)
        return None if packed is None else _unpacked(packed)

    def take(self, leaves: Sequence[bytes]) -> list[Leaf]:
        """The next leaves as they stand in the log; what they say."""
        first = self._edge.size
        if first + len(leaves) > self._head.size:
            raise VerificationError(f"{first + len(leaves)} entries were given of a log of {self._head.size}")
        found = [self._decoded(data, first + ordinal) for ordinal, data in enumerate(leaves)]
        for leaf in found:
            self._check_moment(leaf)
            if leaf.key:
                self._check_chain(leaf)
        self._edge, _ = grow(self._edge, [hash_leaf(data) for data in leaves])
        return found

    def finish(self) -> None:
        """All leaves were taken: together they are the log that the checkpoint signs."""
        if self._edge.size != self._head.size:
            raise VerificationError(f"{self._edge.size} entries were given of a log of {self._head.size}")
        if edge_root(self._edge) != self._head.root:
            raise VerificationError(f"the {self._head.size} entries do not have the root that the checkpoint signs")

    def _decoded(self, data: bytes, index: int) -> Leaf:
        try:
            leaf = decode_leaf(data)
        except SerializationError as error:
            raise VerificationError(f"entry {index} is malformed: {error.message}") from error
        if leaf.index != index:
            raise VerificationError(f"entry {leaf.index} stands where entry {index} should")
        return leaf

    def _check_moment(self, leaf: Leaf) -> None:
        if leaf.timestamp < self._timestamp:
            raise VerificationError(f"entry {leaf.index} has a timestamp before that of entry {leaf.index - 1}")
        self._timestamp = leaf.timestamp

    def _check_chain(self, leaf: Leaf) -> None:
        """The entry names the one before it of its key, and counts on from it."""
        packed = self._newest.get(leaf.key)
        before = None if packed is None else _unpacked(packed)
        previous, version = (None, 0) if before is None else (before.index, before.version)
        if (leaf.previous, leaf.version) != (previous, version + 1):
            raise VerificationError(
                f"entry {leaf.index} says it is version {leaf.version} of {show_key(leaf.key)} after "
                f"{_place(leaf.previous)}; it is version {version + 1} after {_place(previous)}"
            )
        deleted = leaf.kind is Kind.DELETE
        self.live_keys += (not deleted) - (before is not None and not before.deleted)
        self._newest[leaf.key] = leaf.index << _VERSION_BITS + 1 | leaf.version << 1 | deleted


def _unpacked(packed: int) -> Newest:
    """One number takes a third of the memory that three in a tuple do."""
    mask = (1 << _VERSION_BITS) - 1
    return Newest(packed >> _VERSION_BITS + 1, packed >> 1 & mask, bool(packed & 1))


def _place(index: int | None) -> str:
    return "none" if index is None else f"entry {index}"

"""``verify --audit``: reads the whole log, of a folder or of a node, and checks all of it against the signed head.

What holds is what ``merkle.replay`` says holds. The leaves come in bundles of 256; with ``--values`` the values of a
bundle are read and hashed before the next one is asked for, so nothing but the keys stays in memory.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger import verify as offline
from scribe_ledger.cli.progress import Progress
from scribe_ledger.errors import VerificationError
from scribe_ledger.ledger.transfer.rows import STREAMED_BYTES
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.replay import Replay
from scribe_ledger.merkle.tiles import TILE_WIDTH
from scribe_ledger.model import CHUNK_BYTES, Kind, show_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.cli.target import Target
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.model import Entry


class Findings(NamedTuple):
    """What is known of a log in which everything held."""

    head: Checkpoint
    keys: int
    live_keys: int
    values_read: int | None
    newest: Leaf | None
    """The newest entry of the key that was asked about; None if there is none in the whole log."""


def audit(target: Target, *, public_key: str, values: bool, key: bytes | None) -> Findings:
    """Checks everything, and says what is known now; ``VerificationError`` where something does not hold."""
    return _Audit(target, public_key=public_key, values=values, key=key).run()


class _Audit:
    """One reading of a log from end to end."""

    def __init__(self, target: Target, *, public_key: str, values: bool, key: bytes | None) -> None:
        self._target = target
        self._values = values
        self._key = key
        self._leaf: Leaf | None = None
        self._head = offline.checkpoint(target.checkpoint().text, public_key=public_key)
        self._replay = Replay(self._head)
        self._values_read = 0

    def run(self) -> Findings:
        with Progress("auditing", "entries") as progress:
            for start in range(0, self._head.size, TILE_WIDTH):
                stop = min(start + TILE_WIDTH, self._head.size)
                self._take(start, self._target.leaves(start, stop))
                progress.update(stop, self._head.size)
        self._replay.finish()
        read = self._values_read if self._values else None
        return Findings(self._head, self._replay.keys, self._replay.live_keys, read, self._newest())

    def _take(self, start: int, encoded: Sequence[bytes]) -> None:
        leaves = self._replay.take(encoded)
        if self._key is not None:
            self._leaf = next((leaf for leaf in reversed(leaves) if leaf.key == self._key), self._leaf)
        if self._values:
            self._read_values(start, leaves, encoded)

    def _newest(self) -> Leaf | None:
        leaf = self._leaf
        newest = None if self._key is None else self._replay.newest(self._key)
        assert (newest and newest.index) == (leaf and leaf.index), "both have looked at every leaf"
        return leaf

    # --- values ------------------------------------------------------------------------------------------------

    def _read_values(self, start: int, leaves: Sequence[Leaf], encoded: Sequence[bytes]) -> None:
        entries = self._target.log_with_values(start, start + len(leaves))
        for leaf, data in zip(leaves, encoded, strict=True):
            entry = next(entries, None)
            if entry is None or entry.leaf_hash != hash_leaf(data):
                raise VerificationError(f"entry {leaf.index} is listed as what it is not")
            if leaf.kind is not Kind.DELETE:
                self._check_value(leaf, entry)

    def _check_value(self, leaf: Leaf, entry: Entry) -> None:
        digest, size = sha256(), 0
        for piece in self._pieces(entry):
            digest.update(piece)
            size += len(piece)
        if (size, digest.digest()) != (leaf.size, leaf.sha256):
            raise VerificationError(
                f"the value of entry {leaf.index}, version {leaf.version} of {show_key(leaf.key)}, is not what was put"
            )
        self._values_read += 1

    def _pieces(self, entry: Entry) -> Iterator[bytes]:
        if entry.size <= STREAMED_BYTES:
            yield entry.value
            return
        file = self._target.open_value(entry.key, version=entry.version)
        if file is None:
            raise VerificationError(f"the value of entry {entry.index} is missing")
        with file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

"""The tree of a store, grown from what its objects say, and held against every signed checkpoint on the way.

Where the objects of a range give two accounts of it, two trees grow until the next checkpoint: the root that was signed
tells which is the true one, and so which objects are wrong. Until then what either would mean is held back. Memory is
that of two right edges, whatever the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.report import Finding
from scribe_ledger.archive.check.tiles import Wanted
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.merkle.tiles import TILE_BYTES, TILE_HEIGHT, bundle_path, tile_path
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, edge_root, grow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.archive.check.ranges import RangeFound, Version


class Signed(NamedTuple):
    """A checkpoint whose signature holds."""

    size: int
    root: bytes
    path: str


class _Account:
    """One of the trees that may be the true one, since the last checkpoint."""

    def __init__(self, edge: Edge, *, second: bool) -> None:
        self.edge = edge
        self.second = second
        """Whether it goes by the other version where a range has two."""
        self.findings: list[Finding] = []
        self.tiles: list[Wanted] = []

    def version_of(self, found: RangeFound) -> Version:
        version = found.other if self.second and found.other is not None else found.version
        assert version is not None
        return version

    def add(self, hashes: bytes) -> None:
        leaves = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        self.edge, full = grow(self.edge, leaves)
        for tile in full:
            if tile.level:  # those of level 0 were looked at with their entries
                self.tiles.append(Wanted(tile_path(tile.level, tile.index), tile.nodes[:TILE_BYTES], is_bundle=False))


class SignedTree:
    """Takes the ranges of the log in order. ``findings`` and ``tiles`` are for the caller to take away."""

    def __init__(self, checkpoints: Sequence[Signed]) -> None:
        """``checkpoints`` in the order of their sizes."""
        self._checkpoints = checkpoints
        self._next = 0
        self._accounts = [_Account(EMPTY_EDGE, second=False)]
        self.lost_at: int | None = None
        """From which entry on nothing says what the entries are, so that no root can be computed."""
        self.findings: list[Finding] = []
        self.tiles: list[Wanted] = []
        self.good: Signed | None = None
        """The largest checkpoint whose root was found again."""
        self._settle(0)

    def add(self, first: int, found: RangeFound) -> None:
        """The next range: ``first`` is where the one before it ended."""
        if self.lost_at is not None:
            return
        if found.version is None:
            self.lost_at = first
            self.finish()
            return
        if found.other is not None and len(self._accounts) == 1:
            self._fork()
        for account in self._accounts:
            account.findings += account.version_of(found).findings
        size, stop = first, first + len(found.version.hashes) // HASH_BYTES
        while size < stop:
            end = min(stop, self._next_size(stop))
            for account in self._accounts:
                hashes = account.version_of(found).hashes
                account.add(hashes[(size - first) * HASH_BYTES : (end - first) * HASH_BYTES])
            size = end
            self._settle(size)
        if len(self._accounts) == 1:
            self._take(self._accounts[0])
            self._accounts[0].second = False

    def finish(self) -> None:
        """Nothing will tell which of two accounts is true: what contradicts is named from both sides."""
        for account in reversed(self._accounts):
            self._take(account)
        del self._accounts[1:]

    def rest(self) -> Iterator[Signed]:
        """The checkpoints that no tree was held against."""
        yield from self._checkpoints[self._next :]

    def _next_size(self, otherwise: int) -> int:
        return self._checkpoints[self._next].size if self._next < len(self._checkpoints) else otherwise

    def _settle(self, size: int) -> None:
        """Holds the trees against the checkpoints of this size, if there are any."""
        while self._next_size(-1) == size:
            signed = self._checkpoints[self._next]
            self._next += 1
            right = [account for account in self._accounts if edge_root(account.edge) == signed.root]
            if right:
                self.good = signed
                self._accounts = right
                self.tiles += _partial_tiles(right[0].edge)
            else:
                self.findings.append(Finding(signed.path, "its root is not that of the entries in the store"))

    def _fork(self) -> None:
        self._take(self._accounts[0])
        self._accounts.append(_Account(self._accounts[0].edge, second=True))

    def _take(self, account: _Account) -> None:
        self.findings += account.findings
        self.tiles += account.tiles
        account.findings, account.tiles = [], []


def _partial_tiles(edge: Edge) -> Iterator[Wanted]:
    """What a published size needs beside the full tiles."""
    for level, hashes in enumerate(edge.tiles):
        index, width = edge.size >> TILE_HEIGHT * (level + 1), len(hashes) // HASH_BYTES
        if width:
            yield Wanted(tile_path(level, index, width), hashes, is_bundle=False)
        if width and level == 0:
            yield Wanted(bundle_path(index, width), hashes, is_bundle=True)

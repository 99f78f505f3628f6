"""The full self-check: recomputes tree, digests and key index from the entries, in bounded memory.

The entries are the truth: leaves say what the log is, and everything else must follow from them. Problems are
collected, each with its place, so that one run shows the extent of the damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ScribeError
from scribe_ledger.ledger import records
from scribe_ledger.ledger.reads import decode_stored_leaf
from scribe_ledger.ledger.records import DELETED, IN_BLOB, U64, Spot
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, FullTile, Nodes, grow
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from scribe_ledger.ledger.folder import Head
    from scribe_ledger.ledger.machine import State
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.objects.blobs import BlobStore

MAX_PROBLEMS = 1000
Progress = Callable[[int, int], None]


class Problem(NamedTuple):
    """One thing that differs from what the entries say."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


class Report(NamedTuple):
    """What a check found. ``entries`` were looked at; ``problems`` is empty if all is well."""

    entries: int
    root: bytes
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "entries": self.entries,
            "root": self.root.hex(),
            "problems": [{"place": problem.place, "problem": problem.what} for problem in self.problems],
        }


def verify(store: Store, state: State, blobs: BlobStore, head: Head, progress: Progress | None = None) -> Report:
    """Checks everything at the committed ``state``. Entries that come meanwhile are not looked at."""
    return _Check(store, state, blobs, head, progress or (lambda _done, _total: None)).run()


class _Check:
    def __init__(self, store: Store, state: State, blobs: BlobStore, head: Head, progress: Progress) -> None:
        self._state = state
        self._blobs = blobs
        self._head = head
        self._progress = progress
        self._leaves = store.table(Table.LEAVES)
        self._values = store.table(Table.VALUES)
        self._keys = store.table(Table.KEYS)
        self._history = store.table(Table.HISTORY)
        self._tree = store.table(Table.TREE)
        self._problems: list[Problem] = []
        self._edge: Edge = EMPTY_EDGE
        self._full: dict[tuple[int, int], bytes] = {}
        self._timestamp = 0
        self._first_versions = self._earlier_versions = self._value_bytes = self._deletes = 0

    def run(self) -> Report:
        size = self._state.size
        try:
            for first, leaves in self._groups():
                self._check_group(first, leaves)
                self._progress(self._edge.size, size)
            self._check_totals()
            self._check_tables()
        except ScribeError as error:
            self._note(f"entry {self._edge.size}", f"cannot be read on: {error.message}")
        return Report(self._edge.size, self._root(self._edge.size), self._problems)

    def _groups(self) -> Iterator[tuple[int, list[bytes]]]:
        size = self._state.size
        expected = 0
        for group, record in self._leaves.scan():
            (first,) = U64.unpack(group)
            if first >= size:
                return
            if first != expected:
                self._note(f"entry {expected}", f"missing: the next group begins at {first}")
                return
            leaves = records.unpack(record)
            expected += len(leaves)
            yield first, leaves
        if expected < size:
            self._note(f"entry {expected}", f"missing: the log ends there, and should have {size} entries")

    def _check_group(self, first: int, leaves: list[bytes]) -> None:
        decoded = self._decode(first, leaves)
        self._grow([hash_leaf(leaf) for leaf in leaves])
        if decoded is not None:
            spots = self._check_values(first, decoded)
            self._check_index(decoded, spots)

    def _decode(self, first: int, leaves: list[bytes]) -> list[Leaf] | None:
        decoded = []
        for ordinal, data in enumerate(leaves):
            try:
                leaf = decode_stored_leaf(data, first + ordinal)
            except ScribeError as error:
                self._note(f"entry {first + ordinal}", error.message)
                return None
            if leaf.timestamp < self._timestamp:
                self._note(f"entry {leaf.index}", f"its timestamp is before that of entry {leaf.index - 1}")
            self._timestamp = leaf.timestamp
            self._value_bytes += leaf.size
            if leaf.version == 1:
                self._first_versions += 1
            elif leaf.key:
                self._earlier_versions += 1
            decoded.append(leaf)
        return decoded

    def _grow(self, hashes: list[bytes]) -> None:
        self._edge, full = grow(self._edge, hashes)
        for tile in full:
            self._check_tile(tile)

    def _check_tile(self, tile: FullTile) -> None:
        place = f"tile {tile.index} of level {tile.level}"
        try:
            stored = self._tree.get(records.tile_key(tile.level, tile.index))
        except ScribeError as error:
            self._note(place, error.message)
            return
        if stored is None:
            self._note(place, "missing")
        elif stored != tile.nodes:
            self._note(place, "differs from the hashes of its entries")

    # --- values ------------------------------------------------------------------------------------------------

    def _check_values(self, first: int, leaves: list[Leaf]) -> list[Spot]:
        """Checks every value against its digest, and says where each entry must be found."""
        record, values = None, None
        try:
            record = self._values.get(U64.pack(first))
            values = None if record is None else records.unpack(record)
        except ScribeError as error:
            self._note(f"values of entries from {first}", error.message)
        else:
            if values is None or len(values) != len(leaves):
                self._note(f"values of entries from {first}", "missing" if values is None else "too few or too many")
                values = None
        spots = []
        offset = records.pack_header_bytes(len(leaves))
        for ordinal, leaf in enumerate(leaves):
            in_blob = leaf.chunk_root != ZERO_HASH
            deleted = leaf.kind is Kind.DELETE
            length = 0 if in_blob or deleted else leaf.size
            spots.append(Spot(leaf.index, leaf.version, ordinal, DELETED * deleted | IN_BLOB * in_blob, offset, length))
            offset += length
            if in_blob:
                self._check_blob(leaf)
            elif values is not None and not deleted and sha256(values[ordinal]).digest() != leaf.sha256:
                self._note(f"entry {leaf.index}", f"the value of key {leaf.key!r} does not match its digest")
        return spots

    def _check_blob(self, leaf: Leaf) -> None:
        try:
            self._blobs.check(leaf.sha256, leaf.size, leaf.chunk_root)
        except ScribeError as error:
            self._note(f"entry {leaf.index}", f"the value of key {leaf.key!r}: {error.message}")

    # --- key index ---------------------------------------------------------------------------------------------

    def _check_index(self, leaves: list[Leaf], spots: list[Spot]) -> None:
        keyed = [(leaf, spot) for leaf, spot in zip(leaves, spots, strict=True) if leaf.key]
        try:
            found = self._keys.get_many([leaf.key for leaf, _ in keyed])
        except ScribeError as error:
            self._note(f"key index of entries from {leaves[0].index}", error.message)
            return
        for (leaf, spot), record in zip(keyed, found, strict=True):
            try:
                self._check_key(leaf, spot, record)
            except ScribeError as error:
                self._note(f"key {leaf.key!r}", error.message)

    def _check_key(self, leaf: Leaf, spot: Spot, record: bytes | None) -> None:
        place = f"key {leaf.key!r}, version {leaf.version}"
        if record is None:
            self._note(place, f"entry {leaf.index} is not in the key index")
            return
        latest = records.decode_latest(record)
        if latest.spot.index >= self._state.size or latest.spot.version != leaf.version:
            for key in (records.version_key(leaf.key, leaf.version), records.index_key(leaf.key, leaf.index)):
                history = self._history.get(key)
                if history is None or records.decode_spot(history) != spot:
                    self._note(place, f"entry {leaf.index} is missing from the key's history, or misplaced in it")
        elif latest.spot != spot or latest.digest_prefix != leaf.sha256[:8]:
            self._note(place, f"the key index does not point to entry {leaf.index} as it is")
        if leaf.previous is not None:
            history = self._history.get(records.version_key(leaf.key, leaf.version - 1))
            if history is None or records.decode_spot(history).index != leaf.previous:
                self._note(place, f"its previous version is not entry {leaf.previous}")

    # --- the whole ---------------------------------------------------------------------------------------------

    def _check_totals(self) -> None:
        state = self._state
        if self._edge.size != state.size:
            self._note("state", f"it says {state.size} entries, the log has {self._edge.size}")
        if self._first_versions != state.keys:
            self._note("state", f"it says {state.keys} keys, the log has {self._first_versions}")
        if self._value_bytes != state.value_bytes:
            self._note("state", f"it says {state.value_bytes} bytes of values, the log has {self._value_bytes}")
        if self._edge != state.edge:
            self._note("state", "the tree in memory differs from the entries")
        head = self._head.checkpoint
        if head is not None and head.size <= self._edge.size and self._root(head.size) != head.root:
            self._note("head", f"the root at {head.size} entries is not the one that was signed")

    def _check_tables(self) -> None:
        """Records that no entry accounts for. A live ledger may gain some while this runs: those are newer."""
        live = 0
        for key, record in self._keys.scan():
            spot = records.decode_latest(record).spot
            if spot.index >= self._state.size:
                continue
            live += not spot.deleted
            leaves = self._leaves.get(U64.pack(spot.group))
            if leaves is None or decode_stored_leaf(records.unpack_item(leaves, spot.ordinal), spot.index).key != key:
                self._note(f"key {key!r}", f"the key index points to entry {spot.index}, which is another key's")
        history = sum(1 for _, record in self._history.scan() if records.decode_spot(record).index < self._state.size)
        if history < 2 * self._earlier_versions:
            self._note("history", f"it has {history} records, the log asks for {2 * self._earlier_versions}")
        if live > self._state.live:
            self._note("state", f"it says {self._state.live} live keys, the key index has {live}")

    def _root(self, size: int) -> bytes:
        return Nodes(self._edge, self._fetch).root(size)

    def _fetch(self, level: int, index: int) -> bytes:
        return self._tree.get(records.tile_key(level, index)) or b""

    def _note(self, place: str, what: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(place, what))

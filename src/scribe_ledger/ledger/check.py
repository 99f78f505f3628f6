"""The full self-check: recomputes tree, digests and key index from the entries, in bounded memory.

The entries are the truth: leaves say what the log is, and everything else must follow from them, with nothing missing
and nothing left over. Problems are collected, each with its place, so that one run shows the extent of the damage.
A block that the engine cannot read is named once; in the tree, what the tiles say stands for the entries it held.

The ledger may be written to meanwhile. What is checked is the log as it was committed at the beginning; records of
later entries are passed over, and only those. Values that were evicted are in segments alone, and looked at there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import LedgerClosed, ScribeError, counted
from scribe_ledger.ledger import records
from scribe_ledger.ledger.check_archive import Place, check_manifest, check_segments
from scribe_ledger.ledger.check_damage import DamagedBlocks, groups_around_damage
from scribe_ledger.ledger.machine import POLICY_KEY, STATE_KEY
from scribe_ledger.ledger.reads import decode_stored_leaf
from scribe_ledger.ledger.records import DELETED, IN_BLOB, REMEMBERED_REQUESTS, U64, Latest, Spot
from scribe_ledger.ledger.store import DamagedBlock, Store, Table
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH, hash_leaf
from scribe_ledger.merkle.tiles import TILE_BYTES, TILE_HEIGHT, TILE_WIDTH
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, FullTile, edge_root, grow
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from scribe_ledger.ledger.folder import Head
    from scribe_ledger.ledger.machine import Machine
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.objects.blobs import BlobStore

MAX_PROBLEMS = 1000
Progress = Callable[[int, int], None]
_TILE_KEY = struct.Struct(">BQ")


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


def verify(
    store: Store,
    machine: Machine,
    blobs: BlobStore,
    head: Head,
    progress: Progress | None = None,
    *,
    archive: Place | None = None,
) -> Report:
    """Checks everything at the size that is committed now.

    Without ``archive`` nothing is read of what is archived, segments and large values: for who checks the store itself.
    """
    return _Check(store, machine, blobs, head, progress or (lambda _done, _total: None), archive).run()


class _Check:
    def __init__(
        self,
        store: Store,
        machine: Machine,
        blobs: BlobStore,
        head: Head,
        progress: Progress,
        archive: Place | None,
    ) -> None:
        self._machine = machine
        self._archive = archive
        self._state = machine.committed
        self._size = self._state.size
        self._manifest = self._state.manifest
        self._evicted = machine.evicted
        self._head = head.checkpoint
        self._blobs = blobs
        self._progress = progress
        self._leaves = store.table(Table.LEAVES)
        self._values = store.table(Table.VALUES)
        self._keys = store.table(Table.KEYS)
        self._history = store.table(Table.HISTORY)
        self._tree = store.table(Table.TREE)
        self._referenced = store.table(Table.BLOBS)
        self._meta = store.table(Table.META)
        self._archived = store.table(Table.MANIFEST)
        self._problems: list[Problem] = []
        self._damaged = DamagedBlocks()
        self._edge: Edge = EMPTY_EDGE
        self._head_root: bytes | None = None
        self._values_after = b""
        self._policies: dict[str, Any] = {}
        self._timestamp = 0
        self._unread = False
        """True once a leaf could not be read: the counts below are too low then."""
        self._passed_over = 0
        """Entries in damaged blocks."""
        self._behind_damage = False
        self._first_versions = self._earlier_versions = self._value_bytes = self._blob_bytes = 0
        self._log_bytes = self._segment_bytes = self._segment = 0
        """Bytes of the log so far, those before the segment that is being passed, and which one that is."""

    def run(self) -> Report:
        parts = (
            ("log", self._check_log),
            ("state", self._check_totals),
            ("values", self._check_last_values),
            ("key index", self._check_keys),
            ("history", self._check_history),
            ("tree", self._check_tree),
            ("blobs", self._check_references),
            ("state", self._check_records),
            ("manifest", self._check_manifest),
            ("archive", self._check_segments),
        )
        for name, part in parts:
            try:
                part()
            except LedgerClosed:
                raise
            except ScribeError as error:
                place = f"entry {self._edge.size}" if name == "log" else name
                self._note_error(place, error, "cannot be read on: ")
        problems = [problem._replace(what=self._damaged.told(problem.what)) for problem in self._problems]
        return Report(self._edge.size - self._passed_over, edge_root(self._edge), problems)

    # --- the log -----------------------------------------------------------------------------------------------

    def _check_log(self) -> None:
        for first, leaves in self._groups():
            decoded = self._decode(first, leaves)
            self._grow([hash_leaf(leaf) for leaf in leaves])
            values = self._stored_values(first, len(leaves))
            if decoded is not None:
                self._check_index(decoded, self._check_values(decoded, values))
            self._progress(self._edge.size, self._size)

    def _groups(self) -> Iterator[tuple[int, list[bytes]]]:
        expected = 0
        for group, record in groups_around_damage(self._leaves, self._size, self._note_damaged_leaves):
            first = int.from_bytes(group, "big")
            if first >= self._size:
                if not self._is_newer(first):
                    self._note(f"entry {first}", f"it lies beyond the end of the log, which has {counted(self._size)}")
                    return
                continue
            if self._behind_damage and first > expected:
                self._pass_over(expected, first)
                expected = first
            self._behind_damage = False
            if first != expected or len(group) != U64.size:
                missing = f"missing: the next group begins at {first}"
                self._note(f"entry {expected}", missing if first > expected else f"another group begins at {first}")
                return
            leaves = records.unpack(record)
            expected += len(leaves)
            yield first, leaves
        if self._behind_damage:
            self._pass_over(expected, self._size)
        elif expected < self._size:
            self._note(f"entry {expected}", f"missing: the log ends there, and should have {counted(self._size)}")

    def _note_damaged_leaves(self, error: DamagedBlock) -> None:
        self._note_error(f"entry {self._edge.size}", error)
        self._unread = self._behind_damage = True

    def _pass_over(self, start: int, stop: int) -> None:
        """Entries of a damaged block: the tiles have their hashes, so that the rest of the log can be checked."""
        self._values_after = U64.pack(stop)
        for first in range(start, stop, TILE_WIDTH):
            hashes = self._leaf_hashes(first, min(first + TILE_WIDTH, stop))
            self._grow([hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])
            self._passed_over += len(hashes) // HASH_BYTES

    def _decode(self, first: int, leaves: list[bytes]) -> list[Leaf] | None:
        decoded = []
        for ordinal, data in enumerate(leaves):
            try:
                leaf = decode_stored_leaf(data, first + ordinal)
            except ScribeError as error:
                self._note(f"entry {first + ordinal}", error.message)
                self._unread = True
                return None
            if leaf.timestamp < self._timestamp:
                self._note(f"entry {leaf.index}", f"its timestamp is before that of entry {leaf.index - 1}")
            self._timestamp = leaf.timestamp
            decoded.append(leaf)
        self._count_bytes(first, [len(data) + _inline_bytes(leaf) for data, leaf in zip(leaves, decoded, strict=True)])
        self._value_bytes += sum([leaf.size for leaf in decoded])
        self._first_versions += sum([leaf.version == 1 for leaf in decoded])
        self._earlier_versions += sum([leaf.version > 1 for leaf in decoded])
        return decoded

    def _count_bytes(self, first: int, sizes: list[int]) -> None:
        """Counts what the entries of a group take in the log, and holds it against segments that end among them."""
        segments = self._manifest.segments
        while self._segment < len(segments) and segments[self._segment].stop <= first + len(sizes):
            segment = segments[self._segment]
            upto = self._log_bytes + sum(sizes[: max(segment.stop - first, 0)])
            if upto - self._segment_bytes != segment.log_bytes and not self._unread:
                said = f"it says {segment.log_bytes} bytes for entries {segment.first_index} to {segment.last_index}"
                self._note("manifest", f"{said}, the log has {upto - self._segment_bytes}")
            self._segment, self._segment_bytes = self._segment + 1, upto
        self._log_bytes += sum(sizes)

    def _grow(self, hashes: list[bytes]) -> None:
        """Extends the tree, and stops on the way at the size that was last signed."""
        signed = 0 if self._head is None else self._head.size - self._edge.size
        for part in (hashes[:signed], hashes[signed:]) if 0 < signed < len(hashes) else (hashes,):
            self._edge, full = grow(self._edge, part)
            for tile in full:
                self._check_tile(tile)
            if self._head is not None and self._head.size == self._edge.size:
                self._head_root = edge_root(self._edge)

    def _check_tile(self, tile: FullTile) -> None:
        place = f"tile {tile.index} of level {tile.level}"
        try:
            stored = self._tree.get(records.tile_key(tile.level, tile.index))
        except ScribeError as error:
            self._note_error(place, error)
            return
        if stored is None:
            self._note(place, "missing")
        elif stored != tile.nodes:
            self._note(place, "differs from the hashes of its entries")
            if tile.level == 0:
                self._note_hashes(tile.index * TILE_WIDTH, stored[:TILE_BYTES], tile.nodes[:TILE_BYTES])

    def _note_hashes(self, first: int, stored: bytes, computed: bytes) -> None:
        for ordinal in range(len(computed) // HASH_BYTES):
            at = slice(ordinal * HASH_BYTES, (ordinal + 1) * HASH_BYTES)
            if stored[at] != computed[at]:
                self._note(f"entry {first + ordinal}", "its leaf does not have the hash that the tree has for it")

    # --- values ------------------------------------------------------------------------------------------------

    def _stored_values(self, first: int, count: int) -> list[bytes] | None:
        """The values of a group. They are found from the group before, so that none lies unseen in between."""
        place, wanted, evicted = f"values of entries from {first}", U64.pack(first), first < self._evicted
        after, self._values_after = self._values_after, wanted + b"\0"
        try:
            found = self._values.seek(after)
            while found is not None and found[0] < wanted:
                self._note(f"values of entries from {int.from_bytes(found[0], 'big')}", "no group of entries has them")
                found = self._values.seek(found[0] + b"\0")
            values = records.unpack(found[1]) if found is not None and found[0] == wanted else None
        except ScribeError as error:
            self._note_error(place, error)
            return None
        if evicted:
            if values is not None:
                self._note(place, "they were evicted, and are still here")
            return None
        if values is None or len(values) != count:
            if first < self._machine.evicted:  # meanwhile
                return None
            self._note(place, "missing" if values is None else "too few or too many")
            return None
        return values

    def _check_values(self, leaves: list[Leaf], values: list[bytes] | None) -> list[Spot]:
        """Checks every value against its digest, and says where each entry must be found."""
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
            if values is not None:
                self._check_value(leaf, values[ordinal], empty=in_blob or deleted)
        return spots

    def _check_value(self, leaf: Leaf, value: bytes, *, empty: bool) -> None:
        place = f"entry {leaf.index}"
        if empty:
            if value:
                self._note(place, f"it has {len(value)} bytes where an entry of its kind has none")
        elif sha256(value).digest() != leaf.sha256:
            self._note(place, f"the value of key {leaf.key!r} does not match its digest")
        elif leaf.kind is Kind.CONFIG:
            self._policies.update(json.loads(value))

    def _check_blob(self, leaf: Leaf) -> None:
        """A large value is read where it is first referred to, and only there."""
        place = f"entry {leaf.index}"
        try:
            record = self._referenced.get(leaf.sha256)
            if record is None or int.from_bytes(record, "big") > leaf.index:
                self._note(place, f"the value of key {leaf.key!r} is not in the index of large values")
            if record is not None and int.from_bytes(record, "big") == leaf.index:
                self._blob_bytes += leaf.size
            is_archived = leaf.index < self._manifest.archived_size
            if is_archived and self._archive is None:
                return
            if record is None or int.from_bytes(record, "big") >= leaf.index:
                self._blobs.check(leaf.sha256, leaf.size, leaf.chunk_root)
        except ScribeError as error:
            self._note_error(place, error, f"the value of key {leaf.key!r}: ")

    def _check_last_values(self) -> None:
        for key, _ in self._values.scan(self._values_after):
            first = int.from_bytes(key, "big")
            if self._edge.size == self._size and not (first >= self._size and self._is_newer(first)):
                self._note(f"values of entries from {first}", "no group of entries has them")

    # --- key index ---------------------------------------------------------------------------------------------

    def _check_index(self, leaves: list[Leaf], spots: list[Spot]) -> None:
        keyed = [(leaf, spot) for leaf, spot in zip(leaves, spots, strict=True) if leaf.key]
        found: list[bytes | None] | None = None
        try:
            found = self._keys.get_many([leaf.key for leaf, _ in keyed])
        except DamagedBlock:
            pass  # each by itself, then: not all of them lie in it
        except ScribeError as error:
            self._note(f"key index of entries from {leaves[0].index}", error.message)
            return
        for ordinal, (leaf, spot) in enumerate(keyed):
            try:
                self._check_key(leaf, spot, self._keys.get(leaf.key) if found is None else found[ordinal])
            except ScribeError as error:
                self._note_error(f"key {leaf.key!r}", error)

    def _check_key(self, leaf: Leaf, spot: Spot, record: bytes | None) -> None:
        place = f"key {leaf.key!r}, version {leaf.version}"
        if record is None:
            self._note(place, f"entry {leaf.index} is not in the key index")
            return
        latest = records.decode_latest(record)
        if latest.spot.index >= self._size or latest.spot.version != leaf.version:
            for key in (records.version_key(leaf.key, leaf.version), records.index_key(leaf.key, leaf.index)):
                history = self._history.get(key)
                if history is None or records.decode_spot(history) != spot:
                    self._note(place, f"entry {leaf.index} is missing from the key's history, or misplaced in it")
        elif not _agrees(latest, spot, leaf):
            self._note(place, f"the key index does not point to entry {leaf.index} as it is")
        if leaf.previous is not None:
            history = self._history.get(records.version_key(leaf.key, leaf.version - 1))
            if history is None or records.decode_spot(history).index != leaf.previous:
                self._note(place, f"its previous version is not entry {leaf.previous}")

    def _check_keys(self) -> None:
        """How many keys are live, and whether no entry accounts for some.

        Every entry was held against the record of its key. So if all of that was right, and there are as many records
        as keys in the log, then these are those. They are looked at singly only otherwise.
        """
        live = count = newer = 0
        for key, record in self._keys.scan():
            try:
                spot = records.decode_latest(record).spot
            except ScribeError as error:
                self._note(f"key {key!r}", error.message)
                continue
            is_newer = spot.index >= self._size and self._is_newer(spot.index)
            count += 1
            newer += is_newer
            live += not is_newer and not spot.deleted
        if live != self._state.live and not newer:
            self._note(
                "state", f"it says {counted(self._state.live, 'live key', 'live keys')}, the key index has {live}"
            )
        if count != self._first_versions or newer or self._unread or self._problems:
            self._check_key_records()

    def _check_key_records(self) -> None:
        for key, record in self._keys.scan():
            try:
                spot = records.decode_latest(record).spot
            except ScribeError:
                continue  # named already
            if spot.index >= self._size and self._is_newer(spot.index):
                continue
            try:
                if self._leaf_of(spot, key) is None:
                    self._note(f"key {key!r}", f"the key index points to entry {spot.index}, which is none of this key")
            except ScribeError as error:
                self._note_error(f"key {key!r}", error)

    def _check_history(self) -> None:
        """Every earlier version has two records. They are looked at singly only if there are more, or fewer."""
        count = 0
        for key, record in self._history.scan():
            try:
                index = records.decode_spot(record).index
            except ScribeError as error:
                self._note(_history_place(key), error.message)
                continue
            if index < self._size:
                count += 1
            elif not self._is_newer(index):
                self._note(_history_place(key), f"it points to entry {index}, beyond the end of the log")
        if count != 2 * self._earlier_versions and self._edge.size == self._size and not self._unread:
            self._check_history_records()

    def _check_history_records(self) -> None:
        for key, record in self._history.scan():
            try:
                spot = records.decode_spot(record)
                leaf = self._leaf_of(spot, records.key_of_history(key)) if spot.index < self._size else None
            except ScribeError:
                continue  # named already
            if leaf is not None:
                expected = records.version_key(leaf.key, leaf.version), records.index_key(leaf.key, leaf.index)
                if key in expected and spot.version == leaf.version:
                    continue
            if spot.index < self._size:
                self._note(_history_place(key), f"no such version of the key is at entry {spot.index}")

    def _leaf_of(self, spot: Spot, key: bytes) -> Leaf | None:
        """The leaf at a place, if it is of this key."""
        record = self._leaves.get(U64.pack(spot.group))
        if record is None or spot.index >= self._size:
            return None
        leaf = decode_stored_leaf(records.unpack_item(record, spot.ordinal), spot.index)
        return leaf if leaf.key == key else None

    # --- the rest ----------------------------------------------------------------------------------------------

    def _check_totals(self) -> None:
        state = self._state
        if self._edge.size != self._size:
            self._note("state", f"it says {counted(self._size)}, the log has {self._edge.size}")
            return
        if self._edge != state.edge:
            self._note("state", "the tree in memory differs from the entries")
            self._note_hashes(self._size - self._size % TILE_WIDTH, state.edge.tiles[0], self._edge.tiles[0])
        if self._head is not None and self._head_root not in (None, self._head.root):
            self._note("head", f"the root at {counted(self._head.size)} is not the one that was signed")
        if self._unread:
            return
        if self._first_versions != state.keys:
            self._note("state", f"it says {counted(state.keys, 'key', 'keys')}, the log has {self._first_versions}")
        if self._value_bytes != state.value_bytes:
            self._note("state", f"it says {state.value_bytes} bytes of values, the log has {self._value_bytes}")
        if self._log_bytes != state.log_bytes:
            self._note("state", f"it says that the log has {state.log_bytes} bytes, it has {self._log_bytes}")
        if self._blob_bytes != state.blob_bytes:
            self._note("state", f"it says {state.blob_bytes} bytes of large values, the log has {self._blob_bytes}")
        if self._timestamp != state.timestamp:
            self._note("state", f"it says that the last timestamp is {state.timestamp}, the log has {self._timestamp}")

    def _check_tree(self) -> None:
        """Tiles that are not full yet and should not be there."""
        for key, _ in self._tree.scan():
            level, index = _TILE_KEY.unpack(key) if len(key) == _TILE_KEY.size else (-1, 0)
            end = (index + 1) << TILE_HEIGHT * (level + 1)
            if level < 0 or (end > self._size and not self._is_newer(end - 1)):
                self._note(f"tile {index} of level {level}", "no entries account for it")

    def _check_references(self) -> None:
        """Large values that no entry refers to where the index says so."""
        for digest, record in self._referenced.scan():
            index = int.from_bytes(record, "big")
            if index >= self._size and self._is_newer(index):
                continue
            try:
                leaf = self._leaf_at(index) if index < self._size else None
            except DamagedBlock as error:
                self._note_error(f"blob {digest.hex()}", error)
                continue
            if len(record) != U64.size or leaf is None or leaf.sha256 != digest or leaf.chunk_root == ZERO_HASH:
                self._note(f"blob {digest.hex()}", f"entry {index} does not refer to it, though the index says so")

    def _leaf_at(self, index: int) -> Leaf | None:
        found = self._leaves.seek(U64.pack(index), reverse=True)
        leaves = records.unpack(found[1]) if found is not None else []
        ordinal = index - int.from_bytes(found[0], "big") if found is not None else 0
        return decode_stored_leaf(leaves[ordinal], index) if ordinal < len(leaves) else None

    def _check_records(self) -> None:
        """The two records that the ledger starts from, if they can be read between two writes."""
        machine = self._machine
        for _ in range(100):
            state, policy = machine.applied, machine.policy
            stored = self._meta.get(STATE_KEY), self._meta.get(POLICY_KEY)
            if machine.torn or machine.applied is not state:
                continue
            if stored[0] != state.encode():
                self._note("state", "its record is not what was written")
            if stored[1] != policy.encode():
                self._note("policies", "their record is not what was written")
            if state is self._state and not self._unread and self._policies.items() - policy._asdict().items():
                self._note("policies", f"they are {policy._asdict()}, the log says {self._policies}")
            return

    def _check_manifest(self) -> None:
        table, manifest = self._machine.manifest_table, self._manifest
        for what in check_manifest(self._archived, table, manifest, evicted=self._evicted, size=self._size):
            self._note("manifest", what)

    def _check_segments(self) -> None:
        """Every archived segment is there, and its rows are the entries of the log."""
        if self._archive is None or self._edge.size != self._size:
            return
        for path, what in check_segments(self._archive, self._manifest.segments, self._leaf_hashes):
            if any(segment.path == path for segment in self._machine.committed.manifest.segments):
                self._note(path, what)  # else it was replaced meanwhile, and may be gone

    def _leaf_hashes(self, start: int, stop: int) -> bytes:
        """From level 0 tiles, which were compared with the entries before."""
        tiles = []
        for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            width = min(TILE_WIDTH, self._size - index * TILE_WIDTH)
            tiles.append(self._machine.nodes.tile(0, index, width))
        skipped = start % TILE_WIDTH
        return b"".join(tiles)[skipped * HASH_BYTES : (skipped + stop - start) * HASH_BYTES]

    def _is_newer(self, index: int) -> bool:
        """Whether an entry beyond the size that is checked may have come meanwhile, or is about to."""
        return self._machine.torn or index < self._machine.applied.size

    def _note_error(self, place: str, error: ScribeError, begin: str = "") -> None:
        """Notes why something could not be read; of a damaged block, the first time only."""
        if not isinstance(error, DamagedBlock) or self._damaged.add(error):
            self._note(place, begin + error.message)

    def _note(self, place: str, what: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(place, what))


def _agrees(latest: Latest, spot: Spot, leaf: Leaf) -> bool:
    """Whether a key's record is what its latest entry asks for."""
    remembered = range(max(leaf.version - REMEMBERED_REQUESTS, 0) + 1, leaf.version + 1)
    return (
        latest.spot == spot
        and latest.digest_prefix == leaf.sha256[: len(latest.digest_prefix)]
        and all(version in remembered for version in latest.requests.values())
    )


def _inline_bytes(leaf: Leaf) -> int:
    return 0 if leaf.kind is Kind.DELETE or leaf.chunk_root != ZERO_HASH else leaf.size


def _history_place(key: bytes) -> str:
    return f"history of key {records.key_of_history(key)!r}"

"""Proving: whether a snapshot is whole and leads to what it says, before anything of it is written.

What is taken cannot be given back, and who has entries in part can do nothing without the rest. So the receiver goes
through all of it first: every leaf decodes and stands in its place, each value that is there matches its leaf, the
leaves grow the receiver's own tree to the root that was named, and entries and manifest add up to what the giver has.
``prove`` is for pieces that are to be taken, ``prove_copy`` for a copy of a store.

Memory: a piece, the manifest with its changes, five bytes for each entry that is given, a bit for each that is there,
and the digests of large values.
What keys remember of request ids follows from nothing that is given, and is believed.
"""

from __future__ import annotations

from array import array
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption, InvalidRequest, VerificationError
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger import records
from scribe_ledger.ledger.check_archive import check_manifest
from scribe_ledger.ledger.given import Reading, read_header
from scribe_ledger.ledger.giving import stored_groups
from scribe_ledger.ledger.growth import Entries, Growth
from scribe_ledger.ledger.machine import Machine
from scribe_ledger.ledger.manifest import ManifestTable, version_of_change
from scribe_ledger.ledger.memory import MemoryStore
from scribe_ledger.ledger.records import DELETED, IN_BLOB, SPOT, Spot
from scribe_ledger.ledger.store import Table
from scribe_ledger.ledger.tiles import TileSource
from scribe_ledger.merkle.leaf import decode_leaf
from scribe_ledger.merkle.tree import edge_root
from scribe_ledger.model import NO_PREVIOUS, Extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.ledger.given import Header, Trailer
    from scribe_ledger.ledger.growth import Fields
    from scribe_ledger.ledger.machine import State
    from scribe_ledger.ledger.manifest import Manifest
    from scribe_ledger.ledger.store import Store
    from scribe_ledger.merkle.tree import FullTile

COPY_GROUPS = 64
"""Of a copy, at once."""
_SUPERSEDED = 4
"""Beside the flags of an entry that is given."""
SYSTEM_VERSION = 0
"""Of entries that have no key, and of no others."""


class Outline(NamedTuple):
    """What a snapshot leads to."""

    position: int
    membership: bytes
    extent: Extent


def prove(store: Store, machine: Machine, given: Iterable[bytes]) -> Outline | None:
    """What taking the pieces leads to, or ``VerificationError``. None: they were taken before, nothing is written."""
    following = iter(given)
    header = read_header(next(following, b""))
    if machine.applied.position >= header.position and not machine.taking:
        return None
    proof = _Proof(store, machine, header)
    proof.read(following)
    return Outline(header.position, header.membership, Extent(header.stop, header.root, *proof.manifest))


class _Proof(Reading):
    """What ``taking`` would do, but for the writing."""

    def __init__(self, store: Store, machine: Machine, header: Header) -> None:
        super().__init__(header, machine.applied)
        self._store = store
        self._machine = machine
        self._state = machine.applied
        self._keys = _Keys(store, machine)
        self._held_from = 0
        """Below are entries whose values did not come."""
        self.manifest = (0, b"")
        """Its version and digest at the end."""

    @property
    def state(self) -> State:
        return self._state

    def add_entries(self, groups: Sequence[Entries]) -> None:
        growth = Growth(self._state)
        live = blob_bytes = 0
        for group in groups:
            names = [decode_leaf(leaf).key for leaf in group.leaves]
            fields = growth.add(group)
            live += self._keys.add(names, fields)
            blob_bytes += self._keys.add_blobs(fields)
            if group.values is None:
                self._held_from = group.first + len(group.leaves)
        self._state, _ = growth.end(live, blob_bytes)

    def finish(self, trailer: Trailer) -> None:
        self.check_end(trailer)
        if self._held_from > trailer.evicted:
            raise VerificationError(f"the values of entries before {self._held_from} did not come")
        evicted = max(trailer.evicted, self._machine.evicted)
        table = self._manifest_to_be()
        found = _sound_manifest(table, evicted, self._state.size)
        if found.digest != trailer.manifest_digest:
            raise VerificationError("the manifest that was given is not the one that was named")
        self.manifest = found.version, found.digest

    def _manifest_to_be(self) -> Store:
        """The manifest's table as it would be: all of it is given, but for the changes that were known before."""
        scratch = MemoryStore()
        write = scratch.batch()
        for key, record in self._store.table(Table.MANIFEST).scan(b"c"):
            if not version_of_change(key):
                break
            write.put(Table.MANIFEST, key, record)
        for key, record in self.records:
            if key[:1] not in (b"m", b"s", b"c", b"r", b"b"):
                raise VerificationError("a record of the manifest is of an unknown kind")
            write.put(Table.MANIFEST, key, record)
        scratch.write(write)
        return scratch


class _Keys:
    """What entries do to the keys: which gain a value or lose it, and which large values are new.

    As in ``taking`` an entry must follow on the latest of its key. Of those that are given a few bytes are kept.
    """

    def __init__(self, store: Store, machine: Machine) -> None:
        self._look_up = store.table(Table.KEYS).get_many
        self._blobs = machine.blobs
        self._first = machine.applied.size
        self._flags = bytearray()
        """Of each entry that is given."""
        self._marks = array("I")
        """Of each entry that is given: which version of which key."""
        self._superseded = bytearray()
        """A bit for each entry that is in the store; empty before the first."""
        self._used: set[bytes] = set()

    def add(self, names: Sequence[bytes], fields: Fields) -> int:
        """By how many keys there are more that have a value."""
        versions, flags = fields.versions, fields.flags
        self._flags += bytes(flags)
        self._marks.extend(map(_mark, names, versions))
        later = [place for place, before in enumerate(fields.previous) if before != NO_PREVIOUS]
        stored = [place for place in later if fields.previous[place] < self._first]
        lost = self._supersede_stored(names, fields, stored) if stored else 0
        for place in later:
            if fields.previous[place] >= self._first:
                lost += self._supersede(names[place], versions[place], fields.previous[place])
        return len(flags) - flags.count(DELETED) - versions.count(SYSTEM_VERSION) - lost

    def _supersede(self, name: bytes, version: int, before: int) -> bool:
        """Whether the entry before, one of those that are given, is a value."""
        place = before - self._first
        if self._flags[place] & _SUPERSEDED or self._marks[place] != _mark(name, version - 1):
            raise _does_not_follow(name, version)
        self._flags[place] |= _SUPERSEDED
        return not self._flags[place] & DELETED

    def _supersede_stored(self, names: Sequence[bytes], fields: Fields, places: Sequence[int]) -> int:
        """How many of these entries follow on a value that the store has."""
        lost = 0
        self._superseded = self._superseded or bytearray(self._first // 8 + 1)
        for place, record in zip(places, self._look_up([names[place] for place in places]), strict=True):
            spot = Spot._make(SPOT.unpack_from(record)) if record is not None else None
            name, version, before = names[place], fields.versions[place], fields.previous[place]
            byte, bit = before // 8, 1 << before % 8
            if spot is None or (spot.index, spot.version) != (before, version - 1) or self._superseded[byte] & bit:
                raise _does_not_follow(name, version)
            self._superseded[byte] |= bit
            lost += not spot.deleted
        return lost

    def add_blobs(self, fields: Fields) -> int:
        """How many bytes of large values there are more."""
        added = 0
        for size, digest, flag in zip(fields.sizes, fields.digests, fields.flags, strict=True):
            if flag & IN_BLOB and digest not in self._used and self._blobs.get(digest) is None:
                self._used.add(digest)
                added += size
        return added


def _mark(name: bytes, version: int) -> int:
    return hash((name, version)) & 0xFFFFFFFF


def _does_not_follow(name: bytes, version: int) -> VerificationError:
    return VerificationError(f"version {version} of key {name!r} does not follow on the version before it")


# --- a copy of a store -----------------------------------------------------------------------------------------


def prove_copy(store: Store) -> Outline:
    """What a copy of a ledger's store holds, all of its log gone through; ``VerificationError`` if it is not sound.

    Its leaves are hashed and not decoded: a root that was vouched for has none that cannot be. The key index is not
    compared with the log: it leads to no other root.
    """
    try:
        return _prove_copy(store)
    except (Corruption, InvalidRequest, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"the copy holds no sound ledger: {error}") from error


def _prove_copy(store: Store) -> Outline:
    machine = Machine(store, TileSource(store).fetch)
    if machine.taking:
        raise VerificationError("the copy has entries of another member in part")
    told = machine.committed
    state = machines.EMPTY
    scans = store.table(Table.LEAVES).scan(), store.table(Table.VALUES).scan()
    groups = stored_groups(*scans, machine.evicted, 0, told.size)
    while some := [*islice(groups, COPY_GROUPS)]:
        growth = Growth(state)
        for group in some:
            held = None if group.values is None else records.unpack(group.values)
            leaves = records.unpack(group.leaves)
            growth.add(Entries(group.first, leaves, held, (), group.leaves, group.values))
        state, full = growth.end()
        _check_tiles(store, full)
    root = machine.nodes.root(told.size)
    if state.size != told.size or edge_root(state.edge) != root:
        raise VerificationError(
            f"the root of the {state.size} entries is {edge_root(state.edge).hex()}, and their tree has {root.hex()}"
        )
    counted = state._replace(position=told.position, live=told.live, blob_bytes=told.blob_bytes)
    if counted.encode() != told.encode():
        raise VerificationError("the entries do not add up to what the copy has counted")
    found = _sound_manifest(store, machine.evicted, told.size)
    return Outline(told.position, machine.membership, Extent(told.size, root, found.version, found.digest))


def _check_tiles(store: Store, full: Sequence[FullTile]) -> None:
    keys = [records.tile_key(tile.level, tile.index) for tile in full]
    found = store.table(Table.TREE).get_many(keys) if keys else ()
    for tile, stored in zip(full, found, strict=True):
        if stored != tile.nodes:
            raise VerificationError(f"tile {tile.index} of level {tile.level} is not that of its entries")


def _sound_manifest(store: Store, evicted: int, size: int) -> Manifest:
    """The manifest of a store, if it is what its changes make of it."""
    table = ManifestTable(store)
    try:
        found = table.load()
        wrong = next(check_manifest(store.table(Table.MANIFEST), table, found, evicted=evicted, size=size), None)
        table.removals()
    except (Corruption, InvalidRequest, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"the manifest cannot be read: {error}") from error
    if wrong is not None:
        raise VerificationError(f"the manifest is not sound: {wrong}")
    return found

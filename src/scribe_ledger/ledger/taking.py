"""Taking: from the pieces that ``giving`` makes to the same ledger as the giver's.

No field is believed that can be computed: values are hashed and compared with their leaves, leaves are hashed and grow
the tree, and the root at the end must be the one that was named. All other records are made again from the leaves, but
for the request ids that keys remember, the policies, and the manifest, whose changes are hashed.

Each piece is one atomic write of entries; the last write brings the manifest, the record of the members and the
position together. Until then nothing is visible. After a crash, or a piece that could not be read, all of it is taken
again: entries that are there already are skipped. A mark says that something is lacking, and nothing is applied
meanwhile.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from scribe_ledger.errors import Corruption, SerializationError, VerificationError
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger import manifest, pieces, records
from scribe_ledger.ledger.machine import State
from scribe_ledger.ledger.records import DELETED, IN_BLOB, LATEST, SPOT, U64, Spot
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER, key_of
from scribe_ledger.merkle.tree import edge_root, grow
from scribe_ledger.model import NO_PREVIOUS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.ledger.machine import Machine
    from scribe_ledger.ledger.pieces import Group
    from scribe_ledger.ledger.policy import Policy
    from scribe_ledger.ledger.store import Store, WriteBatch


class _Header(NamedTuple):
    start: int
    stop: int
    root: bytes
    position: int
    membership: bytes
    manifest_start: int


class _Trailer(NamedTuple):
    state: bytes
    policy: Policy
    evicted: int
    manifest_digest: bytes


def take(store: Store, machine: Machine, given: Iterable[bytes]) -> None:
    """Takes all pieces. ``VerificationError`` if they do not lead to what the header and the trailer say."""
    following = iter(given)
    try:
        header = _decode_header(next(following, b""))
        if machine.applied.position >= header.position and not machine.taking:
            return  # it was taken before
        taker = _Taker(store, machine, header)
        for piece in following:
            if taker.add(piece):
                return
    except SerializationError as error:
        raise VerificationError(f"what was given cannot be read: {error.message}") from error
    raise VerificationError("what was given ends before its last piece")


class _Taker:
    """One snapshot on its way in."""

    def __init__(self, store: Store, machine: Machine, header: _Header) -> None:
        size, version = machine.applied.size, machine.applied.manifest.version
        if not header.start <= size <= header.stop or version < header.manifest_start:
            raise VerificationError(
                f"what was given follows on {header.start} entries up to {header.stop}, and there are {size}"
            )
        self._store = store
        self._machine = machine
        self._header = header
        self._records: list[tuple[bytes, bytes]] = []
        """Of the manifest, which is written whole."""

    def add(self, piece: bytes) -> bool:
        """Takes one piece; whether it was the last."""
        kind = piece[:1]
        if kind == pieces.ENTRIES:
            groups = [part for group in pieces.decode_groups(piece) if (part := self._trimmed(group)) is not None]
            if groups:
                _write_groups(self._store, self._machine, groups)
        elif kind == pieces.MANIFEST:
            self._records += pieces.decode_records(piece)
        elif kind == pieces.TRAILER:
            self._finish(_decode_trailer(piece))
            return True
        else:
            raise SerializationError("a piece of a snapshot is of an unknown kind")
        return False

    def _trimmed(self, group: Group) -> _Entries | None:
        """The entries of a group that are not there yet."""
        size = self._machine.applied.size
        try:
            leaves = records.unpack(group.leaves)
            values = records.unpack(group.values) if group.values is not None else None
        except Corruption as error:
            raise SerializationError(error.message) from error
        if values is not None and len(values) != len(leaves):
            raise SerializationError("a group has other values than leaves")
        known = size - group.first
        if known >= len(leaves) or group.first + len(leaves) <= self._header.start:
            return None
        if known <= 0:
            return _Entries(group.first, leaves, values, group.requests, group.leaves, group.values)
        requests = group.requests[known:]
        return _Entries.packed(size, leaves[known:], None if values is None else values[known:], requests)

    def _finish(self, trailer: _Trailer) -> None:
        machine, header = self._machine, self._header
        state = machine.applied
        if state.size != header.stop or edge_root(state.edge) != header.root:
            raise VerificationError(
                f"after {state.size} entries the root is {edge_root(state.edge).hex()}, and should be"
                f" {header.root.hex()} after {header.stop}"
            )
        after = state._replace(position=header.position)
        if after.encode() != _at_position(trailer.state, header.position):
            raise VerificationError("the entries do not add up to what the giver has counted")
        self._check_manifest(trailer)
        write = self._store.batch()
        for start, stop in manifest.live_ranges():
            write.delete_range(Table.MANIFEST, start, stop)
        for key, record in self._records:
            write.put(Table.MANIFEST, key, record)
        write.put(Table.META, machines.POLICY_KEY, trailer.policy.encode())
        if header.membership:
            write.put(Table.META, machines.MEMBERSHIP_KEY, header.membership)
        evicted = self._evict(write, trailer.evicted)
        machine.finish_taking(write, after, trailer.policy, header.membership or machine.membership, evicted)

    def _evict(self, write: WriteBatch, given: int) -> int:
        """What is archived only is a prefix: values before it, which are archived as well, go too."""
        evicted = self._machine.evicted
        if given <= max(self._header.start, evicted):
            return evicted
        write.delete_range(Table.VALUES, U64.pack(evicted), U64.pack(given))
        write.put(Table.META, machines.EVICTED_KEY, U64.pack(given))
        return given

    def _check_manifest(self, trailer: _Trailer) -> None:
        digest, version = self._machine.applied.manifest.digest, self._machine.applied.manifest.version
        for key, record in self._records:
            made = manifest.version_of_change(key)
            if made > version:
                if made != version + 1:
                    raise VerificationError(f"the change to version {version + 1} of the manifest is missing")
                digest, version = sha256(digest + record).digest(), made
        if digest != trailer.manifest_digest:
            raise VerificationError(f"the changes do not lead to the manifest of version {version} that was named")


class _Entries(NamedTuple):
    """A group to be written."""

    first: int
    leaves: list[bytes]
    values: list[bytes] | None
    requests: Sequence[bytes]
    leaf_pack: bytes
    value_pack: bytes | None

    @classmethod
    def packed(cls, first: int, leaves: list[bytes], values: list[bytes] | None, requests: Sequence[bytes]) -> _Entries:
        leaf_pack = records.pack(leaves, [*map(len, leaves)])
        value_pack = None if values is None else records.pack(values, [*map(len, values)])
        return cls(first, leaves, values, requests, leaf_pack, value_pack)


class _Totals(NamedTuple):
    """What entries add to the counts of the state."""

    keys: int = 0
    live: int = 0
    value_bytes: int = 0
    blob_bytes: int = 0
    log_bytes: int = 0
    timestamp: int = 0


def _write_groups(store: Store, machine: Machine, groups: Sequence[_Entries]) -> None:
    """Several groups, which follow on what there is, in one write."""
    before = machine.applied
    write = store.batch()
    keys = _Keys(store, machine, [leaf for group in groups for leaf in group.leaves])
    totals = _Totals()
    hashes: list[bytes] = []
    following = before.size
    for group in groups:
        if group.first != following:
            raise VerificationError(f"entry {following} is lacking: entry {group.first} follows")
        following += len(group.leaves)
        name = U64.pack(group.first)
        write.put(Table.LEAVES, name, group.leaf_pack)
        if group.value_pack is not None:
            write.put(Table.VALUES, name, group.value_pack)
        added = _add_group(write, keys, group)
        totals = _Totals(*map(add, totals, added))._replace(timestamp=added.timestamp)
        hashes += [sha256(b"\0" + leaf).digest() for leaf in group.leaves]
    keys.write(write)
    edge, full = grow(before.edge, hashes)
    for tile in full:
        write.put(Table.TREE, records.tile_key(tile.level, tile.index), tile.nodes)
    after = State(
        before.position,
        totals.timestamp,
        edge.size,
        before.keys + totals.keys,
        before.live + totals.live,
        before.value_bytes + totals.value_bytes,
        before.blob_bytes + totals.blob_bytes,
        before.log_bytes + totals.log_bytes,
        edge,
        before.manifest,
    )
    machine.write_part(write, after)


def _add_group(write: WriteBatch, keys: _Keys, group: _Entries) -> _Totals:
    count = len(group.leaves)
    try:
        headers = [*map(HEADER.unpack_from, group.leaves)]
    except struct.error as error:
        raise VerificationError(f"entry {group.first} or one after it has no leaf") from error
    _, _, kinds, _, indexes, timestamps, versions, previous, sizes, digests, chunk_roots = zip(*headers, strict=True)
    if indexes != tuple(range(group.first, group.first + count)):
        raise VerificationError(f"entry {group.first} or one after it is in the wrong place")
    flags = [
        DELETED if kind == Kind.DELETE else 0 if root == ZERO_HASH else IN_BLOB
        for kind, root in zip(kinds, chunk_roots, strict=True)
    ]
    lengths = [0 if flag else size for flag, size in zip(flags, sizes, strict=True)]
    if group.values is not None:
        _check_values(group, lengths, digests, flags)
    offsets = accumulate(lengths[:-1], initial=records.pack_header_bytes(count))
    latest = map(LATEST.pack, indexes, versions, range(count), flags, offsets, lengths, digests)
    names = [*map(key_of, group.leaves)]
    live = keys.add(names, versions, previous, [*latest], group.requests)
    blob_bytes = 0
    for place, flag in enumerate(flags):
        if flag & IN_BLOB and keys.is_first_use(digests[place]):
            write.put(Table.BLOBS, digests[place], U64.pack(group.first + place))
            blob_bytes += sizes[place]
    log_bytes = sum(map(len, group.leaves)) + sum(lengths)
    return _Totals(versions.count(1), live, sum(sizes), blob_bytes, log_bytes, timestamps[-1])


def _check_values(group: _Entries, lengths: list[int], digests: Sequence[bytes], flags: list[int]) -> None:
    values = group.values or ()
    if [*map(len, values)] != lengths:
        raise VerificationError(f"a value of entry {group.first}, or of one after it, has another size than its leaf")
    for place, (value, digest, flag) in enumerate(zip(values, digests, flags, strict=True)):
        if not flag and sha256(value).digest() != digest:
            raise VerificationError(f"the value of entry {group.first + place} does not match its digest")


class _Keys:
    """What one write changes of the key index. A key's record moves on as its versions come."""

    def __init__(self, store: Store, machine: Machine, leaves: Sequence[bytes]) -> None:
        self._blobs = machine.blobs
        self._used: set[bytes] = set()
        self._latest: dict[bytes, bytes] = {}
        self._history: list[tuple[bytes, bytes]] = []
        later = {key_of(leaf) for leaf in leaves if leaf[28:36] != _NONE}
        names = sorted(later)
        for name, record in zip(names, store.table(Table.KEYS).get_many(names) if names else (), strict=True):
            if record is not None:
                self._latest[name] = record

    def add(
        self,
        names: Sequence[bytes],
        versions: Sequence[int],
        previous: Sequence[int],
        latest: Sequence[bytes],
        requests: Sequence[bytes],
    ) -> int:
        """The entries of a group; by how many keys there are more that have a value."""
        complete = [*map(add, latest, requests)] if requests else latest
        live = 0
        for name, version, before, record in zip(names, versions, previous, complete, strict=True):
            if not name:
                continue  # a system entry
            if before != NO_PREVIOUS:
                live -= self._supersede(name, version, before)
            self._latest[name] = record
            live += not record[18] & DELETED
        return live

    def _supersede(self, name: bytes, version: int, before: int) -> bool:
        """Moves a key's latest version into its history; whether it was a value."""
        record = self._latest.get(name)
        spot = Spot._make(SPOT.unpack_from(record)) if record is not None else None
        if spot is None or (spot.index, spot.version) != (before, version - 1):
            raise VerificationError(f"version {version} of key {name!r} does not follow on the version before it")
        packed = SPOT.pack(*spot)
        self._history.append((records.version_key(name, spot.version), packed))
        self._history.append((records.index_key(name, spot.index), packed))
        return not spot.deleted

    def is_first_use(self, digest: bytes) -> bool:
        """Whether no entry had that large value before."""
        if digest in self._used or self._blobs.get(digest) is not None:
            return False
        self._used.add(digest)
        return True

    def write(self, write: WriteBatch) -> None:
        write.put_many(Table.KEYS, self._latest.keys(), self._latest.values())
        for name, record in self._history:
            write.put(Table.HISTORY, name, record)


_NONE = NO_PREVIOUS.to_bytes(8, "big")


def _decode_header(piece: bytes) -> _Header:
    fields = _fields_of(piece, pieces.HEADER)
    try:
        root, membership = bytes.fromhex(fields["root"]), bytes.fromhex(fields["membership"])
        numbers = fields["start"], fields["stop"], fields["position"], fields["manifest_start"]
    except (KeyError, TypeError, ValueError) as error:
        raise SerializationError("the header of what was given cannot be read") from error
    if not all(isinstance(number, int) and 0 <= number < 1 << 63 for number in numbers):
        raise SerializationError("the header of what was given has numbers that are none")
    start, stop, position, manifest_start = numbers
    return _Header(start, stop, root, position, membership, manifest_start)


def _decode_trailer(piece: bytes) -> _Trailer:
    fields = _fields_of(piece, pieces.TRAILER)
    try:
        policy = machines.decode_policy(fields["policy"].encode())
        digest = bytes.fromhex(fields["manifest_digest"])
        return _Trailer(bytes.fromhex(fields["state"]), policy, int(fields["evicted"]), digest)
    except (KeyError, TypeError, ValueError, AttributeError, Corruption) as error:
        raise SerializationError("the end of what was given cannot be read") from error


def _fields_of(piece: bytes, kind: bytes) -> dict[str, Any]:
    if piece[:1] != kind:
        raise SerializationError("what was given does not begin with its header")
    return pieces.decode_fields(piece[1:])


def _at_position(state: bytes, position: int) -> bytes:
    """A state record with another position."""
    return state[:2] + U64.pack(position) + state[10:]

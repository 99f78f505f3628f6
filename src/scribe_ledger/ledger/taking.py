"""Taking: from the pieces that ``giving`` makes to the same ledger as the giver's.

No field is believed that can be computed: values are hashed and compared with their leaves, leaves are hashed and grow
the tree, and the root at the end must be the one that was named. All other records are made again from the leaves, but
for the request ids that keys remember, the policies, and the manifest, whose changes are hashed.

Each piece is one atomic write of entries; the last write brings the manifest, the record of the members and the
position together. Until then nothing is visible. After a crash, or a piece that could not be read, all of it is taken
again: entries that are there already are skipped. A mark says that something is lacking, and nothing is applied
meanwhile. So what does not lead to its end cannot be taken back: ``proving`` goes through it before.
"""

from __future__ import annotations

from itertools import accumulate
from operator import add
from typing import TYPE_CHECKING

from scribe_ledger.errors import VerificationError
from scribe_ledger.ledger import machine as machines
from scribe_ledger.ledger import manifest, records
from scribe_ledger.ledger.given import Reading, read_header
from scribe_ledger.ledger.growth import Growth
from scribe_ledger.ledger.records import DELETED, IN_BLOB, LATEST, SPOT, U64, Spot
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle.leaf import key_of
from scribe_ledger.model import NO_PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scribe_ledger.ledger.given import Header, Trailer
    from scribe_ledger.ledger.growth import Entries, Fields
    from scribe_ledger.ledger.machine import Machine, State
    from scribe_ledger.ledger.store import Store, WriteBatch


def take(store: Store, machine: Machine, given: Iterable[bytes]) -> None:
    """Takes all pieces. ``VerificationError`` if they do not lead to what the header and the trailer say."""
    following = iter(given)
    header = read_header(next(following, b""))
    if machine.applied.position >= header.position and not machine.taking:
        return  # it was taken before
    _Taker(store, machine, header).read(following)


class _Taker(Reading):
    def __init__(self, store: Store, machine: Machine, header: Header) -> None:
        super().__init__(header, machine.applied)
        self._store = store
        self._machine = machine

    @property
    def state(self) -> State:
        return self._machine.applied

    def add_entries(self, groups: Sequence[Entries]) -> None:
        _write_groups(self._store, self._machine, groups)

    def finish(self, trailer: Trailer) -> None:
        machine, header = self._machine, self.header
        after = self.check_end(trailer)
        write = self._store.batch()
        for start, stop in manifest.live_ranges():
            write.delete_range(Table.MANIFEST, start, stop)
        for key, record in self.records:
            write.put(Table.MANIFEST, key, record)
        write.put(Table.META, machines.POLICY_KEY, trailer.policy.encode())
        if header.membership:
            write.put(Table.META, machines.MEMBERSHIP_KEY, header.membership)
        evicted = self._evict(write, trailer.evicted)
        machine.finish_taking(write, after, trailer.policy, header.membership or machine.membership, evicted)

    def _evict(self, write: WriteBatch, given: int) -> int:
        """What is archived only is a prefix: values before it, which are archived as well, go too."""
        evicted = self._machine.evicted
        if given <= max(self.header.start, evicted):
            return evicted
        write.delete_range(Table.VALUES, U64.pack(evicted), U64.pack(given))
        write.put(Table.META, machines.EVICTED_KEY, U64.pack(given))
        return given


def _write_groups(store: Store, machine: Machine, groups: Sequence[Entries]) -> None:
    """Several groups, which follow on what there is, in one write."""
    write = store.batch()
    keys = _Keys(store, machine, [leaf for group in groups for leaf in group.leaves])
    growth = Growth(machine.applied)
    live = blob_bytes = 0
    for group in groups:
        fields = growth.add(group)
        name = U64.pack(group.first)
        write.put(Table.LEAVES, name, group.leaf_pack)
        if group.value_pack is not None:
            write.put(Table.VALUES, name, group.value_pack)
        live += _index_keys(keys, group, fields)
        blob_bytes += _index_blobs(write, keys, fields)
    keys.write(write)
    after, full = growth.end(live, blob_bytes)
    for tile in full:
        write.put(Table.TREE, records.tile_key(tile.level, tile.index), tile.nodes)
    machine.write_part(write, after)


def _index_keys(keys: _Keys, group: Entries, fields: Fields) -> int:
    """By how many keys there are more that have a value."""
    indexes, versions, previous, _, digests, flags, lengths = fields
    count = len(indexes)
    offsets = accumulate(lengths[:-1], initial=records.pack_header_bytes(count))
    latest = map(LATEST.pack, indexes, versions, range(count), flags, offsets, lengths, digests)
    return keys.add([*map(key_of, group.leaves)], versions, previous, [*latest], group.requests)


def _index_blobs(write: WriteBatch, keys: _Keys, fields: Fields) -> int:
    """How many bytes of large values there are more."""
    added = 0
    for index, size, digest, flag in zip(fields.indexes, fields.sizes, fields.digests, fields.flags, strict=True):
        if flag & IN_BLOB and keys.is_first_use(digest):
            write.put(Table.BLOBS, digest, U64.pack(index))
            added += size
    return added


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

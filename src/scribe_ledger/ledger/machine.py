"""The state machine: applies batches of commands, deterministically, each in one atomic write.

Nothing here reads a clock, draws a random number or waits. ``apply`` takes a position, a timestamp and the commands,
in units that each take effect wholly or not at all, and every replica that applies the same batches in the same order
has the same log, tree and key index. What a command does is decided in ``judging``, what is written in ``encoding``.

Two views exist at any time. ``applied`` is what ``apply`` builds on. ``committed`` is what readers may see; it moves
only in ``commit``, which the sequencer calls after the sync. A batch whose write was refused changes neither.
"""

from __future__ import annotations

import struct
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import ConfigurationError, Conflict, Corruption, ScribeError, VerificationError
from scribe_ledger.ledger import manifest, records
from scribe_ledger.ledger.encoding import Encoded, encode
from scribe_ledger.ledger.judging import Judged, judge
from scribe_ledger.ledger.manifest import Change, Manifest, ManifestTable, Retire
from scribe_ledger.ledger.policy import APPLY_VERSION as APPLY_VERSION  # noqa: PLC0414  # told to the cluster
from scribe_ledger.ledger.policy import Policy, check_known
from scribe_ledger.ledger.receipts import Batch, Receipts
from scribe_ledger.ledger.records import U64, Spot
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, tile_root
from scribe_ledger.merkle.tree import EMPTY_EDGE, Edge, Nodes
from scribe_ledger.model import show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.store import WriteBatch

STATE_KEY = b"state"
POLICY_KEY = b"policy"
EVICTED_KEY = b"evicted"
"""What this machine alone knows: below which index the values of archived entries are no longer here."""

TAKING_KEY = b"taking"
"""There from the first entry that was taken from another member to the last: until then nothing may be applied."""
MEMBERSHIP_KEY = b"membership"
"""Who belongs to the cluster, as consensus wrote it; absent where there is none."""

_STATE = struct.Struct(">HQQQQQQQQ")

Outcome = Receipts | ScribeError


class State(NamedTuple):
    """Everything about the ledger that changes with every batch."""

    position: int
    timestamp: int
    size: int
    keys: int
    """Keys ever written."""
    live: int
    """Keys whose latest entry is a put."""
    value_bytes: int
    """Of all values, large ones included, each version counted."""
    blob_bytes: int
    """Of the large values that are kept as files, each counted once."""
    log_bytes: int
    """Of all leaves and inline values: what the archive has to take."""
    edge: Edge
    manifest: Manifest

    def encode(self) -> bytes:
        return _STATE.pack(
            records.FORMAT,
            self.position,
            self.timestamp,
            self.size,
            self.keys,
            self.live,
            self.value_bytes,
            self.blob_bytes,
            self.log_bytes,
        )


EMPTY = State(0, 0, 0, 0, 0, 0, 0, 0, EMPTY_EDGE, manifest.EMPTY)


class Machine:
    """One ledger's state over a store. One thread at a time may apply; any thread may read ``committed``."""

    def __init__(self, store: Store, fetch_tile: Callable[[int, int], bytes]) -> None:
        self._store = store
        self.look_up = store.table(Table.KEYS).get_many
        self.look_up_one = store.table(Table.KEYS).get
        self.blobs = store.table(Table.BLOBS)
        self.manifest_table = ManifestTable(store)
        self.policy = self.committed_policy = _load_policy(store)
        self.applied = self.committed = _load_state(store, fetch_tile, self.manifest_table.load())
        self.membership = store.table(Table.META).get(MEMBERSHIP_KEY) or b""
        """Who belongs to the cluster: bytes that mean nothing here."""
        self.taking = store.table(Table.META).get(TAKING_KEY) is not None
        """Whether what another machine gave has been written in part."""
        self.evicted = _load_evicted(store)
        """All values of entries below this index are in segments only."""
        self._nodes = Nodes(self.committed.edge, fetch_tile)
        self.torn = False
        """True while the store may hold a batch that ``applied`` does not: never apply again after that."""

    def apply(self, units: Sequence[Sequence[Command]], *, position: int, timestamp: int) -> list[Outcome]:
        """Writes one batch and gives each unit's outcome. Nothing of it is durable or visible yet."""
        before = self.applied
        timestamp = max(timestamp, before.timestamp)
        judged = judge(self, units, size=before.size, policy=self.policy)
        batch = Batch(before.size, timestamp)
        if judged.commands:
            write = self._store.batch()
            encoded = encode(write, judged, before.edge, repeat(timestamp), self.blobs)
            self._write(write, judged, encoded, position, timestamp)
            batch.fill(judged.versions, encoded.digests, encoded.hashes)
        return [answer if isinstance(answer, ScribeError) else Receipts(batch, answer) for answer in judged.answers]

    def replay(
        self,
        commands: Sequence[Command],
        timestamps: Sequence[int],
        leaf_hashes: Sequence[bytes],
        *,
        position: int,
        values_archived: bool = False,
    ) -> None:
        """Writes one batch of entries that another ledger has accepted, or nothing if a leaf would not be the same.

        No policy refuses them: what was allowed there at the time is part of the log. Config entries take effect. With
        ``values_archived`` the commands have no values, because a segment has them.
        """
        before = self.applied
        for place, (earlier, later) in enumerate(pairwise((before.timestamp, *timestamps))):
            if later < earlier:
                raise VerificationError(f"entry {before.size + place} does not follow from the entries before it")
        judged = judge(self, [commands], size=before.size, policy=self.policy, obeys_policy=False)
        if isinstance(judged.answers[0], ScribeError):
            raise judged.answers[0]
        write = self._store.batch()
        encoded = encode(write, judged, before.edge, timestamps, self.blobs, values_archived=values_archived)
        for place, (made, given) in enumerate(zip(encoded.hashes, leaf_hashes, strict=True)):
            if made != given:
                raise VerificationError(f"entry {before.size + place} does not follow from the entries before it")
        if values_archived:
            write.put(Table.META, EVICTED_KEY, U64.pack(encoded.edge.size))
        self._write(write, judged, encoded, position, timestamps[-1])
        if values_archived:
            self.evicted = encoded.edge.size

    def change_manifest(self, change: Change, *, position: int, timestamp: int) -> None:
        """Writes one change of the manifest, or raises ``Conflict``. It appends no entry, and is not durable yet."""
        before = self.applied
        if isinstance(change, Retire):
            for digest in change.blobs:
                if self.blobs.get(digest) is not None:
                    raise Conflict(f"an entry refers to the large value {digest.hex()}")
        write = self._store.batch()
        changed = self.manifest_table.apply(
            write, before.manifest, change, size=before.size, timestamp=max(timestamp, before.timestamp)
        )
        self.write_state(write, before._replace(position=position, manifest=changed))

    def set_membership(self, record: bytes, *, position: int) -> None:
        """Writes who belongs to the cluster since that position. It is not durable yet."""
        write = self._store.batch()
        write.put(Table.META, MEMBERSHIP_KEY, record)
        self.write_state(write, self.applied._replace(position=position))
        self.membership = record

    def evict(self, stop: int) -> None:
        """Drops the values of archived entries below ``stop``, or of somewhat fewer: groups are dropped whole.

        Nothing that an answer depends on changes, so nobody has to wait for a sync.
        """
        archived = self.committed.manifest.archived_size
        stop = self._group_start(min(stop, archived))
        if stop <= self.evicted:
            return
        write = self._store.batch()
        write.delete_range(Table.VALUES, U64.pack(self.evicted), U64.pack(stop))
        write.put(Table.META, EVICTED_KEY, U64.pack(stop))
        self._store.write(write)
        self.evicted = stop

    def _group_start(self, index: int) -> int:
        """The index itself if a group begins there, else where the group with that entry begins."""
        if index >= self.committed.size:
            return index
        found = self._store.table(Table.LEAVES).seek(U64.pack(index), reverse=True)
        return 0 if found is None else int.from_bytes(found[0], "big")

    def _write(self, write: WriteBatch, judged: Judged, encoded: Encoded, position: int, timestamp: int) -> None:
        before = self.applied
        after = State(
            position,
            timestamp,
            encoded.edge.size,
            before.keys + judged.new_keys,
            before.live + judged.new_live,
            before.value_bytes + encoded.value_bytes,
            before.blob_bytes + encoded.blob_bytes,
            before.log_bytes + encoded.log_bytes,
            encoded.edge,
            before.manifest,
        )
        if judged.policy is not self.policy:
            write.put(Table.META, POLICY_KEY, judged.policy.encode())
        self.write_state(write, after)
        self.policy = judged.policy

    def write_state(self, write: WriteBatch, after: State) -> None:
        """Writes a batch, and with it the state that it leads to."""
        write.put(Table.META, STATE_KEY, after.encode())
        self.torn = True
        try:
            self._store.write(write)
        except ScribeError as error:
            self.torn = error.kind != "overloaded"
            raise
        self.applied = after
        self.torn = False

    def write_part(self, write: WriteBatch, after: State) -> None:
        """Writes some of what another machine gave; more must follow, after a restart too."""
        if not self.taking:
            write.put(Table.META, TAKING_KEY, b"")
        self.write_state(write, after)
        self.taking = True

    def finish_taking(self, write: WriteBatch, after: State, policy: Policy, membership: bytes, evicted: int) -> None:
        """Writes the last of what another machine gave, in which the manifest is new as a whole."""
        write.delete(Table.META, TAKING_KEY)
        self.write_state(write, after)
        self.applied = after._replace(manifest=self.manifest_table.load())
        self.policy, self.membership, self.evicted, self.taking = policy, membership, evicted, False

    def commit(self) -> State:
        """Lets readers see what was applied. The caller has synced it, or was told not to wait for that."""
        self.committed, self.committed_policy = self.applied, self.policy
        return self.committed

    @property
    def nodes(self) -> Nodes:
        """The committed tree, for roots and proofs."""
        nodes, edge = self._nodes, self.committed.edge
        if nodes.edge is not edge:
            nodes = self._nodes = nodes.advance(edge)
        return nodes

    def spot_of_version(self, key: bytes, version: int) -> Spot:
        record = self._store.table(Table.HISTORY).get(records.version_key(key, version))
        if record is None:
            raise Corruption(f"version {version} of key {show_key(key)} is missing from the key index")
        return records.decode_spot(record)

    def superseded_until(self, key: bytes, index: int) -> Spot | None:
        """The newest version of a key at or below an index, of those that are not its latest."""
        return records.superseded_until(self._store.table(Table.HISTORY), key, index)

    def is_stored(self, digest: bytes, begun: int) -> bool:
        """Whether the object of a large value is sure to be there, if its upload began at that manifest version."""
        return self.blobs.get(digest) is not None or self.manifest_table.may_store(digest, begun)

    def leaf_at(self, spot: Spot) -> bytes:
        record = self._store.table(Table.LEAVES).get(U64.pack(spot.group))
        if record is None:
            raise Corruption(f"the group of entry {spot.index} is missing")
        return records.unpack_item(record, spot.ordinal)


def create(store: Store, policy: Policy) -> None:
    """Writes the state that a new ledger begins with, into a store that has no entries."""
    if store.table(Table.META).get(STATE_KEY) not in (None, EMPTY.encode()):
        raise Corruption(
            "the store has entries, but the file that says whose they are is missing",
            hint="restore `ledger.json` from a copy of the folder",
        )
    batch = store.batch()
    batch.put(Table.META, POLICY_KEY, policy.encode())
    batch.put(Table.META, STATE_KEY, EMPTY.encode())
    store.write(batch)
    store.sync()


def _load_policy(store: Store) -> Policy:
    record = store.table(Table.META).get(POLICY_KEY)
    if record is None:
        raise _incomplete("policies are")
    return decode_policy(record)


def decode_policy(record: bytes) -> Policy:
    """The policies, if this program can keep to them."""
    policy = Policy.decode(record)
    check_known(policy.apply_version)
    return policy


def _incomplete(what: str) -> Corruption:
    return Corruption(
        f"the ledger's {what} missing from its store",
        hint="restore the whole data folder from a copy, or from the object store with `scribe restore`",
    )


def _load_evicted(store: Store) -> int:
    record = store.table(Table.META).get(EVICTED_KEY)
    return 0 if record is None else int.from_bytes(record, "big")


def _load_state(store: Store, fetch_tile: Callable[[int, int], bytes], archived: Manifest) -> State:
    record = store.table(Table.META).get(STATE_KEY)
    if record is None:
        raise _incomplete("state record is")
    try:
        form, *numbers = _STATE.unpack(record)
    except struct.error as error:
        raise Corruption("the ledger's state record has the wrong size") from error
    if form != records.FORMAT:
        raise ConfigurationError(
            f"this store has format {form}, this program reads {records.FORMAT}", hint="use a newer scribe-ledger"
        )
    position, timestamp, size, keys, live, value_bytes, blob_bytes, log_bytes = numbers
    edge = _load_edge(store, fetch_tile, size)
    return State(position, timestamp, size, keys, live, value_bytes, blob_bytes, log_bytes, edge, archived)


def _load_edge(store: Store, fetch_tile: Callable[[int, int], bytes], size: int) -> Edge:
    """The partial tiles: the last leaves, hashed again, and above them the roots of the last full tiles."""
    if not size:
        return EMPTY.edge
    tiles = [b"".join(map(hash_leaf, _last_leaves(store, size - size % TILE_WIDTH, size)))]
    level = 0
    while full := size >> TILE_HEIGHT * (level + 1):
        roots = range(full - full % TILE_WIDTH, full)
        tiles.append(b"".join([tile_root(fetch_tile(level, index)) for index in roots]))
        level += 1
    return Edge(size, tuple(tiles))


def _last_leaves(store: Store, start: int, stop: int) -> list[bytes]:
    groups: list[list[bytes]] = []
    at = stop
    for group, record in store.table(Table.LEAVES).scan(U64.pack(max(stop - 1, 0)), reverse=True):
        if at <= start:
            break
        leaves = records.unpack(record)
        (first,) = U64.unpack(group)
        if first + len(leaves) != at:
            raise Corruption(f"the group of entries before {at} is missing or cut")
        groups.append(leaves)
        at = first
    if at > start:
        raise Corruption(f"the group of entries before {at} is missing")
    found = [leaf for leaves in reversed(groups) for leaf in leaves]
    return found[start - at :]

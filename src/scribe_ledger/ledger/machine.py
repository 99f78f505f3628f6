"""The state machine: applies batches of commands, deterministically, each in one atomic write.

Nothing here reads a clock, draws a random number or waits. ``apply`` takes a position, a timestamp and the commands,
in units that each take effect wholly or not at all, and every replica that applies the same batches in the same order
has the same log, tree and key index.

Two views exist at any time. ``applied`` is what ``apply`` builds on. ``committed`` is what readers may see; it moves
only in ``commit``, which the sequencer calls after the sync. A batch whose write was refused changes neither.

The order in which a command is judged: request id, precondition, same content, policy.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, pairwise, repeat
from operator import add
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import (
    ConfigurationError,
    Conflict,
    Corruption,
    Forbidden,
    NotFound,
    PreconditionFailed,
    ScribeError,
    VerificationError,
)
from scribe_ledger.ledger import records
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.ledger.receipts import Batch, Receipts
from scribe_ledger.ledger.records import DELETED, IN_BLOB, LATEST, SPOT, U64, Latest, Spot
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.merkle.tiles import TILE_HEIGHT, TILE_WIDTH, tile_root
from scribe_ledger.merkle.tree import Edge, Nodes, grow
from scribe_ledger.model import NO_PREVIOUS, Kind, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.ledger.commands import Command, Condition
    from scribe_ledger.ledger.store import WriteBatch

STATE_KEY = b"state"
POLICY_KEY = b"policy"
APPLY_VERSION = 1
"""The rules of ``apply`` that this code knows. A ledger may ask for older ones, never for newer."""

_STATE = struct.Struct(">HQQQQQQ")
_PUT_WORD = 0x01010100
_LEAF_WORDS = struct.Struct(">IQQQQQ32s32s")
"""The leaf's header with its first four bytes, format to flags, as one number: fewer arguments in the hot loop."""
_WORDS = {kind: 0x01010000 | kind << 8 for kind in Kind}
_DIGEST_AT, _DIGEST_END = 44, 76

assert _LEAF_WORDS.size == HEADER.size


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
    edge: Edge

    def encode(self) -> bytes:
        return _STATE.pack(
            records.FORMAT, self.position, self.timestamp, self.size, self.keys, self.live, self.value_bytes
        )


EMPTY = State(0, 0, 0, 0, 0, 0, Edge(0, ()))

Outcome = Receipts | ScribeError
Answer = Sequence[int | Receipt] | ScribeError
"""Per command of a unit its place in the batch, ``~place`` where it repeats that place, or the receipt it repeats."""


class Machine:
    """One ledger's state over a store. One thread at a time may apply; any thread may read ``committed``."""

    def __init__(self, store: Store, fetch_tile: Callable[[int, int], bytes]) -> None:
        self._store = store
        self.look_up = store.table(Table.KEYS).get_many
        self.blobs = store.table(Table.BLOBS)
        self._fetch_tile = fetch_tile
        self.policy = _load_policy(store)
        self.applied = self.committed = _load_state(store, fetch_tile)
        self._nodes = Nodes(self.committed.edge, fetch_tile)
        self.torn = False
        """True while the store may hold a batch that ``applied`` does not: never apply again after that."""

    def apply(self, units: Sequence[Sequence[Command]], *, position: int, timestamp: int) -> list[Outcome]:
        """Writes one batch and gives each unit's outcome. Nothing of it is durable or visible yet."""
        draft = _Draft(self, max(timestamp, self.applied.timestamp))
        answers = draft.judge(units)
        if draft.commands:
            write = self._store.batch()
            self._write(write, draft, draft.encode(write, position))
        return draft.outcomes(answers)

    def replay(
        self, commands: Sequence[Command], leaf_hashes: Sequence[bytes], *, position: int, timestamp: int
    ) -> None:
        """Writes one batch of entries that another ledger has accepted, or nothing if a leaf would not be the same.

        No policy refuses them: what was allowed there at the time is part of the log. Config entries take effect.
        """
        draft = _Draft(self, max(timestamp, self.applied.timestamp), obeys_policy=False)
        (answer,) = draft.judge([commands])
        if isinstance(answer, ScribeError):
            raise answer
        write = self._store.batch()
        after = draft.encode(write, position)
        for place, (made, given) in enumerate(zip(draft.hashes, leaf_hashes, strict=True)):
            if made != given:
                raise VerificationError(f"entry {self.applied.size + place} does not follow from the entries before it")
        self._write(write, draft, after)

    def _write(self, write: WriteBatch, draft: _Draft, after: State) -> None:
        self.torn = True
        try:
            self._store.write(write)
        except ScribeError as error:
            self.torn = error.kind != "overloaded"
            raise
        self.applied = after
        self.policy = draft.policy
        self.torn = False

    @property
    def nodes(self) -> Nodes:
        """The committed tree, for roots and proofs."""
        nodes, edge = self._nodes, self.committed.edge
        if nodes.edge is not edge:
            nodes = self._nodes = nodes.advance(edge)
        return nodes

    def commit(self) -> State:
        """Lets readers see what was applied. The caller has synced it, or was told not to wait for that."""
        after = self.applied
        if after is not self.committed:
            self.committed = after
        return after

    def spot_of_version(self, key: bytes, version: int) -> Spot:
        record = self._store.table(Table.HISTORY).get(records.version_key(key, version))
        if record is None:
            raise Corruption(f"version {version} of key {key!r} is missing from the key index")
        return records.decode_spot(record)

    def leaf_at(self, spot: Spot) -> bytes:
        record = self._store.table(Table.LEAVES).get(U64.pack(spot.group))
        if record is None:
            raise Corruption(f"the group of entry {spot.index} is missing")
        return records.unpack_item(record, spot.ordinal)


def create(store: Store, policy: Policy) -> None:
    """Writes the state that a new ledger begins with. A store that has one already is left as it is."""
    meta = store.table(Table.META)
    if meta.get(STATE_KEY) is None:
        batch = store.batch()
        batch.put(Table.META, POLICY_KEY, policy.encode())
        batch.put(Table.META, STATE_KEY, EMPTY.encode())
        store.write(batch)
        store.sync()


class _Known(NamedTuple):
    """A key's latest version as a draft sees it; ``place`` is its position in the draft, or -1 if it was stored."""

    latest: Latest
    place: int


class _Columns(NamedTuple):
    """The commands of a batch, field by field: what the bulk of the work runs over."""

    kinds: tuple[Kind, ...]
    keys: tuple[bytes, ...]
    tails: tuple[bytes, ...]
    values: tuple[bytes | None, ...]
    sizes: tuple[int, ...]
    digests: tuple[bytes, ...]
    chunk_roots: tuple[bytes, ...]
    requests: tuple[bytes, ...]
    conditions: tuple[Condition | None, ...]
    dedupes: tuple[bool, ...]


def _all_fresh(columns: _Columns, stored: list[bytes | None]) -> bool:
    """The bulk path: puts of distinct new keys without conditions have nothing to be judged."""
    count = len(stored)
    return (
        stored.count(None) == count
        and columns.kinds.count(Kind.PUT) == count
        and columns.conditions.count(None) == count
        and len(set(columns.keys)) == count
    )


class _Draft:
    """One batch on its way from commands to records."""

    def __init__(self, machine: Machine, timestamp: int, *, obeys_policy: bool = True) -> None:
        self._machine = machine
        self._obeys_policy = obeys_policy
        self._before = machine.applied
        self._timestamp = timestamp
        self.policy = machine.policy
        self.commands: list[Command] = []
        self.versions: list[int] = []
        self.previous: list[int] = []
        self.hashes: Sequence[bytes] = ()
        self._requests: list[bytes] | None = None
        self._superseded: list[tuple[bytes, _Known]] = []
        self._stored: dict[bytes, bytes | None] = {}
        self._known: dict[bytes, _Known] = {}
        self._new_keys = self._new_live = 0
        self._columns: _Columns | None = None
        self._batch = Batch(self._before.size, timestamp)

    # --- judging -----------------------------------------------------------------------------------------------

    def judge(self, units: Sequence[Sequence[Command]]) -> list[Answer]:
        commands = units[0] if len(units) == 1 else [command for unit in units for command in unit]
        if not commands:
            return [[] for _ in units]
        columns = _Columns(*zip(*commands, strict=True))
        stored = self._machine.look_up(columns.keys)
        if _all_fresh(columns, stored):
            count = len(commands)
            self.commands = list(commands)
            self.versions = [1] * count
            self.previous = [NO_PREVIOUS] * count
            self._columns = columns
            self._new_keys = self._new_live = count
            if any(columns.requests):
                self._requests = [
                    records.encode_requests({request: 1}) if request else b"" for request in columns.requests
                ]
            ends = [*accumulate(map(len, units), initial=0)]
            return [range(start, end) for start, end in pairwise(ends)]
        self._stored = dict(zip(columns.keys, stored, strict=True))
        self._requests = []
        return [self._judge_unit(unit) for unit in units]

    def _judge_unit(self, unit: Sequence[Command]) -> Answer:
        mark = self._mark()
        touched: dict[bytes, _Known | None] = {}
        answers: list[int | Receipt] = []
        try:
            for command in unit:
                touched.setdefault(command.key, self._known.get(command.key))
                answers.append(self._judge(command))
        except ScribeError as refusal:
            self._roll_back(mark, touched)
            return refusal
        return answers

    def _mark(self) -> tuple[int, int, int, int, Policy]:
        return len(self.commands), len(self._superseded), self._new_keys, self._new_live, self.policy

    def _roll_back(self, mark: tuple[int, int, int, int, Policy], touched: dict[bytes, _Known | None]) -> None:
        places, superseded, self._new_keys, self._new_live, self.policy = mark
        del self._superseded[superseded:]
        for column in (self.commands, self.versions, self.previous, self._requests or []):
            del column[places:]
        for key, known in touched.items():
            if known is None:
                self._known.pop(key, None)
            else:
                self._known[key] = known

    def _judge(self, command: Command) -> int | Receipt:
        if command.kind is Kind.CONFIG:
            self.policy = self.policy.changed(json.loads(command.value or b"{}"))
            return self._append(command, 0, NO_PREVIOUS, b"")
        known = self._find(command.key)
        if known is None:
            _check_condition(command, None)
            if command.kind is Kind.DELETE:
                raise NotFound(f"there is no key {_show(command.key)} to delete")
            return self._append_first(command)
        if command.request and (earlier := known.latest.requests.get(command.request)) is not None:
            return self._repeat(command, known, earlier)
        spot = known.latest.spot
        _check_condition(command, spot)
        if (
            command.dedupe
            and not spot.deleted
            and known.latest.digest_prefix == command.sha256[:8]
            and (same := self._same_content(command, known)) is not None
        ):
            return same
        self._check_policy(command, spot)
        return self._append_next(command, known)

    def _find(self, key: bytes) -> _Known | None:
        known = self._known.get(key)
        if known is None:
            record = self._stored[key]
            if record is None:
                return None
            known = self._known[key] = _Known(records.decode_latest(record), -1)
        return known

    def _repeat(self, command: Command, known: _Known, version: int) -> int | Receipt:
        """A request id that this key has seen: the first receipt again, if it was the same command."""
        place, leaf = self._version(command.key, known, version)
        if not self._is_same(command, place, leaf):
            raise Conflict(
                f"the request id was used for another command on key {_show(command.key)}, at version {version}",
                hint="use a new request id for every new command",
            )
        return ~place if leaf is None else _receipt_of(leaf)

    def _same_content(self, command: Command, known: _Known) -> int | Receipt | None:
        place, leaf = known.place, None
        if place < 0:
            leaf = self._machine.leaf_at(known.latest.spot)
        if not self._is_same(command, place, leaf):
            return None
        return ~place if leaf is None else _receipt_of(leaf)

    def _version(self, key: bytes, known: _Known, version: int) -> tuple[int, bytes | None]:
        """Where a version of a key stands: a place in this draft, or its stored leaf."""
        if known.latest.spot.version == version and known.place < 0:
            return -1, self._machine.leaf_at(known.latest.spot)
        for place in range(len(self.commands) - 1, -1, -1):
            if self.commands[place].key == key and self.versions[place] == version:
                return place, None
        record = self._stored[key]
        stored = records.decode_latest(record).spot if record is not None else None
        if stored is None or stored.version != version:
            stored = self._machine.spot_of_version(key, version)
        return -1, self._machine.leaf_at(stored)

    def _is_same(self, command: Command, place: int, leaf: bytes | None) -> bool:
        if leaf is None:
            first = self.commands[place]
            return (first.kind, first.sha256, first.tail) == (command.kind, command.sha256, command.tail)
        return (
            leaf[2] == command.kind
            and leaf[_DIGEST_AT:_DIGEST_END] == command.sha256
            and leaf[HEADER.size :] == command.tail
        )

    def _check_policy(self, command: Command, spot: Spot) -> None:
        if command.kind is Kind.DELETE:
            if spot.deleted:
                raise NotFound(f"key {_show(command.key)} is already deleted")
            if self.policy.deletes == "forbid" and self._obeys_policy:
                raise Forbidden("this ledger forbids deletes", hint="the policy `deletes` is `forbid`")
        elif self.policy.overwrite == "forbid" and self._obeys_policy:
            raise Forbidden(
                f"key {_show(command.key)} was written before and this ledger forbids a second version",
                hint="the policy `overwrite` is `forbid`: use another key",
            )

    # --- appending to the draft --------------------------------------------------------------------------------

    def _append_first(self, command: Command) -> int:
        self._new_keys += 1
        self._new_live += 1
        return self._append_known(command, 1, NO_PREVIOUS, {})

    def _append_next(self, command: Command, known: _Known) -> int:
        spot = known.latest.spot
        self._superseded.append((command.key, known))
        self._new_live += spot.deleted - (command.kind is Kind.DELETE)
        return self._append_known(command, spot.version + 1, spot.index, known.latest.requests)

    def _append_known(self, command: Command, version: int, previous: int, requests: dict[bytes, int]) -> int:
        if command.request:
            requests = {**requests, command.request: version}
        requests = records.remembered(requests, version) if requests else requests
        place = self._append(command, version, previous, records.encode_requests(requests))
        flags = DELETED if command.kind is Kind.DELETE else 0
        spot = Spot(self._before.size + place, version, 0, flags, 0, 0)
        self._known[command.key] = _Known(Latest(spot, command.sha256[:8], requests), place)
        return place

    def _append(self, command: Command, version: int, previous: int, requests: bytes) -> int:
        self.commands.append(command)
        self.versions.append(version)
        self.previous.append(previous)
        assert self._requests is not None
        self._requests.append(requests)
        return len(self.commands) - 1

    # --- encoding ----------------------------------------------------------------------------------------------

    def encode(self, write: WriteBatch, position: int) -> State:
        """Fills the write with every record of this batch and gives the state after it. Columns, not objects."""
        before, timestamp, first, count = self._before, self._timestamp, self._before.size, len(self.commands)
        columns = self._columns or _Columns(*zip(*self.commands, strict=True))
        plain = columns.kinds.count(Kind.PUT) == count and None not in columns.values
        indexes = range(first, first + count)
        words = repeat(_PUT_WORD) if plain else [_WORDS[kind] for kind in columns.kinds]
        headers = map(
            _LEAF_WORDS.pack,
            words,
            indexes,
            repeat(timestamp),
            self.versions,
            self.previous,
            columns.sizes,
            columns.digests,
            columns.chunk_roots,
        )
        leaves = list(map(add, headers, columns.tails))
        hashes = [sha256(b"\0" + leaf).digest() for leaf in leaves]
        edge, full_tiles = grow(before.edge, hashes)

        inline = [value or b"" for value in columns.values]
        places = _write_groups(write, first, leaves, inline)
        flags = [0] * count if plain else [_flags(command) for command in self.commands]
        self._write_keys(write, columns, indexes, flags, places)
        if not plain:
            self._write_blobs(write, first)
        write.put_many(
            Table.TREE,
            [records.tile_key(tile.level, tile.index) for tile in full_tiles],
            [tile.nodes for tile in full_tiles],
        )
        after = State(
            position,
            timestamp,
            first + count,
            before.keys + self._new_keys,
            before.live + self._new_live,
            before.value_bytes + sum(columns.sizes),
            edge,
        )
        write.put(Table.META, STATE_KEY, after.encode())
        if self.policy is not self._machine.policy:
            write.put(Table.META, POLICY_KEY, self.policy.encode())
        self.hashes = hashes
        self._batch.fill(self.versions, columns.digests, hashes)
        return after

    def _write_keys(
        self, write: WriteBatch, columns: _Columns, indexes: range, flags: list[int], places: _Places
    ) -> None:
        latest = map(LATEST.pack, indexes, self.versions, places.ordinals, flags, *places[1:], columns.digests)
        if self._requests is None:
            write.put_many(Table.KEYS, columns.keys, latest)
            return
        for key, record in zip(columns.keys, map(add, latest, self._requests), strict=True):
            if key:  # system entries have none
                write.put(Table.KEYS, key, record)
        for key, known in self._superseded:
            spot, place = known.latest.spot, known.place
            if place >= 0:
                spot = Spot(spot.index, spot.version, places.ordinals[place], flags[place], *places.slice(place))
            record = SPOT.pack(*spot)
            write.put(Table.HISTORY, records.version_key(key, spot.version), record)
            write.put(Table.HISTORY, records.index_key(key, spot.index), record)

    def _write_blobs(self, write: WriteBatch, first: int) -> None:
        blobs = self._machine.blobs
        for place, command in enumerate(self.commands):
            if command.in_blob and blobs.get(command.sha256) is None:
                write.put(Table.BLOBS, command.sha256, U64.pack(first + place))

    def outcomes(self, answers: list[Answer]) -> list[Outcome]:
        return [answer if isinstance(answer, ScribeError) else Receipts(self._batch, answer) for answer in answers]


class _Places(NamedTuple):
    """Where each entry of a batch went: its ordinal in its group, and its slice of the group's values."""

    ordinals: list[int]
    offsets: list[int]
    lengths: list[int]

    def slice(self, place: int) -> tuple[int, int]:
        return self.offsets[place], self.lengths[place]


def _write_groups(write: WriteBatch, first: int, leaves: list[bytes], values: Sequence[bytes]) -> _Places:
    """Cuts a batch into groups and writes their two records."""
    lengths = list(map(len, values))
    ends = list(accumulate(lengths, initial=0))
    count, start = len(values), 0
    ordinals: list[int] = []
    offsets: list[int] = []
    while start < count:
        end = bisect_right(ends, ends[start] + records.GROUP_BYTES, start + 1, count + 1) - 1
        end = min(max(end, start + 1), start + records.GROUP_ENTRIES)
        group = U64.pack(first + start)
        write.put(Table.LEAVES, group, records.pack(leaves[start:end]))
        write.put(Table.VALUES, group, records.pack(values[start:end]))
        shift = records.pack_header_bytes(end - start) - ends[start]
        ordinals += range(end - start)
        offsets += [at + shift for at in ends[start:end]]
        start = end
    return _Places(ordinals, offsets, lengths)


def _flags(command: Command) -> int:
    if command.kind is Kind.DELETE:
        return DELETED
    return IN_BLOB if command.in_blob else 0


def _check_condition(command: Command, spot: Spot | None) -> None:
    condition = command.condition
    if condition is None:
        return
    if condition.absent and spot is not None and not spot.deleted:
        raise PreconditionFailed(f"key {_show(command.key)} exists, at version {spot.version}")
    version = spot.version if spot is not None else 0
    if condition.version is not None and condition.version != version:
        raise PreconditionFailed(
            f"key {_show(command.key)} is at version {version}, not {condition.version}",
            hint="read it again and repeat the change on what it is now",
        )
    if condition.index is not None and (spot is None or condition.index != spot.index):
        latest = "was never written" if spot is None else f"has its latest entry at index {spot.index}"
        raise PreconditionFailed(
            f"key {_show(command.key)} {latest}, not at {condition.index}",
            hint="read it again and repeat the change on what it is now",
        )


def _receipt_of(leaf: bytes) -> Receipt:
    _, index, timestamp, version, _, _, digest, _ = _LEAF_WORDS.unpack_from(leaf)
    return Receipt(index, version, timestamp, digest, hash_leaf(leaf), created=False)


def _show(key: bytes) -> str:
    """A key as it stands in messages: short, and on one line."""
    text = repr(key.decode(errors="backslashreplace"))
    return text if len(text) <= 80 else text[:77] + "…'"


def _load_policy(store: Store) -> Policy:
    record = store.table(Table.META).get(POLICY_KEY)
    if record is None:
        raise Corruption("the ledger's policies are missing from its store")
    policy = Policy.decode(record)
    if policy.apply_version > APPLY_VERSION:
        raise ConfigurationError(
            f"this ledger applies by rules of version {policy.apply_version}, this program knows {APPLY_VERSION}",
            hint="use a newer scribe-ledger",
        )
    return policy


def _load_state(store: Store, fetch_tile: Callable[[int, int], bytes]) -> State:
    record = store.table(Table.META).get(STATE_KEY)
    if record is None:
        raise Corruption("the ledger's state record is missing from its store")
    try:
        form, *numbers = _STATE.unpack(record)
    except struct.error as error:
        raise Corruption("the ledger's state record has the wrong size") from error
    if form != records.FORMAT:
        raise ConfigurationError(
            f"this store has format {form}, this program reads {records.FORMAT}", hint="use a newer scribe-ledger"
        )
    position, timestamp, size, keys, live, value_bytes = numbers
    return State(position, timestamp, size, keys, live, value_bytes, _load_edge(store, fetch_tile, size))


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

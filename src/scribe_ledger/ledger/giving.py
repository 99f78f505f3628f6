"""Giving: what another member's ledger, a prefix of this one, lacks; entry for entry, in pieces, in bounded memory.

All is as of the moment when ``give`` is called, whatever is applied, evicted or removed while the pieces are made: the
tables are pinned by their cursors, and so is what keys remember of request ids, which a later version may forget. The
groups travel as they are stored. Values that this member has evicted are not read back from the archive: the receiver
takes them as archived, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Conflict, Corruption, SerializationError, Unavailable, counted
from scribe_ledger.ledger import manifest, pieces, records
from scribe_ledger.ledger.pieces import Group
from scribe_ledger.ledger.records import LATEST, U64
from scribe_ledger.ledger.store import Table
from scribe_ledger.merkle.leaf import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scribe_ledger.ledger.machine import Machine, State
    from scribe_ledger.ledger.policy import Policy
    from scribe_ledger.ledger.store import Store, TableView


class Have(NamedTuple):
    """What a member says it has."""

    size: int
    root: bytes
    manifest_version: int
    manifest_digest: bytes


def describe(machine: Machine) -> bytes:
    """The same, of this one. What was taken in part is not told: it is skipped when it comes again."""
    state = machine.committed
    fields = {
        "size": state.size,
        "root": machine.nodes.root(state.size).hex(),
        "manifest_version": state.manifest.version,
        "manifest_digest": state.manifest.digest.hex(),
    }
    return pieces.encode_fields(b"", fields)


def _decode_have(text: bytes) -> Have:
    fields = pieces.decode_fields(text)
    try:
        size, version = fields["size"], fields["manifest_version"]
        have = Have(size, bytes.fromhex(fields["root"]), version, bytes.fromhex(fields["manifest_digest"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SerializationError("what a member has cannot be read") from error
    if not all(isinstance(number, int) and 0 <= number < 1 << 63 for number in (size, version)):
        raise SerializationError("what a member has cannot be read")
    return have


class _Pinned(NamedTuple):
    """This ledger at one moment."""

    state: State
    policy: Policy
    evicted: int
    leaves: Iterator[tuple[bytes, bytes]]
    values: Iterator[tuple[bytes, bytes]]
    changes: Iterator[tuple[bytes, bytes]]
    keys: TableView


def give(store: Store, machine: Machine, have: bytes, stop: int, position: int, membership: bytes) -> Iterator[bytes]:
    """The pieces. Nothing may be applied or evicted during this call; it is short, and what it gives may be slow."""
    wanted = _decode_have(have)
    below = store.table(Table.LEAVES).seek(U64.pack(wanted.size), reverse=True)
    start = below[0] if below is not None else None
    pinned = _Pinned(
        machine.applied,
        machine.policy,
        machine.evicted,
        store.table(Table.LEAVES).scan(start),
        store.table(Table.VALUES).scan(start),
        store.table(Table.MANIFEST).scan(),
        store.table(Table.KEYS).pin(),
    )
    return _give(store, machine, pinned, wanted, stop, position, membership)


def _give(
    store: Store, machine: Machine, pinned: _Pinned, have: Have, stop: int, position: int, membership: bytes
) -> Iterator[bytes]:
    try:
        state = pinned.state
        _check_prefix(machine, state, have, stop)
        header = {
            "start": have.size,
            "stop": stop,
            "root": machine.nodes.root(stop).hex(),
            "position": position,
            "membership": membership.hex(),
            "manifest_start": have.manifest_version,
        }
        yield pieces.encode_fields(pieces.HEADER, header)
        if state.position > position or state.size != stop:
            raise Unavailable(
                f"this member has gone on from position {position} to {state.position}",
                hint="ask for a snapshot again: it is as of the moment when it is begun",
            )
        yield from _entries(store, pinned, have.size, stop)
        yield from _manifest(pinned, have.manifest_version)
        trailer = {
            "state": state.encode().hex(),
            "policy": pinned.policy.encode().decode(),
            "evicted": pinned.evicted,
            "manifest_digest": state.manifest.digest.hex(),
        }
        yield pieces.encode_fields(pieces.TRAILER, trailer)
    finally:
        pinned.keys.close()


def _check_prefix(machine: Machine, state: State, have: Have, stop: int) -> None:
    if have.size > stop or have.manifest_version > state.manifest.version:
        raise Conflict(f"a member has {counted(have.size)}, more than the {stop} that it asks for")
    if machine.nodes.root(have.size) != have.root:
        raise Conflict(f"a member has {have.size} other entries than this one")
    if machine.manifest_table.digest_at(state.manifest, have.manifest_version) != have.manifest_digest:
        raise Conflict(f"a member has another manifest of version {have.manifest_version}")


def _entries(store: Store, pinned: _Pinned, start: int, stop: int) -> Iterator[bytes]:
    groups: list[Group] = []
    size = 0
    for group in _groups(store, pinned, start, stop):
        groups.append(group)
        size += group.bytes
        if size >= pieces.PIECE_BYTES:
            yield pieces.encode_groups(groups)
            groups, size = [], 0
    if groups:
        yield pieces.encode_groups(groups)


def _groups(store: Store, pinned: _Pinned, start: int, stop: int) -> Iterator[Group]:
    for group in stored_groups(pinned.leaves, pinned.values, pinned.evicted, start, stop):
        items = records.unpack(group.leaves)
        yield group._replace(requests=_remembered(store, pinned, group.first, items))


def stored_groups(
    leaves: Iterator[tuple[bytes, bytes]], values: Iterator[tuple[bytes, bytes]], evicted: int, start: int, stop: int
) -> Iterator[Group]:
    """The groups with entries from ``start`` to ``stop``, out of scans of both tables. ``Corruption`` for a gap."""
    following = start
    found = next(values, None)
    for name, record in leaves:
        if following >= stop:
            return
        (first,) = U64.unpack(name)
        count = records.count_of(record)
        if first + count <= following:  # the group before the first that is lacking
            continue
        if first > following:
            raise Corruption(f"entry {following} is missing", hint="run `scribe fsck`")
        while found is not None and found[0] < name:
            found = next(values, None)
        held = found[1] if found is not None and found[0] == name and first >= evicted else None
        if held is None and first >= evicted:
            raise Corruption(f"the values of the group of entry {first} are missing", hint="run `scribe fsck`")
        yield Group(first, record, held, ())
        following = first + count
    if following < stop:
        raise Corruption(f"entry {following} is missing", hint="run `scribe fsck`")


def _remembered(store: Store, pinned: _Pinned, first: int, leaves: Sequence[bytes]) -> Sequence[bytes]:
    """The request ids that keys remember whose latest version is among these entries."""
    keys = [*map(key_of, leaves)]
    found = store.table(Table.KEYS).get_many(keys)
    requests = [b""] * len(leaves)
    size = pinned.state.size
    for place, (key, latest) in enumerate(zip(keys, found, strict=True)):
        record = latest
        if record is not None and int.from_bytes(record[:8], "big") >= size:  # written since
            record = pinned.keys.get(key)
        if record is not None and len(record) > LATEST.size and int.from_bytes(record[:8], "big") == first + place:
            requests[place] = record[LATEST.size :]
    return requests if any(requests) else ()


def _manifest(pinned: _Pinned, version: int) -> Iterator[bytes]:
    """All that lives in the manifest's table, and the changes after a version."""
    items: list[tuple[bytes, bytes]] = []
    size = 0
    for key, record in pinned.changes:
        if 0 < manifest.version_of_change(key) <= version:
            continue
        items.append((key, record))
        size += len(key) + len(record)
        if size >= pieces.PIECE_BYTES:
            yield pieces.encode_records(items)
            items, size = [], 0
    if items:
        yield pieces.encode_records(items)

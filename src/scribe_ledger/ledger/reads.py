"""Reads: every one is a read *as of a tree size*, and the default size is what is committed.

That is how nothing unsynced is ever seen: an entry at or past the size is not there, and the key's newest version
below it is found with one seek. No method here takes a lock or writes.
"""

from __future__ import annotations

import struct
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption, SerializationError
from scribe_ledger.ledger import records
from scribe_ledger.ledger.cold_scan import ColdScan
from scribe_ledger.ledger.records import DELETED, IN_BLOB, U64, Spot
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.leaf import DIGEST, Leaf, decode_leaf, entry_of, key_of
from scribe_ledger.model import Entry, Kind, show_key
from scribe_ledger.segments.columns import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scribe_ledger.ledger.cold import ColdValues
    from scribe_ledger.objects.blobs import BlobReader, BlobStore

_LATEST_HEAD = struct.Struct(">QQHBII")


class Reader:
    """Reads of one ledger over its store, its blobs and its archive."""

    def __init__(self, store: Store, blobs: BlobStore, cold: ColdValues) -> None:
        self._keys = store.table(Table.KEYS)
        self._history = store.table(Table.HISTORY)
        self._leaves = store.table(Table.LEAVES)
        self._values = store.table(Table.VALUES)
        self._blobs = blobs
        self._cold = cold
        self._get_key = self._keys.get
        self._get_values = self._values.get

    # --- one key -----------------------------------------------------------------------------------------------

    def latest_value(self, key: bytes, size: int) -> bytes | None:
        """The hot path: two look-ups and a slice."""
        record = self._get_key(key)
        if record is None:
            return None
        try:
            index, _, ordinal, flags, offset, length = _LATEST_HEAD.unpack_from(record)
            group = (index - ordinal).to_bytes(8, "big")
        except (struct.error, OverflowError):
            raise _damaged_index(key) from None
        if index >= size or flags:
            spot = self.spot(key, size)
            return None if spot is None or spot.deleted else self.value(spot)
        if index < self._cold.evicted and (value := self._cold.checked_value(key, index)) is not None:
            return value
        values = self._get_values(group)
        if values is None:
            return self._cold_value(records.latest_spot(record), key)
        if len(values) < offset + length:
            raise _missing_value(index)
        return values[offset : offset + length]

    def latest_values(self, keys: list[bytes], size: int) -> list[bytes | None]:
        """The same for many keys, with one look-up for all of their places and one for all of their groups.

        Those that are no longer hot are read in the order of their keys, which is that of the segments.
        """
        found = self._keys.get_many(keys)
        heads = [
            None if record is None or len(record) < _LATEST_HEAD.size else _LATEST_HEAD.unpack_from(record)
            for record in found
        ]
        plain = [head if head is not None and head[2] <= head[0] < size and not head[3] else None for head in heads]
        groups = list({head[0] - head[2] for head in plain if head is not None})
        values = dict(zip(groups, self._values.get_many([U64.pack(group) for group in groups]), strict=True))
        gone = {group for group, record in values.items() if record is None}
        cold = {key for key, head in zip(keys, plain, strict=True) if head is not None and head[0] - head[2] in gone}
        fetched = {key: self.latest_value(key, size) for key in sorted(cold)} if cold else {}
        return [
            (None if record is None else self.latest_value(key, size))
            if head is None
            else fetched[key]
            if key in fetched
            else _slice(values[head[0] - head[2]], head)
            for key, record, head in zip(keys, found, plain, strict=True)
        ]

    def spot(self, key: bytes, size: int, version: int | None = None) -> Spot | None:
        """Where the key's latest version below ``size`` stands, or one version of it; deletes included."""
        record = self._get_key(key)
        if record is None:
            return None
        latest = records.latest_spot(record)
        if version is None:
            return latest if latest.index < size else self._spot_before(key, size)
        if version >= latest.version:
            found = latest if version == latest.version else None
        else:
            history = self._history.get(records.version_key(key, version))
            if history is None:
                raise _damaged_index(key)
            found = records.decode_spot(history)
        return found if found is not None and found.index < size else None

    def _spot_before(self, key: bytes, size: int) -> Spot | None:
        return records.superseded_until(self._history, key, size - 1) if size else None

    def history(self, key: bytes, size: int) -> Iterator[Entry]:
        """All versions below ``size``, newest first."""
        record = self._get_key(key)
        if record is None:
            return
        latest = records.latest_spot(record)
        below = size
        if latest.index < size:
            yield self.entry(latest, key)
            below = latest.index  # by now it may have been superseded, and stand in the history too
        if below == 0:
            return
        prefix = records.index_prefix(key)
        for found, history in self._history.scan(records.index_key(key, below - 1)):
            if not found.startswith(prefix):
                return
            yield self.entry(records.decode_spot(history), key)

    # --- values and entries ------------------------------------------------------------------------------------

    def value(self, spot: Spot) -> bytes:
        """The bytes of one version: inline ones as the store gives them, large ones checked chunk by chunk."""
        index, _, ordinal, flags, offset, length = spot
        if flags & DELETED:
            return b""
        if flags & IN_BLOB:
            leaf = self.leaf(spot)
            return self._blobs.read(leaf.sha256, leaf.size, leaf.chunk_root)
        values = self._get_values(U64.pack(index - ordinal))
        if values is None:
            return self._cold_value(spot)
        if len(values) < offset + length:
            raise _missing_value(index)
        return values[offset : offset + length]

    def _cold_value(self, spot: Spot, key: bytes | None = None) -> bytes:
        leaf = self.leaf_bytes(spot)
        found = key_of(leaf)
        if key not in (None, found):
            raise _damaged_index(found)
        return self._cold.value(found, spot.index, leaf[DIGEST])

    def open_blob(self, spot: Spot) -> BlobReader:
        """A large value as a file."""
        leaf = self.leaf(spot)
        return self._blobs.open(leaf.sha256, leaf.size, leaf.chunk_root)

    def leaf_bytes(self, spot: Spot) -> bytes:
        record = self._leaves.get(U64.pack(spot.group))
        if record is None:
            raise Corruption(f"the group of entry {spot.index} is missing", hint="run `scribe fsck`")
        return records.unpack_item(record, spot.ordinal)

    def leaf(self, spot: Spot) -> Leaf:
        return decode_stored_leaf(self.leaf_bytes(spot), spot.index)

    def entry(self, spot: Spot, key: bytes | None = None) -> Entry:
        data = self.leaf_bytes(spot)
        leaf = decode_stored_leaf(data, spot.index)
        if key is not None and leaf.key != key:
            raise _damaged_index(key)
        return entry_of(leaf, hash_leaf(data), partial(self._checked_value, spot, leaf))

    def _checked_value(self, spot: Spot, leaf: Leaf) -> bytes:
        value = self.value(spot)
        if leaf.kind is not Kind.DELETE and not spot.in_blob and sha256(value).digest() != leaf.sha256:
            raise Corruption(f"the value of entry {leaf.index} does not match its digest", hint="run `scribe fsck`")
        return value

    # --- ranges ------------------------------------------------------------------------------------------------

    def scan(
        self, size: int, *, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """The latest live entries in key order, beginning at ``start``, which is included."""
        for _, entry in self.walk(size, prefix=prefix, start=start, reverse=reverse):
            if entry is not None:
                yield entry

    def walk(
        self, size: int, *, prefix: bytes = b"", start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, Entry | None]]:
        """The same with every key on the way, and None where it has no live entry below ``size``."""
        for key, record in self._keys.scan(_scan_start(prefix, start, reverse=reverse), reverse=reverse):
            if not key.startswith(prefix):
                if reverse and key > prefix:
                    continue  # the first key beyond the prefix, met when seeking downwards
                return
            spot: Spot | None = records.latest_spot(record)
            if spot is not None and spot.index >= size:
                spot = self._spot_before(key, size)
            yield key, None if spot is None or spot.deleted else self.entry(spot, key)

    def log(self, start: int, stop: int) -> Iterator[Entry]:
        """Entries in log order, from ``start`` to before ``stop``."""
        cold = ColdScan(self._cold, stop)
        for group, first, leaves in self._groups(start, stop):
            values = _GroupValues(group, self._values.get, cold)
            for index in range(max(first, start), min(first + len(leaves), stop)):
                data = leaves[index - first]
                leaf = decode_stored_leaf(data, index)
                yield entry_of(leaf, hash_leaf(data), partial(self._log_value, leaf, index - first, values))

    def groups(self, start: int, stop: int) -> Iterator[Group]:
        """The groups from ``start``, where one begins, to before ``stop``, with their values."""
        for group, first, leaves in self._groups(start, stop):
            values = self._get_values(group)
            if values is None:
                raise _missing_value(first)
            yield Group(first, leaves, records.unpack(values))

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """The leaves from ``start`` to before ``stop``, as they are stored."""
        return [
            leaf
            for _, first, leaves in self._groups(start, stop)
            for leaf in leaves[max(start - first, 0) : stop - first]
        ]

    def _groups(self, start: int, stop: int) -> Iterator[tuple[bytes, int, list[bytes]]]:
        """The groups with entries from ``start`` to before ``stop``: record key, first index, all of its leaves."""
        if start >= stop:
            return
        below = self._leaves.seek(U64.pack(start), reverse=True)
        following = start
        for group, record in self._leaves.scan(below[0] if below else None):
            first = int.from_bytes(group, "big")
            leaves = records.unpack(record)
            if not first <= following < first + len(leaves):
                break
            yield group, first, leaves
            following = first + len(leaves)
            if following >= stop:
                return
        raise Corruption(f"the group of entry {following} is missing", hint="run `scribe fsck`")

    def entry_at(self, index: int) -> Entry:
        """The entry at an index, which must be committed."""
        return next(self.log(index, index + 1))

    def _log_value(self, leaf: Leaf, ordinal: int, values: _GroupValues) -> bytes:
        if leaf.kind is Kind.DELETE:
            return b""
        if leaf.chunk_root != ZERO_HASH:
            return self._blobs.read(leaf.sha256, leaf.size, leaf.chunk_root)
        value = values.item(ordinal, leaf)
        if sha256(value).digest() != leaf.sha256:
            raise Corruption(f"the value of entry {leaf.index} does not match its digest", hint="run `scribe fsck`")
        return value


class _GroupValues:
    """The inline values of one group, read when the first of them is asked for."""

    def __init__(self, group: bytes, get: Callable[[bytes], bytes | None], cold: ColdScan) -> None:
        self._group = group
        self._get = get
        self._cold = cold
        self._items: Sequence[bytes] | None = None
        self._evicted = False

    def item(self, ordinal: int, leaf: Leaf) -> bytes:
        if self._items is None and not self._evicted:
            record = self._get(self._group)
            self._evicted = record is None
            self._items = None if record is None else records.unpack(record)
        if self._items is None:
            return self._cold.value(leaf.key, leaf.index, leaf.sha256)
        if ordinal >= len(self._items):
            raise _missing_value(leaf.index)
        return self._items[ordinal]


def _slice(values: bytes | None, head: tuple[int, ...]) -> bytes:
    index, _, _, _, offset, length = head
    if values is None or len(values) < offset + length:
        raise _missing_value(index)
    return values[offset : offset + length]


def decode_stored_leaf(data: bytes, index: int) -> Leaf:
    try:
        leaf = decode_leaf(data)
    except SerializationError as error:
        raise Corruption(f"the leaf of entry {index} cannot be read: {error.message}") from error
    if leaf.index != index:
        raise Corruption(f"the leaf of entry {index} says that it is entry {leaf.index}", hint="run `scribe fsck`")
    return leaf


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all that begin with ``prefix``; None if there can be none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None


def _scan_start(prefix: bytes, start: bytes | None, *, reverse: bool) -> bytes | None:
    if not reverse:
        return max(prefix, start or b"")
    end = prefix_end(prefix)
    if start is None:
        return end
    return start if end is None else min(start, end)


def _missing_value(index: int) -> Corruption:
    return Corruption(f"the value of entry {index} is missing", hint="run `scribe fsck`")


def _damaged_index(key: bytes) -> Corruption:
    return Corruption(f"the key index of {show_key(key)} is damaged", hint="run `scribe fsck`")

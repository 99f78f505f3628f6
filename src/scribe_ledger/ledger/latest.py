"""The read behind a plain GET: a key's latest leaf and value together, without making an entry of them."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.records import U64, latest_spot, unpack_item
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.leaf import DIGEST, key_of
from scribe_ledger.model import show_key

if TYPE_CHECKING:
    from scribe_ledger.ledger.machine import Machine

_HINT = "run `scribe fsck`"


class Latest(NamedTuple):
    """A live value that travelled with its command. The value's digest is the leaf's: that was checked."""

    leaf: bytes
    value: bytes


class LatestReader:
    """Three look-ups, and only what must be checked is unpacked."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self._get_key = store.table(Table.KEYS).get
        self._get_leaves = store.table(Table.LEAVES).get
        self._get_values = store.table(Table.VALUES).get
        self._machine = machine

    def read(self, key: bytes) -> Latest | None:
        """None where there is more to say: the key is absent, deleted, large, was
        written since the last commit, or its value is not hot."""
        size = self._machine.committed.size
        record = self._get_key(key)
        if record is None:
            return None
        spot = latest_spot(record)
        if spot.index >= size or spot.deleted or spot.in_blob:
            return None
        group = U64.pack(spot.group)
        leaf = unpack_item(self._get_leaves(group) or b"", spot.ordinal)
        values = self._get_values(group)
        if values is None:
            return None
        value = values[spot.offset : spot.offset + spot.length]
        if key_of(leaf) != key:
            raise Corruption(f"the key index of {show_key(key)} names another key's entry", hint=_HINT)
        if sha256(value).digest() != leaf[DIGEST]:
            raise Corruption(f"the value of entry {spot.index} does not match its digest", hint=_HINT)
        return Latest(leaf, value)

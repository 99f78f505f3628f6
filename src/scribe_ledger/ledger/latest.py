"""The read behind a plain GET: a key's latest leaf and value together, without making an entry of them."""

from __future__ import annotations

import struct
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.records import GROUP_ENTRIES
from scribe_ledger.ledger.store import Store, Table
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.model import show_key

if TYPE_CHECKING:
    from scribe_ledger.ledger.machine import Machine

_LATEST_HEAD = struct.Struct(">QQHBII")
_U16 = struct.Struct(">H")
_LENGTHS = [struct.Struct(f">{count}I") for count in range(GROUP_ENTRIES + 1)]
"""Compiled once: struct's own cache of formats is smaller than a group."""
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
        """None where there is more to say: the key is absent, deleted, large, or was written since the last commit."""
        size = self._machine.committed.size
        record = self._get_key(key)
        if record is None:
            return None
        try:
            index, _, ordinal, flags, offset, length = _LATEST_HEAD.unpack_from(record)
            if index >= size or flags:
                return None
            group = (index - ordinal).to_bytes(8, "big")
            leaf = _item(self._get_leaves(group) or b"", ordinal)
        except (struct.error, OverflowError, IndexError) as error:
            raise Corruption(f"the key index of {show_key(key)} is damaged", hint=_HINT) from error
        value = (self._get_values(group) or b"")[offset : offset + length]
        if leaf[HEADER.size + 2 : HEADER.size + 2 + len(key)] != key:
            raise Corruption(f"the key index of {show_key(key)} names another key's entry", hint=_HINT)
        if sha256(value).digest() != leaf[DIGEST]:
            raise Corruption(f"the value of entry {index} does not match its digest", hint=_HINT)
        return Latest(leaf, value)


DIGEST = slice(HEADER.size - 64, HEADER.size - 32)
"""Where a leaf has its value's digest."""


def _item(record: bytes, ordinal: int) -> bytes:
    """One item of a pack."""
    (count,) = _U16.unpack_from(record)
    lengths = _LENGTHS[ordinal + 1].unpack_from(record, 2)
    start = 2 + 4 * count + sum(lengths[:-1])
    return record[start : start + lengths[-1]]

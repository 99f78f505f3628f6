"""``Answers``: the whole answers to GET that were given lately, forgotten when their key is written.

An answer is filled in only if nothing was committed since its entry was read, and a commit forgets its keys in the same
step in which it becomes visible. So a cached answer is never older than an acknowledged write.
"""

from __future__ import annotations

from binascii import b2a_base64, hexlify
from typing import TYPE_CHECKING

import orjson

from scribe_ledger.http.headers import value_head
from scribe_ledger.ledger.cache import ValueCache
from scribe_ledger.ledger.reads import decode_stored_leaf
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.merkle.leaf import HEADER, entry_of
from scribe_ledger.model import NO_PREVIOUS, key_to_json

if TYPE_CHECKING:
    from scribe_ledger.ledger.latest import Latest
    from scribe_ledger.model import Entry

ANSWER_OVERHEAD_BYTES = 400
JSON_KEPT_BYTES = 1024
"""An answer's JSON is kept with it where its value is no larger: the overhead allows for that much."""
_PLAIN_ENTRY = (
    b'{%b,"kind":"put","index":%d,"version":%d,"timestamp":%d,"previous":%b,"size":%d,'
    b'"sha256":"%b","leaf_hash":"%b","content_type":"","metadata":{}}'
)
_EMPTY_TAIL_BYTES = 4
"""The lengths of content type and metadata in a leaf."""


class Answer:
    """One key's value, ready to be sent."""

    def __init__(self, head: bytes, value: bytes, entry: Entry | None, leaf: bytes) -> None:
        self.head = b"%bcontent-length: %d\r\n" % (head, len(value))
        self.value = value
        self._entry = entry
        self._leaf = leaf
        self._json: bytes | None = None

    @classmethod
    def of_entry(cls, entry: Entry, value: bytes) -> Answer:
        return cls(head_of(entry), value, entry, b"")

    @classmethod
    def of_latest(cls, key: bytes, latest: Latest) -> Answer:
        """Without looking at more of the leaf than an answer needs."""
        leaf, value = latest
        _, _, _, _, index, timestamp, version, _, _, digest, _ = HEADER.unpack_from(leaf)
        if len(leaf) == HEADER.size + len(key) + 6:  # neither content type nor metadata
            return cls(value_head(index, timestamp, version, digest, "", {}), value, None, leaf)
        entry = _entry_of(leaf, value)
        return cls(head_of(entry), value, entry, leaf)

    @property
    def entry(self) -> Entry:
        if self._entry is None:
            self._entry = _entry_of(self._leaf, self.value)
        return self._entry

    @property
    def json(self) -> bytes:
        """The entry with its value, as ``POST /v1/get`` answers it."""
        made = self._json
        if made is None:
            shape = leaf_json(self._leaf) if self._leaf else orjson.dumps(self.entry.to_json())
            made = with_value(shape, self.value)
            if len(self.value) <= JSON_KEPT_BYTES:
                self._json = made
        return made

    def __len__(self) -> int:
        return len(self.value) + 2 * len(self.head) + ANSWER_OVERHEAD_BYTES


def head_of(entry: Entry) -> bytes:
    return value_head(entry.index, entry.timestamp, entry.version, entry.sha256, entry.content_type, entry.metadata)


def _entry_of(leaf: bytes, value: bytes) -> Entry:
    (index,) = HEADER.unpack_from(leaf)[4:5]
    return entry_of(decode_stored_leaf(leaf, index), hash_leaf(leaf), lambda: value)


def is_large(entry: Entry) -> bool:
    """Whether the value is a blob, which is streamed and never held whole."""
    return entry.chunk_root != ZERO_HASH


def leaf_json(leaf: bytes) -> bytes:
    """What ``Entry.to_json`` gives, for the leaf of a small value; most have neither content type nor metadata."""
    _, _, _, _, index, timestamp, version, previous, size, digest, _ = HEADER.unpack_from(leaf)
    key_end = HEADER.size + 2 + int.from_bytes(leaf[HEADER.size : HEADER.size + 2], "big")
    if len(leaf) > key_end + _EMPTY_TAIL_BYTES:
        entry = entry_of(decode_stored_leaf(leaf, index), hash_leaf(leaf), bytes)
        return orjson.dumps(entry.to_json())
    return _PLAIN_ENTRY % (
        orjson.dumps(key_to_json(leaf[HEADER.size + 2 : key_end]))[1:-1],
        index,
        version,
        timestamp,
        b"null" if previous == NO_PREVIOUS else b"%d" % previous,
        size,
        hexlify(digest),
        hexlify(hash_leaf(leaf)),
    )


def with_value(shape: bytes, value: bytes | None) -> bytes:
    """An entry's JSON with its value; None for a large one."""
    if value is None:
        return b'%b,"value_base64":null}' % shape[:-1]
    return b'%b,"value_base64":"%b"}' % (shape[:-1], b2a_base64(value, newline=False))


class Answers(ValueCache[Answer]):
    """The cache; ``hit(key)`` is one dictionary look-up."""

"""``Answers``: the whole answers to GET that were given lately, forgotten when their key is written.

An answer is filled in only if nothing was committed since its entry was read, and a commit forgets its keys in the same
step in which it becomes visible. So a cached answer is never older than an acknowledged write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from scribe_ledger.http.headers import Headers, value_headers
from scribe_ledger.ledger.cache import ValueCache
from scribe_ledger.merkle.hashing import ZERO_HASH

if TYPE_CHECKING:
    from scribe_ledger.model import Entry

ANSWER_OVERHEAD_BYTES = 400


class Answer:
    """One key's latest value, ready to be sent. A large value is not held, only its entry."""

    __slots__ = ("_json", "entry", "head", "headers", "value")

    def __init__(self, entry: Entry, value: bytes) -> None:
        self.entry = entry
        self.value = value
        self.headers: Headers = [*value_headers(entry), (b"content-length", b"%d" % len(value))]
        self.head = b"".join([b"%b: %b\r\n" % header for header in self.headers])
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        """The entry with its value, as ``POST /v1/get`` answers it."""
        if self._json is None:
            self._json = orjson.dumps(entry_with_value(self.entry, self.value))
        return self._json

    def __len__(self) -> int:
        return len(self.value) + 2 * len(self.head) + ANSWER_OVERHEAD_BYTES


def is_large(entry: Entry) -> bool:
    """Whether the value is a blob, which is streamed and never held whole."""
    return entry.chunk_root != ZERO_HASH


def entry_with_value(entry: Entry, value: bytes | None) -> dict[str, object]:
    """The entry as JSON, with its value; None for a large one."""
    import base64

    shape = entry.to_json()
    if not entry.deleted:
        shape["value_base64"] = None if value is None else base64.b64encode(value).decode()
    return shape


class Answers(ValueCache[Answer]):
    """The cache; ``hit(key)`` is one dictionary look-up."""

"""The shared words: what an entry and a receipt are, and the limits every room agrees on. No behaviour, no I/O."""

from __future__ import annotations

import datetime
import enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_KEY_BYTES = 4096
MAX_METADATA_BYTES = 8192
"""Limit of a metadata block as it stands in the leaf: names, values and their length prefixes."""
MAX_CONTENT_TYPE_BYTES = 255
MAX_LEAF_BYTES = 65535
MAX_REQUEST_ID_BYTES = 255
MAX_MESSAGE_BYTES = 16 << 20
"""Between two members of a cluster, at once."""
MESSAGE_HEAD_BYTES = 2048
"""Of these, what a message may have around the write that it carries."""
CHUNK_BYTES = 1 << 20
"""Large values are hashed, fetched and checked in chunks of this size."""
MAX_NUMBER = (1 << 64) - 1
"""Of indexes, versions, sizes and timestamps."""
NO_PREVIOUS = MAX_NUMBER
"""The leaf's ``previous`` of a key's first entry."""


class Kind(enum.IntEnum):
    """What an entry does. The numbers stand in leaves and never change."""

    PUT = 1
    DELETE = 2
    CONFIG = 3
    EPOCH = 4  # reserved
    REDACT = 5  # reserved


class Extent(NamedTuple):
    """How far a ledger is, in words that another copy of it can check."""

    size: int
    root: bytes
    manifest_version: int
    manifest_digest: bytes


class Receipt(NamedTuple):
    """What a write leaves behind: enough to find its entry and to check any later proof of it."""

    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    version: int
    timestamp: int
    sha256: bytes
    leaf_hash: bytes
    created: bool
    """False when nothing was appended: same content, or a retry of the same request."""

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "version": self.version,
            "timestamp": self.timestamp,
            "sha256": self.sha256.hex(),
            "leaf_hash": self.leaf_hash.hex(),
            "created": self.created,
        }


class Entry:
    """One entry of the log. Its fields are the leaf's; ``value`` is fetched and checked when first asked for."""

    __slots__ = (
        "_load",
        "_value",
        "chunk_root",
        "content_type",
        "index",
        "key",
        "kind",
        "leaf_hash",
        "metadata",
        "previous",
        "sha256",
        "size",
        "timestamp",
        "version",
    )

    def __init__(
        self,
        *,
        index: int,
        kind: Kind,
        timestamp: int,
        key: bytes,
        version: int,
        previous: int | None,
        size: int,
        sha256: bytes,
        chunk_root: bytes,
        content_type: str,
        metadata: Mapping[str, str],
        leaf_hash: bytes,
        load: Callable[[], bytes],
    ) -> None:
        self.index = index
        self.kind = kind
        self.timestamp = timestamp
        self.key = key
        self.version = version
        self.previous = previous
        self.size = size
        self.sha256 = sha256
        self.chunk_root = chunk_root
        self.content_type = content_type
        self.metadata = metadata
        self.leaf_hash = leaf_hash
        self._load = load
        self._value: bytes | None = None

    @property
    def value(self) -> bytes:
        """The bytes that were put; empty for a delete."""
        if self._value is None:
            self._value = self._load()
        return self._value

    @property
    def deleted(self) -> bool:
        return self.kind is Kind.DELETE

    @property
    def time(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.timestamp / 1000, tz=datetime.UTC)

    def to_json(self) -> dict[str, Any]:
        """The entry without its value, hashes in lower-case hex; a key that is not UTF-8 appears as ``key_base64``."""
        return {
            **key_to_json(self.key),
            "kind": self.kind.name.lower(),
            "index": self.index,
            "version": self.version,
            "timestamp": self.timestamp,
            "previous": self.previous,
            "size": self.size,
            "sha256": self.sha256.hex(),
            "leaf_hash": self.leaf_hash.hex(),
            "content_type": self.content_type,
            "metadata": dict(self.metadata),
            **({"chunk_root": self.chunk_root.hex()} if any(self.chunk_root) else {}),
        }

    def __repr__(self) -> str:
        return f"<Entry {self.index} {self.kind.name.lower()} {self.key!r} version {self.version}>"


def key_to_json(key: bytes) -> dict[str, str]:
    """``{"key": …}``, or ``{"key_base64": …}`` where the key is not UTF-8."""
    import base64

    try:
        return {"key": key.decode()}
    except UnicodeDecodeError:
        return {"key_base64": base64.b64encode(key).decode()}


def show_key(key: bytes) -> str:
    """A key as it stands in messages: short, and on one line."""
    text = repr(key.decode(errors="backslashreplace"))
    return text if len(text) <= 80 else text[:77] + "…'"

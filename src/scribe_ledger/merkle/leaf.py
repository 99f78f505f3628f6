"""The leaf codec: the bytes whose hash is an entry's place in the Merkle tree.

A leaf is an entry without its value. All numbers are big-endian and the fixed part comes first, so that a contract
can rebuild a leaf from its fields. There is exactly one encoding of an entry: ``decode_leaf`` refuses every other.
The format is pinned in ``docs/reference/formats.md``, with vectors.

``encode_tail`` is separate because callers encode and check what varies in size long before an index is known.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import InvalidRequest, SerializationError, TooLarge
from scribe_ledger.merkle.hashing import ZERO_HASH, hash_leaf
from scribe_ledger.model import (
    MAX_CONTENT_TYPE_BYTES,
    MAX_KEY_BYTES,
    MAX_METADATA_BYTES,
    NO_PREVIOUS,
    Entry,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FORMAT = 1
SHA256_ALGORITHM = 1
HEADER = struct.Struct(">BBBBQQQQQ32s32s")
"""format, hash algorithm, kind, flags, index, timestamp, version, previous, value size, value digest, chunk root"""

_TIMESTAMP = slice(12, 20)
_KEY_AT = HEADER.size + 2
DIGEST = slice(HEADER.size - 64, HEADER.size - 32)
"""Where a leaf has its value's digest."""
_U16 = struct.Struct(">H")
_NO_TEXTS = b"\0\0\0\0"
"""How a leaf ends that has neither content type nor metadata."""
_NO_METADATA = b"\0\0"
_KEPT_CONTENT_TYPES = 1024
"""How many encodings are kept: a program writes few types, again and again."""
_METADATA_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTENT_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_SYSTEM_KINDS = frozenset({Kind.CONFIG})
_KNOWN_KINDS = frozenset({Kind.PUT, Kind.DELETE, Kind.CONFIG})


class Leaf(NamedTuple):
    """A decoded leaf. ``previous`` is None for a key's first entry."""

    kind: Kind
    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    timestamp: int
    version: int
    previous: int | None
    size: int
    sha256: bytes
    chunk_root: bytes
    key: bytes
    content_type: str
    metadata: dict[str, str]

    def encode(self) -> bytes:
        return encode_leaf(self)

    def hash(self) -> bytes:
        return hash_leaf(encode_leaf(self))


def encode_leaf(leaf: Leaf) -> bytes:
    previous = NO_PREVIOUS if leaf.previous is None else leaf.previous
    header = HEADER.pack(
        FORMAT,
        SHA256_ALGORITHM,
        leaf.kind,
        0,
        leaf.index,
        leaf.timestamp,
        leaf.version,
        previous,
        leaf.size,
        leaf.sha256,
        leaf.chunk_root,
    )
    return header + encode_tail(leaf.key, leaf.content_type, leaf.metadata, system=leaf.kind in _SYSTEM_KINDS)


def entry_of(leaf: Leaf, leaf_hash: bytes, load: Callable[[], bytes]) -> Entry:
    """The entry that a leaf is of; ``load`` fetches its value when it is asked for."""
    return Entry(
        index=leaf.index,
        kind=leaf.kind,
        timestamp=leaf.timestamp,
        key=leaf.key,
        version=leaf.version,
        previous=leaf.previous,
        size=leaf.size,
        sha256=leaf.sha256,
        chunk_root=leaf.chunk_root,
        content_type=leaf.content_type,
        metadata=leaf.metadata,
        leaf_hash=leaf_hash,
        load=load,
    )


def key_of(leaf: bytes) -> bytes:
    """Of a well-formed leaf."""
    return leaf[_KEY_AT : _KEY_AT + int.from_bytes(leaf[HEADER.size : _KEY_AT], "big")]


def timestamps_of(leaves: Iterable[bytes]) -> list[int]:
    """Of well-formed leaves."""
    return [int.from_bytes(leaf[_TIMESTAMP], "big") for leaf in leaves]


def encode_tail(
    key: bytes, content_type: str = "", metadata: Mapping[str, str] | None = None, *, system: bool = False
) -> bytes:
    """Checks and encodes what follows the header. Only system entries have an empty key."""
    if not key and not system:
        raise InvalidRequest("the key is empty", hint="a key has 1 to 4096 bytes")
    if len(key) > MAX_KEY_BYTES:
        raise TooLarge(f"the key has {len(key)} bytes", hint=f"a key has at most {MAX_KEY_BYTES} bytes")
    if not content_type and not metadata:
        return _U16.pack(len(key)) + key + _NO_TEXTS
    if not isinstance(content_type, str):
        raise InvalidRequest(f"the content type is {type(content_type).__name__}, not str")
    pairs = _encode_metadata(metadata) if metadata else _NO_METADATA
    return b"".join((_U16.pack(len(key)), key, _encode_content_type(content_type), pairs))


def decode_leaf(data: bytes) -> Leaf:
    """Reads one leaf; anything but the canonical encoding of a possible entry is refused."""
    if len(data) < HEADER.size:
        raise SerializationError(f"a leaf has at least {HEADER.size} bytes, this one has {len(data)}")
    form, algorithm, kind, flags, index, timestamp, version, previous, size, digest, chunk_root = HEADER.unpack_from(
        data
    )
    if form != FORMAT:
        raise SerializationError(f"leaf format {form} is unknown", hint="a newer version may have written it")
    if algorithm != SHA256_ALGORITHM:
        raise SerializationError(f"leaf hash algorithm {algorithm} is unknown")
    if flags:
        raise SerializationError(f"leaf flags {flags:#04x} are unknown")
    if kind not in _KNOWN_KINDS:
        raise SerializationError(f"leaf kind {kind} is unknown")
    key, position = _field(data, HEADER.size)
    has_texts = data[position:] != _NO_TEXTS
    content_type, metadata = _decode_texts(data, position) if has_texts else ("", {})
    leaf = Leaf(
        Kind(kind),
        index,
        timestamp,
        version,
        None if previous == NO_PREVIOUS else previous,
        size,
        digest,
        chunk_root,
        key,
        content_type,
        metadata,
    )
    _check_consistent(leaf)
    if has_texts or len(key) > MAX_KEY_BYTES:  # numbers and digests have one form each, and so has a key
        _check_canonical(leaf, data)
    return leaf


def _decode_texts(data: bytes, position: int) -> tuple[str, dict[str, str]]:
    """Content type and metadata, which end a leaf."""
    content_type, position = _text_field(data, position)
    count, position = int.from_bytes(data[position : position + 2], "big"), position + 2
    metadata = {}
    for _ in range(count):
        name, position = _text_field(data, position)
        metadata[name], position = _text_field(data, position)
    if position != len(data):
        raise SerializationError(f"the leaf has {len(data)} bytes, its fields have {position}")
    return content_type, metadata


def _check_canonical(leaf: Leaf, data: bytes) -> None:
    try:
        canonical = encode_leaf(leaf)
    except InvalidRequest as error:
        raise SerializationError(f"a leaf field is not allowed: {error.message}") from error
    if canonical != data:
        raise SerializationError("the leaf is not in canonical form", hint="metadata is sorted by name, names unique")


def _check_consistent(leaf: Leaf) -> None:
    """Field combinations that no ledger writes."""
    if leaf.kind in _SYSTEM_KINDS:
        consistent = not leaf.key and leaf.version == 0 and leaf.previous is None and leaf.chunk_root == ZERO_HASH
    else:
        first = leaf.version == 1
        consistent = (
            bool(leaf.key)
            and leaf.version >= 1
            and first == (leaf.previous is None)
            and (leaf.previous is None or leaf.previous < leaf.index)
        )
    if leaf.kind is Kind.DELETE:
        consistent = consistent and leaf.size == 0 and leaf.sha256 == ZERO_HASH and leaf.chunk_root == ZERO_HASH
    if not consistent:
        raise SerializationError(f"the fields of leaf {leaf.index} contradict each other")


@lru_cache(maxsize=_KEPT_CONTENT_TYPES)
def _encode_content_type(content_type: str) -> bytes:
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        raise InvalidRequest("the content type has characters that are not printable ASCII")
    if len(content_type) > MAX_CONTENT_TYPE_BYTES:
        raise TooLarge(f"the content type has {len(content_type)} bytes", hint=f"the limit is {MAX_CONTENT_TYPE_BYTES}")
    return _U16.pack(len(content_type)) + content_type.encode()


def _encode_metadata(metadata: Mapping[str, str]) -> bytes:
    lowered: dict[str, str] = {}
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidRequest("metadata names and values are text", hint='for example metadata={"team": "red"}')
        lower = name.lower()
        if not name.isascii() or not _METADATA_NAME.fullmatch(lower):  # some other letters have ASCII lower cases
            raise InvalidRequest(
                f"the metadata name {name[:40]!r} is not allowed",
                hint="1 to 128 letters, digits and !#$%&'*+-.^_`|~, as in an HTTP header",
            )
        if _CONTROL.search(value):
            raise InvalidRequest(f"the metadata value of {name!r} has control characters")
        if lower in lowered:
            raise InvalidRequest(f"the metadata name {lower!r} stands twice", hint="names ignore case")
        lowered[lower] = value
    pairs = [(name.encode(), _utf8(name, value)) for name, value in sorted(lowered.items())]
    size = 2 + sum([4 + len(name) + len(value) for name, value in pairs])
    if size > MAX_METADATA_BYTES:
        raise TooLarge(
            f"the metadata has {size:,} bytes with its length fields",
            hint=f"at most {MAX_METADATA_BYTES:,}: names, values, 4 for each pair, and 2",
        )
    return _U16.pack(len(pairs)) + b"".join([_U16.pack(len(text)) + text for pair in pairs for text in pair])


def _utf8(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the metadata value of {name!r} is not valid Unicode") from error


def _field(data: bytes, position: int) -> tuple[bytes, int]:
    """A length-prefixed field, and where the next one begins."""
    start = position + 2
    end = start + int.from_bytes(data[position:start], "big")
    if end > len(data):
        raise SerializationError(f"the leaf ends inside the field at byte {position}")
    return data[start:end], end


def _text_field(data: bytes, position: int) -> tuple[str, int]:
    field, end = _field(data, position)
    try:
        return field.decode(), end
    except UnicodeDecodeError as error:
        raise SerializationError(f"the leaf's field at byte {position} is not UTF-8") from error

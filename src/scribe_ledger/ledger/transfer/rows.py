"""``Row``: one entry of an import file, checked as far as that is possible without a ledger.

Both formats reduce what they read to the same fields; here these become a row, or one error that names its place. A
field that is not known is an error too: a name that was misspelt must not lose what it holds.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from scribe_ledger.errors import InvalidRequest, SerializationError
from scribe_ledger.ledger import commands
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import Leaf
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.objects.blobs import Blob

    Value: TypeAlias = bytes | Iterator[bytes]

STREAMED_BYTES = 4 << 20
"""A value above this size is never whole in memory on its way."""
REQUIRED_FOR_LEAF = ("index", "timestamp", "version", "size", "sha256", "leaf_hash")
FIELDS = ("kind", "key", "value", "content_type", "metadata", "previous", "chunk_root", *REQUIRED_FOR_LEAF)
_KINDS = {kind.name.lower(): kind for kind in (Kind.PUT, Kind.DELETE, Kind.CONFIG)}
_MAX_U64 = (1 << 64) - 1


class Row(NamedTuple):
    """What a file says of one entry. A value that is an iterator can be read once, before the next row is asked for."""

    place: str
    """Where it stands, for messages: ``line 7``."""
    kind: Kind
    key: bytes
    value: Value
    content_type: str
    metadata: dict[str, str]
    leaf: Leaf | None
    """The whole entry, where the file has it."""
    leaf_hash: bytes


def make_row(place: str, fields: Mapping[str, Any]) -> Row:
    """A row from fields whose bytes are bytes already; None is the same as absent."""
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = sorted(given.keys() - set(FIELDS))
    if unknown:
        raise malformed(place, f"the field {unknown[0]!r} is not known", hint=f"fields: {', '.join(FIELDS)}")
    word = _text(place, given, "kind", "put")
    kind = _KINDS.get(word)
    if kind is None:
        raise malformed(place, f"there is no kind {word!r}", hint=f"one of {', '.join(_KINDS)}")
    key = given.get("key", b"")
    if not isinstance(key, bytes) or bool(key) is (kind is Kind.CONFIG):
        raise malformed(place, "the key is missing" if kind is not Kind.CONFIG else "a config entry has no key")
    value = _value(place, kind, given)
    metadata = _metadata(place, given.get("metadata", {}))
    content_type = _text(place, given, "content_type", "")
    row = Row(place, kind, key, value, content_type, metadata, None, b"")
    return row._replace(leaf=_leaf(row, given), leaf_hash=given.get("leaf_hash", b""))


def to_command(row: Row, value: bytes | Blob, *, dedupe: bool) -> Command:
    """The command that writes the row's entry, with a value that was checked."""
    try:
        if row.kind is Kind.DELETE:
            return commands.delete(row.key, metadata=row.metadata)
        return commands.put(row.key, value, content_type=row.content_type, metadata=row.metadata, dedupe=dedupe)
    except InvalidRequest as error:
        raise type(error)(f"{row.place}: {error.message}", hint=error.hint) from error


def checked_value(row: Row, value: bytes) -> bytes:
    """The value, if it is the one that the row has the digest of, or the row has none."""
    if row.leaf is not None and row.kind is not Kind.DELETE:
        _check_digest(row.place, row.leaf, len(value), sha256(value).digest())
    return value


def checked_pieces(row: Row, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same for a value in pieces: after the last of them it is an error if they are not the value."""
    digest, size = sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        yield piece
    if row.leaf is not None:
        _check_digest(row.place, row.leaf, size, digest.digest())


def _check_digest(place: str, leaf: Leaf, size: int, digest: bytes) -> None:
    if (size, digest) != (leaf.size, leaf.sha256):
        raise malformed(place, "the value does not have the size and SHA-256 that stand beside it")


def malformed(place: str, what: str, *, hint: str = "") -> SerializationError:
    return SerializationError(f"{place}: {what}", hint=hint)


def _value(place: str, kind: Kind, given: Mapping[str, Any]) -> Value:
    value: Value | None = given.get("value")
    if kind is Kind.DELETE:
        if value:
            raise malformed(place, "a delete has no value")
        return b""
    if value is None:
        raise malformed(place, "the value is missing")
    return value


def _metadata(place: str, metadata: object) -> dict[str, str]:
    pairs = metadata.items() if isinstance(metadata, dict) else metadata
    try:
        found: dict[object, object] = dict(pairs)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise malformed(place, "the metadata is not a set of names with values") from None
    given = {name: value for name, value in found.items() if value is not None}
    texts = {name: value for name, value in given.items() if isinstance(name, str) and isinstance(value, str)}
    if len(texts) != len(given):
        raise malformed(place, "a metadata name or value is not text")
    return texts


def _text(place: str, given: Mapping[str, Any], name: str, default: str) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise malformed(place, f"the field {name} is not text")
    return value


def _leaf(row: Row, given: Mapping[str, Any]) -> Leaf | None:
    """The entry's leaf, if the row has all that makes one."""
    if not all(name in given for name in REQUIRED_FOR_LEAF):
        return None
    numbers = [_number(row.place, given, name) for name in ("index", "timestamp", "version", "size")]
    index, timestamp, version, size = numbers
    _digest(row.place, given, "leaf_hash")
    return Leaf(
        row.kind,
        index,
        timestamp,
        version,
        _number(row.place, given, "previous") if "previous" in given else None,
        size,
        _digest(row.place, given, "sha256"),
        _digest(row.place, given, "chunk_root") if "chunk_root" in given else ZERO_HASH,
        row.key,
        row.content_type,
        row.metadata,
    )


def _number(place: str, given: Mapping[str, Any], name: str) -> int:
    value = given[name]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_U64:
        raise malformed(place, f"the field {name} is not a whole number of 64 bits")
    return value


def _digest(place: str, given: Mapping[str, Any], name: str) -> bytes:
    value = given[name]
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise malformed(place, f"the field {name} is not a digest of {HASH_BYTES} bytes")
    return value

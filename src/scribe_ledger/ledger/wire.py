"""Units as bytes: how commands and changes of the manifest travel between members of a cluster, and lie in its log.

A unit is what one caller asked for. Three forms hold commands: one command, plain puts by columns, and any mixture, one
after the other. All numbers are big-endian; ``docs/reference/formats.md`` has the layout.

- The digest of an inline value does not travel. Every member hashes the value itself, so that no member can be told a
  wrong digest, and a command of 128 bytes is a fifth shorter in every log and on every connection. That hash is 0.45 of
  the 1.7 µs that decoding such a command takes; the member that made the command does not decode it at all.
- What comes from the wire was made by an authenticated member, but nothing here trusts it: bytes that are no unit are
  ``SerializationError`` and nothing else, the same on every member. Whether a command may be carried out is not asked.
- A unit of a version that this program does not know is ``NewerUnit``: whoever skipped it would differ from the others.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, TypeAlias, cast

import orjson

from scribe_ledger.errors import ScribeError, SerializationError
from scribe_ledger.ledger.commands import Columns, Command, Condition, Puts, Singles, columns_of, puts_of
from scribe_ledger.ledger.manifest import Adopt, Archive, Change, change_from_json, change_to_json
from scribe_ledger.ledger.policy import check_known
from scribe_ledger.ledger.records import REQUEST_DIGEST_BYTES
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER, decode_leaf
from scribe_ledger.model import MAX_KEY_BYTES, NO_PREVIOUS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit: TypeAlias = "Sequence[Command] | Change"

VERSION = 1
_NEWEST_THINKABLE = 15
"""What claims to be of a version beyond is damage, not news."""
_ONE, _PUTS, _MIXED, _CHANGE = 1, 2, 3, 4
"""The forms of a unit."""
_CHANGE_MARK = bytes([_CHANGE])
_LEAD = struct.Struct(">BB")
"""version and form, which every unit begins with"""
_HEAD_OF_ONE = struct.Struct(">BBBHI")
"""version, form, flags, length of the tail, length of the value"""
_HEAD = struct.Struct(">BHI")
"""the same of a command in a mixture"""
_HEAD_OF_MANY = struct.Struct(">BBBI")
"""version, form, flags, count"""
_CONDITION = struct.Struct(">BQQQ")
"""which parts it has, index, version, begun"""
_BLOB = struct.Struct(">Q32s32s")
"""size, digest, chunk root"""

_KIND_BITS = 3
_HAS_REQUEST, _HAS_CONDITION, _IN_BLOB, _NO_DEDUPE = 4, 8, 16, 32
_PLAIN_LEADS = tuple(
    bytes([VERSION, form, request | dedupe])
    for form in (_ONE, _PUTS)
    for request in (0, _HAS_REQUEST)
    for dedupe in (0, _NO_DEDUPE)
)
"""How units begin that hold nothing but puts of values; the most common first."""
_KINDS = {0: Kind.PUT, 1: Kind.DELETE, 2: Kind.CONFIG}
_BITS = {kind: bits for bits, kind in _KINDS.items()}
_ABSENT, _INDEX, _AT_VERSION = 1, 2, 4
_PLAIN = b"\0\0\0\0"
_LENGTHS = [length.to_bytes(2, "big") for length in range(MAX_KEY_BYTES + 1)]
_HEAD_AT, _MAX_PLAIN_BYTES, _PUT = _HEAD_OF_ONE.size, MAX_KEY_BYTES + 6, Kind.PUT
_make = tuple.__new__
_MAX_CONFIG_BYTES = 4096
_ENDINGS_REMEMBERED = 1024


class NewerUnit(SerializationError):
    """The unit begins with a version that this program does not know."""


# --- before it is agreed on --------------------------------------------------------------------------------------


def check_unit(unit: bytes) -> None:
    """Raises for a unit that this program cannot read, or that asks for rules which it does not know.

    Cheap: plain puts cannot end who applies them, whatever is in them, and are known by their first bytes.
    """
    if unit.startswith(_PLAIN_LEADS):
        return
    found = decode(unit)
    for command in () if is_change(unit) else cast("Sequence[Command]", found):
        if command.kind is Kind.CONFIG:
            version = json.loads(command.value or b"").get("apply_version")
            if isinstance(version, int):
                check_known(version)


# --- encoding --------------------------------------------------------------------------------------------------


def encode_unit(unit: Sequence[Command]) -> bytes:
    """The bytes of commands that take effect together."""
    if len(unit) == 1:
        kind, _, tail, value, _, _, _, request, condition, dedupe = command = unit[0]
        if value is None or condition is not None or kind is not Kind.PUT:
            return _LEAD.pack(VERSION, _ONE) + _encode(command)
        flags = (0 if dedupe else _NO_DEDUPE) | (_HAS_REQUEST if request else 0)
        return _HEAD_OF_ONE.pack(VERSION, _ONE, flags, len(tail), len(value)) + tail + value + request
    columns = columns_of(unit)
    return _encode_puts(columns) or b"".join(
        (_HEAD_OF_MANY.pack(VERSION, _MIXED, 0, len(unit)), *map(_encode, unit)),
    )


def encode_change(change: Change) -> bytes:
    """The bytes of a change of the manifest."""
    return _LEAD.pack(VERSION, _CHANGE) + orjson.dumps(change_to_json(change), option=orjson.OPT_SORT_KEYS)


def is_change(unit: bytes) -> bool:
    """Whether the bytes claim to be a change of the manifest."""
    return unit[1:2] == _CHANGE_MARK


def _encode(command: Command) -> bytes:
    kind, _, tail, value, size, digest, chunk_root, request, condition, dedupe = command
    flags = _BITS[kind] | (0 if dedupe else _NO_DEDUPE)
    parts = [b"", tail, value or b""]
    if request:
        flags |= _HAS_REQUEST
        parts.append(request)
    if condition is not None:
        flags |= _HAS_CONDITION
        parts.append(_encode_condition(condition))
    if command.in_blob:
        flags |= _IN_BLOB
        parts.append(_BLOB.pack(size, digest, chunk_root))
    parts[0] = _HEAD.pack(flags, len(tail), len(value or b""))
    return b"".join(parts)


def _encode_condition(condition: Condition) -> bytes:
    absent, index, version, begun = condition
    has = (_ABSENT if absent else 0) | (0 if index is None else _INDEX) | (0 if version is None else _AT_VERSION)
    return _CONDITION.pack(has, index or 0, version or 0, begun)


def _encode_puts(columns: Columns) -> bytes | None:
    """Inline puts without conditions, by columns; None if there is anything else among them."""
    kinds, _, tails, values, sizes, _, _, requests, conditions, dedupes = columns
    count = len(kinds)
    with_id = count - requests.count(b"")
    if (
        kinds.count(Kind.PUT) != count
        or conditions.count(None) != count
        or None in values
        or with_id not in (0, count)
        or dedupes.count(dedupes[0]) != count
    ):
        return None
    flags = (0 if dedupes[0] else _NO_DEDUPE) | (_HAS_REQUEST if with_id else 0)
    lengths = struct.pack(f">{count}H{count}I", *map(len, tails), *sizes)
    head = _HEAD_OF_MANY.pack(VERSION, _PUTS, flags, count)
    return b"".join((head, lengths, *tails, *values, *requests))  # type: ignore[arg-type]  # no value is None


# --- decoding --------------------------------------------------------------------------------------------------


def decode(unit: bytes) -> Unit:
    """The commands, or the change, that the bytes were made of; ``SerializationError`` if they were not."""
    try:
        version, form, flags, tail_bytes, value_bytes = _HEAD_OF_ONE.unpack_from(unit)
        if version != VERSION:
            raise _of_another_version(version)
        if form == _ONE:
            if not flags & ~_HAS_REQUEST:  # the most common of all: a put with a value, and perhaps a request id
                middle = _HEAD_AT + tail_bytes
                stop = middle + value_bytes
                tail, value, request = unit[_HEAD_AT:middle], unit[middle:stop], unit[stop:]
                if stop > len(unit) or len(request) != (REQUEST_DIGEST_BYTES if flags else 0):
                    raise _cut()
                key = tail[2:-4]
                if not 6 < tail_bytes <= _MAX_PLAIN_BYTES or tail != _LENGTHS[tail_bytes - 6] + key + _PLAIN:
                    key = _key_of(tail)
                digest = sha256(value).digest()
                return (_make(Command, (_PUT, key, tail, value, value_bytes, digest, ZERO_HASH, request, None, True)),)
            return _decode_mixed(unit, _LEAD.size, 1)
        if form == _CHANGE:
            return _decode_change(unit[_LEAD.size :])
        count = _HEAD_OF_MANY.unpack_from(unit)[3]
        if form == _PUTS:
            return _decode_puts(unit, flags, count)
        if form == _MIXED and flags == 0:
            return _decode_mixed(unit, _HEAD_OF_MANY.size, count)
    except struct.error as error:
        raise _of_another_version(unit[0]) if unit and unit[0] != VERSION else _cut() from error
    raise SerializationError(f"a unit has the unknown form {form}")


def decode_singles(units: Sequence[bytes]) -> Singles | None:
    """Many units by columns, if each is a put with a value, and perhaps a request id; else None: decode each."""
    unpack, tails, values, requests = _HEAD_OF_ONE.unpack_from, [], [], []
    try:
        for unit in units:
            version, form, flags, tail_bytes, value_bytes = unpack(unit)
            middle = _HEAD_AT + tail_bytes
            stop = middle + value_bytes
            request = REQUEST_DIGEST_BYTES if flags else 0
            if version != VERSION or form != _ONE or flags & ~_HAS_REQUEST or stop + request != len(unit):
                return None
            tails.append(unit[_HEAD_AT:middle])
            values.append(unit[middle:stop])
            requests.append(unit[stop:])
    except struct.error:
        return None
    keys = _plain_keys(tails)
    return None if keys is None else Singles(puts_of(keys, tails, values, requests, dedupe=True))


def _plain_keys(tails: Sequence[bytes]) -> list[bytes] | None:
    """The keys in leaves' tails that have nothing besides; None if one has more, or is malformed."""
    keys = [tail[2:-4] for tail in tails]
    bounds = [*map(len, keys)]
    if not 0 < min(bounds, default=0) <= max(bounds) <= MAX_KEY_BYTES:
        return None
    made = [_LENGTHS[length] + key + _PLAIN for length, key in zip(bounds, keys, strict=True)]
    return keys if made == tails else None


def _decode_mixed(unit: bytes, at: int, count: int) -> list[Command]:
    if not 0 < count <= len(unit):
        raise _cut()
    found = []
    for _ in range(count):
        command, at = _decode(unit, at)
        found.append(command)
    if at != len(unit):
        raise _cut()
    return found


def _decode(unit: bytes, at: int) -> tuple[Command, int]:
    flags, tail_bytes, value_bytes = _HEAD.unpack_from(unit, at)
    kind = _KINDS.get(flags & _KIND_BITS)
    if kind is None or flags & ~(_KIND_BITS | _HAS_REQUEST | _HAS_CONDITION | _IN_BLOB | _NO_DEDUPE):
        raise SerializationError(f"a command has unknown flags: {flags:#04x}")
    at += _HEAD.size
    tail, value = unit[at : at + tail_bytes], unit[at + tail_bytes : at + tail_bytes + value_bytes]
    at += tail_bytes + value_bytes
    request, condition = b"", None
    if flags & _HAS_REQUEST:
        request = unit[at : at + REQUEST_DIGEST_BYTES]
        at += REQUEST_DIGEST_BYTES
    if flags & _HAS_CONDITION:
        condition = _decode_condition(unit, at)
        at += _CONDITION.size
    size, digest, chunk_root = value_bytes, ZERO_HASH, ZERO_HASH
    if flags & _IN_BLOB:
        size, digest, chunk_root = _BLOB.unpack_from(unit, at)
        at += _BLOB.size
    if at > len(unit):
        raise _cut()
    held: bytes | None = value
    if kind is Kind.DELETE or flags & _IN_BLOB:
        if value_bytes or (flags & _IN_BLOB and kind is not Kind.PUT):
            raise SerializationError("a command has a value that it cannot have")
        held = None
    else:
        digest = sha256(value).digest()
    key = _key_of(tail) if kind is not Kind.CONFIG else _check_config(tail, value, flags)
    return Command(kind, key, tail, held, size, digest, chunk_root, request, condition, not flags & _NO_DEDUPE), at


def _decode_condition(unit: bytes, at: int) -> Condition:
    has, index, version, begun = _CONDITION.unpack_from(unit, at)
    if has & ~(_ABSENT | _INDEX | _AT_VERSION):
        raise SerializationError(f"a condition has unknown parts: {has:#04x}")
    return Condition(
        bool(has & _ABSENT), index if has & _INDEX else None, version if has & _AT_VERSION else None, begun
    )


def _decode_puts(unit: bytes, flags: int, count: int) -> Puts:
    if flags & ~(_HAS_REQUEST | _NO_DEDUPE):
        raise SerializationError(f"puts have unknown flags: {flags:#04x}")
    at = _HEAD_OF_MANY.size + 6 * count
    if not count or at > len(unit):
        raise _cut()
    lengths = struct.unpack_from(f">{count}H{count}I", unit, _HEAD_OF_MANY.size)
    ids = count if flags & _HAS_REQUEST else 0
    ends = [*accumulate((*lengths, *(REQUEST_DIGEST_BYTES,) * ids), initial=at)]
    if ends[-1] != len(unit):
        raise _cut()
    parts = [unit[start:end] for start, end in pairwise(ends)]
    tails, values, requests = parts[:count], parts[count : 2 * count], parts[2 * count :]
    keys = _plain_keys(tails) or [*map(_key_of, tails)]
    return puts_of(keys, tails, values, requests or (b"",) * count, dedupe=not flags & _NO_DEDUPE)


def _key_of(tail: bytes) -> bytes:
    """The key in a leaf's tail, all of which is checked: nobody could read the entry otherwise."""
    stop = 2 + int.from_bytes(tail[:2], "big")
    key, ending = tail[2:stop], tail[stop:]
    if not 0 < stop - 2 == len(key) <= MAX_KEY_BYTES:
        raise SerializationError("a command has no key")
    if ending != _PLAIN:
        _check_ending(ending)
    return key


@lru_cache(maxsize=_ENDINGS_REMEMBERED)
def _check_ending(ending: bytes) -> None:
    """Content type and metadata, of which there are few different ones in a ledger."""
    header = HEADER.pack(1, 1, Kind.PUT, 0, 0, 0, 1, NO_PREVIOUS, 0, ZERO_HASH, ZERO_HASH)
    try:
        decode_leaf(header + b"\0\1k" + ending)
    except ScribeError as error:
        raise SerializationError(f"a command has a malformed content type or metadata: {error.message}") from error


def _check_config(tail: bytes, value: bytes, flags: int) -> bytes:
    """A config entry has the empty key, and policies by name in flat JSON."""
    if tail[:2] != b"\0\0" or flags & (_HAS_REQUEST | _HAS_CONDITION) or len(value) > _MAX_CONFIG_BYTES:
        raise SerializationError("a config entry has what it cannot have")
    _check_ending(tail[2:])
    try:
        if value.count(b"{") != 1 or b"[" in value or not isinstance(json.loads(value), dict):
            raise SerializationError("a config entry does not hold policies by name")
    except ValueError as error:
        raise SerializationError("a config entry is not JSON") from error
    return b""


def _decode_change(text: bytes) -> Change:
    try:
        fields = orjson.loads(text)
        if not isinstance(fields, dict):
            raise SerializationError("a change of the manifest is no object")
        change = change_from_json(fields)
        names = _names_of(change)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise SerializationError("a change of the manifest cannot be read") from error
    if not all(isinstance(name, str) and name.isascii() for name in names):
        raise SerializationError("a change of the manifest names something that is no name")
    if not isinstance(change, Adopt | Archive) and any(len(digest) != HASH_BYTES for digest in change.blobs):
        raise SerializationError(f"a large value's digest has {HASH_BYTES} bytes")
    return change


def _names_of(change: Change) -> Sequence[object]:
    if isinstance(change, Adopt):
        return (change.store_id,)
    if not isinstance(change, Archive):
        return change.segments
    numbers = [number for segment in change.added for number in segment if isinstance(number, int)]
    if isinstance(change.base_version, bool) or not isinstance(change.base_version, int):
        raise SerializationError("a change of the manifest is built on no version")
    if any(not 0 <= number < 1 << 63 for number in (change.base_version, *numbers)):
        raise SerializationError("a change of the manifest has a number that is out of range")
    return (*change.replaced, *(segment.segment_id for segment in change.added))


def _of_another_version(version: int) -> SerializationError:
    if VERSION < version <= _NEWEST_THINKABLE:
        return NewerUnit(f"a unit has version {version}, this program knows {VERSION}")
    return SerializationError(f"a unit cannot have version {version}")


def _cut() -> SerializationError:
    return SerializationError("a unit is cut, or longer than it says")

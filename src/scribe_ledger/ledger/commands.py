"""Commands: what may be asked of the state machine, checked and encoded before they wait in a queue.

Everything that does not depend on the ledger's state happens here, in the caller's thread: types, limits, hashing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias, TypedDict, overload

from scribe_ledger.errors import InvalidRequest, TooLarge
from scribe_ledger.ledger.records import REQUEST_DIGEST_BYTES
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER, encode_tail
from scribe_ledger.model import MAX_KEY_BYTES, MAX_NUMBER, MAX_REQUEST_ID_BYTES, Kind
from scribe_ledger.objects.blobs import Blob

_LENGTHS = [length.to_bytes(2, "big") for length in range(MAX_KEY_BYTES + 1)]
_PLAIN = b"\0\0\0\0"
"""The end of a leaf without content type and metadata."""
_BYTES = (bytes, bytearray, memoryview)
_KINDS = {kind.value: kind for kind in Kind}


_PAIRS_HINT = 'such as [("a", b"1"), ("b", b"2")], or the items() of a dictionary'
COMMAND_OVERHEAD_BYTES = 256
"""What a command costs in memory beside its key, metadata and value."""
Key: TypeAlias = str | bytes | bytearray | memoryview
Value: TypeAlias = str | bytes | bytearray | memoryview
"""Text stands for its UTF-8."""


class Condition(NamedTuple):
    """What must be true of the key for the command to take effect. None means that it does not matter."""

    absent: bool = False
    """The key has no live value: it never had one, or its latest entry is a delete."""
    index: int | None = None  # type: ignore[assignment]  # the field, not the method of tuple
    """The key's latest entry has this index."""
    version: int | None = None
    """The key's latest version is this one; 0 means that the key was never written."""
    begun: int = 0
    """Of a large value: its object was not removed since the manifest had this version."""


_NO_CONDITION = Condition()


class PutOptions(TypedDict, total=False):
    """What may stand beside key and value of a put. ``Ledger.put`` says what each means."""

    content_type: str
    metadata: Mapping[str, str] | None
    if_absent: bool
    if_index: int | None
    if_version: int | None
    request_id: str | bytes | None
    dedupe: bool


class DeleteOptions(TypedDict, total=False):
    """What may stand beside the key of a delete."""

    metadata: Mapping[str, str] | None
    if_index: int | None
    if_version: int | None
    request_id: str | bytes | None


class Command(NamedTuple):
    """One operation, ready to be applied."""

    kind: Kind
    key: bytes
    tail: bytes
    """The leaf after its header: key, content type, metadata."""
    value: bytes | None
    """None for a delete, and for a value that is in the blob store."""
    size: int
    sha256: bytes
    chunk_root: bytes
    request: bytes
    """Digest of the request id, or empty."""
    condition: Condition | None
    dedupe: bool

    @property
    def in_blob(self) -> bool:
        return self.value is None and self.kind is Kind.PUT

    @property
    def queue_bytes(self) -> int:
        return len(self.tail) + len(self.value or b"") + COMMAND_OVERHEAD_BYTES


class Columns(NamedTuple):
    """The fields of several commands, one sequence each: what the bulk of the work runs over."""

    kinds: Sequence[Kind]
    keys: Sequence[bytes]
    tails: Sequence[bytes]
    values: Sequence[bytes | None]
    sizes: Sequence[int]
    digests: Sequence[bytes]
    chunk_roots: Sequence[bytes]
    requests: Sequence[bytes]
    conditions: Sequence[Condition | None]
    dedupes: Sequence[bool]


_NO_COLUMNS = Columns(*((),) * len(Columns._fields))


class Puts(Sequence[Command]):
    """Many commands that were columns from the first, and become objects only where somebody looks at one."""

    __slots__ = ("columns",)

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns.keys)

    @overload
    def __getitem__(self, at: int) -> Command: ...
    @overload
    def __getitem__(self, at: slice) -> list[Command]: ...
    def __getitem__(self, at: int | slice) -> Command | list[Command]:
        return list(self)[at] if isinstance(at, slice) else Command._make([column[at] for column in self.columns])

    def __iter__(self) -> Iterator[Command]:
        return map(Command._make, zip(*self.columns, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Singles(Sequence[Sequence[Command]]):
    """Units of one command each, by columns."""

    __slots__ = ("commands",)

    def __init__(self, commands: Puts) -> None:
        self.commands = commands

    def __len__(self) -> int:
        return len(self.commands)

    @overload
    def __getitem__(self, at: int) -> Sequence[Command]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Sequence[Command]]: ...
    def __getitem__(self, at: int | slice) -> Sequence[Command] | Sequence[Sequence[Command]]:
        return list(self)[at]

    def __iter__(self) -> Iterator[Sequence[Command]]:
        return ((command,) for command in self.commands)


def put(
    key: object,
    value: object,
    *,
    content_type: str = "",
    metadata: Mapping[str, str] | None = None,
    if_absent: bool = False,
    if_index: int | None = None,
    if_version: int | None = None,
    request_id: str | bytes | None = None,
    dedupe: bool = True,
) -> Command:
    """A put of a value that travels with the command, or of one that the blob store already holds."""
    name = key_bytes(key)
    data: bytes | None
    if isinstance(value, Blob):
        data, size, digest, chunk_root = None, value.size, value.sha256, value.chunk_root
    else:
        data = value if type(value) is bytes else value_bytes(value)
        size, digest, chunk_root = len(data), sha256(data).digest(), ZERO_HASH
    if metadata is None and content_type == "":
        tail = _LENGTHS[len(name)] + name + _PLAIN
    else:
        tail = encode_tail(name, _text(content_type), _mapping(metadata))
    request = b"" if request_id is None else request_digest(request_id)
    condition = None
    if if_absent is not False or if_index is not None or if_version is not None:
        condition = _condition(if_absent, if_index, if_version)
    if isinstance(value, Blob):
        condition = _begun(condition, value)
    if dedupe is not True:
        _check_flag(dedupe, "dedupe")
    return Command(Kind.PUT, name, tail, data, size, digest, chunk_root, request, condition, dedupe)


def with_value(command: Command, value: bytes | Blob) -> Command:
    """The put with another value."""
    if isinstance(value, Blob):
        return command._replace(
            value=None,
            size=value.size,
            sha256=value.sha256,
            chunk_root=value.chunk_root,
            condition=_begun(command.condition, value),
        )
    return command._replace(value=value, size=len(value), sha256=sha256(value).digest())


def put_many(pairs: Iterable[tuple[object, object]]) -> Sequence[Command]:
    """Plain puts, built column by column: this is the bulk path."""
    if isinstance(pairs, Mapping | str) or not isinstance(pairs, Iterable):
        raise InvalidRequest(f"put_many takes pairs of key and value, not {type(pairs).__name__}", hint=_PAIRS_HINT)
    rows = list(pairs)
    if not rows:
        return []
    if set(map(type, rows)) - {tuple, list}:
        raise InvalidRequest("put_many takes pairs of key and value", hint=_PAIRS_HINT)
    try:
        raw_keys, raw_values = zip(*rows, strict=True)
    except (TypeError, ValueError) as error:
        raise InvalidRequest("put_many takes pairs of key and value") from error
    keys = _key_column(raw_keys)
    values: Sequence[bytes] = raw_values if set(map(type, raw_values)) == {bytes} else [*map(value_bytes, raw_values)]
    tails = [_LENGTHS[len(key)] + key + _PLAIN for key in keys]
    return puts_of(keys, tails, values, (b"",) * len(keys), dedupe=True)


def puts_of(
    keys: Sequence[bytes],
    tails: Sequence[bytes],
    values: Sequence[bytes],
    requests: Sequence[bytes],
    *,
    dedupe: bool,
) -> Puts:
    """Puts of values, without conditions, from columns that are valid and agree with each other."""
    count = len(keys)
    return Puts(
        Columns(
            (Kind.PUT,) * count,
            keys,
            tails,
            values,
            [*map(len, values)],
            [sha256(value).digest() for value in values],
            (ZERO_HASH,) * count,
            requests,
            (None,) * count,
            (dedupe,) * count,
        )
    )


def columns_of(unit: Sequence[Command]) -> Columns:
    """The unit field by field."""
    if isinstance(unit, Puts):
        return unit.columns
    return Columns(*zip(*unit, strict=True)) if unit else _NO_COLUMNS


def commands_of(units: Sequence[Sequence[Command]]) -> Sequence[Command]:
    """All commands of all units, in their order."""
    if isinstance(units, Singles):
        return units.commands
    return units[0] if len(units) == 1 else [command for unit in units for command in unit]


def keys_of(units: Iterable[Sequence[Command]]) -> Sequence[bytes]:
    """The keys of all commands of all units."""
    if isinstance(units, Singles):
        return units.commands.columns.keys
    found: list[bytes] = []
    for unit in units:
        if len(unit) == 1:
            found.append(unit[0].key)
        else:
            found += columns_of(unit).keys
    return found


def queue_bytes(unit: Sequence[Command]) -> int:
    """About what the unit costs while it waits."""
    if len(unit) == 1:
        return unit[0].queue_bytes
    if isinstance(unit, Puts):
        return sum(map(len, unit.columns.tails)) + sum(unit.columns.sizes) + COMMAND_OVERHEAD_BYTES * len(unit)
    return sum([command.queue_bytes for command in unit])


def delete(
    key: object,
    *,
    metadata: Mapping[str, str] | None = None,
    if_index: int | None = None,
    if_version: int | None = None,
    request_id: str | bytes | None = None,
) -> Command:
    name = key_bytes(key)
    tail = encode_tail(name, "", _mapping(metadata))
    request = b"" if request_id is None else request_digest(request_id)
    condition = None if if_index is None and if_version is None else _condition(False, if_index, if_version)
    return Command(Kind.DELETE, name, tail, None, 0, ZERO_HASH, ZERO_HASH, request, condition, False)


def configure(changes: Mapping[str, Any]) -> Command:
    """A config entry: its value is the changed policies as canonical JSON."""
    data = json.dumps(changes, sort_keys=True, separators=(",", ":")).encode()
    tail = encode_tail(b"", "application/json", system=True)
    return Command(Kind.CONFIG, b"", tail, data, len(data), sha256(data).digest(), ZERO_HASH, b"", None, False)


def archived_commands(leaves: Sequence[bytes], config_values: Mapping[int, bytes]) -> Puts:
    """The commands that made these leaves, without the values, which are archived. Config entries take effect again."""
    count = len(leaves)
    headers = map(HEADER.unpack_from, leaves)
    _, _, numbers, _, indexes, _, _, _, sizes, digests, chunk_roots = zip(*headers, strict=True)
    tails = [leaf[HEADER.size :] for leaf in leaves]
    kinds = [*map(_KINDS.__getitem__, numbers)]
    values: Sequence[bytes | None] = (b"",) * count
    if kinds.count(Kind.PUT) != count or chunk_roots.count(ZERO_HASH) != count:
        values = [
            config_values[index] if kind is Kind.CONFIG else None if kind is Kind.DELETE or root != ZERO_HASH else b""
            for index, kind, root in zip(indexes, kinds, chunk_roots, strict=True)
        ]
    keys = [tail[2 : 2 + int.from_bytes(tail[:2], "big")] for tail in tails]
    nothing = (b"",) * count, (None,) * count, (False,) * count
    return Puts(Columns(kinds, keys, tails, values, sizes, digests, chunk_roots, *nothing))


def natural(number: int | None, name: str, *, least: int = 0) -> int | None:
    """An optional whole number of at least ``least`` that a leaf could hold."""
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidRequest(f"{name} is {type(number).__name__}, not a whole number")
    if not least <= number <= MAX_NUMBER:
        shown = number if number.bit_length() <= 128 else f"a number of {number.bit_length()} bits"
        raise InvalidRequest(f"{name} is {shown}", hint=f"it is a whole number from {least} to {MAX_NUMBER}")
    return number


def required(number: int, name: str) -> int:
    """The same for a number that must be there."""
    found = natural(number, name)
    if found is None:
        raise InvalidRequest(f"{name} is missing")
    return found


def key_bytes(key: object, what: str = "key") -> bytes:
    if type(key) is bytes:
        name = key
    elif isinstance(key, str):
        try:
            name = key.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"the {what} is not valid Unicode", hint=f"give the {what} as bytes") from error
    elif isinstance(key, _BYTES):
        name = bytes(key)
    else:
        raise InvalidRequest(f"the {what} is {type(key).__name__}", hint="keys are str or bytes")
    if not name:
        raise InvalidRequest(f"the {what} is empty", hint=f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if len(name) > MAX_KEY_BYTES:
        raise TooLarge(f"the {what} has {len(name)} bytes", hint=f"a key has at most {MAX_KEY_BYTES} bytes")
    return name


def prefix_bytes(prefix: object) -> bytes:
    """Like a key, but it may be empty."""
    return b"" if prefix in ("", b"") else key_bytes(prefix, "prefix")


def value_bytes(value: object, what: str = "value") -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"the {what} is not valid Unicode", hint=f"give the {what} as bytes") from error
    if isinstance(value, _BYTES):
        return bytes(value)
    hint = "put_stream stores what a file holds" if hasattr(value, "read") else f"{what}s are str or bytes"
    raise InvalidRequest(f"the {what} is {type(value).__name__}", hint=hint)


def request_digest(request_id: str | bytes) -> bytes:
    if not isinstance(request_id, str | bytes):
        raise InvalidRequest(f"the request id is {type(request_id).__name__}", hint="request ids are str or bytes")
    data = value_bytes(request_id, "request id")
    if not 1 <= len(data) <= MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(
            f"the request id has {len(data)} bytes", hint=f"a request id has 1 to {MAX_REQUEST_ID_BYTES} bytes"
        )
    return sha256(data).digest()[:REQUEST_DIGEST_BYTES]


def request_digests(request_id: str, count: int) -> list[bytes]:
    """Of the ids ``<request_id>/0``, ``<request_id>/1`` and so on."""
    if count:
        request_digest(f"{request_id}/{count - 1}")  # the longest: if it may be, all may
    begun = request_id.encode() + b"/"
    return [sha256(b"%b%d" % (begun, place)).digest()[:REQUEST_DIGEST_BYTES] for place in range(count)]


def _condition(if_absent: bool, if_index: int | None, if_version: int | None) -> Condition:
    _check_flag(if_absent, "if_absent")
    return Condition(if_absent, natural(if_index, "if_index"), natural(if_version, "if_version"))


def _begun(condition: Condition | None, blob: Blob) -> Condition:
    return (condition or _NO_CONDITION)._replace(begun=blob.begun)


def _check_flag(flag: object, name: str) -> None:
    if flag is not True and flag is not False:
        raise InvalidRequest(f"{name} is {type(flag).__name__}", hint="it is True or False")


def _text(content_type: str) -> str:
    if not isinstance(content_type, str):
        raise InvalidRequest(f"the content type is {type(content_type).__name__}, not str")
    return content_type


def _mapping(metadata: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidRequest(f"the metadata is {type(metadata).__name__}", hint='for example metadata={"team": "red"}')
    return metadata


def _key_column(raw: Sequence[object]) -> Sequence[bytes]:
    kinds = set(map(type, raw))
    if kinds == {str}:
        try:
            keys: list[bytes] = [*map(str.encode, raw)]  # type: ignore[arg-type]
        except UnicodeEncodeError as error:
            raise InvalidRequest("a key is not valid Unicode", hint="give the key as bytes") from error
    elif kinds == {bytes}:
        keys = list(raw)  # type: ignore[arg-type]
    else:
        return [*map(key_bytes, raw)]
    lengths = [*map(len, keys)]
    if min(lengths) == 0 or max(lengths) > MAX_KEY_BYTES:
        return [*map(key_bytes, keys)]
    return keys

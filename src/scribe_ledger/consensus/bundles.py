"""What a Raft entry holds: a header that names it, and the units of one node, or what is known of members.

``format u8 · kind u8 · origin u64 · session u64 · sequence u64 · timestamp u64 · body``, big-endian. The body of a
bundle is ``count u32 · (length u32 · unit)*``, that of members JSON. An entry without data is the engine's own.
"""

from __future__ import annotations

from itertools import chain
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.consensus.membership import MemberInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMAT = 1
BUNDLE = 1
MEMBERS = 2

_HEADER = Struct(">BBQQQQ")
_COUNT = Struct(">I")
HEADER_BYTES = _HEADER.size
UNIT_OVERHEAD_BYTES = _COUNT.size


class Header(NamedTuple):
    kind: int
    origin: int
    session: int
    sequence: int
    timestamp: int


def encode_entry(header: Header, body: bytes | memoryview) -> bytes:
    return b"".join((_HEADER.pack(FORMAT, *header), body))


def decode_header(data: bytes) -> Header:
    """``ValueError`` for what only another version can read."""
    if len(data) < HEADER_BYTES:
        raise ValueError(f"an entry of {len(data)} bytes has no header")
    entry_format, *fields = _HEADER.unpack_from(data)
    header = Header(*fields)
    if entry_format != FORMAT or header.kind not in {BUNDLE, MEMBERS}:
        raise ValueError(f"an entry of format {entry_format} and kind {header.kind} is of another version")
    return header


def encode_units(units: Sequence[bytes]) -> bytes:
    lengths = map(_COUNT.pack, map(len, units))
    return b"".join((_COUNT.pack(len(units)), *chain.from_iterable(zip(lengths, units, strict=True))))


def decode_units(data: bytes, start: int = HEADER_BYTES) -> list[bytes]:
    """Of an entry, as it is in the log."""
    count, begin, end = _count(data, start)
    length_at, units = _COUNT.unpack_from, []
    try:
        for _ in range(count):
            (length,) = length_at(data, begin)
            begin += UNIT_OVERHEAD_BYTES
            units.append(data[begin : begin + length])
            begin += length
    except StructError:  # there is no length where one should be
        begin = -1
    if begin != end:
        raise ValueError("the units of a bundle do not end where it ends")
    return units


def check_units(body: bytes | memoryview) -> int:
    """The number of units in a body that came from elsewhere: in the log, an unreadable one would end every member."""
    count, begin, end = _count(body, 0)
    length_at = _COUNT.unpack_from
    for _ in range(count):
        begin += UNIT_OVERHEAD_BYTES
        if begin > end:
            break
        begin += length_at(body, begin - UNIT_OVERHEAD_BYTES)[0]
    if begin != end:
        raise ValueError("the units of a bundle do not end where it ends")
    return count


def _count(data: bytes | memoryview, start: int) -> tuple[int, int, int]:
    begin, end = start + UNIT_OVERHEAD_BYTES, len(data)
    if begin > end:
        raise ValueError("a bundle without a count")
    (count,) = _COUNT.unpack_from(data, start)
    if not 0 < count <= (end - begin) // UNIT_OVERHEAD_BYTES:
        raise ValueError(f"a bundle of {end - start} bytes cannot hold {count} units")
    return count, begin, end


def encode_members(infos: Iterable[MemberInfo]) -> bytes:
    return orjson.dumps({"format": FORMAT, "members": [info.to_json() for info in infos]})


def decode_members(body: bytes) -> list[MemberInfo]:
    """Of a change that says nothing of anybody: none."""
    if not body:
        return []
    fields = orjson.loads(body)
    if fields["format"] != FORMAT:
        raise ValueError(f"knowledge of members in format {fields['format']} is of another version")
    return [MemberInfo.from_json(each) for each in fields["members"]]

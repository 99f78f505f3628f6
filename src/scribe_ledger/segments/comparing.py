"""Comparing a segment with a log at hand: whether it holds the same entries, and their values byte for byte.

``checking`` tells whether a segment agrees with itself. That it is of one log only that log can tell: what is compared
is the leaf hash of each row with the one in the log's tree, and its value with the digest in the log's own leaf.
Memory: one row group, and 65 bytes for each entry.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import VerificationError
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.segments.faults import broken
from scribe_ledger.segments.rebuilding import hash_bytes_of, numbers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from scribe_ledger.segments.scanning import SegmentFile

COLUMNS = ("leaf_hash", "index", "value")
LEAF, VALUE, ABSENT = "its leaf is another", "its value is another", "it is not there"


class Held(NamedTuple):
    """What a log holds of a range."""

    first_index: int
    leaf_hashes: bytes | bytearray
    digests: bytes | bytearray
    """Of the values, joined as the hashes are."""
    inline: bytes | bytearray
    """For each entry 1 if its value is in the segment, 0 if it is large or there is none."""


class Difference(NamedTuple):
    index: int  # type: ignore[assignment]  # the field, not the method of tuple
    what: str


def check_holds(opened: SegmentFile, held: Held, pace: Callable[[], object] = lambda: None) -> None:
    """Raises ``VerificationError`` that names the object, and the first entry that is another there."""
    found = first_difference(opened, held, pace)
    if found is not None:
        raise _differs(opened, found)


def check_leaves(opened: SegmentFile, leaf_hashes: bytes) -> None:
    """The same for the leaves alone, where the values were held against them."""
    table = opened.table(["leaf_hash", "index"])
    first = opened.footer.first_index
    places = [index - first for index in numbers_of(table.column("index"))]
    found, wanted = bytes(hash_bytes_of(table.column("leaf_hash"))), _taken(leaf_hashes, places)
    if found != wanted:
        at = [row for row in range(len(places)) if _digest(found, row) != _digest(wanted, row)]
        raise _differs(opened, Difference(first + min(places[row] for row in at), LEAF))


def _differs(opened: SegmentFile, found: Difference) -> VerificationError:
    return VerificationError(
        f"the segment {opened.place} is not of this log: entry {found.index} differs, {found.what}",
        hint="`scribe fsck` on this folder tells whether its own log is whole; on a cluster, compare the members",
    )


def first_difference(opened: SegmentFile, held: Held, pace: Callable[[], object] = lambda: None) -> Difference | None:
    """None if all is the same. Raises Corruption for what cannot be read."""
    count = len(held.inline)
    seen = bytearray(count)
    found: list[Difference] = []
    for rows in opened.row_groups(COLUMNS):
        places = [index - held.first_index for index in numbers_of(rows.column("index"))]
        if min(places) < 0 or max(places) >= count:
            raise broken(opened.place, "it has entries outside of its range")
        for place in places:
            seen[place] = 1
        found += _differences(rows, places, held)
        pace()
    if (absent := seen.find(0)) >= 0:
        found.append(Difference(held.first_index + absent, ABSENT))
    return min(found, default=None)


def _differences(rows: pa.Table, places: Sequence[int], held: Held) -> list[Difference]:
    wanted, digests = _taken(held.leaf_hashes, places), _taken(held.digests, places)
    values = rows.column("value").to_pylist()
    hashes = bytes(hash_bytes_of(rows.column("leaf_hash")))
    if hashes == wanted and _all_match(values, digests):
        return []
    found = []
    for at, (place, value) in enumerate(zip(places, values, strict=True)):
        if _digest(hashes, at) != _digest(wanted, at):
            found.append(Difference(held.first_index + place, LEAF))
        elif held.inline[place] if value is None else sha256(value).digest() != _digest(digests, at):
            found.append(Difference(held.first_index + place, VALUE))
    return found


def _all_match(values: list[bytes | None], digests: bytes) -> bool:
    """In bulk; False also where some have no value, which then are looked at one by one."""
    return None not in values and b"".join([sha256(value).digest() for value in values if value is not None]) == digests


def _taken(joined: bytes | bytearray, places: Sequence[int]) -> bytes:
    """The digests at these places, joined."""
    import pyarrow as pa

    count = len(joined) // HASH_BYTES
    column = pa.Array.from_buffers(pa.binary(HASH_BYTES), count, [None, pa.py_buffer(joined)])
    return bytes(hash_bytes_of(pa.chunked_array([column.take(pa.array(places, pa.int64()))])))


def _digest(joined: bytes, at: int) -> bytes:
    return joined[at * HASH_BYTES : (at + 1) * HASH_BYTES]

"""Which ledger the segments of a store say that they are of: ``scribe.json`` may be the one that is wrong.

Each footer names the ledger, under a digest of its own. So if they all name one, and ``scribe.json`` another, it is the
odd one out, and one fault is named instead of as many as there are segments. Where the first agrees, that is all that
is read. Whether segments are whole, and of this log, is for those who read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.segments.directory import decode_directory
from scribe_ledger.segments.ending import ending_bytes
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ListedObject, ObjectStore

TAIL_BYTES = 128 << 10
"""How much of the end of an object is fetched in the hope that it holds the footer."""


def outvoted_by_segments(store: ObjectStore, lineage: Lineage, listed: Iterable[ListedObject]) -> str:
    """The ledger that every segment names, where that is not the one of ``scribe.json``; else empty."""
    ours = lineage.identity.ledger_id
    if lineage.handovers:
        return ""  # they are signed, and name the same
    named = ""
    for each in listed:
        segment = Segment.of_listing(each.path, each.size)
        found = "" if segment is None else _ledger_of(store, segment)
        if found == ours or (named and found not in ("", named)):
            return ""
        named = found or named
    return named


def _ledger_of(store: ObjectStore, segment: Segment) -> str:
    """Empty where the footer cannot be believed: what is wrong with a segment is found when it is read."""
    place = store.place(segment.path)
    try:
        tail = _end_of(store, segment, TAIL_BYTES)
        length = ending_bytes(place, segment.size, tail)
        ending = tail[-length:] if length <= len(tail) else _end_of(store, segment, length)
        return decode_directory(segment, ending, ledger_id=None, place=place).footer.ledger_id
    except Corruption:
        return ""


def _end_of(store: ObjectStore, segment: Segment, size: int) -> bytes:
    return store.get_range(segment.path, max(segment.size - size, 0), segment.size) or b""

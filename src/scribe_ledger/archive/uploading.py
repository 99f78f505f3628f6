"""Segments on their way into the store, and the look at what the store really has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption
from scribe_ledger.segments.scanning import bring

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.scanning import S
    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import SealedSegment


def upload(store: ObjectStore, sealed: SealedSegment) -> None:
    """Stores a finished segment. One that exists counts only if it has the same bytes."""
    if not store.put_file(sealed.segment.path, sealed.path):
        check_stored(store, sealed.segment)


def check_stored(store: ObjectStore, segment: Segment, pace: Callable[[], None] = lambda: None) -> None:
    """Reads the whole object and holds it against the segment's digest."""
    read_back(store, segment, pace, _Nowhere)


def read_back(store: ObjectStore, segment: Segment, pace: Callable[[], None], begin: Callable[[], S]) -> S:
    """The same, and what was read is in the sink that is given. Close it."""
    try:
        return bring(store, segment, begin, pace=pace)
    except Corruption as error:
        raise Corruption(
            error.message,
            hint="restore the object from a copy, or remove it if the entries are still in the hot store",
        ) from error


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass

    def close(self) -> None:
        pass

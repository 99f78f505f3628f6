"""Segments on their way into the store, and the look at what the store really has."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, TypeVar

from scribe_ledger.errors import Corruption
from scribe_ledger.objects.rereading import twice
from scribe_ledger.segments.faults import SegmentMissing
from scribe_ledger.segments.scanning import download, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.objects.temporary import TemporaryFile
    from scribe_ledger.segments.segment import Segment
    from scribe_ledger.segments.writing import SealedSegment

TRIES = 2
"""A network may alter or cut what it carries. What is wrong twice is wrong in the store."""


def upload(store: ObjectStore, sealed: SealedSegment) -> None:
    """Stores a finished segment. One that exists counts only if it has the same bytes."""
    if not store.put_file(sealed.segment.path, sealed.path):
        check_stored(store, sealed.segment)


class Sink(Protocol):
    """Where the bytes of an object go."""

    def write(self, data: bytes, /) -> object: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Sink)


def check_stored(store: ObjectStore, segment: Segment, pace: Callable[[], None] = lambda: None) -> None:
    """Reads the whole object and holds it against the segment's digest."""
    read_back(store, segment, pace, _Nowhere)


def read_back(store: ObjectStore, segment: Segment, pace: Callable[[], None], begin: Callable[[], S]) -> S:
    """The same, and what was read is in the sink that is given. Close it."""
    found = ""
    for _ in range(TRIES):
        sink = begin()
        try:
            found = _fault(store, segment, pace, sink)
        except BaseException:
            sink.close()
            raise
        if not found:
            return sink
        sink.close()
    raise Corruption(
        f"the segment {store.place(segment.path)} {found}",
        hint="restore the object from a copy, or remove it if the entries are still in the hot store",
    )


def fetch(store: ObjectStore, segment: Segment, folder: Path) -> TemporaryFile:
    """The object as a temporary file, held against its digest. Close it."""
    return twice(lambda: download(store, segment, folder))


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass

    def close(self) -> None:
        pass


def _fault(store: ObjectStore, segment: Segment, pace: Callable[[], None], sink: Sink) -> str:
    digest, size = sha256(), 0
    try:
        for piece in pieces_of(store, segment):
            digest.update(piece)
            size += len(piece)
            sink.write(piece)
            pace()
    except SegmentMissing:
        return "is missing"
    return "" if digest.digest() == segment.sha256 else f"has {size} bytes and not the digest in its name"

"""The part of the self-check that is about the archive: the manifest against its changes, segments against leaves.

A change of the manifest is not an entry, so the tree does not cover it. What the manifest must be follows from its
changes, and that these are the ones that were made, from their running digest. What lies in a segment must follow from
the leaves of the log, as everything else.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import orjson

from scribe_ledger.errors import Corruption, SerializationError, counted
from scribe_ledger.ledger.manifest import EMPTY, Adopt, Archive, Retired, change_from_json
from scribe_ledger.ledger.records import U64
from scribe_ledger.merkle.hashing import HASH_BYTES
from scribe_ledger.segments.checking import check_segment
from scribe_ledger.segments.scanning import download, open_segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from scribe_ledger.ledger.manifest import Manifest, ManifestTable
    from scribe_ledger.ledger.store import TableReader
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.segment import Segment

_CHANGE = b"c"


class Place(NamedTuple):
    """Where archived entries are, and what is needed to look at them."""

    objects: ObjectStore
    ledger_id: str
    folder: Path
    """For temporary files."""


def check_manifest(
    table: TableReader, records: ManifestTable, manifest: Manifest, *, evicted: int, size: int
) -> Iterator[str]:
    """What is wrong with a version of the manifest; changes that came after it are passed over."""
    yield from _check_shape(manifest, evicted, size)
    live: dict[int, Segment] = {}
    starts: dict[str, int] = {}
    replaced: set[str] = set()
    store_id, digest, version = "", EMPTY.digest, 0
    for key, record in table.scan(_CHANGE):
        if not key.startswith(_CHANGE) or version == manifest.version:
            break
        version += 1
        if key != _CHANGE + U64.pack(version):
            yield f"the change to version {version} is missing"
            return
        try:
            change = change_from_json(orjson.loads(record))
        except (SerializationError, orjson.JSONDecodeError) as error:
            yield f"the change to version {version} cannot be read: {error}"
            return
        digest = sha256(digest + record).digest()
        if isinstance(change, Adopt):
            store_id = change.store_id
        elif isinstance(change, Archive):
            for segment_id in change.replaced:
                live.pop(starts.pop(segment_id, -1), None)
            live |= {segment.first_index: segment for segment in change.added}
            starts |= {segment.segment_id: segment.first_index for segment in change.added}
            replaced |= {*change.replaced}
        elif isinstance(change, Retired):
            replaced -= {*change.segments}
    if version != manifest.version:
        yield f"it has version {manifest.version}, and {version} changes"
    elif digest != manifest.digest:
        yield "its digest is not that of its changes"
    if tuple(live[first] for first in sorted(live)) != manifest.segments or store_id != manifest.store_id:
        yield "it is not what its changes make of it"
    yield from _check_records(records, manifest, replaced)


def _check_shape(manifest: Manifest, evicted: int, size: int) -> Iterator[str]:
    following = 0
    for segment in manifest.segments:
        if segment.first_index != following or segment.count != segment.stop - segment.first_index:
            yield f"the segment {segment.segment_id} does not follow on the one before it"
        following = segment.stop
    if following != manifest.archived_size or manifest.archived_size > size:
        said = counted(manifest.archived_size, "archived entry", "archived entries")
        yield f"it says {said}, its segments have {following} of {size}"
    if manifest.starts != tuple(segment.first_index for segment in manifest.segments):
        yield "its directory of first entries is wrong"
    if manifest.archived_bytes != sum(segment.log_bytes for segment in manifest.segments):
        yield f"it says {manifest.archived_bytes} archived bytes, which is not the sum of its segments"
    if evicted > manifest.archived_size:
        yield f"values below entry {evicted} were evicted, and the archive has {counted(manifest.archived_size)}"


def _check_records(records: ManifestTable, manifest: Manifest, replaced: set[str]) -> Iterator[str]:
    """The stored form, if nothing came after that version."""
    stored = records.load()
    if stored.version < manifest.version:
        yield f"its record has version {stored.version}, and should have {manifest.version}"
    elif stored.version == manifest.version:
        if stored != manifest or not records.holds(manifest):
            yield "its records are not what was written"
        if {each.segment.segment_id for each in records.replaced()} != replaced:
            yield "its records of replaced segments are not what its changes make of them"


def check_segments(
    place: Place, segments: Iterable[Segment], leaf_hashes: Callable[[int, int], bytes]
) -> Iterator[tuple[str, str]]:
    """Every segment whose object is not what it should be, and why. ``leaf_hashes(start, stop)`` are those of the log.

    One after the other; memory is that of one segment's columns.
    """
    for segment in segments:
        try:
            with download(place.objects, segment, place.folder) as file:
                check_segment(file.path, segment, ledger_id=place.ledger_id)
                wrong = _first_difference(file.path, segment, leaf_hashes)
        except Corruption as error:
            yield segment.path, error.message
            continue
        if wrong is not None:
            yield segment.path, f"its row of entry {wrong} is not the entry of the log"


def _first_difference(file: Path, segment: Segment, leaf_hashes: Callable[[int, int], bytes]) -> int | None:
    with open_segment(file, segment) as opened:
        at = segment.first_index
        for rows in opened.rows():
            wanted = leaf_hashes(at, at + len(rows.leaf_hashes))
            for ordinal, found in enumerate(rows.leaf_hashes):
                if found != wanted[ordinal * HASH_BYTES : (ordinal + 1) * HASH_BYTES]:
                    return at + ordinal
            at += len(rows.leaf_hashes)
    return None

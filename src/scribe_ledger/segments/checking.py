"""Checking one segment, as far as that is possible alone: bytes, footer, order, every leaf and every value."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from struct import Struct
from typing import TYPE_CHECKING

from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.merkle.tree import root_of
from scribe_ledger.model import CHUNK_BYTES, Kind
from scribe_ledger.objects.durable import storage_errors
from scribe_ledger.objects.paths import range_of_segment_path, segment_id_of_path
from scribe_ledger.segments.faults import broken
from scribe_ledger.segments.rebuilding import hashes_of, numbers_of
from scribe_ledger.segments.scanning import open_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.segments.scanning import Rows, SegmentFile
    from scribe_ledger.segments.segment import Segment

_VALUE_FIELDS = Struct(">2xBx32xQ32s32s")
"""Of a leaf's header: kind, size, digest and chunk root."""


def check_segment(file: Path | bytes, segment: Segment, *, ledger_id: str | None = None) -> None:
    """Raise Corruption that names the object and the first thing wrong with it. Memory: that of its columns."""
    check_digest(file, segment)
    with open_segment(file, segment, ledger_id=ledger_id) as opened:
        _check_order(opened, segment)
        log_bytes = 0
        for rows in opened.rows(with_values=True):
            log_bytes += _check_values(rows, segment)
    if log_bytes != segment.log_bytes:
        raise broken(segment.path, f"its entries have {log_bytes} bytes, the manifest says {segment.log_bytes}")


def check_digest(file: Path | bytes, segment: Segment) -> None:
    """Raise Corruption unless the bytes are those that the name of the object stands for."""
    digest, size = sha256(), 0
    for piece in [file] if isinstance(file, bytes) else _pieces(file):
        digest.update(piece)
        size += len(piece)
    found = (segment.first_index, segment.last_index, digest.digest())
    if range_of_segment_path(segment.path) != found or (size, segment.sha256) != (segment.size, digest.digest()):
        raise broken(segment.path, f"its {size} bytes have the SHA-256 {digest.hexdigest()}")
    if segment.segment_id != segment_id_of_path(segment.path):
        raise broken(segment.path, f"the manifest calls it {segment.segment_id}")


def _check_order(opened: SegmentFile, segment: Segment) -> None:
    """Rows sorted by key, then newest first; the root, the directory of row groups and the keys as they are said."""
    table = opened.table(["key", "leaf_hash", "index", "timestamp"])
    indexes = numbers_of(table.column("index"))
    places = [*zip(table.column("key").to_pylist(), [-index for index in indexes], strict=True)]
    if any(first >= second for first, second in pairwise(places)):
        raise broken(segment.path, "its rows are out of order")
    starts, start = [], 0
    for count in opened.row_group_sizes():
        starts.append(places[start])
        start += count
    if starts != opened.footer.places:
        raise broken(segment.path, "its directory of row groups is wrong")
    if root_of(hashes_of(table.column("leaf_hash"))) != opened.footer.merkle_root:
        raise broken(segment.path, "its leaf hashes do not have its merkle_root")
    last = numbers_of(table.column("timestamp"))[indexes.index(max(indexes))]
    if (places[0][0], places[-1][0], last) != (segment.min_key, segment.max_key, segment.timestamp):
        raise broken(segment.path, "its keys or its time are not what the manifest says")


def _check_values(rows: Rows, segment: Segment) -> int:
    """Each value against the digest in its leaf; how many bytes leaves and values have."""
    values = rows.values or []
    for index, (leaf, value) in enumerate(zip(rows.leaves, values, strict=True), rows.first_index):
        kind, size, digest, chunk_root = _VALUE_FIELDS.unpack_from(leaf)
        inline = kind != Kind.DELETE and chunk_root == ZERO_HASH
        if inline is (value is None):
            raise broken(segment.path, f"entry {index} {'has no value' if inline else 'has a value'}")
        if value is not None and (len(value), sha256(value).digest()) != (size, digest):
            raise broken(segment.path, f"the value of entry {index} does not match its digest")
    return sum(map(len, rows.leaves)) + sum([len(value) for value in values if value is not None])


def _pieces(path: Path) -> Iterator[bytes]:
    with storage_errors("read", path), path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece

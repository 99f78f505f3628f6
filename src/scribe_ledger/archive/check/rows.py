"""The check of one segment by itself: its bytes, its footer, its order, and every row of it.

Whether the rows are the entries of the ledger is not decided here: their leaf hashes go to whoever knows the tree.
Memory is that of the segment's columns. Page checksums and the hashes of leaves are checked by ``segments.scanning``.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.archive.check.blobs import BlobRef
from scribe_ledger.archive.check.folder import changed_by
from scribe_ledger.archive.check.report import Finding
from scribe_ledger.errors import Corruption
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.leaf import HEADER
from scribe_ledger.merkle.tree import EMPTY_EDGE, edge_root, grow
from scribe_ledger.model import CHUNK_BYTES, Kind
from scribe_ledger.objects.durable import read_up_to
from scribe_ledger.objects.paths import range_of_segment_path, segment_id_of_path
from scribe_ledger.objects.temporary import TemporaryFile
from scribe_ledger.segments.scanning import open_segment
from scribe_ledger.segments.segment import Segment

if TYPE_CHECKING:
    import pyarrow as pa

    from scribe_ledger.archive.check.looking import Looks
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.segments.footer import Footer
    from scribe_ledger.segments.scanning import Rows, SegmentFile


class RowsFound(NamedTuple):
    """What was found in a segment."""

    findings: list[Finding]
    hashes: bytes | None
    """The leaf hashes in the order of the log, joined; None if the rows cannot count."""
    segment: Segment | None = None
    """As a manifest should describe it."""
    first_timestamp: int = 0
    last_timestamp: int = 0
    blobs: tuple[BlobRef, ...] = ()
    """Each large value once, with one entry that refers to it."""
    changed_policies: frozenset[str] = frozenset()
    """Those that its config entries tell."""


class _AtHand(NamedTuple):
    """An object as a file, its size and its digest."""

    file: Path
    size: int
    digest: bytes


def check_rows(looks: Looks, path: str, ledger_id: str) -> RowsFound:
    """Checks the segment at a path, whose name says its range and digest. With that digest it came as it is stored."""
    named = range_of_segment_path(path)
    assert named is not None
    with ExitStack() as held:
        found = looks.twice(
            partial(_bring, path, held), is_wrong=lambda found: found is None or found.digest != named[2]
        )
        if found is None:
            return RowsFound([Finding(path, "missing")], None)
        if found.digest != named[2]:
            return RowsFound([Finding(path, f"its {found.size} bytes do not have the digest in its name")], None)
        try:
            with open_segment(found.file, ledger_id=ledger_id or None) as opened:
                return _Check(path, opened, found.size, found.digest).run(*named[:2])
        except Corruption as error:
            return RowsFound([Finding(path, error.message.rpartition(" is corrupt: ")[2])], None)


def _bring(path: str, held: ExitStack, store: ObjectStore) -> _AtHand | None:
    """The object, for as long as it is held; None if it is not there. A folder's own file is not copied."""
    source = store.open(path)
    if source is None:
        return None
    copy = None
    if not store.is_local:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="scribe-fsck-"))
        copy = held.enter_context(TemporaryFile(Path(folder)))
    digest, size = sha256(), 0
    with closing(source):
        try:
            while piece := read_up_to(source, CHUNK_BYTES):
                digest.update(piece)
                size += len(piece)
                if copy is not None:
                    copy.write(piece)
        except Corruption:  # it was removed while it was read
            return None
    return _AtHand(Path(store.place(path)) if copy is None else copy.path, size, digest.digest())


class _Check:
    def __init__(self, path: str, opened: SegmentFile, size: int, digest: bytes) -> None:
        self._path = path
        self._opened = opened
        self._size = size
        self._digest = digest
        self._findings: list[Finding] = []
        self._hashes: list[bytes] = []
        self._blobs: dict[bytes, BlobRef] = {}
        self._changed_policies: set[str] = set()
        self._first_timestamp = self._timestamp = -1
        self._log_bytes = 0

    def run(self, first: int, last: int) -> RowsFound:
        footer = self._opened.footer
        if (footer.first_index, footer.last_index) != (first, last):
            return RowsFound([Finding(self._path, "its footer has another range than its name")], None)
        min_key, max_key = self._check_order(footer)
        for rows in self._opened.rows(with_values=True):
            self._check_rows(rows)
        segment = Segment(
            segment_id=segment_id_of_path(self._path),
            first_index=first,
            last_index=last,
            min_key=min_key,
            max_key=max_key,
            count=footer.count,
            size=self._size,
            log_bytes=self._log_bytes,
            path=self._path,
            sha256=self._digest,
            merkle_root=footer.merkle_root,
            timestamp=self._timestamp,
        )
        return RowsFound(
            self._findings,
            b"".join(self._hashes),
            segment,
            self._first_timestamp,
            self._timestamp,
            tuple(self._blobs.values()),
            frozenset(self._changed_policies),
        )

    # --- what stands in the order of the file ---------------------------------------------------------------------

    def _check_order(self, footer: Footer) -> tuple[bytes, bytes]:
        """Root, order, directory and the chains of versions; the first and the last key."""
        table = self._opened.table(["key", "index", "version", "previous", "leaf_hash"])
        hashes = _fixed_bytes(table.column("leaf_hash"))
        edge, _ = grow(EMPTY_EDGE, [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)])
        if edge_root(edge) != footer.merkle_root:
            self._note("its leaf hashes do not have the root in its footer")
        if not _is_sorted(table):
            self._note("its rows are not in the order of keys, newest first")
        if not _is_chained(table):
            self._note("a version in it does not name the one before it")
        start = 0
        for (key, index), count in zip(footer.places, self._opened.row_group_sizes(), strict=True):
            if (table.column("key")[start].as_py(), -table.column("index")[start].as_py()) != (key, index):
                self._note(f"its footer says of the row group at row {start} what is not so")
            start += count
        return table.column("key")[0].as_py(), table.column("key")[-1].as_py()

    # --- what stands in the order of the log ----------------------------------------------------------------------

    def _check_rows(self, rows: Rows) -> None:
        assert rows.values is not None
        self._hashes += rows.leaf_hashes
        self._log_bytes += sum(map(len, rows.leaves)) + sum([len(value) for value in rows.values if value])
        for leaf, value in zip(rows.leaves, rows.values, strict=True):
            _, _, kind, _, index, timestamp, _, _, size, digest, chunk_root = HEADER.unpack_from(leaf)
            if timestamp < self._timestamp:
                self._note(f"the timestamp of entry {index} is before that of the entry before it")
            self._timestamp = timestamp
            if kind == Kind.DELETE or chunk_root != ZERO_HASH:
                if value is not None:
                    self._note(f"entry {index} has a value in its row, and should have none")
                if kind != Kind.DELETE:
                    self._blobs.setdefault(digest, BlobRef(digest, size, chunk_root, index))
            elif value is None or len(value) != size or sha256(value).digest() != digest:
                self._note(f"the value of entry {index} does not match its digest")
            elif kind == Kind.CONFIG:
                self._changed_policies |= changed_by(value)
        if self._first_timestamp < 0 and rows.leaves:
            self._first_timestamp = HEADER.unpack_from(rows.leaves[0])[5]

    def _note(self, what: str) -> None:
        if not self._findings:  # a place is named once, with what was found first
            self._findings.append(Finding(self._path, what))


def _fixed_bytes(column: pa.ChunkedArray) -> bytes:
    array = column.combine_chunks()
    start = array.offset * HASH_BYTES
    return bytes(memoryview(array.buffers()[1])[start : start + len(array) * HASH_BYTES])


def _is_sorted(table: pa.Table) -> bool:
    import pyarrow.compute as pc

    before, after = table.slice(0, len(table) - 1), table.slice(1)
    rises = pc.less(before.column("key"), after.column("key"))
    newer = pc.greater(before.column("index"), after.column("index"))
    return pc.all(pc.or_(rises, pc.and_(_same_key(before, after), newer)), min_count=0).as_py() is True


def _is_chained(table: pa.Table) -> bool:
    """Whether every version of a key that has its predecessor in this segment names it. System entries have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    before, after = table.slice(0, len(table) - 1), table.slice(1)
    others = pc.invert(_same_key(before, after))
    system = pc.equal(after.column("key"), pa.scalar(b"", after.schema.field("key").type))
    names = pc.fill_null(pc.equal(before.column("previous"), after.column("index")), fill_value=False)
    follows = pc.equal(before.column("version"), pc.add(after.column("version"), pa.scalar(1, pa.uint64())))
    fine = pc.or_(pc.or_(others, system), pc.and_(names, follows))
    return pc.all(fine, min_count=0).as_py() is True


def _same_key(before: pa.Table, after: pa.Table) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.equal(before.column("key"), after.column("key"))

"""Taking a log over from segments into a ledger that is being restored.

A segment is downloaded whole and held against the digest in its name, while the one before it is still taken over.
Wherever a root was signed at its end, its leaf hashes must lead there before any of it counts. Then each leaf is
rebuilt, and the state machine judges that it follows from those before it. Values stay where they are.

A segment that fails is no verdict on the store: it may be left over, and others may have its entries. Only where none
have is it an error, the first that was met.

What is taken over is durable, and a segment enters the manifest when all of it is; so whoever was ended goes on there.
Memory: one segment, whatever the size of the log.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from struct import iter_unpack
from typing import TYPE_CHECKING, Protocol

from scribe_ledger.archive.covering import Candidate, Directory, read_directory
from scribe_ledger.errors import Corruption, VerificationError, counted
from scribe_ledger.ledger.manifest import Archive
from scribe_ledger.merkle.hashing import HASH_BYTES, ZERO_HASH
from scribe_ledger.merkle.tree import edge_root, grow
from scribe_ledger.model import Kind
from scribe_ledger.objects.epochs import read_checkpoint
from scribe_ledger.segments.rebuilding import hash_bytes_of
from scribe_ledger.segments.scanning import download, open_segment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint
    from scribe_ledger.objects.epochs import Lineage
    from scribe_ledger.objects.store import ObjectStore
    from scribe_ledger.objects.temporary import TemporaryFile
    from scribe_ledger.segments.scanning import Rows, SegmentFile
    from scribe_ledger.segments.segment import Segment

_KIND_AT, _TIMESTAMP, _SIZE, _DIGEST, _CHUNK_ROOT = 2, slice(12, 20), slice(36, 44), slice(44, 76), slice(76, 108)
"""Where the fields stand in a leaf."""
_CONFIG, _DELETE = int(Kind.CONFIG), int(Kind.DELETE)


class Progress(Protocol):
    """Told how far a long work is: which part of it, and how many of how many are done."""

    def __call__(self, part: str, done: int, total: int, /) -> None: ...


class Refill:
    """Fills one ledger up to one signed head."""

    def __init__(
        self,
        ledger: ServedLedger,
        store: ObjectStore,
        lineage: Lineage,
        head: Checkpoint,
        *,
        check_values: bool,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._lineage = lineage
        self._head = head
        self._check_values = check_values
        self._progress = progress

    def run(self, unfit: dict[str, Corruption]) -> bool:
        """Takes over what is not there yet; the root is then the signed one, or this raises what is wrong.

        ``unfit`` are segments that failed before, and those that fail now. False if others have their entries, and the
        ledger must be begun anew to take them.
        """
        directory = read_directory(self._store)
        while (start := self._ledger.manifest.archived_size) < self._head.size:
            chain = self._chain(directory, start, unfit)
            if chain is None:
                return False
            for candidate, coming in self._downloads(chain):
                try:
                    self._take(candidate, coming)
                except Corruption as error:
                    unfit[candidate.path] = error
                    break
        if self._ledger.root(self._head.size) != self._head.root:
            raise Corruption(
                f"the entries of the segments give another root than the one signed at {counted(self._head.size)}",
                hint="remove the folder, and run `scribe fsck` on the store",
            )
        return True

    def _chain(self, directory: Directory, start: int, unfit: dict[str, Corruption]) -> list[Candidate] | None:
        """What to take from here on. None if that can only be had from the beginning."""
        anew = directory.can_cover(self._head.size, without=unfit)
        if unfit and anew and self._ledger.size > start:
            return None  # what an unfit segment has left behind may be wrong
        try:
            return directory.cover(start, self._head.size, without=unfit)
        except Corruption:
            if unfit and anew:
                return None
            if unfit:
                raise next(iter(unfit.values())) from None
            if anew:
                raise Corruption(
                    f"the segments were merged since the restore began: none begins at entry {start} any more",
                    hint="remove the folder, and restore it again while nobody archives",
                ) from None
            raise

    def _downloads(self, chain: list[Candidate]) -> Iterator[tuple[Candidate, Future[TemporaryFile]]]:
        """Each with its file, for the caller to close, and the next one on its way meanwhile."""
        with ThreadPoolExecutor(1, thread_name_prefix="scribe-restore") as thread:
            waiting: Future[TemporaryFile] | None = None
            try:
                for place, candidate in enumerate(chain):
                    coming = waiting or self._download(thread, candidate)
                    following = chain[place + 1 : place + 2]
                    waiting = self._download(thread, following[0]) if following else None
                    yield candidate, coming
            finally:
                if waiting is not None and waiting.exception() is None:
                    waiting.result().close()

    def _download(self, thread: ThreadPoolExecutor, candidate: Candidate) -> Future[TemporaryFile]:
        return thread.submit(download, self._store, candidate.as_segment(), self._ledger.spool)

    # --- one segment -------------------------------------------------------------------------------------------

    def _take(self, candidate: Candidate, coming: Future[TemporaryFile]) -> None:
        """All of a segment, or Corruption that says why it is not what its name promises."""
        path = self._store.place(candidate.path)
        with (
            coming.result() as file,
            open_segment(file.path, ledger_id=self._ledger.ledger_id, place=path) as opened,
        ):
            if (opened.footer.first_index, opened.footer.last_index) != (candidate.first_index, candidate.stop - 1):
                raise Corruption(f"the segment {path} is corrupt: its name tells another range than its footer")
            if not self._leads_to_root(opened, candidate):
                raise Corruption(
                    f"the segment {path} is not of this log: its entries do not lead to the root that was signed",
                    hint="restore the right object from a copy of the store; `scribe fsck URL` says what else is wrong",
                )
            log_bytes, last_leaf = 0, b""
            for rows in opened.rows(with_values=True if self._check_values else "config"):
                _check_inline_values(rows, path, all_there=self._check_values)
                self._take_over(rows, path)
                log_bytes += _log_bytes(rows.leaves)
                last_leaf = rows.leaves[-1]
                self._progress("entries", self._ledger.size, self._head.size)
            segment = candidate.as_segment()._replace(
                min_key=opened.footer.places[0][0],
                max_key=opened.table(["key"]).column("key")[-1].as_py(),
                log_bytes=log_bytes,
                merkle_root=opened.footer.merkle_root,
                timestamp=int.from_bytes(last_leaf[_TIMESTAMP], "big"),
            )
        self._archive(segment)

    def _leads_to_root(self, opened: SegmentFile, candidate: Candidate) -> bool:
        """True also where nothing was signed at its end: then a later segment shows it, at the latest the last."""
        import pyarrow.compute as pc

        signed = self._head
        if candidate.stop != signed.size:
            found = read_checkpoint(self._store, self._lineage, candidate.stop)
            if found is None:
                return True
            signed = found
        table = opened.table(["index", "leaf_hash"])
        ordered = table.take(pc.sort_indices(table.column("index")))
        joined = hash_bytes_of(ordered.column("leaf_hash"))
        known = (self._ledger.size - candidate.first_index) * HASH_BYTES
        hashes = [found for (found,) in iter_unpack("32s", joined[max(known, 0) :])]
        edge, _ = grow(self._ledger.edge, hashes)
        return edge_root(edge) == signed.root

    def _take_over(self, rows: Rows, path: str) -> None:
        """What of these rows is not there yet."""
        known = max(self._ledger.size - rows.first_index, 0)
        leaves, hashes = rows.leaves[known:], rows.leaf_hashes[known:]
        if not leaves:
            return
        values = (rows.values or [])[known:]
        config = {
            rows.first_index + known + at: value
            for at, (leaf, value) in enumerate(zip(leaves, values, strict=True))
            if leaf[_KIND_AT] == _CONFIG and value is not None
        }
        try:
            self._ledger.take_over(leaves, hashes, config)
        except VerificationError as error:
            raise Corruption(f"the segment {path} does not fit: {error.message}") from error

    def _archive(self, segment: Segment) -> None:
        self._ledger.change_manifest(Archive(self._ledger.manifest.version, (segment,)))


def _check_inline_values(rows: Rows, path: str, *, all_there: bool) -> None:
    """Each value that was read against the digest in its leaf; with ``all_there``, none may be missing."""
    values = rows.values or []
    if None not in values and [sha256(value).digest() for value in values if value is not None] == [
        leaf[_DIGEST] for leaf in rows.leaves
    ]:
        return
    for index, (leaf, value) in enumerate(zip(rows.leaves, values, strict=True), rows.first_index):
        if value is None:
            kind = leaf[_KIND_AT]
            if kind == _CONFIG or (all_there and kind != _DELETE and leaf[_CHUNK_ROOT] == ZERO_HASH):
                raise Corruption(f"the segment {path} is corrupt: the value of entry {index} is missing")
        elif sha256(value).digest() != leaf[_DIGEST]:
            raise Corruption(f"the segment {path} is corrupt: the value of entry {index} does not match its digest")


def _log_bytes(leaves: list[bytes]) -> int:
    """Of leaves and inline values, as the ledger counts them."""
    inline = [leaf[_SIZE] for leaf in leaves if leaf[_CHUNK_ROOT] == ZERO_HASH]
    return sum(map(len, leaves)) + sum([int.from_bytes(size, "big") for size in inline])

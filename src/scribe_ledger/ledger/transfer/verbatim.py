"""From a file to an empty ledger, entry for entry: same indexes, versions, timestamps and leaves, hence the same root.

Only the origin differs, and so the key that signs the checkpoints. A row is believed in nothing: its leaf is encoded
again from its fields, its value is hashed, and the state machine refuses a batch whose leaves come out differently.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.errors import Conflict, ScribeError, counted
from scribe_ledger.ledger import commands
from scribe_ledger.ledger.sequencer import Replayed
from scribe_ledger.ledger.transfer.rows import checked_pieces, checked_value, malformed, to_command
from scribe_ledger.merkle.hashing import ZERO_HASH
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.proposing import Proposer
    from scribe_ledger.ledger.sequencer import Sequencer
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.merkle.leaf import Leaf
    from scribe_ledger.objects.blobs import Blob, BlobStore

ROUND_ENTRIES = 2000
"""Written with one sync."""
ROUND_BYTES = 16 << 20


class _Prepared(NamedTuple):
    command: Command
    timestamp: int
    leaf_hash: bytes


class VerbatimImporter:
    """Fills one ledger. ``size`` is how many entries it has so far."""

    def __init__(
        self,
        sequencer: Sequencer | Proposer,
        blobs: BlobStore,
        size: int,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if size:
            raise Conflict(
                f"the ledger has {counted(size)}; entries are taken over verbatim by an empty one only",
                hint="name a new folder, or remove this one if an import into it was cut short",
            )
        self.size = 0
        self._sequencer = sequencer
        self._blobs = blobs
        self._progress = progress
        self._round: list[_Prepared] = []
        self._round_bytes = 0

    def run(self, rows: Iterable[Row]) -> int:
        """Takes over all rows; how many. After an error the ledger has at most what came before the row it names."""
        try:
            for row in rows:
                self._round.append(self._prepare(row, self.size + len(self._round)))
                self._round_bytes += self._round[-1].command.queue_bytes
                if len(self._round) >= ROUND_ENTRIES or self._round_bytes >= ROUND_BYTES:
                    self._write()
            self._write()
        except ScribeError as error:
            if self.size:
                begun = f"remove the folder before another attempt: it holds {counted(self.size)} already"
                error.hint = f"{error.hint}; {begun}" if error.hint else begun
            raise
        return self.size

    def _prepare(self, row: Row, index: int) -> _Prepared:
        leaf = row.leaf
        if leaf is None:
            raise malformed(
                row.place,
                "it does not have all fields of an entry",
                hint="verbatim takes what `scribe export` writes of a whole log; other rows can be appended",
            )
        if leaf.index != index:
            raise malformed(row.place, f"it is entry {leaf.index} where entry {index} should stand")
        if _hash_of(row, leaf) != row.leaf_hash:
            raise malformed(row.place, f"the fields of entry {index} do not give its leaf hash")
        return _Prepared(self._command(row, leaf), leaf.timestamp, row.leaf_hash)

    def _command(self, row: Row, leaf: Leaf) -> Command:
        if row.kind is Kind.CONFIG:
            return _config_command(row)
        if leaf.chunk_root != ZERO_HASH:
            return to_command(row, self._blob(row, leaf), dedupe=False)
        value = row.value if isinstance(row.value, bytes) else b"".join(row.value)
        return to_command(row, checked_value(row, value), dedupe=False)

    def _blob(self, row: Row, leaf: Leaf) -> Blob:
        """What was a blob becomes one, whatever its size: the chunk root is in the leaf."""
        pieces = [row.value] if isinstance(row.value, bytes) else row.value
        blob = self._blobs.store(checked_pieces(row, pieces))
        if blob.chunk_root != leaf.chunk_root:
            raise malformed(row.place, f"the value does not have the chunk root of entry {leaf.index}")
        return blob

    def _write(self) -> None:
        if self._round:
            written, timestamps, leaf_hashes = zip(*self._round, strict=True)
            self._sequencer.replay(Replayed(written, timestamps, leaf_hashes), first=self.size)
        self.size += len(self._round)
        self._round = []
        self._round_bytes = 0
        if self._progress is not None:
            self._progress(self.size)


def _hash_of(row: Row, leaf: Leaf) -> bytes:
    try:
        return leaf.hash()
    except ScribeError as error:
        raise malformed(row.place, error.message, hint=error.hint) from error


def _config_command(row: Row) -> Command:
    value = row.value if isinstance(row.value, bytes) else b"".join(row.value)
    try:
        changes = json.loads(checked_value(row, value))
    except ValueError as error:
        raise malformed(row.place, f"the value of a config entry is not JSON: {error}") from error
    return commands.configure(changes)

"""From a file to a ledger: rows become new entries, in batches that each are written wholly or not at all.

Keys, values, content types and metadata are kept; indexes, versions and timestamps are the ledger's own. Deletes of
keys that have no value, and changes of policy, are passed over and counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from scribe_ledger.errors import TooLarge
from scribe_ledger.ledger.transfer.rows import checked_pieces, checked_value, to_command
from scribe_ledger.model import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.transfer.rows import Row
    from scribe_ledger.model import Entry, Receipt

BATCH_ENTRIES = 500
BATCH_BYTES = 8 << 20


class Sink(Protocol):
    """What a ledger must offer to be appended to."""

    def write(self, unit: Sequence[Command]) -> Sequence[Receipt]: ...
    def put_stream(
        self,
        key: bytes,
        reader: Iterable[bytes],
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        dedupe: bool = True,
    ) -> Receipt: ...
    def entry(self, key: bytes) -> Entry | None: ...


@dataclass
class Counts:
    """What became of the rows so far."""

    rows: int = 0
    """Read and settled: an import that was cut short goes on after these."""
    appended: int = 0
    unchanged: int = 0
    """The key's latest version was the same already."""
    skipped: int = 0
    """Deletes of what is not there, and changes of policy."""

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Importer:
    """Appends rows to a ledger. ``counts`` is true at any time, after an error too."""

    def __init__(
        self,
        sink: Sink,
        *,
        dedupe: bool = True,
        batch_bytes: int = BATCH_BYTES,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.counts = Counts()
        self._sink = sink
        self._dedupe = dedupe
        self._progress = progress
        self._batch: list[Command | None] = []
        """A row each; None for one that is passed over."""
        self._batch_bytes = 0
        self._most_rows = BATCH_ENTRIES
        self._most_bytes = batch_bytes
        self._live: dict[bytes, bool] = {}

    def run(self, rows: Iterable[Row], *, skip: int = 0) -> Counts:
        """Appends all rows but the first ``skip``, which are read and passed over."""
        for row in rows:
            if self.counts.rows < skip:
                self.counts.rows += 1
            else:
                self._take(row)
        self._write()
        return self.counts

    def _take(self, row: Row) -> None:
        if row.kind is Kind.CONFIG or (row.kind is Kind.DELETE and not self._is_live(row.key)):
            self._batch.append(None)
        elif isinstance(row.value, bytes):
            self._add(to_command(row, checked_value(row, row.value), dedupe=self._dedupe))
        else:
            self._write()
            self._put_stream(row, row.value)
        if len(self._batch) >= self._most_rows:
            self._write()

    def _add(self, command: Command) -> None:
        if self._batch_bytes + command.queue_bytes > self._most_bytes:
            self._write()
        self._batch.append(command)
        self._batch_bytes += command.queue_bytes
        self._live[command.key] = command.kind is Kind.PUT

    def _is_live(self, key: bytes) -> bool:
        """Whether the key has a value once the present batch is written."""
        if key not in self._live:
            entry = self._sink.entry(key)
            self._live[key] = entry is not None and not entry.deleted
        return self._live[key]

    def _put_stream(self, row: Row, pieces: Iterator[bytes]) -> None:
        to_command(row, b"", dedupe=self._dedupe)  # what is wrong with the rest of the row is found before it is read
        receipt = self._sink.put_stream(
            row.key,
            checked_pieces(row, pieces),
            content_type=row.content_type,
            metadata=row.metadata,
            dedupe=self._dedupe,
        )
        self._count([receipt], rows=1)

    def _write(self) -> None:
        batch, self._batch = self._batch, []
        self._batch_bytes = 0
        self._live.clear()
        self._write_rows(batch)

    def _write_rows(self, rows: Sequence[Command | None]) -> None:
        """One batch; or several, if the sink takes less at once than was thought, and then from here on."""
        commands = [row for row in rows if row is not None]
        try:
            receipts = self._sink.write(commands) if commands else []
        except TooLarge:
            if len(commands) < 2:
                raise
            half = self._most_rows = len(rows) // 2
            self._write_rows(rows[:half])
            self._write_rows(rows[half:])
            return
        if rows:
            self.counts.skipped += len(rows) - len(commands)
            self._count(receipts, rows=len(rows))

    def _count(self, receipts: Sequence[Receipt], *, rows: int) -> None:
        created = sum(receipt.created for receipt in receipts)
        self.counts.appended += created
        self.counts.unchanged += len(receipts) - created
        self.counts.rows += rows
        if self._progress is not None:
            self._progress(self.counts.rows)

"""From a ledger to a file: any entries of one ledger, with their values."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol, Self

from scribe_ledger.errors import Corruption
from scribe_ledger.ledger.transfer.rows import STREAMED_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scribe_ledger.model import Entry


class Source(Protocol):
    """Where the values are that are too large to come with their entries."""

    def open_value(self, key: bytes, *, version: int | None = None) -> IO[bytes] | None: ...


class Writer(Protocol):
    """A format being written. It is complete when its ``with`` block has ended well."""

    def write(self, entry: Entry, value: IO[bytes] | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


def export_entries(
    source: Source, entries: Iterable[Entry], writer: Writer, *, progress: Callable[[int], None] | None = None
) -> int:
    """Writes entries of the source, with their values; how many. ``progress`` is told after each."""
    count = 0
    for entry in entries:
        if entry.size <= STREAMED_BYTES:
            writer.write(entry)
        else:
            _write_streamed(source, entry, writer)
        count += 1
        if progress is not None:
            progress(count)
    return count


def _write_streamed(source: Source, entry: Entry, writer: Writer) -> None:
    value = source.open_value(entry.key, version=entry.version)
    if value is None:
        raise Corruption(f"the value of entry {entry.index} is missing", hint="run `scribe fsck`")
    with value:
        writer.write(entry, value)

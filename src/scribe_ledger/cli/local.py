"""``LocalTarget``: the ledger in a folder, as commands use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from scribe_ledger.ledger.served import ServedLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scribe_ledger.model import Entry


class LocalTarget(ServedLedger):
    """Everything is at hand, so the values need not be sent for."""

    import_bytes: ClassVar = 8 << 20

    def log_with_values(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        return self.log(start, stop)

    def scan_with_values(self) -> Iterator[Entry]:
        return self.scan()

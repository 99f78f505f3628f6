"""What a log holds, put together from its writes in their order; and which write can come next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.log.store import Contents

if TYPE_CHECKING:
    from scribe_ledger.consensus.log.store import Entry, HardState, LogWrite


class Edges:
    """Where a log begins and ends, and its hard state: all of it but the entries."""

    def __init__(self, contents: Contents) -> None:
        self.truncated = contents.truncated
        self.hard_state = contents.hard_state
        self.last = contents.truncated[0] + len(contents.entries)

    def check(self, write: LogWrite) -> None:
        """Raises ``ValueError`` for a write that cannot follow: the engine never asks for one."""
        truncated, last = (write.reset[0],) * 2 if write.reset is not None else (self.truncated[0], self.last)
        if write.entries and not truncated < write.entries[0][0] <= last + 1:
            raise ValueError(f"entry {write.entries[0][0]} in a log that has {truncated + 1} to {last}")

    def take(self, write: LogWrite) -> None:
        self.hard_state = write.hard_state or self.hard_state
        if write.reset is not None:
            self.truncated = write.reset
            self.last = write.reset[0]
        if write.entries:
            self.last = write.entries[-1][0]

    def cut(self, index: int, term: int) -> None:
        self.truncated = max(self.truncated, (index, term))


class Replay:
    """While it is built up its first entries may be missing: a cut, told later, accounts for them."""

    def __init__(self) -> None:
        self.truncated = (0, 0)
        self.hard_state: HardState = (0, 0, 0)
        self._entries: list[Entry] = []

    def take(self, write: LogWrite) -> None:
        """Raises ``ValueError`` for entries that do not follow."""
        self.hard_state = write.hard_state or self.hard_state
        if write.reset is not None:
            self.truncated = write.reset
            self._entries.clear()
        if write.entries:
            if self._entries:
                first, last = self._entries[0][0], self._entries[-1][0]
                if not first <= write.entries[0][0] <= last + 1:
                    raise ValueError(f"entry {write.entries[0][0]} after entries {first} to {last}")
                del self._entries[write.entries[0][0] - first :]
            self._entries += write.entries

    def cut(self, index: int, term: int) -> None:
        """Raises ``ValueError`` if the log never had this entry."""
        if index <= self.truncated[0]:
            return
        self.truncated = (index, term)
        if not self._entries or self._entries[0][0] > index:
            return
        dropped = index + 1 - self._entries[0][0]
        if dropped > len(self._entries) or self._entries[dropped - 1][1] != term:
            raise ValueError(f"it was cut after entry {index} of term {term}, which it does not have")
        del self._entries[:dropped]

    def contents(self) -> Contents:
        """Raises ``ValueError`` if entries are missing at the front."""
        index = self.truncated[0]
        if self._entries and self._entries[0][0] != index + 1:
            raise ValueError(f"it begins with entry {self._entries[0][0]}, and was cut after {index}")
        return Contents(self.truncated, self.hard_state, list(self._entries))

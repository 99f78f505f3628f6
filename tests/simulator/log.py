"""``WatchedLog``: the log in memory, with an eye on what is written, what is durable, and which promises that makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.world import Violation

from scribe_ledger.consensus.log.memory import MemoryLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.checks import Checks

    from scribe_ledger.consensus.log.store import Contents, HardState, LogWrite


class WatchedLog(MemoryLog):
    def __init__(self, member: int, checks: Checks, step: Callable[[], None]) -> None:
        """``step`` is called where a crash may come."""
        super().__init__()
        self._member, self._checks, self._crash_step = member, checks, step
        self.truncated = (0, 0)
        self.last = 0
        self.durable_last = self._written_last = 0
        self._terms: dict[int, int] = {}
        self._asked = {(0, 0), (1, 0)}
        """Every term and vote that the engine wanted to be kept; of a founder also what it begins with."""
        self.promised = (0, 0)
        """Term and vote, durable."""
        self._hard_state: HardState | None = None

    def load(self) -> Contents:
        contents = super().load()
        self.truncated = contents.truncated
        self.last = self.durable_last = self._written_last = contents.truncated[0] + len(contents.entries)
        self._terms = {index: term for index, term, *_ in contents.entries}
        self._keep_promise(contents.hard_state)
        self._hard_state = None
        return contents

    def handed_over(self, write: LogWrite) -> None:
        """To the writer: from here on it is in the engine's log, which the checks look at."""
        if write.hard_state is not None:
            self._asked.add(write.hard_state[:2])
        if write.reset is not None:
            self.truncated, self.last = write.reset, write.reset[0]
            self._terms.clear()
        if write.entries:
            for index in range(write.entries[0][0], self.last + 1):
                self._terms.pop(index, None)
            for entry in write.entries:
                self._checks.wrote(self._member, entry, self.term_at(entry[0] - 1))
                self._terms[entry[0]] = entry[1]
            self.last = write.entries[-1][0]

    def write(self, write: LogWrite) -> None:
        super().write(write)
        if write.reset is not None:
            self._written_last = write.reset[0]
        if write.entries:
            self._written_last = write.entries[-1][0]
        self._hard_state = write.hard_state or self._hard_state
        self._crash_step()

    def sync(self) -> None:
        super().sync()
        self.durable_last = self._written_last
        if self._hard_state is not None:
            self._keep_promise(self._hard_state)
            self._hard_state = None

    def crash(self, keep: int = 0) -> None:
        self._hard_state = None
        super().crash(keep)

    def _keep_promise(self, hard_state: HardState) -> None:
        """A durable term never falls, a durable vote is not changed in its term, and both are this member's own."""
        now, (term, vote) = hard_state[:2], self.promised
        if not self._checks.watches_disks:
            return
        if now[0] < term or (now[0] == term and vote and now[1] != vote):
            raise Violation(f"member {self._member} has voted {vote} in term {term}, and now has {now[1]} in {now[0]}")
        if now not in self._asked:
            raise Violation(f"member {self._member} finds a vote for {now[1]} in term {now[0]}, which it never gave")
        self.promised = now

    def cut(self, index: int, term: int) -> None:
        super().cut(index, term)
        if index > self.truncated[0]:
            for gone in range(self.truncated[0], index + 1):
                self._terms.pop(gone, None)
            self.truncated = (index, term)

    def term_at(self, index: int) -> int | None:
        return self.truncated[1] if index == self.truncated[0] else self._terms.get(index)

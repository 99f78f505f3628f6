"""Any order of writes, syncs, cuts, crashes and starts: both logs hold what a list would."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scribe_ledger.consensus.log.files import FileLog
from scribe_ledger.consensus.log.memory import MemoryLog
from scribe_ledger.consensus.log.store import Contents, Entry, LogWrite

pytestmark = [pytest.mark.consensus, pytest.mark.no_cover]


class Logs(RuleBasedStateMachine):
    """The model is the contents that a load would give now."""

    def __init__(self) -> None:
        super().__init__()
        self._scratch = tempfile.TemporaryDirectory()
        self._files: FileLog
        self._memory = MemoryLog()
        self._term = 1
        self._truncated = (0, 0)
        self._hard_state = (0, 0, 0)
        self._entries: list[Entry] = []
        self._synced = True

    @initialize(segment_bytes=st.sampled_from([200, 700, 1 << 20]))
    def begin(self, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._files = FileLog(Path(self._scratch.name), segment_bytes=segment_bytes)
        assert self._files.load() == self._memory.load() == self._expected()

    def _expected(self) -> Contents:
        return Contents(self._truncated, self._hard_state, self._entries)

    def _write(self, write: LogWrite) -> None:
        self._files.write(write)
        self._memory.write(write)
        self._hard_state = write.hard_state or self._hard_state
        self._synced = False

    @rule(back=st.integers(0, 5), values=st.lists(st.binary(max_size=40), min_size=1, max_size=4), newer=st.booleans())
    def append(self, back: int, values: list[bytes], newer: bool) -> None:
        self._term += newer
        keep = max(0, len(self._entries) - back)
        first = self._truncated[0] + keep + 1
        entries = [(first + number, self._term, 0, value, b"") for number, value in enumerate(values)]
        self._write(LogWrite(entries))
        self._entries = self._entries[:keep] + entries

    @rule(vote=st.integers(0, 3))
    def vote(self, vote: int) -> None:
        self._write(LogWrite(hard_state=(self._term, vote, self._truncated[0])))

    @rule(beyond=st.integers(1, 9), with_entry=st.booleans())
    def reset(self, beyond: int, with_entry: bool) -> None:
        index = self._truncated[0] + beyond
        entries = [(index + 1, self._term, 0, b"after", b"")] * with_entry
        self._write(LogWrite(entries, (self._term, 0, index), (index, self._term)))
        self._truncated, self._entries = (index, self._term), entries

    @rule()
    def sync(self) -> None:
        self._files.sync()
        self._memory.sync()
        self._synced = True

    @precondition(lambda self: self._synced and self._entries)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self._entries)))
        index, term, *_ = self._entries[count - 1]
        self._files.cut(index, term)
        self._memory.cut(index, term)
        self._truncated, self._entries = (index, term), self._entries[count:]

    @rule()
    def start_again(self) -> None:
        """A killed process leaves all that it wrote; the memory is told to."""
        self._files.close()
        self._files = FileLog(Path(self._scratch.name), segment_bytes=self._segment_bytes)
        self._memory.crash(keep=self._memory.unsynced)
        self._synced = True
        assert self._files.load() == self._memory.load() == self._expected()

    @invariant()
    def the_disk_is_counted(self) -> None:
        files = Path(self._scratch.name).glob("*.log")
        assert self._files.disk_bytes == sum(path.stat().st_size for path in files)

    def teardown(self) -> None:
        self._files.close()
        self._scratch.cleanup()


TestLogs = Logs.TestCase
TestLogs.settings = settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)

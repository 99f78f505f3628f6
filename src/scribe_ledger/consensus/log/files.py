"""``FileLog``: Raft's log as files, segments that are only ever appended to.

A folder holds ``<first sequence>.log`` files, and ``cut``, the mark of what is not needed any more. Each write is one
record (``frames``), with a sequence that counts through all segments. A new segment is begun when the last one is
synced, and its first record carries over the hard state and the truncation: so the segments before it can go when their
entries are cut, and they are never rewritten. What a crash leaves at the end is told from damage by ``segments``.

The folder belongs to a data folder, whose lock keeps others out.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.log import appending, cut_mark, frames
from scribe_ledger.consensus.log.appending import OpenSegment
from scribe_ledger.consensus.log.encoding import decode_write, encode_write
from scribe_ledger.consensus.log.replay import Edges, Replay
from scribe_ledger.consensus.log.segments import Segment, damage
from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.errors import StorageError
from scribe_ledger.objects.durable import make_root, storage_errors, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scribe_ledger.consensus.log.store import Contents

SEGMENT_BYTES = 16 << 20


class Full(NamedTuple):
    """A segment that is not written any more."""

    path: Path
    bytes: int
    highest: int
    """The highest entry in it. When that is cut, nothing in it is needed."""


class FileLog:
    """Keeps ``LogStore``. After a write or a sync that failed it refuses all that follow."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._zeros = min(appending.ZEROS_BYTES, segment_bytes)
        self._full: list[Full] = []
        self._cutting = threading.Lock()  # for what `cut` shares with the thread that writes: the list and the edges
        self._loaded = self._failed = False
        self._sequence = self._synced = 0
        self._highest = 0  # the highest entry in the segment that is written
        self._durable_last = 0

    # --- starting ----------------------------------------------------------------------------------------------

    def load(self) -> Contents:
        with storage_errors("open", self._folder):
            make_root(self._folder)
            for name in (appending.TEMPORARY, cut_mark.TEMPORARY):
                (self._folder / name).unlink(missing_ok=True)
            paths = sorted(self._folder.glob("*.log"))
        replay = Replay()
        last = self._read(paths, replay)
        mark = cut_mark.read_mark(self._folder)
        try:
            replay.cut(*mark)
            contents = replay.contents()
        except ValueError as error:
            raise damage(self._folder, 0, str(error)) from error
        self._edges = Edges(contents)
        self._durable_last = self._edges.last
        self._open(last)
        self._loaded = True
        return contents

    def _read(self, paths: list[Path], replay: Replay) -> Segment | None:
        """The last segment, if there is any."""
        last: Segment | None = None
        was_cut = (self._folder / cut_mark.NAME).exists()
        for path in paths:
            segment = Segment(path)
            if last is not None:
                self._finish(last, segment)
            elif segment.first != 1 and not was_cut:
                raise damage(path, 0, "segments before it are gone, and no mark of a cut says why")
            last = segment
            self._highest = 0
            for write in self._replayed(segment, replay):
                self._note(write)
        if last is None and was_cut:
            raise damage(self._folder / cut_mark.NAME, 0, "it is a mark of a cut, and there is no segment")
        return last

    def _replayed(self, segment: Segment, replay: Replay) -> Iterator[LogWrite]:
        """The writes of a segment, which ``replay`` has taken."""
        for offset, kind, content in segment.records():
            try:
                write = decode_write(content)
                if kind != (frames.CARRY if offset == frames.SEGMENT_HEADER_BYTES else frames.WRITE):
                    raise ValueError(f"a record of kind {kind}")
                if kind == frames.WRITE:
                    replay.take(write)
                elif write.reset is not None and write.hard_state is not None:
                    replay.cut(*write.reset)
                    replay.hard_state = write.hard_state
                else:
                    raise ValueError("a first record that carries nothing over")
            except ValueError as error:
                raise damage(segment.path, offset, str(error)) from error
            if kind == frames.WRITE:
                yield write
        if segment.next == segment.first:
            raise damage(segment.path, segment.end, "its first record is broken")

    def _finish(self, segment: Segment, following: Segment) -> None:
        if segment.torn() or segment.next != following.first:
            raise damage(segment.path, segment.end, f"it ends before record {following.first}, which begins the next")
        self._full.append(Full(segment.path, segment.size, self._highest))

    def _open(self, last: Segment | None) -> None:
        with self._guarded("open", self._folder):
            if last is None:
                self._segment = self._new_segment()
                return
            torn = last.torn()
            self._sequence = self._synced = last.next - 1
            self._segment = OpenSegment(last.path, last.salt, last.end, self._zeros)
            if torn:
                self._segment.drop_after_end()
            else:
                self._segment.sync()  # what was read may not have been durable; from here on it counts as that

    def _new_segment(self) -> OpenSegment:
        carried = encode_write(LogWrite((), self._edges.hard_state, self._edges.truncated))
        segment = OpenSegment.create(self._folder, self._sequence + 1, carried, self._zeros)
        self._sequence = self._synced = self._sequence + 1
        return segment

    # --- writing -----------------------------------------------------------------------------------------------

    def write(self, write: LogWrite) -> None:
        self._check_usable("write")
        self._edges.check(write)
        content = encode_write(write)
        with self._guarded("write", self._segment.path):
            if self._segment.end + frames.record_bytes(len(content)) > self._segment_bytes and self._has_writes:
                self._roll()
            self._segment.append(
                frames.record(self._segment.salt, frames.WRITE, self._sequence + 1, self._synced, content)
            )
        self._sequence += 1
        with self._cutting:
            self._edges.take(write)
            self._note(write)

    def sync(self) -> None:
        with self._guarded("sync", self._segment.path):
            self._segment.sync()
        self._synced = self._sequence
        self._durable_last = self._edges.last

    @property
    def _has_writes(self) -> bool:
        return self._sequence > int(self._segment.path.stem)

    def _roll(self) -> None:
        """Begins a segment. A break in one that is not the last is damage, so that one is synced first."""
        old = self._segment
        old.sync()
        old.close()
        with self._cutting:
            self._full.append(Full(old.path, old.size, self._highest))
            self._highest = 0
            self._segment = self._new_segment()

    def _note(self, write: LogWrite) -> None:
        """Which segments are needed after this write, and how long."""
        if write.reset is not None:  # a cut passes it when it is durable, and then nothing before it is needed
            index = write.reset[0]
            self._full = [full._replace(highest=min(full.highest, index)) for full in self._full]
            self._highest = index
            self._durable_last = min(self._durable_last, index)
        if write.entries:
            self._highest = max(self._highest, write.entries[-1][0])

    def _check_usable(self, operation: str) -> None:
        if self._failed:
            raise StorageError(
                f"cannot {operation} Raft's log {self._folder}: it is closed, or a write before this one failed",
                hint="start the node again",
            )

    @contextlib.contextmanager
    def _guarded(self, operation: str, path: Path) -> Iterator[None]:
        """After a failure nobody knows what the disk holds."""
        self._check_usable(operation)
        try:
            with storage_errors(operation, path):
                yield
        except BaseException:
            self._failed = True
            raise

    # --- cutting -----------------------------------------------------------------------------------------------

    def cut(self, index: int, term: int) -> None:
        """One at a time. The mark is durable before anything is deleted."""
        self._check_usable("cut")
        assert index <= self._durable_last, "only what is durable is applied, and only what is applied is cut"
        if index <= self._edges.truncated[0]:
            return
        cut_mark.write_mark(self._folder, index, term)
        with self._cutting:
            self._edges.cut(index, term)
            kept = next((at for at, full in enumerate(self._full) if full.highest > index), len(self._full))
            needless, self._full = self._full[:kept], self._full[kept:]
        with storage_errors("cut", self._folder):
            for full in needless:  # the oldest first: what is left never has a gap
                full.path.unlink()
            if needless:
                sync_directory(self._folder)

    @property
    def disk_bytes(self) -> int:
        with self._cutting:
            return sum(full.bytes for full in self._full) + self._segment.size

    def close(self) -> None:
        if self._loaded:
            self._loaded = False
            self._failed = True  # the descriptor may be another file's from now on
            self._segment.close()

"""``Compaction``: when Raft's log is cut, and up to where. Figures in, an index out: it reads no clock and no log.

What holds, whatever the settings:

- Nothing is cut that the ledger's store could still need after a crash, or that was not applied.
- A snapshot that is being sent keeps the entries behind it, so that its receiver can go on from there; but not for
  ever: beyond a number of bytes the log is cut all the same, and that receiver will need another snapshot.
- ``max_in_snapshot_log_to_keep`` entries stay for members that are a little behind, unless bytes or age forbid it.

Entries that change nothing move no position in the ledger, and the log is cut at positions only. A ledger that is sent
nothing but refused commands would keep its log for ever: then ``position_lags`` asks for the position to be moved.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from scribe_ledger.config.sections import ConsensusSettings

MARKS = 64
"""How finely the age of the log's entries is known: in this many steps of the greatest age."""
HELD_BYTES_FACTOR = 4
HELD_BYTES_UNLIMITED = 1 << 30
"""What a transfer may keep in a log whose bytes have no limit of their own."""


class CompactionSettings(NamedTuple):
    entries: int = 5000
    """After how many entries since the last cut there is another."""
    keep: int = 1000
    max_bytes: int = 256 << 20
    """0: no limit."""
    max_age_seconds: float = 0
    """0: no limit."""

    @classmethod
    def of(cls, config: ConsensusSettings) -> CompactionSettings:
        return cls(
            entries=config.snapshot_logs_since_last,
            keep=config.max_in_snapshot_log_to_keep,
            max_bytes=config.log_max_bytes,
            max_age_seconds=config.log_max_age_secs,
        )

    @property
    def held_bytes(self) -> int:
        """Beyond this a transfer under way does not keep the log any more."""
        return self.max_bytes * HELD_BYTES_FACTOR or HELD_BYTES_UNLIMITED


class LogState(NamedTuple):
    """Where the log is."""

    truncated: int
    """The last index that is not in it any more."""
    applied: int
    position: int
    """Of the ledger: at most ``applied``."""
    last: int
    bytes: int
    sending: int | None = None
    """The lowest position of a snapshot that is being made or sent."""


class Compaction:
    """Remembers, beyond its settings, only when which position was reached."""

    def __init__(self, settings: CompactionSettings) -> None:
        self._settings = settings
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, position: int, now: float) -> None:
        """Says what is applied by now; as often as one likes. ``now`` is of a clock that does not jump, in seconds."""
        age = self._settings.max_age_seconds
        if age <= 0 or (self._marks and now - self._marks[-1][0] < age / MARKS):
            return
        self._marks.append((now, position))
        while len(self._marks) > 1 and self._marks[1][0] <= now - age:
            self._marks.popleft()

    def due(self, log: LogState, now: float) -> bool:
        """Whether the ledger should be flushed now, for ``cut`` to follow."""
        return self.cut(log, log.position, now) > 0

    def cut(self, log: LogState, durable: int, now: float) -> int:
        """Up to which index, itself included, the log may go; 0 if it is to stay as it is.

        ``durable`` is what the last flush of the ledger gave.
        """
        wanted = max(self._by_count(log), self._by_bytes(log), self._by_age(now))
        upto = min(wanted, durable, log.position, log.applied)
        if log.sending is not None and log.bytes <= self._settings.held_bytes:
            upto = min(upto, log.sending)
        return upto if upto > log.truncated else 0

    def position_lags(self, log: LogState) -> bool:
        """Whether the ledger's position should be moved to what is applied, by writing its membership once more."""
        return log.applied - log.position >= self._settings.entries

    # --- the three rules: each gives an index up to which it wants the log cut, or 0 ---------------------------

    def _by_count(self, log: LogState) -> int:
        keep, upto = self._settings.keep, log.applied - self._settings.keep
        return upto if log.applied - log.truncated >= self._settings.entries + keep else 0

    def _by_bytes(self, log: LogState) -> int:
        """To half of the limit, as if all entries were of one size. If the last are larger, it is cut again."""
        limit, entries = self._settings.max_bytes, log.last - log.truncated
        if limit <= 0 or log.bytes <= limit or entries <= 0:
            return 0
        return log.last - min(self._settings.keep, entries * (limit // 2) // log.bytes)

    def _by_age(self, now: float) -> int:
        before = now - self._settings.max_age_seconds
        return max((position for at, position in self._marks if at <= before), default=0)

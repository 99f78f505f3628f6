"""The contract of Raft's log on disk. One suite tests both that keep it: ``files.FileLog`` and ``memory.MemoryLog``.

Writes come in the order of the engine's readies, and each is atomic: after a crash a prefix of the writes is there, and
at least all that were made before the last ``sync`` returned. What was synced and cannot be read any more is
``Corruption``: a member that forgets what it acknowledged must not come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Entry = tuple[int, int, int, bytes, bytes]
"""index, term, type, data, context."""
HardState = tuple[int, int, int]
"""term, vote, commit."""


class Contents(NamedTuple):
    """What a node starts from."""

    truncated: tuple[int, int]
    """Index and term of the last entry that is not in the log any more; (0, 0) if there never was one."""
    hard_state: HardState
    entries: list[Entry]
    """From the one after ``truncated`` on, without a gap."""


class LogWrite(NamedTuple):
    """What one ready asks to be kept, in one step."""

    entries: Sequence[Entry] = ()
    """The first may lie below the end of the log: it replaces what was there, and all after it."""
    hard_state: HardState | None = None
    reset: tuple[int, int] | None = None
    """Forget all entries: the log goes on after this index and term. Before the entries."""


class LogStore(Protocol):
    """Used by one thread at a time, but for ``cut`` and the figures, which may be asked beside it."""

    def load(self) -> Contents:
        """Once, before the first write."""
        ...

    def write(self, write: LogWrite) -> None:
        """Atomic, not durable yet."""
        ...

    def sync(self) -> None:
        """Makes all writes durable. After an error nobody knows what the disk holds: never write again."""
        ...

    def cut(self, index: int, term: int) -> None:
        """Entries up to this one, all durable, are not needed any more. ``load`` will not give them."""
        ...

    @property
    def disk_bytes(self) -> int: ...

    def close(self) -> None: ...

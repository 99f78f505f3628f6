"""``Work``: what every step of archiving is given. The names of the steps are here, in the order of a pass.

A step tells ``reached`` when it is done, so that a test can end a process exactly there. What each may leave behind is
in ``docs/design/0011-cold-tier.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.archive.pacing import Seen
    from scribe_ledger.archive.settings import ArchiveSettings
    from scribe_ledger.ledger.served import ServedLedger

STEPS = (
    "guard",
    "seal",
    "upload-segment",
    "sequence",
    "publish-tiles",
    "publish-checkpoint",
    "publish-copies",
    "evict",
    "merge",
    "upload-merged",
    "compact",
    "retire",
    "remove",
    "retired",
)


class Work(NamedTuple):
    ledger: ServedLedger
    settings: ArchiveSettings
    clock: Callable[[], int]
    """Milliseconds since 1970."""
    guard: Callable[[], None]
    """To be called before the first write into the store; it raises why there may be none. Cheap after that."""
    reached: Callable[[str], None]
    pace: Callable[[], None]
    """To be called between pieces of work: it lets others have their turn, and raises when work should end."""
    seen: Callable[[], Seen]
    """What others have had of the ledger until now."""

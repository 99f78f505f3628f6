"""What a panic of the engine means to whoever runs the member.

Most are broken invariants, and nobody but us can do anything about them. One follows from what was done to a folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from scribe_raft import RaftPanic

_BEYOND_THE_LOG = re.compile(r"to_commit (\d+) is out of range \[last_index (\d+)\]")


def meaning_of(panic: RaftPanic) -> Corruption | None:
    """None: it says itself what there is to say."""
    found = _BEYOND_THE_LOG.search(str(panic))
    if found is None:
        return None
    committed, last = found.groups()
    return Corruption(
        f"this member has forgotten what it acknowledged: its Raft log ends at entry {last}, and the leader that counts"
        f" on it says that {committed} is committed",
        hint="an old copy of the folder, or a disk that went back: replace the node, and keep this folder aside",
    )

"""What a replica starts from: the log that was found, held against the ledger that was found.

The ledger's store is never ahead of the synced log, with one exception: a snapshot is installed in the ledger first.
Then the membership record stands at the ledger's position, with the term of the snapshot, and the log is told to begin
there. Anything else that does not fit is ``Corruption``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.log.store import LogWrite
from scribe_ledger.errors import Corruption

if TYPE_CHECKING:
    from scribe_ledger.consensus.log.store import Contents, Entry, HardState
    from scribe_ledger.consensus.membership import Membership


class Start(NamedTuple):
    truncated: tuple[int, int]
    hard_state: HardState
    entries: list[Entry]
    terms: list[tuple[int, int]]
    """The first index of each term, as far as it is applied."""
    initial_write: LogWrite | None
    """What the log must be told before anything else."""


def start_from(contents: Contents, position: int, membership: Membership) -> Start:
    truncated = contents.truncated
    if position < truncated[0]:
        raise Corruption(
            f"the ledger ends at position {position:,}, and the log of the cluster begins after {truncated[0]:,}: "
            "what is between them is lost",
            hint="remove this member, wipe its data folder, and let it join again",
        )
    if _fits(contents, position, membership):
        terms = [truncated]
        for index, term, *_ in contents.entries:
            if index <= position and term != terms[-1][1]:
                terms.append((index, term))
        return Start(truncated, contents.hard_state, contents.entries, terms, None)
    return begin_after(position, membership, contents.hard_state)


def begin_after(position: int, membership: Membership, hard_state: HardState) -> Start:
    """With an empty log after a snapshot that was installed."""
    if membership.index != position:
        raise Corruption(
            f"the ledger ends at position {position:,}, beyond the log of the cluster: synced entries of it are lost",
            hint="remove this member, wipe its data folder, and let it join again",
        )
    begin = (position, membership.term)
    term, vote, _ = hard_state
    if term < membership.term:
        term, vote = membership.term, 0
    kept = (term, vote, position)
    return Start(begin, kept, [], [begin], LogWrite(hard_state=kept, reset=begin))


def _fits(contents: Contents, position: int, membership: Membership) -> bool:
    """Whether the log holds what the ledger has applied."""
    entries, (begin, begin_term) = contents.entries, contents.truncated
    if position > begin + len(entries):
        return False
    if membership.index != position:
        return True
    term = begin_term if position == begin else entries[position - begin - 1][1]
    return term == membership.term

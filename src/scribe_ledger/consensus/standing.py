"""``Standing``: how this member's ledger stands among the others', and what it may therefore do.

Three ways, all from what members report:

- *Diverged*: a majority of the voters has, with one voice, another ledger. Nothing is served, led, given, archived,
  signed. It votes and keeps Raft's log, which is right whatever the ledger is. For good in this process; and the next
  one begins with the ``mark`` that this one leaves, until a majority that has what this node has wipes it out.
- *Backed*: a majority of the voters was compared, and has what this node has. Who is not backed serves, but neither
  gives a snapshot nor archives: so a node that has just started compares first.
- *In dissent*: somebody has another ledger, and no majority says whose is right; or a leader refused this ledger. That
  is said, in the log once a minute, and nobody stops. In the first case nothing is signed: two roots of one size under
  the ledger's key could never be taken back.

It compares nothing itself (``agreement``), and tells nobody but the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from scribe_ledger.consensus.agreement import Agreement
from scribe_ledger.errors import ConsensusError, ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scribe_ledger.consensus.agreement import Divergence
    from scribe_ledger.consensus.gossip import Gossip
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.statemachine import Extent

SAY_SECONDS = 60.0
"""Between two lines about the same dissent."""
REFUSAL_COUNTS_SECONDS = 30.0
"""So long after a leader refused this ledger that is said of this node. A leader that goes on refusing is asked more
often than that."""
log = structlog.get_logger("scribe.cluster")


class Standing:
    """Used in the loop's thread, but for ``must_not_sign``, which any may ask."""

    def __init__(self, raft_id: int, clock: Callable[[], float], mark: Divergence | None = None) -> None:
        self.agreement = Agreement(None if mark is None else mark.point)
        self.mark = mark
        """What the folder is to say at the next start."""
        self.diverged: ScribeError | None = None if mark is None else mark.error
        """Why this ledger is another than the cluster's. Once said, it is until the process begins again."""
        self.backed = False
        self.others: frozenset[int] = frozenset()
        """Whose ledger is another than this one's."""
        self._raft_id = raft_id
        self._clock = clock
        self._refusal: tuple[float, ScribeError] | None = None
        self._said: tuple[float, object] = (float("-inf"), None)

    def look(self, membership: Membership, extent: Extent, root_at: Callable[[int], bytes]) -> bool:
        """Compares what was reported. True: it has just turned out that this node has diverged."""
        verdict = self.agreement.verdict(membership, extent, root_at)
        self.backed = self.agreement.backed(membership)
        self.others = frozenset(verdict.diverged)
        if verdict.trouble is not None and self.diverged is not verdict.trouble:
            self.diverged, self.mark = verdict.trouble, self.agreement.found
            log.error("this node differs from the majority: it stops serving", error=str(verdict.trouble))
            return True
        if self.mark is not None and verdict.trouble is None and self._agrees_again(membership, self.mark):
            log.info("a majority of the voters has what this node has, where it differed before")
            self.mark = None
        self._say(membership)
        return False

    def _agrees_again(self, membership: Membership, mark: Divergence) -> bool:
        """The only voter has nobody to show it: that it was contradicted stays true."""
        alike = self.agreement.alike(membership, mark.point)
        return alike > 0 and alike + (self._raft_id in membership.voters) >= membership.quorum

    def refused(self, error: ScribeError) -> None:
        """Whoever leads says that its ledger is another. One member is no majority: that is said, and no more."""
        self._refusal = self._clock(), error

    @property
    def doubt(self) -> ScribeError | None:
        """Why this ledger is nothing to give to others, or to archive."""
        if self.diverged is not None:
            return self.diverged
        if self.backed:
            return None
        return Unavailable(
            "this node has not found a majority of the voters with the same ledger yet",
            hint="it compares with them as soon as it hears them; /cluster/members names those that differ",
        )

    @property
    def dissent(self) -> ScribeError | None:
        """What an operator must look at, though this node serves."""
        if self.diverged is not None:
            return None
        if self._refusal is not None and self._clock() - self._refusal[0] < REFUSAL_COUNTS_SECONDS:
            return self._refusal[1]
        return self._dispute

    @property
    def must_not_sign(self) -> ScribeError | None:
        """Why neither the ledger's key nor the node's signs anything here now."""
        return self.diverged or self._dispute

    @property
    def _dispute(self) -> ScribeError | None:
        if self.backed or not self.others:
            return None
        return ConsensusError(
            "members have different ledgers, and no majority says whose is right",
            hint="bring back the other voters; /cluster/members names those that differ from this node",
        )

    def differing(self, reports: Mapping[int, Gossip]) -> set[int]:
        """Who has another ledger, as far as this node can tell: who says so; and of the others those that contradict
        this node, unless it is the one that has diverged. This node too, then."""
        told = {raft_id for raft_id, report in reports.items() if report.diverged}
        return told | ({self._raft_id} if self.diverged is not None else self.others)

    def _say(self, membership: Membership) -> None:
        dissent, now = self.dissent, self._clock()
        about = (self.others, None if dissent is None else dissent.message)
        if not self.others and dissent is None:
            return
        if about == self._said[1] and now - self._said[0] < SAY_SECONDS:
            return
        self._said = now, about
        nodes = _labels(membership, self.others)
        if dissent is not None:
            log.error("members differ, and nobody is known to be right", nodes=nodes, error=str(dissent))
        elif self.diverged is None:
            log.warning("members differ from this node and the majority", nodes=nodes)


def _labels(membership: Membership, raft_ids: Iterable[int]) -> list[int]:
    return sorted(membership.members[each].node_id for each in raft_ids if each in membership.members)

"""Changes of who belongs: what is under way, and what an entry of the log makes of the membership record.

At most one change of the configuration is under way from here. It ends when its entry is applied and no joint
configuration is left, when an entry of a later term shows that it was lost, or at its deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scribe_raft import ConfChangeRefused, ProposalDropped

from scribe_ledger.consensus.bundles import encode_members
from scribe_ledger.errors import Conflict, ConsensusError, OutcomeUnknown, ScribeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scribe_raft import Change, Node

    from scribe_ledger.consensus.membership import MemberInfo, Membership

    Wanted = Sequence[tuple[str, int]]

WAITING_MAX = 1000
"""Changes of what is known of members, at once."""


@dataclass(frozen=True)
class Proposed:
    """An entry of this node's own, in the log at this place, as long as nobody replaces it."""

    index: int
    term: int
    reshapes: bool
    """The configuration itself."""
    done: Callable[[object], object]
    deadline: int


class Changes:
    def __init__(self) -> None:
        self._proposed: list[Proposed] = []
        self._joint: Proposed | None = None
        """Applied, but the joint configuration that it made is not left yet."""

    @property
    def reshaping(self) -> bool:
        return self._joint is not None or any(each.reshapes for each in self._proposed)

    @property
    def full(self) -> bool:
        return len(self._proposed) >= WAITING_MAX

    def add(self, proposed: Proposed) -> None:
        self._proposed.append(proposed)

    def reshape(
        self,
        node: Node,
        membership: Membership,
        wanted: Wanted,
        infos: Sequence[MemberInfo],
        done: Callable[[object], object],
        deadline: int,
    ) -> None:
        """Proposes a new configuration, on the leader, or tells ``done`` why not."""
        refusal = self._refusal(node, membership, wanted)
        if refusal is None:
            changed: list[Change] = [*wanted]  # type: ignore[list-item]
            try:
                term, index = node.propose_conf_change(changed, context=encode_members(infos))
            except ConfChangeRefused as error:
                refusal = Conflict(f"the members cannot be changed like this: {error}")
            except ProposalDropped:
                refusal = Unavailable("the leader takes no changes now", hint="retry after a pause")
            else:
                self.add(Proposed(index, term, True, done, deadline))
        if refusal is not None:
            done(refusal)

    def _refusal(self, node: Node, membership: Membership, wanted: Wanted) -> ScribeError | None:
        if not node.is_leader:
            return not_leader(node.leader)
        if not wanted:
            return Conflict("there is nothing to change")
        if self.reshaping or membership.outgoing:
            return Conflict("another change of the members is under way", hint="wait until it is done")
        back = [raft_id for kind, raft_id in wanted if kind != "remove" and raft_id in membership.removed]
        if back:
            why = f"Raft id {back[0]} was removed, and a removed id never comes back"
            return Conflict(why, hint="wipe that node's data folder; it then joins under a new one")
        return None

    def applied(self, index: int, term: int, membership: Membership) -> None:
        """A change took effect at this place."""
        if self._joint is not None and not membership.outgoing:
            joint, self._joint = self._joint, None
            joint.done(membership)
        for each in [each for each in self._proposed if (each.index, each.term) == (index, term)]:
            self._proposed.remove(each)
            if each.reshapes and membership.outgoing:
                self._joint = each
            else:
                each.done(membership)

    def entered(self, term: int) -> None:
        """An entry of this term is applied: what was proposed in earlier ones, and not applied, is in no log."""
        lost = [each for each in self._proposed if each.term < term]
        self._proposed = [each for each in self._proposed if each.term >= term]
        for each in lost:
            each.done(ConsensusError("the leader changed, and the change of the members is lost", hint="ask again"))

    def tick(self, now: int) -> None:
        late = [each for each in self._proposed if each.deadline <= now]
        if late:
            self._proposed = [each for each in self._proposed if each.deadline > now]
        if self._joint is not None and self._joint.deadline <= now:
            late.append(self._joint)
            self._joint = None
        _end(late, "the change of the members was not confirmed before the deadline")

    def hidden(self, why: str) -> None:
        late, self._proposed = self._proposed, []
        if self._joint is not None:
            late.append(self._joint)
            self._joint = None
        _end(late, why)


def _end(changes: Iterable[Proposed], why: str) -> None:
    for each in changes:
        each.done(OutcomeUnknown(why, hint="see /cluster/members for what holds"))


def not_leader(leader: int) -> ConsensusError:
    where = f"node {leader:x} leads" if leader else "nobody leads at present"
    return ConsensusError(f"only the leader of the cluster can do this; {where}")


def full() -> Unavailable:
    return Unavailable("too many changes of the members wait already", hint="retry after a pause")


def known_members(membership: Membership, infos: Iterable[MemberInfo]) -> list[MemberInfo]:
    """Only of those who belong: who was removed in the meantime does not come back by an old message."""
    return [info for info in infos if info.raft_id in membership.ids]

"""What a leader is asked to change: each wish says, of a view, what is to be done next, or that it is settled.

A wish lives in memory of one leader. It ends with that leadership; whoever asked asks the next leader again, and every
wish that was fulfilled meanwhile is settled at once there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from scribe_ledger.consensus.stewardship.actions import Change, HandOver, Tell
from scribe_ledger.errors import ConfigurationError, Conflict, Forbidden, NotFound

if TYPE_CHECKING:
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.stewardship.actions import Action, Step, View
    from scribe_ledger.errors import ScribeError


class Settled(NamedTuple):
    """It is so, or it cannot be."""

    error: ScribeError | None = None


Next: TypeAlias = "Action | Settled"


@dataclass(frozen=True)
class Add:
    """A node becomes a learner, in the place of a member whose folder is lost if ``replaced`` is one."""

    info: MemberInfo
    replaced: int = 0

    def next(self, view: View) -> Next:
        raft_id, membership = self.info.raft_id, view.membership
        if raft_id in membership.removed:
            return Settled(removed(raft_id))
        if raft_id in membership.ids:
            known = membership.members.get(raft_id) == self.info
            return Settled() if known else Tell((self.info,), why="a member tells what it is now")
        steps: tuple[Step, ...] = (("learner", raft_id),)
        if self.replaced in membership.learners:  # a voter stays until its place can be taken
            steps = (*steps, ("remove", self.replaced))
        return Change(steps, (self.info,), why=f"node {self.info.node_id} joins")


@dataclass
class Remove:
    """No member has this label any more. Where two have it, the one that replaces the other goes first.

    That nobody has it is known at the next tick: what the leader saw at its last one may lack a member that has joined.
    """

    node_id: int
    found: bool = False
    """There was one, so that none is left is what was asked for."""

    def next(self, view: View) -> Next:
        found = view.labelled(self.node_id)
        if not found:
            return Settled(None if self.found else unknown(self.node_id))
        self.found = True
        learners = [each for each in found if each not in view.membership.voters]
        if learners:
            return Change((("remove", learners[0]),), why=f"node {self.node_id} leaves")
        return self._remove_voter(view, found[0])

    def _remove_voter(self, view: View, raft_id: int) -> Next:
        left = [each for each in view.membership.voters if each != raft_id]
        if not left:
            return Settled(
                Conflict(
                    f"node {self.node_id} is the last voter: without it there is no cluster",
                    hint="add another node first, or stop this one",
                )
            )
        alive = sum(map(view.is_alive, left))
        if alive < len(left) // 2 + 1:
            return Settled(
                Conflict(
                    f"without node {self.node_id} only {alive} of {len(left)} voters would answer, no majority",
                    hint="remove or replace those that do not answer first",
                )
            )
        if raft_id == view.me:
            if not (successor := view.successor()):
                return Settled(
                    Conflict(
                        f"node {self.node_id} leads, and no other voter that answers has the same ledger",
                        hint="replace those that differ first; /cluster/members names them",
                    )
                )
            return HandOver(successor, why="the leader leaves")
        return Change((("remove", raft_id),), why=f"node {self.node_id} leaves")


@dataclass(frozen=True)
class GiveUp:
    """The folder of the member with this label is lost, and it is on record that its next self may take its place."""

    node_id: int

    def next(self, view: View) -> Next:
        found = view.labelled(self.node_id)
        if not found:
            return Settled(unknown(self.node_id))
        info = view.membership.members[found[0]]
        if len(found) > 1 or info.given_up:
            return Settled()  # two: it is being replaced
        if view.is_alive(info.raft_id):
            return Settled(
                Conflict(
                    f"node {self.node_id} answers: there is nothing to replace",
                    hint="to remove it, use `scribe cluster leave`; to replace it, stop it first",
                )
            )
        return Tell((replace(info, given_up=True),), why=f"an operator gave up node {self.node_id}")


@dataclass(frozen=True)
class Lead:
    """The voter with this label leads."""

    node_id: int

    def next(self, view: View) -> Next:
        found = view.labelled(self.node_id)
        if not found:
            return Settled(unknown(self.node_id))
        voters = [each for each in found if each in view.membership.voters]
        if view.me in voters:
            return Settled()
        if not voters:
            return Settled(
                Conflict(f"node {self.node_id} is a learner and cannot lead", hint="wait until it has caught up")
            )
        if not view.is_alive(voters[0]):
            return Settled(Conflict(f"node {self.node_id} does not answer and cannot lead", hint="name another"))
        if voters[0] in view.unfit:
            return Settled(
                Conflict(
                    f"node {self.node_id} has another ledger than this cluster's leader and cannot lead",
                    hint="name another; `/health` of that node says where they differ, and the runbook what to do",
                )
            )
        return HandOver(voters[0], why="an operator asked for it")


@dataclass(frozen=True)
class Know:
    """A member is what it says it is now: its addresses, its rules, its store."""

    info: MemberInfo

    def next(self, view: View) -> Next:
        info, membership = self.info, view.membership
        if info.raft_id not in membership.ids:
            return Settled(removed(info.raft_id))
        before = membership.members.get(info.raft_id)
        if before == info:
            return Settled()
        if info.apply_version < view.apply_version:
            return Settled(
                ConfigurationError(
                    f"node {info.node_id} knows the rules up to version {info.apply_version}, "
                    f"and this ledger follows version {view.apply_version}",
                    hint="upgrade that node",
                )
            )
        others = [each for each in view.labelled(info.node_id) if each != info.raft_id]
        if others and (before is None or before.node_id != info.node_id):
            return Settled(
                Conflict(f"another member is node {info.node_id} already", hint="give each its own [node] id")
            )
        return Tell((info,), why=f"node {info.node_id} tells what it is now")


Wish: TypeAlias = Add | Remove | GiveUp | Lead | Know


def removed(raft_id: int) -> ScribeError:
    return Forbidden(
        f"the node with Raft id {raft_id} does not belong to this cluster any more",
        hint="to come back it needs an empty folder, and joins as a new member",
    )


def unknown(node_id: int) -> ScribeError:
    return NotFound(f"no member is node {node_id}", hint="`scribe cluster members` lists them")

"""What a leader does for the membership unasked, from the membership alone: a new leader goes on where the last was.

A label that two members bear says that the learner replaces the voter; nothing else records it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.stewardship.actions import Change, RaiseApplyVersion

if TYPE_CHECKING:
    from scribe_ledger.consensus.stewardship.actions import Action, View

PROMOTE_WITHIN = 64
"""Entries that a learner may lack and still count as caught up."""
LEAVE_JOINT_TICKS = 10
"""How long the engine may take to leave a joint configuration by itself, before it is asked to."""


def duty(view: View, *, joint_ticks: int) -> Action | None:
    """The next change of the configuration that is due. A leader does not remove itself: the next one does.

    ``joint_ticks``: for how long the configuration has been a joint one.
    """
    membership = view.membership
    if membership.outgoing:
        due = joint_ticks >= LEAVE_JOINT_TICKS or not membership.auto_leave
        return Change((), why="leave the joint configuration") if due else None
    fit = (raft_id for raft_id in membership.learners if raft_id not in view.unfit)
    ready = (raft_id for raft_id in fit if caught_up(view, raft_id))
    return next((_promotion(view, raft_id) for raft_id in ready if replaced_by(view, raft_id) != view.me), None)


def caught_up(view: View, raft_id: int) -> bool:
    progress = view.progress.get(raft_id)
    if progress is None or not progress.active or not progress.match:  # in a short log nothing, too, is near its end
        return False
    return progress.match + PROMOTE_WITHIN >= view.last_index and view.is_alive(raft_id)


def replaced_by(view: View, raft_id: int) -> int:
    """The voter whose place this learner takes; 0: none."""
    info = view.membership.members.get(raft_id)
    twins = view.labelled(info.node_id) if info is not None else []
    return next((each for each in twins if each != raft_id and each in view.membership.voters), 0)


def _promotion(view: View, raft_id: int) -> Action:
    replaced = replaced_by(view, raft_id)
    if not replaced:
        return Change((("voter", raft_id),), why="a learner has caught up")
    return Change((("voter", raft_id), ("remove", replaced)), why="a new node takes the place of its old self")


def newer_rules(view: View) -> Action | None:
    """The rules that every member knows, if the ledger does not follow them yet."""
    members = view.membership.members
    known = min((members[each].apply_version if each in members else 0 for each in view.membership.ids), default=0)
    return RaiseApplyVersion(known, why="all members know it") if known > view.apply_version else None

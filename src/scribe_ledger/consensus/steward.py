"""``Steward``: the changes of membership that a leader makes, one at a time.

Sans-IO. Its owner calls ``actions`` each tick while it leads, carries out what it gives, says ``failed`` of what could
not be proposed, and ``deposed`` when it leads no longer. An action counts as done when the membership shows it: so
nothing here must survive a crash, and a new leader goes on from the membership alone. ``done`` callbacks get None, or
the reason of a refusal; ``ConsensusError`` says that the next leader must be asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.stewardship.actions import Change, HandOver, RaiseApplyVersion, View
from scribe_ledger.consensus.stewardship.duties import duty, newer_rules
from scribe_ledger.consensus.stewardship.wishes import Add, GiveUp, Know, Lead, Remove, Settled, Wish
from scribe_ledger.consensus.stewardship.yielding import ROOM, STORE, Yielding
from scribe_ledger.errors import ConsensusError, Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.stewardship.actions import Action
    from scribe_ledger.errors import ScribeError

MAX_WISHES = 1000
PATIENCE_TICKS = 60
"""For the effect of an action. Then it is tried again."""
PAUSE_TICKS = 4
"""After an action that could not be proposed."""


class _Asked(NamedTuple):
    wish: Wish
    done: Callable[[ScribeError | None], object]
    deadline: int


class Steward:
    def __init__(self) -> None:
        self.view: View | None = None
        """What the leader saw last; None while this node does not lead."""
        self._wishes: list[_Asked] = []
        self._yieldings = [Yielding(ROOM), Yielding(STORE)]
        self._under_way: Action | None = None
        self._resume_at = 0
        self._seen = (-1, -1)
        self._joint_since = 0

    # --- what its owner does -----------------------------------------------------------------------------------

    def actions(self, view: View) -> list[Action]:
        """What to do at this tick: nothing, while an earlier action has not shown its effect."""
        first, self.view = self.view is None, view
        self._follow(view, first=first)
        wanted, moves = self._ask(view), [each.look(view) for each in self._yieldings]
        move = next(filter(None, moves), None)
        action = duty(view, joint_ticks=view.now - self._joint_since) or wanted or newer_rules(view) or move
        if action is None or not self._free(view):
            return []
        if action is move:
            self._yieldings[moves.index(move)].moving(view.now)
        self._under_way, self._resume_at = action, view.now + PATIENCE_TICKS
        return [action]

    def failed(self, action: Action) -> None:
        """It could not be proposed, or did not get through: it is thought over again in a moment."""
        if action == self._under_way and self.view is not None:
            self._resume_at = self.view.now + PAUSE_TICKS

    def deposed(self, leader: int) -> None:
        """This node leads no longer. ``leader``: who does, 0 if that is not known."""
        before, self.view = self.view, None
        self._under_way, self._joint_since = None, 0
        self._yieldings = [Yielding(ROOM), Yielding(STORE)]
        asked, self._wishes = self._wishes, []
        for each in asked:
            each.done(_after_leading(each.wish, before, leader))

    # --- what it is asked --------------------------------------------------------------------------------------

    def add(self, info: MemberInfo, *, replaced: int, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        """A learner. Whether it may join was judged before, by ``formation/admission.py``."""
        self._wish(Add(info, replaced), done, ticks)

    def leave(self, node_id: int, *, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        """Removes a member, dead or alive. A leader hands over first: then the next one must be asked."""
        self._wish(Remove(node_id), done, ticks)

    def transfer(self, node_id: int, *, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        self._wish(Lead(node_id), done, ticks)

    def update(self, info: MemberInfo, *, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        """A member has moved, or knows newer rules."""
        self._wish(Know(info), done, ticks)

    def replace(self, node_id: int, *, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        """The next self of this node may take its place, as soon as it asks."""
        self._wish(GiveUp(node_id), done, ticks)

    def may_replace(self, raft_id: int) -> bool:
        """Whether an operator gave up this member. It is on record, so the next leader knows too."""
        info = None if self.view is None else self.view.membership.members.get(raft_id)
        return info is not None and info.given_up

    # --- inside ------------------------------------------------------------------------------------------------

    def _leading(self) -> View:
        if self.view is None:
            raise ConsensusError("this node does not lead", hint="ask again")
        return self.view

    def _wish(self, wish: Wish, done: Callable[[ScribeError | None], object], ticks: int) -> None:
        view = self._leading()
        if len(self._wishes) >= MAX_WISHES:
            raise Overloaded("too many changes of membership wait already", hint="ask again in a moment")
        self._wishes.append(_Asked(wish, done, view.now + ticks))

    def _follow(self, view: View, *, first: bool) -> None:
        """Takes note of what has come about since the last tick."""
        membership = view.membership
        if not membership.outgoing or first:
            self._joint_since = view.now
        seen = (membership.index, membership.term)
        if first or (seen != self._seen and not isinstance(self._under_way, HandOver)):
            self._under_way = None
        if isinstance(self._under_way, RaiseApplyVersion) and view.apply_version >= self._under_way.version:
            self._under_way = None
        self._seen = seen

    def _free(self, view: View) -> bool:
        return self._under_way is None or view.now >= self._resume_at

    def _ask(self, view: View) -> Action | None:
        """Settles what is settled; the action of the first wish that wants one."""
        action: Action | None = None
        waiting, settled = [], []
        for each in self._wishes:
            step = each.wish.next(view)
            if isinstance(step, Settled):
                settled.append((each, step.error))
            elif view.now >= each.deadline:
                settled.append((each, _late(each.wish)))
            else:
                waiting.append(each)
                # Who is in two configurations at once cannot be judged: a change waits until there is one.
                action = action or (None if isinstance(step, Change) and view.membership.outgoing else step)
        self._wishes = waiting
        for each, error in settled:
            each.done(error)
        return action


def _late(wish: Wish) -> ScribeError:
    if isinstance(wish, Lead):
        return Unavailable(f"node {wish.node_id} did not take over in time", hint="this node leads on; try again")
    return Unavailable("the change of membership was not agreed on in time", hint="it may still happen; ask again")


def _after_leading(wish: Wish, before: View | None, leader: int) -> ScribeError | None:
    if isinstance(wish, Lead) and before is not None and leader in before.labelled(wish.node_id):
        return None
    return ConsensusError("leadership has moved to another node", hint="ask again")

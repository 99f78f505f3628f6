"""``Yielding``: a leader that lacks something gives way to a voter that has it. There are two such things.

**An object store that works.** Only a leader archives, so a cluster that is led by a node without the store keeps
everything on its disks. **Room on its disk.** A leader below its reserve refuses writes for the whole cluster.

Leadership moves when this node lacked it for a while, and a voter, which is alive and has caught up, says for
``STANDING_TICKS`` that it has it. Where all lack it nobody says so, and nothing moves. Each leadership looks anew, so
it moves once in that time at most. Who lacks room does not say that it could archive: so the two do not pull apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.stewardship.actions import HandOver
from scribe_ledger.consensus.stewardship.duties import caught_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from scribe_ledger.consensus.stewardship.actions import View

STANDING_TICKS = 600
"""30 seconds, as the settings are: longer than two looks of a node at its store."""
ROOM_TICKS = 60
"""3 seconds: longer than two looks of a node at its disk. Writes are refused meanwhile."""


class Need(NamedTuple):
    """What a leader should have."""

    who: Callable[[View], AbstractSet[int]]
    """Who says that it has it."""
    patience_ticks: int
    """So long this node lacks it before it gives way."""
    why: str


ROOM = Need(lambda view: view.roomy, ROOM_TICKS, "its disk has room, and the one here has not")
STORE = Need(lambda view: view.archivists, STANDING_TICKS, "the object store works there, and not here")


class Yielding:
    """What one leadership has seen so far of one need."""

    def __init__(self, need: Need) -> None:
        self._need = need
        self._lacks_since: int | None = None
        self._able_since: dict[int, int] = {}

    def look(self, view: View) -> HandOver | None:
        """Once a tick. ``moving`` says that what it gives is carried out."""
        able = self._note_able(view)
        if view.me in self._need.who(view):
            self._lacks_since = None
            return None
        if self._lacks_since is None:
            self._lacks_since = view.now
        if view.now - self._lacks_since < self._need.patience_ticks or view.membership.outgoing:
            return None
        fit = [each for each in able if view.now - self._able_since[each] >= STANDING_TICKS and caught_up(view, each)]
        if not fit:
            return None
        successor = max(fit, key=lambda each: (each in view.archivists, view.match(each), -each))
        return HandOver(successor, why=self._need.why)

    def moving(self, now: int) -> None:
        """One try: whoever does not take over is not asked again at once, since writes wait meanwhile."""
        self._lacks_since = now
        self._able_since = dict.fromkeys(self._able_since, now)

    def _note_able(self, view: View) -> list[int]:
        others = [each for each in view.membership.voters if each != view.me and each not in view.unfit]
        able = [each for each in others if each in self._need.who(view) and view.is_alive(each)]
        self._able_since = {each: self._able_since.get(each, view.now) for each in able}
        return able

"""``Archivist``: a leader on which the object store does not work gives way to a voter on which it does.

Only a leader archives, so a cluster that is led by a node without the store keeps everything on its disks. Leadership
moves when this node could not archive for ``STANDING_TICKS`` and a voter, which is alive and has caught up, says all
that time that it could. Where the store is down for all nobody says so, and nothing moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.stewardship.actions import HandOver
from scribe_ledger.consensus.stewardship.duties import caught_up

if TYPE_CHECKING:
    from scribe_ledger.consensus.stewardship.actions import View

STANDING_TICKS = 600
"""30 seconds, as the settings are: longer than two looks of a node at its store. Also between two tries."""


class Archivist:
    """What one leadership has seen so far."""

    def __init__(self) -> None:
        self._unable_since: int | None = None
        self._able_since: dict[int, int] = {}

    def look(self, view: View) -> HandOver | None:
        """Once a tick. ``moving`` says that what it gives is carried out."""
        voters = view.membership.voters
        others = [each for each in voters if each != view.me and each not in view.unfit]
        able = [each for each in others if each in view.archivists and view.is_alive(each)]
        self._able_since = {each: self._able_since.get(each, view.now) for each in able}
        if view.me in view.archivists:
            self._unable_since = None
            return None
        if self._unable_since is None:
            self._unable_since = view.now
        if view.now - self._unable_since < STANDING_TICKS or view.membership.outgoing:
            return None
        fit = [each for each in able if view.now - self._able_since[each] >= STANDING_TICKS and caught_up(view, each)]
        if not fit:
            return None
        successor = max(fit, key=lambda each: (view.match(each), -each))
        return HandOver(successor, why="the object store works there, and not here")

    def moving(self, now: int) -> None:
        """One try: whoever does not take over is not asked again at once, since writes wait meanwhile."""
        self._unable_since = now

"""``Stewarding``: shows the steward what its member sees, while that leads, and carries out what the steward wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from scribe_ledger.consensus.stewardship.actions import Action, Change, HandOver, Tell, View
from scribe_ledger.errors import InvalidRequest, ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from scribe_ledger.consensus.liveness import Liveness
    from scribe_ledger.consensus.replica import Replica
    from scribe_ledger.consensus.steward import Steward

ACTION_TICKS = 60
"""For an action to be agreed on. The steward thinks it over again after as many."""
log = structlog.get_logger("scribe.cluster")


class Rules(Protocol):
    """The rules by which the ledger applies, which are ledger state."""

    @property
    def version(self) -> int: ...

    def raise_to(self, version: int, done: Callable[[object], object]) -> None:
        """``done`` gets the outcome, or a ``ScribeError``."""
        ...


class Stewarding:
    def __init__(
        self,
        replica: Replica,
        steward: Steward,
        liveness: Liveness,
        *,
        rules: Rules,
        wake: Callable[[], object],
        archivists: Callable[[], AbstractSet[int]] = frozenset,
        roomy: Callable[[], AbstractSet[int]] = frozenset,
    ) -> None:
        """``archivists``: who says that it could archive, if it led; ``roomy``: who has room on its disk."""
        self.steward = steward
        self._replica = replica
        self._liveness = liveness
        self._rules = rules
        self._wake = wake
        self._archivists, self._roomy = archivists, roomy
        self._ticks = 0

    def beat(self, now: float) -> None:
        """Once a tick."""
        self._ticks += 1
        replica = self._replica
        if not replica.is_leader:
            if self.steward.view is not None:
                self.steward.deposed(replica.leader)
            return
        states = self._liveness.states(now)
        view = View(
            me=replica.raft_id,
            now=self._ticks,
            membership=replica.membership,
            progress=replica.progress(),
            alive={raft_id for raft_id, state in states.items() if state != "failed"},
            last_index=replica.last_index,
            apply_version=self._rules.version,
            archivists=self._archivists(),
            roomy=self._roomy(),
            unfit=self._replica.unfit(),
        )
        for action in self.steward.actions(view):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        def done(outcome: object) -> None:
            if isinstance(outcome, ScribeError):
                log.warning("what the steward wanted was not agreed on", why=action.why, error=str(outcome))
                self.steward.failed(action)

        log.info("membership", action=type(action).__name__, why=action.why)
        try:
            if isinstance(action, Change):
                self._replica.propose_change(action.steps, action.infos, done, ticks=ACTION_TICKS)
            elif isinstance(action, Tell):
                self._replica.propose_members(action.infos, done, ticks=ACTION_TICKS)
            elif isinstance(action, HandOver):
                self._replica.transfer(action.raft_id)
            else:
                self._rules.raise_to(action.version, done)
        except ScribeError as error:
            done(error)
        except (ValueError, TypeError) as error:  # what a member says of itself cannot be carried out
            done(InvalidRequest(f"what is known of a member cannot be recorded: {error}"))
        self._wake()

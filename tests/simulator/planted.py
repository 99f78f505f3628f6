"""Bugs on purpose: what a simulator that finds nothing would have to be asked first. Each is a part that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulator.log import WatchedLog
from tests.simulator.machine import WatchedMachine

from scribe_ledger.consensus.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable


class Plant:
    """None: every part is the right one."""

    name = ""
    log: Callable[..., WatchedLog] = WatchedLog
    machine: Callable[..., WatchedMachine] = WatchedMachine
    replica: Callable[..., Replica] = Replica
    persists_early = False


NONE = Plant()
PLANTS: dict[str, Any] = {"": NONE}

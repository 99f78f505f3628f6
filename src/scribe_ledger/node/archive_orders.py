"""``ArchiveOrders``: an order to archive, given to any member, is carried out by the leader.

The member that was asked finds the leader and asks it; who is asked by a member carries the order out, or says that it
does not lead. It never passes it on, so an order takes one step at most. However many callers wait on a member, it has
one question to the leader under way and owes one more (``Passes``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from scribe_ledger.archive.leading import Deposed, NotLeading
from scribe_ledger.errors import (
    ConsensusError,
    Forbidden,
    NetworkError,
    OutcomeUnknown,
    SerializationError,
    Unavailable,
)
from scribe_ledger.http.archiving import Passes
from scribe_ledger.node.switchboard import ARCHIVE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Set as AbstractSet

    from scribe_ledger.consensus.formation.messages import Requests
    from scribe_ledger.consensus.formation.reception import Place
    from scribe_ledger.consensus.transport import Caller

FIND_SECONDS = 5.0
"""For a leader to be found that takes the order, elections included."""
PAUSE_SECONDS = 0.05
LOOK_SECONDS = 0.5
"""Between two looks whether the leader that was asked still leads."""
PASS_SECONDS = 24 * 3600.0
"""A pass may have a terabyte to upload; it ends with the leadership, and whoever does not want to wait leaves."""


class ArchiveOrders:
    """Used in the event loop's thread."""

    def __init__(
        self,
        requests: Requests,
        *,
        leads: Callable[[], bool],
        place: Callable[[], Place],
        members: Callable[[], AbstractSet[int]],
        here: Callable[[], Awaitable[dict[str, Any]]],
        find_seconds: float = FIND_SECONDS,
    ) -> None:
        """``here`` archives on this node."""
        self._requests = requests
        self._leads = leads
        self._place = place
        self._members = members
        self._here = here
        self._find_seconds = find_seconds
        self._passes = Passes(lambda: asyncio.ensure_future(self._order()))

    async def order(self) -> dict[str, Any]:
        """What the leader's pass did, which began after this call."""
        return await self._passes.next()

    async def answer(self, caller: Caller) -> bytes:
        """To a member that was given an order."""
        if caller.raft_id not in self._members():
            raise Forbidden("only a member has the leader archive")
        if not self._leads():
            raise ConsensusError("this node does not lead", hint="ask again")
        return orjson.dumps(await self._carry_out())

    async def _order(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._find_seconds
        while True:
            try:
                return await (self._carry_out() if self._leads() else self._ask())
            except OutcomeUnknown as error:
                raise _lost() from error
            except (ConsensusError, NetworkError) as error:  # nobody has taken it
                if loop.time() + PAUSE_SECONDS >= until:
                    raise Unavailable(
                        f"no leader could be asked to archive: {error.message}", hint="try again"
                    ) from error
            await asyncio.sleep(PAUSE_SECONDS)

    async def _carry_out(self) -> dict[str, Any]:
        """Errors of the pass never look like those of a leader that was not found.

        Whoever does not lead for good, since it leads no longer or has not compared itself with new voters yet, has not
        carried it out: the next who leads, or this node in a moment, goes on with what a pass has left.
        """
        try:
            return await self._here()
        except (NotLeading, Deposed) as error:
            raise ConsensusError(error.message, hint=error.hint) from error
        except (ConsensusError, NetworkError) as error:
            raise Unavailable(error.message, hint=error.hint) from error

    async def _ask(self) -> dict[str, Any]:
        place = self._place()
        if not place.address:
            raise ConsensusError("the cluster has no leader at the moment")
        asking = asyncio.ensure_future(
            self._requests.request(place.address, ARCHIVE, timeout=PASS_SECONDS, expect=place.leader)
        )
        try:
            while not (await asyncio.wait([asking], timeout=LOOK_SECONDS))[0]:
                if self._place().leader != place.leader:
                    raise _lost()
        finally:
            asking.cancel()
        answer, _ = asking.result()
        return _read(answer)


def _lost() -> OutcomeUnknown:
    return OutcomeUnknown(
        "the leader that was archiving was lost, or leads no longer",
        hint="archive again: the next one goes on from what is archived",
    )


def _read(answer: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(answer)
    except ValueError as error:
        raise SerializationError("what the leader said of its archive is not JSON") from error
    if not isinstance(found, dict):
        raise SerializationError("what the leader said of its archive is no object")
    return found

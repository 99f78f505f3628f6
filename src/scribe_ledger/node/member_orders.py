"""``MemberOrders``: changes of the members that an operator asks of this node. The leader carries them out.

An order that stands, and waits for a node that is not there yet, is answered soon and says what it waits for: nobody is
to give it again. Who was removed gives no orders, and says so at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scribe_ledger.consensus.formation.messages import Leave, Replace, Transfer
from scribe_ledger.errors import Conflict, NetworkError, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from scribe_ledger.consensus.formation.messages import ForLeader, Standing
    from scribe_ledger.consensus.formation.reception import Reception
    from scribe_ledger.consensus.member import Member

CHANGE_SECONDS = 15.0
"""For a change of the members to be agreed on, elections included."""
INVITE_SECONDS = 5.0
"""For each of the two questions to a node that is called in."""
SOON_SECONDS = 5.0
"""So long is waited for a node that is to do its part. It asks to join each second, if it is there."""
_LIST_HINT = "`scribe cluster members` lists them"


class MemberOrders:
    """For the event loop's thread."""

    def __init__(
        self,
        member: Member,
        reception: Reception,
        *,
        members: Callable[[], list[dict[str, Any]]],
        leader: Callable[[], dict[str, Any]],
    ) -> None:
        """``members`` and ``leader``: what this node says of them."""
        self._member = member
        self._reception = reception
        self._members = members
        self._leader = leader
        self._loop = asyncio.get_running_loop()

    async def join(self, node_id: int, address: str) -> dict[str, Any]:
        self._check_belongs()
        if node_id == self._member.me.node_id:
            raise Conflict(f"node {node_id} is a member already: it is the one that was asked")
        raft_id = (await self._invite(node_id, address)).raft_id
        if raft_id in self._member.replica.membership.removed:
            raise Conflict(
                f"node {node_id} was removed from this cluster, and cannot come back with the folder that it has",
                hint="stop it, and start it on an empty folder: it joins as a new member",
            )
        joined = await self._member_with(lambda each: each["raft_id"] == str(raft_id))
        waits_for = f"node {node_id} knows of this cluster and has not joined yet; its /health and its log say why"
        return joined or _pending(node_id, waits_for)

    async def leave(self, node_id: int) -> dict[str, Any]:
        found = self._labelled(node_id)
        if not found:
            raise NotFound(f"no member has the label {node_id}", hint=_LIST_HINT)
        await self._ask(Leave(node_id=node_id))
        return {"node_id": node_id, "raft_id": found[0]["raft_id"]}

    async def replace(self, node_id: int, raft_id: int | None) -> dict[str, Any]:
        old = [each["raft_id"] for each in self._labelled(node_id)]
        if raft_id is not None and str(raft_id) not in old:
            raise NotFound(f"no member {raft_id} has the label {node_id}", hint=_LIST_HINT)
        await self._ask(Replace(node_id=node_id))
        begun = len(old) > 1  # its next self is there, and changes places with it
        found = await self._member_with(
            lambda each: each["node_id"] == node_id and (each["raft_id"] not in old or (begun and not _votes(each)))
        )
        waits_for = (
            f"the order is recorded; node {node_id} has not asked to join yet, and has its place again when it does:"
            " start it on an empty folder"
        )
        return found or _pending(node_id, waits_for)

    async def transfer(self, node_id: int) -> dict[str, Any]:
        self._check_belongs()
        await self._ask(Transfer(node_id=node_id))
        until = self._loop.time() + SOON_SECONDS
        while self._leader()["leader_id"] != node_id:
            if self._loop.time() > until:
                raise Unavailable(f"node {node_id} is not known to lead yet", hint="`scribe cluster status` shows it")
            await asyncio.sleep(self._member.settings.tick_seconds)
        return self._leader()

    # --- inside ------------------------------------------------------------------------------------------------

    def _check_belongs(self) -> None:
        if self._member.removed is not None:
            raise self._member.removed

    def _labelled(self, node_id: int) -> list[dict[str, Any]]:
        self._check_belongs()
        return [each for each in self._members() if each["node_id"] == node_id]

    async def _ask(self, message: ForLeader) -> None:
        await self._reception.ask(message, seconds=CHANGE_SECONDS)

    async def _invite(self, node_id: int, address: str) -> Standing:
        try:
            return await self._reception.invite(node_id, address, seconds=INVITE_SECONDS)
        except NetworkError as error:
            if error.hint:
                raise
            hint = f"start node {node_id}, and name the host and raft_port at which it listens for its peers"
            raise NetworkError(error.message, hint=hint) from error

    async def _member_with(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """None: there is none yet."""
        until = self._loop.time() + SOON_SECONDS
        while (found := next(filter(fits, self._members()), None)) is None and self._loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(self._member.settings.tick_seconds)
        return found


def _votes(member: dict[str, Any]) -> bool:
    return bool(member["role"] == "voter")


def _pending(node_id: int, waits_for: str) -> dict[str, Any]:
    return {"node_id": node_id, "waits_for": waits_for}

"""``Switchboard``: where what other nodes say goes, in this node's present state: looking for a cluster, or a member.

The transport is there before there is a member, and stays while one begins. Frames that come too early are dropped:
Raft says things again.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from scribe_ledger.consensus.catching_up import INSTALLED
from scribe_ledger.errors import Forbidden, SerializationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scribe_ledger.consensus.catching_up import CatchingUp
    from scribe_ledger.consensus.cosigning import Cosigning
    from scribe_ledger.consensus.member import Member
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.snapshots.sending import Sender
    from scribe_ledger.consensus.transport import Caller
    from scribe_ledger.consensus.witnesses import Witnesses
    from scribe_ledger.node.archive_orders import ArchiveOrders

ARCHIVE = b"A"
COSIGN = b"C"
SNAPSHOT = b"S"
WITNESS = b"W"
"""First bytes of requests; those about membership have their own."""


class Formation(Protocol):
    """What answers requests about membership, before and after this node is a member."""

    async def answer(self, caller: Caller, request: bytes) -> bytes: ...


class Switchboard:
    """The transport's handler."""

    def __init__(self) -> None:
        self.formation: Formation | None = None
        self.member: Member | None = None
        self.catching_up: CatchingUp | None = None
        self.sender: Sender | None = None
        self.cosigning: Cosigning | None = None
        self.archive_orders: ArchiveOrders | None = None
        self.witnesses: Witnesses | None = None

    def admits(self, caller: Caller) -> str:
        """Who was removed may ask to join again, and gets the reason there; it has no say any more."""
        member = self.member
        if member is None or not caller.cluster_id:
            return ""
        if caller.raft_id in member.replica.membership.removed:
            return f"node {caller.node_id} was removed from this cluster; on an empty folder it joins as a new member"
        return ""

    def on_frame(self, sender: int, frame: memoryview) -> None:
        member = self.member
        if member is None or not frame:
            return
        if frame[0] == INSTALLED and self.catching_up is not None:
            if member.replica.is_stranger(sender):
                return
            self.catching_up.on_installed(sender, frame)
            return
        member.on_frame(sender, frame)

    async def on_request(self, caller: Caller, request: bytes) -> bytes:
        if request[:1] == COSIGN:
            if self.cosigning is None:
                raise _not_yet()
            return await self.cosigning.answer(request[1:])
        if request == ARCHIVE:
            if self.archive_orders is None:
                raise _not_yet()
            return await self.archive_orders.answer(caller)
        if request[:1] == WITNESS:
            if self.witnesses is None or self.member is None:
                raise _not_yet()
            self._check_may_fetch(caller, self.member.replica.membership)
            return await self.witnesses.answer(request[1:])
        if self.formation is None:
            raise _not_yet()
        return await self.formation.answer(caller, request)

    async def on_stream(self, caller: Caller, request: bytes) -> AsyncIterator[bytes]:
        if request[:1] != SNAPSHOT:
            raise SerializationError("this asks for no stream that there is")
        if self.sender is None or self.member is None:
            raise _not_yet()
        self._check_may_fetch(caller, self.member.replica.membership)
        async with aclosing(self.sender.on_stream(request[1:])) as pieces:
            async for piece in pieces:
                yield piece

    def _check_may_fetch(self, caller: Caller, membership: Membership) -> None:
        """Who joins is a learner before it fetches anything. What it says of its cluster counts for nothing here."""
        if caller.raft_id in membership.removed:
            raise Forbidden(f"node {caller.node_id} was removed from this cluster", hint="it joins anew, if it may")
        if caller.raft_id not in membership.ids:
            why = f"node {caller.node_id} is no member of this cluster, as far as this node knows"
            raise Unavailable(why, hint="ask again; this node may not know its newest members yet")

    def on_connected(self, raft_id: int) -> None:
        if self.member is not None:
            self.member.turns.wake()

    def on_lost(self, raft_id: int) -> None:
        if self.member is not None:
            self.member.on_lost(raft_id)
        if self.catching_up is not None:
            self.catching_up.lost(raft_id)


def _not_yet() -> Unavailable:
    return Unavailable("this node is not ready yet", hint="ask again in a moment")

"""``Witnesses``: whether the other members have what a snapshot would bring, asked before it is installed.

One member gives a snapshot, and its receiver believes its root. So the receiver asks the voters, by the record that the
snapshot carries, what root they have at its size. It is refused if one of them has another, unless those that have the
same are a majority together with the giver. Who is silent, or is not that far, says nothing: then it is taken on the
giver's word, which has compared itself with a majority (``standing``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.errors import Conflict, ConsensusError, ScribeError, SerializationError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.snapshots.description import Description
    from scribe_ledger.consensus.statemachine import StateMachine

ASK_SECONDS = 1.0
"""For all answers: they are asked at once."""
REACH_SECONDS = 0.4
"""That a member which is asked may take to have so many entries."""
_LOOK_SECONDS = 0.02
_SIZE_BYTES = 8


class Witnesses:
    """Used in the loop's thread."""

    def __init__(
        self,
        raft_id: int,
        machine: StateMachine,
        *,
        giver: Callable[[], int],
        diverged: Callable[[], ScribeError | None],
        ask: Callable[[MemberInfo, bytes], Awaitable[bytes]],
    ) -> None:
        """``giver``: whoever leads. ``ask`` sends a member a request that its ``answer`` gets."""
        self._raft_id = raft_id
        self._machine = machine
        self._giver = giver
        self._diverged = diverged
        self._ask = ask

    async def vouch(self, snapshot: Description) -> None:
        """``Conflict`` if the snapshot is not what the others have."""
        membership, giver = Membership.decode(snapshot.membership), self._giver()
        voters = [each for each in membership.voters if each not in {self._raft_id, giver}]
        asked = [membership.members[each] for each in voters if each in membership.members]
        roots = await asyncio.gather(*(self._root_of(info, snapshot.size) for info in asked))
        others = [info.node_id for info, root in zip(asked, roots, strict=True) if root not in {b"", snapshot.root}]
        same = 1 + sum(root == snapshot.root for root in roots)
        if others and same < membership.quorum:
            raise Conflict(
                f"a snapshot has the root {snapshot.root.hex()} of {snapshot.size} entries, and "
                f"{', '.join(f'node {each}' for each in sorted(others))} has another",
                hint="the ledgers of members differ: /cluster/members names them",
            )

    async def answer(self, request: bytes) -> bytes:
        """This node's root at the size that is asked about."""
        if len(request) != _SIZE_BYTES:
            raise SerializationError("a question about a root names no size")
        size, loop = int.from_bytes(request, "big"), asyncio.get_running_loop()
        until = loop.time() + REACH_SECONDS
        while self._machine.extent.size < size and loop.time() < until:  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(_LOOK_SECONDS)
        diverged = self._diverged()
        if diverged is not None:
            raise ConsensusError(f"this node is no witness: {diverged.message}")
        if self._machine.extent.size < size:
            raise Unavailable(f"this node has {self._machine.extent.size} entries, not {size} yet", hint="ask again")
        return self._machine.root_at(size)

    async def _root_of(self, info: MemberInfo, size: int) -> bytes:
        """Empty where it does not say."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._ask(info, size.to_bytes(_SIZE_BYTES, "big"))
        except (ScribeError, TimeoutError):
            return b""

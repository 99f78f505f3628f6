"""``Readiness``: whether a member is to be sent work yet. It may serve before: what it answers is right all the same.
One that takes a snapshot over holds writes until it has, so that their outcome is known. One that is given bad ones
alone will not have, so that is said first.

Nodes that found a cluster by agreement mean to be several: as long as the founder is the only voter, what it
acknowledges is on one disk, and its end stops the cluster. So ``cluster.json`` says how many voters it awaits, once:
when they are there that is taken out, and members may leave later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.errors import Unavailable
from scribe_ledger.ledger.belonging import read_belonging, write_belonging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scribe_ledger.consensus.member import Member
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.errors import ScribeError


class Readiness:
    """Made before the member starts: it reads a small file."""

    def __init__(self, data_dir: Path, member: Member, *, stuck: Callable[[], ScribeError | None]) -> None:
        """``stuck``: why it does not catch up."""
        self._data_dir = data_dir
        self._member = member
        self._stuck = stuck
        self._belonging = read_belonging(data_dir)
        self._awaits = 0 if self._belonging is None else self._belonging.awaits
        member.on_membership.append(self._look)

    @property
    def not_ready(self) -> ScribeError | None:
        """Why this member should be sent no work yet."""
        replica = self._member.replica
        voters = replica.membership.voters
        if (stuck := self._stuck()) is not None:
            return stuck.again()
        if replica.raft_id not in voters:
            return Unavailable(
                "this node is a learner: it does not count for the majority until it has caught up",
                hint="it becomes a voter by itself; ask a voter meanwhile",
            )
        if replica.installing:
            return Unavailable(
                "this node takes a snapshot over: writes here wait until it has", hint="ask another node meanwhile"
            )
        if len(voters) < self._awaits:
            return Unavailable(
                f"the cluster has {len(voters)} of the {self._awaits} voters that make a majority of its seeds",
                hint="start the other nodes; they become voters when they have caught up",
            )
        return None

    def _look(self, membership: Membership) -> None:
        if self._belonging is not None and 0 < self._awaits <= len(membership.voters):
            self._awaits = 0
            reached = self._belonging._replace(awaits=0)
            self._member.spawn(asyncio.to_thread(write_belonging, self._data_dir, reached))

"""A member asks who is at its own recorded address before it votes: on a copied folder that is another process.

It stops the copy where the original can be reached. Where it cannot, the other members tell the two apart: see
``consensus.transport``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.messages import Probe, encode
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.errors import Conflict, ScribeError

if TYPE_CHECKING:
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.transport import Transport

PROBE_SECONDS = 1.0


async def check_runs_once(raft_id: int, membership: Membership, transport: Transport) -> None:
    """Raises ``Conflict`` if another process answers there with this Raft id. Its operator is told there too."""
    recorded = membership.members.get(raft_id)
    if recorded is None:
        return
    try:
        await transport.request(recorded.raft_address, encode(Probe()), timeout=PROBE_SECONDS)
    except Refused as error:
        if error.reason == Reason.COPY:
            raise Conflict(
                f"the node at {recorded.raft_address} runs with the Raft id of this folder, {raft_id}: "
                "one of the two folders is a copy of the other",
                hint="a node of its own starts on an empty folder; to move a member, stop it there first",
            ) from error
    except ScribeError:
        return  # nobody, or a node that does not know it: the member has moved, or is its own

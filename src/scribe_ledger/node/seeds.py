"""``Seeds``: a member that reaches no leader asks the addresses in its settings, and of discovery, who is there.

Members that all moved while they were stopped know no other address of each other; and a learner that was removed
before its first snapshot, and started again, knows nobody who could tell it. Who is silent, or a stranger, is passed
over: there are others, and the next look. A seed of another cluster is said: it never helps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.looking import Lookout
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.consensus.transport.refusals import Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scribe_ledger.consensus.formation.finding import Source
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.consensus.transport import Transport

PROBE_SECONDS = 1.0


class Seeds:
    """Tells ``on_found`` which member answers at which address, of those with whom there is no connection.

    ``on_removed`` is called where one of the cluster says that this node is a member no more.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        transport: Transport,
        *,
        me: MemberInfo,
        cluster_id: str,
        on_found: Callable[[int, str], object],
        on_removed: Callable[[], object] = lambda: None,
        clock: Callable[[], float],
        sources: Sequence[Source] = (),
    ) -> None:
        self._addresses = addresses
        self._transport = transport
        self._cluster_id = cluster_id
        self._on_found = on_found
        self._on_removed = on_removed
        self._refusals = Refusals(clock)
        self._lookout = Lookout(
            transport, raft_id=me.raft_id, address=me.raft_address, seeds=addresses, sources=sources
        )

    async def look(self, members: Collection[int]) -> None:
        """Asks everybody once, all at the same time; ``members`` are the Raft ids that count."""
        sight = await self._lookout.look(PROBE_SECONDS)
        for address, silence in sight.silent.items():
            if silence.kind == Reason.CLUSTER and address in self._addresses:
                event = "a seed is a node of another cluster: check [network] seed_peers"
                self._refusals.tell(event, silence.kind, address, Refused(silence.reason, reason=silence.kind))
            elif silence.kind == Reason.UNADMITTED and silence.proven:
                self._on_removed()
        for address, found in sight.all.items():
            if found.cluster_id != self._cluster_id or found.raft_id not in members:
                continue
            if not self._transport.connected(found.raft_id):  # else one that has two addresses would be moved about
                self._on_found(found.raft_id, address)

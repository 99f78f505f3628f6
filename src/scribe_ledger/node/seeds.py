"""``Seeds``: a member that reaches no leader asks the addresses in its settings who is there.

Members that all moved while they were stopped know no other address of each other. A seed that is silent, or a
stranger, is passed over: there are others, and the next look. One of another cluster is said: it never helps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.messages import Probe, Standing, decode_as, encode
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.consensus.transport.refusals import Refusals
from scribe_ledger.errors import ScribeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from scribe_ledger.consensus.transport import Transport

PROBE_SECONDS = 1.0


class Seeds:
    """Tells ``on_found`` which member answers at which address."""

    def __init__(
        self,
        addresses: Sequence[str],
        transport: Transport,
        *,
        cluster_id: str,
        on_found: Callable[[int, str], object],
        clock: Callable[[], float],
    ) -> None:
        self._addresses = addresses
        self._transport = transport
        self._cluster_id = cluster_id
        self._on_found = on_found
        self._refusals = Refusals(clock)

    async def look(self, members: Collection[int]) -> None:
        """Asks each seed once; ``members`` are the Raft ids that count."""
        for address in self._addresses:
            try:
                answer, who = await self._transport.request(address, encode(Probe()), timeout=PROBE_SECONDS)
                found = decode_as(Standing, answer)
            except ScribeError as error:
                self._note(address, error)
                continue
            if found.raft_id == who.raft_id and found.cluster_id == self._cluster_id and found.raft_id in members:
                self._on_found(found.raft_id, address)

    def _note(self, address: str, error: ScribeError) -> None:
        if isinstance(error, Refused) and error.reason == Reason.CLUSTER:
            event = "a seed is a node of another cluster: check [network] seed_peers"
            self._refusals.tell(event, error.reason, address, error)

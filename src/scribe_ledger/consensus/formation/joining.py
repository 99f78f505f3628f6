"""The joiner's end of a join: asks the leader to be taken in until it is, or until it is refused for good.

Asking again is harmless: the leader knows the Raft id. A ``Conflict`` and everything ``Unavailable`` may pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from scribe_ledger.consensus.formation.admission import take_key
from scribe_ledger.consensus.formation.messages import Elsewhere, Join, Welcome, decode, encode
from scribe_ledger.errors import ConfigurationError, Conflict, ConsensusError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_ledger.consensus.formation.messages import Requests
    from scribe_ledger.consensus.membership import MemberInfo
    from scribe_ledger.merkle.note import Signer

MAX_HOPS = 4
"""Of a question that is sent on to who should lead."""


class Joined(NamedTuple):
    """This node is a member: a learner first. What its ledger must be."""

    cluster_id: str
    """Also the ledger's id."""
    origin: str
    created: int
    epoch: int
    policies: Mapping[str, str]
    ledger_key: str
    """The verifier of the ledger's key."""
    key: Signer | None
    """None: the folder has it already."""
    members: tuple[MemberInfo, ...]
    leader_address: str


class Joiner:
    def __init__(self, requests: Requests, join: Join) -> None:
        self._requests = requests
        self._join = join
        self.store_id = join.info.store_id
        """Of this node's object store, as it is by now."""
        self.waiting_for = ""
        """Why it is not in yet; for people."""

    async def ask(self, addresses: Sequence[str], cluster_id: str, seconds: float) -> Joined | None:
        """One try. None: ask again in a moment. A final refusal is raised."""
        for address in dict.fromkeys(addresses):
            try:
                return await self._ask(address, cluster_id, seconds)
            except (Conflict, Unavailable) as error:
                self.waiting_for = f"{address} says: {error}"
        return None

    async def _ask(self, address: str, cluster_id: str, seconds: float) -> Joined:
        join = self._join.model_copy(update={"info": replace(self._join.info, store_id=self.store_id)})
        for _ in range(MAX_HOPS):
            answer, caller = await self._requests.request(address, encode(join), timeout=seconds)
            message = decode(answer)
            if isinstance(message, Welcome):
                if message.cluster_id != cluster_id or caller.cluster_id != cluster_id:
                    raise ConfigurationError(f"{address} belongs to cluster {message.cluster_id}, not to {cluster_id}")
                key = take_key(message, self._join.info.raft_id, caller)
                if key is None and self._join.ledger_key != message.ledger_key:
                    raise ConfigurationError("the ledger's key did not come", hint="copy ledger.key from a member")
                return _joined(message, key)
            if not isinstance(message, Elsewhere) or not message.leader_address:
                break
            address = message.leader_address
        raise ConsensusError("the cluster has no leader at the moment")


def _joined(welcome: Welcome, key: Signer | None) -> Joined:
    return Joined(
        welcome.cluster_id,
        welcome.origin,
        welcome.created,
        welcome.epoch,
        dict(welcome.policies),
        welcome.ledger_key,
        key,
        welcome.members,
        welcome.leader_address,
    )

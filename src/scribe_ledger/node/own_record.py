"""What a member makes sure of before it votes, by what the cluster's record says of itself.

It asks who is at its own recorded address: on a copied folder that is another process. So the copy ends where the
original can be reached. Where it cannot, the other members tell the two apart: see ``consensus.transport``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.messages import Probe, encode
from scribe_ledger.consensus.transport.contract import Reason, Refused
from scribe_ledger.errors import ConfigurationError, Conflict, ScribeError

if TYPE_CHECKING:
    from scribe_ledger.config import Config
    from scribe_ledger.consensus.membership import Membership
    from scribe_ledger.consensus.transport import Transport

PROBE_SECONDS = 1.0


def check_is_meant(config: Config, raft_id: int, membership: Membership) -> None:
    """Of a node whose settings name no other: the record does, if they are those of this member.

    Else a folder that was started without its settings would take its member to another address.
    """
    recorded = membership.members.get(raft_id)
    if recorded is None:
        raise not_reachable(config, "its record of them has not come yet")
    if (recorded.node_id, recorded.raft_address) != (config.node.id, config.advertised_raft_address):
        raise not_reachable(
            config,
            f"it is recorded as node {recorded.node_id} at {recorded.raft_address}, "
            f"and these are the settings of node {config.node.id} at {config.advertised_raft_address}",
        )


def not_reachable(config: Config, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{config.data_dir} is the folder of a member of a cluster, and no setting says how to reach the others: {why}",
        hint="start it with its own settings; to move it, set [network] seed_peers (SCRIBE_NETWORK_SEED_PEERS) to "
        "some of the others, or enable discovery; the only member of a cluster moves with --bootstrap",
    )


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

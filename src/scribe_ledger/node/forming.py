"""What a node does to become a member, around ``formation``: what it has, and what it makes of its folder."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.finding import DnsNames, Mdns
from scribe_ledger.consensus.formation.forming import Formation, Holdings
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.ledger.belonging import Belonging, create_member_folder, read_belonging, write_belonging
from scribe_ledger.ledger.folder import IDENTITY, KEY
from scribe_ledger.ledger.machine import APPLY_VERSION
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.merkle.note import Signer
from scribe_ledger.objects.identity import read_identity

if TYPE_CHECKING:
    from random import Random

    from scribe_ledger.config import Config
    from scribe_ledger.consensus.formation.finding import Source
    from scribe_ledger.consensus.formation.forming import Outcome
    from scribe_ledger.consensus.formation.identity import NodeIdentity
    from scribe_ledger.consensus.transport import Transport
    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.node.switchboard import Switchboard
    from scribe_ledger.objects.store import ObjectStore

FIRST_TERM = 1


async def find_cluster(
    config: Config,
    identity: NodeIdentity,
    transport: Transport,
    switchboard: Switchboard,
    store: ObjectStore | str,
    random: Random,
    *,
    bootstrap: bool,
) -> Outcome:
    """Returns when this node is a member, or is to make the cluster."""
    store_id = await asyncio.to_thread(store_id_of, store)
    discovery = config.discovery
    sources: list[Source] = []
    if discovery.enabled and discovery.dns:
        sources.append(DnsNames(discovery.dns, config.raft_port))
    if discovery.enabled and discovery.mdns:
        sources.append(Mdns(config.listen_host))
    formation = Formation(
        identity,
        transport,
        info_of(config, identity, store_id),
        random=random,
        store_ledger=lambda: asyncio.to_thread(_ledger_in, store),
        seeds=config.network.seed_peers,
        sources=sources,
        bootstrap=bootstrap,
        holdings=await asyncio.to_thread(_holdings, config),
        policies=_policies(config),
    )
    switchboard.formation = formation
    try:
        return await formation.run()
    finally:
        for source in sources:
            await source.close()


def info_of(config: Config, identity: NodeIdentity, store_id: str) -> MemberInfo:
    """What this node tells others of itself."""
    return MemberInfo(
        raft_id=identity.raft_id,
        node_id=config.node.id,
        raft_address=config.advertised_raft_address,
        client_address=config.advertised_address,
        node_key=str(identity.key.cosigner),
        apply_version=APPLY_VERSION,
        store_id=store_id,
    )


def store_id_of(store: ObjectStore | str) -> str:
    """Empty: there is no shared store, or nobody has used it yet."""
    found = None if isinstance(store, str) else read_identity(store)
    return "" if found is None else found.store_id


def join_folder(config: Config, identity: NodeIdentity, outcome: Outcome) -> None:
    """Makes the empty ledger of a node that joins; each step may be repeated after a crash."""
    if not isinstance(outcome, Joined):
        return
    key = outcome.key or Signer.parse((config.data_dir / KEY).read_text().strip())
    create_member_folder(
        config.data_dir,
        ledger_id=outcome.cluster_id,
        origin=outcome.origin,
        created=outcome.created,
        epoch=outcome.epoch,
        policy=Policy().changed(outcome.policies),
        private_key_text=key.private_text(),
        raft_id=identity.raft_id,
    )
    identity.save_member(outcome.cluster_id)


def found(config: Config, identity: NodeIdentity, ledger: ServedLedger) -> None:
    """Makes this ledger a cluster's, with this node as its only member. May be repeated after a crash."""
    machine = ledger.state_machine
    if not machine.membership:
        index = max(machine.position + 1, 1)
        info = info_of(config, identity, "" if not config.has_explicit_object_store else store_id_of(ledger.objects))
        record = Membership(index, FIRST_TERM, voters=(identity.raft_id,), members={identity.raft_id: info})
        machine.set_membership(index, record.encode())
        machine.flush()
    if read_belonging(config.data_dir) is None:
        write_belonging(config.data_dir, Belonging(ledger.ledger_id, identity.raft_id))
    identity.save_member(ledger.ledger_id)


def _holdings(config: Config) -> Holdings:
    """What is in the folder of a node that is no member yet."""
    path = config.data_dir
    if not (path / IDENTITY).exists():
        key = path / KEY
        return Holdings(ledger_key=str(Signer.parse(key.read_text().strip()).verifier)) if key.exists() else Holdings()
    from scribe_ledger.ledger.ledger import Ledger

    with Ledger.open(path, create=False) as ledger:
        return Holdings(ledger.ledger_id, ledger.size, str(ledger.public_key))


def _policies(config: Config) -> dict[str, str]:
    """Those that somebody asked for."""
    wanted = {"overwrite": config.ledger.overwrite, "deletes": config.ledger.deletes}
    return {name: value for name, value in wanted.items() if config.source(f"ledger.{name}") != "default"}


def _ledger_in(store: ObjectStore | str) -> str:
    """The id of the ledger that a shared store holds."""
    found = None if isinstance(store, str) else read_identity(store)
    return "" if found is None else found.ledger_id

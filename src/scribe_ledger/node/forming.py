"""What a node does to become a member, around ``formation``: what it has, and what it makes of its folder."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scribe_ledger.consensus.formation.finding import DnsNames, Mdns
from scribe_ledger.consensus.formation.forming import Formation, Founded, Holdings
from scribe_ledger.consensus.formation.joining import Joined
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.errors import Conflict
from scribe_ledger.ledger.belonging import Belonging, create_member_folder, read_belonging, write_belonging
from scribe_ledger.ledger.folder import IDENTITY, KEY
from scribe_ledger.ledger.machine import APPLY_VERSION
from scribe_ledger.ledger.policy import Policy
from scribe_ledger.merkle.note import Signer
from scribe_ledger.node.own_record import not_reachable
from scribe_ledger.objects.identity import read_identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
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
    on_waiting: Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Returns when this node is a member, or is to make the cluster."""
    recognise(config, identity)
    if is_to_found(config, identity):
        return Founded(bootstrap)
    if not identity.cluster_id and not config.is_cluster_member(bootstrap):
        raise not_reachable(config, "it was about to join when it ended")
    sources = sources_of(config)
    formation = Formation(
        identity,
        transport,
        info_of(config, identity, await asyncio.to_thread(store_id_of, store)),
        random=random,
        store_ledger=lambda: asyncio.to_thread(_ledger_in, store),
        store_id=lambda: asyncio.to_thread(store_id_of, store),
        seeds=config.network.seed_peers,
        sources=sources,
        bootstrap=bootstrap,
        holdings=await asyncio.to_thread(_holdings, config),
        policies=_policies(config),
        shares_store=config.has_explicit_object_store,
        on_waiting=on_waiting,
    )
    switchboard.formation = formation
    try:
        return await formation.run()
    finally:
        for source in sources:
            await source.close()


def sources_of(config: Config) -> list[Source]:
    """Where nodes are found, and made known, beside the seeds."""
    discovery = config.discovery
    sources: list[Source] = []
    if discovery.enabled and discovery.dns:
        sources.append(DnsNames(discovery.dns, config.raft_port))
    if discovery.enabled and discovery.mdns:
        sources.append(Mdns(config.listen_host))
    return sources


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
    belonging = read_belonging(config.data_dir)
    if isinstance(outcome, Founded) and belonging is not None and not belonging.founded:
        raise Conflict(
            f"{config.data_dir} was to be that of a member of cluster {belonging.ledger_id}, which is not found",
            hint="start it when that cluster is there; or give this node an empty folder",
        )
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


def found(config: Config, identity: NodeIdentity, ledger: ServedLedger, *, awaits: int = 0) -> None:
    """Makes this ledger a cluster's, with this node as its only member. May be repeated after a crash.

    The mark comes first: from then on nobody else writes to the ledger, and ``is_to_found`` leads back to here.
    """
    if read_belonging(config.data_dir) is None:
        write_belonging(config.data_dir, Belonging(ledger.ledger_id, identity.raft_id, founded=True, awaits=awaits))
    machine = ledger.state_machine
    record = machine.membership
    if not record or identity.raft_id not in Membership.decode(record).ids:  # then it is of a cluster that is no more
        index = max(machine.position + 1, 1)
        info = info_of(config, identity, "" if not config.has_explicit_object_store else store_id_of(ledger.objects))
        first = Membership(index, FIRST_TERM, voters=(identity.raft_id,), members={identity.raft_id: info})
        machine.set_membership(index, first.encode())
        machine.flush()
    identity.save_member(ledger.ledger_id)


def check_not_being_rescued(data_dir: Path) -> None:
    """Entries that no majority confirmed may be applied there already."""
    belonging = read_belonging(data_dir)
    if belonging is not None and belonging.rescuing:
        raise Conflict(
            f"{data_dir} is being made a ledger that stands alone, and that was cut short",
            hint=f"finish it: `scribe cluster rescue --data {data_dir}`",
        )


def recognise(config: Config, identity: NodeIdentity) -> None:
    """Whose folder is marked, and has its ledger, is a member, though it died before it noted that itself."""
    check_not_being_rescued(config.data_dir)
    belonging = read_belonging(config.data_dir)
    if belonging is None or identity.cluster_id or not (config.data_dir / IDENTITY).exists():
        return
    if belonging.raft_id != identity.raft_id:
        raise Conflict(
            f"{config.data_dir} is marked as that of member {belonging.raft_id}, and its node is {identity.raft_id}",
            hint="this folder was put together of two; start the node on an empty one: it joins as a new member",
        )
    if not belonging.founded:
        identity.save_member(belonging.ledger_id)


def is_to_found(config: Config, identity: NodeIdentity) -> bool:
    """Whether this node began to found a cluster, and died before that was done."""
    belonging = read_belonging(config.data_dir)
    return belonging is not None and belonging.founded and not identity.cluster_id


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

"""What a member says of its cluster: status, members and figures, as its parts are when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.consensus.transport.contract import Reason
from scribe_ledger.http.clustering import PeerFigures, RaftFigures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from scribe_ledger.consensus.member import Member
    from scribe_ledger.http.clustering import SnapshotFigures

_NONE_REFUSED = {str(reason): 0 for reason in Reason if reason is not Reason.OURSELVES}
"""All from the beginning: for an alert, one that appears as 1 has not increased."""
LEADER, FOLLOWER, LEARNER, CANDIDATE, REMOVED = "leader", "follower", "learner", "candidate", "removed"


def state_of(member: Member) -> str:
    """``leader``, ``follower``, ``learner``, ``candidate`` or ``removed``."""
    replica = member.replica
    if member.removed is not None:
        return REMOVED
    if replica.is_leader:
        return LEADER
    if replica.raft_id not in replica.membership.voters:
        return LEARNER
    return FOLLOWER if replica.role == FOLLOWER else CANDIDATE


def node_id_of(member: Member, raft_id: int) -> int | None:
    info = member.known(raft_id)
    return None if info is None else info.node_id


def leads(member: Member) -> bool:
    """A member that was removed may not know yet that nobody follows it."""
    return member.replica.is_leader and member.removed is None


def leader_of(member: Member) -> int | None:
    """The leader's node id. Who was removed hears of no other after the one that it knew."""
    return None if member.removed is not None else node_id_of(member, member.replica.leader)


def status_of(member: Member) -> dict[str, Any]:
    replica, membership = member.replica, member.replica.membership
    return {
        "node_id": member.me.node_id,
        "raft_id": str(replica.raft_id),
        "is_leader": leads(member),
        "current_leader": leader_of(member),
        "state": state_of(member),
        "current_term": replica.term,
        "last_log_index": replica.last_index,
        "last_applied": replica.applied_index,
        "commit_index": replica.commit_index,
        "voters": len(membership.voters),
        "learners": len(membership.learners),
        "quorum": membership.quorum,
    }


def members_of(member: Member, now: float, wall_ms: int) -> list[dict[str, Any]]:
    """In the order of their labels."""
    membership = member.replica.membership
    known = sorted(membership.members.values(), key=lambda info: (info.node_id, info.raft_id))
    differing = member.differing()
    return [_member(member, info.raft_id, now, wall_ms, differing) for info in known if info.raft_id in membership.ids]


def _member(member: Member, raft_id: int, now: float, wall_ms: int, differing: AbstractSet[int]) -> dict[str, Any]:
    replica = member.replica
    membership = replica.membership
    info = membership.members[raft_id]
    is_me = raft_id == replica.raft_id
    heartbeat = wall_ms if is_me else member.liveness.last_heard_ms(raft_id)
    match = _match_of(member, raft_id)
    return {
        "node_id": info.node_id,
        "raft_id": str(raft_id),
        "address": info.client_address,
        "raft_address": info.raft_address,
        "role": "voter" if raft_id in membership.voters else LEARNER,
        "state": _state_of_member(member, raft_id, now),
        "last_heartbeat": heartbeat or None,
        "match_index": match,
        "lag": None if match is None else max(0, replica.last_index - match),
        "diverged": raft_id in differing,
    }


def _state_of_member(member: Member, raft_id: int, now: float) -> str:
    replica = member.replica
    if raft_id == replica.raft_id:
        return state_of(member)
    heard = member.liveness.state(raft_id, now)
    if heard != "alive":
        return heard
    if raft_id == replica.leader:
        return LEADER
    return FOLLOWER if raft_id in replica.membership.voters else LEARNER


def _match_of(member: Member, raft_id: int) -> int | None:
    """What it has of Raft's log: as the leader knows it, or as it told itself."""
    replica = member.replica
    if raft_id == replica.raft_id:
        return replica.last_index
    if replica.is_leader:
        progress = replica.progress().get(raft_id)
        return None if progress is None else progress.match
    gossip = member.reports.get(raft_id)
    return None if gossip is None else gossip.applied


def figures_of(member: Member, *, snapshots: Mapping[str, SnapshotFigures], refused: Mapping[str, int]) -> RaftFigures:
    replica, membership = member.replica, member.replica.membership
    progress = replica.progress() if replica.is_leader else {}
    peers = {}
    for raft_id, info in membership.members.items():
        if raft_id == replica.raft_id or raft_id not in membership.ids:
            continue
        lag = replica.last_index - progress[raft_id].match if raft_id in progress else None
        heard = member.silence(raft_id)
        peers[info.node_id] = PeerFigures(lag, heard)
    return RaftFigures(
        term=replica.term,
        leader=leader_of(member),
        is_leader=leads(member),
        last_index=replica.last_index,
        commit_index=replica.commit_index,
        applied_index=replica.applied_index,
        elections=replica.counters.elections,
        proposals=replica.counters.proposals,
        forwarded=replica.counters.forwarded,
        voters=len(membership.voters),
        learners=len(membership.learners),
        peers=peers,
        log_entries=replica.log_entries,
        log_bytes=replica.log_bytes,
        compactions=member.cutter.cuts,
        snapshots=snapshots,
        refused_connections={**_NONE_REFUSED, **refused},
        diverged=member.diverged is not None,
        disagreeing=len(member.standing.others),
    )

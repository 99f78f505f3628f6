"""What goes into a ``Replica`` and comes out of it: settings, turns, figures. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, Self

from scribe_ledger.model import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scribe_ledger.config.sections import ConsensusSettings
    from scribe_ledger.consensus.log.store import LogWrite


NEVER = 1 << 62
"""A tick, or a turn, that does not come."""


class ReplicaSettings(NamedTuple):
    election_ticks_min: int = 10
    election_ticks_max: int = 20
    heartbeat_ticks: int = 2
    max_entry_bytes: int = 64 << 10
    """Units are put together up to this. A larger one travels alone."""
    max_entry_units: int = 300
    """And up to so many."""
    bundles_in_flight: int = 4
    max_waiting_units: int = 100_000
    max_waiting_bytes: int = 128 << 20
    max_waiting_reads: int = 100_000
    read_rounds: int = 2
    """Of ReadIndex, under way at once. Reads that come meanwhile share the next."""
    read_retry_ticks: int = 6
    resend_ticks: int = 20
    """Of silence about a bundle, after which it is sent to the same leader again."""
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @classmethod
    def of(cls, consensus: ConsensusSettings, tick_ms: float) -> Self:
        heartbeat = max(1, round(consensus.heartbeat_interval_ms / tick_ms))
        shortest = max(heartbeat + 1, ceil(consensus.election_timeout_min / tick_ms))
        longest = max(shortest + 1, ceil(consensus.election_timeout_max / tick_ms))
        return cls(
            election_ticks_min=shortest,
            election_ticks_max=longest,
            heartbeat_ticks=heartbeat,
            max_entry_units=consensus.max_payload_entries,
        )


class Turn(NamedTuple):
    """What the replica wants done now. Frames to one peer go in their order, ``messages`` before ``after``."""

    number: int
    messages: Mapping[int, Sequence[bytes]]
    """By peer, whole frames, may go at once, beside the writing."""
    write: LogWrite | None
    """To be written, in the order of the turns; None: nothing."""
    must_sync: bool
    """False: nothing that was promised depends on this write."""
    after: Mapping[int, Sequence[bytes]]
    """To be sent only when this write, and all before it, are durable."""
    snapshots: Sequence[tuple[int, int, bytes]]
    """Peer, index, Raft's message: as ``after``. Each ends in ``report_snapshot``."""


class Progress(NamedTuple):
    """What the leader knows of one member."""

    match: int
    next: int
    state: str
    active: bool


@dataclass(frozen=True)
class ArrivedSnapshot:
    """A leader says that this member needs a snapshot. ``message`` goes back in ``finish_install``."""

    sender: int
    index: int
    term: int
    """Of the entry at that index."""
    data: bytes
    message: bytes


@dataclass
class Counters:
    """Since the start of this replica."""

    elections: int = 0
    """In which it stood, or left its place as follower."""
    leader_changes: int = 0
    proposals: int = 0
    """Units that it put in the log as the leader, its own and others'."""
    accepted_bytes: int = 0
    """Of units that were submitted here, and of others' that it put in the log as the leader."""
    forwarded: int = 0
    """Units that it sent to another leader, each sending counted."""
    bundles: int = 0
    bundles_dead: int = 0
    """That were lost with their leader. Their units travelled again."""
    bundles_resent: int = 0
    taken: int = 0
    """Bundles of other members that it proposed as the leader."""
    refused: int = 0
    """Bundles of other members that it could not take, and messages that the engine refused."""
    reads: int = 0
    """That were let go."""
    read_rounds: int = 0
    entries_applied: int = 0
    stalls: int = 0
    """Times that the ledger could not take an entry at once."""
    snapshots_installed: int = 0

"""``Cluster``: what the routes ask of the cluster that this node is a member of. The node brings it; without one it
stands alone.

All methods are for the event loop's own thread, and none of them waits in it for a disk or the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scribe_ledger.errors import ScribeError
    from scribe_ledger.ledger.commands import Command
    from scribe_ledger.ledger.machine import Outcome
    from scribe_ledger.ledger.receipts import Receipts
    from scribe_ledger.merkle.checkpoint import Checkpoint


LEADER = "leader"


class PeerFigures(NamedTuple):
    """How one other member is seen from here."""

    lag_entries: int | None
    """Raft entries that it has not confirmed; None where this node does not lead and cannot know."""
    last_contact_seconds: float | None
    """Since it was heard last, or was first expected if it never was; None if nobody expects it yet."""


class SnapshotFigures(NamedTuple):
    """Snapshots of one kind that this process has finished."""

    count: int = 0  # type: ignore[assignment]  # the field, not the method of tuple
    seconds: float = 0.0
    """That they took, all together."""


class RaftFigures(NamedTuple):
    """What Raft counts and measures here. Counters begin at 0 with the process."""

    term: int
    leader: int | None
    """The leader's node id; None while none is known."""
    is_leader: bool
    last_index: int
    commit_index: int
    applied_index: int
    elections: int
    """Elections that this node began."""
    proposals: int
    """Units that this node took as the leader."""
    forwarded: int
    """Units that this node sent to another that led."""
    voters: int
    learners: int
    peers: Mapping[int, PeerFigures]
    """The other members, by node id."""
    log_entries: int
    log_bytes: int
    compactions: int
    snapshots: Mapping[str, SnapshotFigures]
    """By kind: ``made``, ``sent_incremental``, ``sent_full``, ``installed_incremental``, ``installed_full``."""
    refused_connections: Mapping[str, int]
    """On the Raft port, by reason."""
    diverged: bool
    """A majority of the voters has another root than this node, at a size of its own."""
    disagreeing: int = 0
    """Members whose ledger is another than this node's."""


class Cluster(Protocol):
    """One member's side of a cluster. Errors are ``ScribeError``; a request about members may go to the leader."""

    # --- writing: the face of the Gatherer ---------------------------------------------------------------------

    def submit(self, unit: Sequence[Command], done: Callable[[Outcome], object]) -> None:
        """Proposes a unit; ``done`` gets receipts or the error once it is applied *here*, later and from the loop.

        Nothing in the unit needs a blob. ``Overloaded`` is raised at once where too much waits. Ends within
        ``[api] write_timeout_secs``: in ``Unavailable`` if it is certain that nothing was or will be written, in
        ``OutcomeUnknown`` if not.
        """
        ...

    async def write(self, unit: Sequence[Command]) -> Receipts:
        """The same for a task."""
        ...

    @property
    def waiting(self) -> tuple[int, int]:
        """Entries and bytes that were submitted here and wait to be decided."""
        ...

    @property
    def accepted_bytes(self) -> int:
        """Of units that this node took since it began: its own, and as the leader those of others."""
        ...

    @property
    def settled_bytes(self) -> int:
        """Of those, what does not wait here any more."""
        ...

    async def close(self) -> None:
        """Refuses what comes, and returns when all that was accepted is answered. Idempotent."""
        ...

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, done: Callable[[ScribeError | None], object]) -> None:
        """``done`` gets None once a read here sees every write acknowledged anywhere before this call.

        It may be called before ``read`` returns. Ends within ``[api] read_timeout_secs``, then in ``Unavailable``;
        ``Overloaded`` is raised at once where too many wait.
        """
        ...

    async def linearize(self) -> None:
        """The same for a task."""
        ...

    # --- this member -------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``leader``, ``follower``, ``learner``, ``candidate`` or ``removed``."""
        ...

    @property
    def trouble(self) -> ScribeError | None:
        """Why this member serves nothing: it differs from the majority, was removed, or its engine failed."""
        ...

    @property
    def dissent(self) -> ScribeError | None:
        """Members have different ledgers, and nobody can tell whose is right. This one serves all the same."""
        ...

    @property
    def not_ready(self) -> ScribeError | None:
        """Why this member should be sent no work yet, though it serves: it is a learner, or awaits other voters."""
        ...

    def fail(self, error: ScribeError) -> None:
        """From now on this member serves nothing: everything is refused with this."""
        ...

    @property
    def takes_large_values(self) -> ScribeError | None:
        """Why values over ``inline_max`` are refused: the members share no object store. None if they do."""
        ...

    @property
    def has_leader(self) -> bool:
        """Whether a leader is known now, and so writes and linearizable reads have somewhere to go."""
        ...

    @property
    def refusals(self) -> str:
        """Which members do not speak with this one, and what they said; empty where there is none."""
        ...

    def status(self) -> dict[str, Any]:
        """``node_id, raft_id, is_leader, current_leader, state, current_term, last_log_index, last_applied``,
        ``commit_index, voters, learners, quorum``. A leader that is unknown is None."""
        ...

    def members(self) -> list[dict[str, Any]]:
        """Of each: ``node_id, raft_id, address, raft_address, role, state, last_heartbeat, match_index, lag``,
        ``diverged``."""
        ...

    def leader(self) -> dict[str, Any]:
        """``leader_id`` and ``address``, both None while none is known."""
        ...

    def figures(self) -> RaftFigures: ...

    # --- changes: done by the leader, whoever is asked ---------------------------------------------------------

    async def join(self, node_id: int, address: str) -> dict[str, Any]:
        """Invites the node that listens for peers at ``address``; the member as ``members`` has it.

        An order that stands, and is not carried out yet, is answered with ``node_id`` and ``waits_for``.
        """
        ...

    async def leave(self, node_id: int) -> dict[str, Any]:
        """Takes a member out; ``Conflict`` says why not. The answer names it by ``node_id`` and ``raft_id``."""
        ...

    async def replace(self, node_id: int, raft_id: int | None = None) -> dict[str, Any]:
        """The member that was wiped, by its old ``raft_id`` where the label alone is not enough, gives its place to
        the node that waits under the same label; the new member as ``members`` has it. Pending as ``join``."""
        ...

    async def transfer(self, node_id: int) -> dict[str, Any]:
        """Hands leadership over, and waits until it is; ``leader_id`` and ``address``."""
        ...

    async def archive(self) -> dict[str, Any]:
        """Has the leader archive all that is committed; what its pass did. ``Unavailable`` if none takes the order."""
        ...

    async def snapshot(self) -> dict[str, Any]:
        """Makes one of this node's ledger now; what ``snapshots`` says of it."""
        ...

    async def snapshots(self) -> list[dict[str, Any]]:
        """Those kept here, newest first: ``{"position", "size", "root", "bytes", "created"}``."""
        ...

    # --- signatures --------------------------------------------------------------------------------------------

    async def cosigned(self) -> Checkpoint:
        """The newest checkpoint that a quorum of voters has cosigned; ``Unavailable`` if none can be had in time."""
        ...

    @property
    def cosigners(self) -> list[str]:
        """The members' verifier keys as text."""
        ...

    @property
    def quorum(self) -> int:
        """How many of them make a majority."""
        ...

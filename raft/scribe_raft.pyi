"""raft-rs, the consensus engine inside TiKV, as a Python module.

A `Node` is one member of a Raft group, in memory. Messages, ticks and proposals go in; `ready` gives out what to
persist, to send and to apply; `advance` says that it was done. There is no socket, file, clock or thread in it.

Bytes that are no message, and arguments out of range, raise `ValueError`. What cannot be done now raises a `RaftError`.
Every method of a node may raise `RaftPanic`: then the node is broken for good.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, final

from typing_extensions import Buffer

__version__: Final[str]

Conf: TypeAlias = tuple[list[int], list[int], list[int], list[int], bool]
"""voters, learners, outgoing voters, next learners, auto leave. The last three are of a joint configuration."""
HardState: TypeAlias = tuple[int, int, int]
"""term, vote, commit."""
Entry: TypeAlias = tuple[int, int, int, bytes, bytes]
"""index, term, type (0 normal; 1, 2 a change of the configuration), data, context."""
Change: TypeAlias = tuple[Literal["voter", "learner", "remove"], int]
Transition: TypeAlias = Literal["auto", "implicit", "explicit"]
Role: TypeAlias = Literal["follower", "pre-candidate", "candidate", "leader"]

class RaftError(RuntimeError):
    """The engine cannot do this now."""

class ProposalDropped(RaftError):
    """The leader took nothing: too much is uncommitted, or it is handing over."""

class NotLeader(RaftError):
    """Only the leader can do this. `args[0]` is the leader's id, 0 if unknown."""

class StepError(RaftError):
    """A well-formed message that this node refuses; its state is as before."""

class ConfChangeRefused(RaftError):
    """A change of the configuration that cannot follow the present one."""

class RaftPanic(RaftError):
    """An invariant of the engine is broken. The node answers nothing any more: stop the process."""

@final
class Ready:
    """One turn: persist, send, apply, then advance. Its attributes are in the order of the work."""

    node: Final[int]
    number: Final[int]
    messages: Final[dict[int, list[bytes]]]
    """By peer, each list in its order: may go out at once, beside the writing."""
    snapshot: Final[tuple[int, int, Conf, bytes] | None]
    """index, term, configuration, data: replaces the whole log and the state machine. Before the entries."""
    entries: Final[list[Entry]]
    """To be written. The first may lie below the end of the log: then it replaces what was there, and all after it."""
    hard_state: Final[HardState | None]
    """To be written, in one atomic write with snapshot and entries."""
    must_sync: Final[bool]
    """False: only the commit index is new, and losing it does no harm."""
    persisted_messages: Final[dict[int, list[bytes]]]
    """To be sent only after what is above is durable."""
    snapshot_messages: Final[list[tuple[int, int, bytes]]]
    """peer, index, message: to be sent after what is above is durable, each followed by `report_snapshot`."""
    read_states: Final[list[tuple[int, bytes]]]
    """index, context of reads that are safe once this index is applied."""
    committed_entries: Final[list[Entry]]
    soft_state: Final[tuple[int, Role] | None]
    """leader, role: if they changed."""

@final
class LightReady:
    """What became possible because a ready is durable. Send, apply, and then call `advance_apply`."""

    commit_index: Final[int | None]
    """Need not be written: a later hard state has it, and what is applied is committed."""
    committed_entries: Final[list[Entry]]
    messages: Final[dict[int, list[bytes]]]
    snapshot_messages: Final[list[tuple[int, int, bytes]]]

@final
class Node:
    def __init__(
        self,
        id: int,
        *,
        conf_state: Conf,
        hard_state: HardState = (0, 0, 0),
        entries: Sequence[tuple[int, int, int, Buffer, Buffer]] | None = None,
        truncated: tuple[int, int] = (0, 0),
        applied: int = 0,
        election_tick: int = 10,
        election_tick_max: int | None = None,
        heartbeat_tick: int = 1,
        max_size_per_msg: int = 1 << 20,
        max_inflight_msgs: int = 64,
        pre_vote: bool = True,
        check_quorum: bool = True,
        priority: int = 0,
        max_uncommitted_size: int = 1 << 26,
        max_committed_size_per_ready: int = 1 << 22,
        max_message_bytes: int = 1 << 24,
        skip_bcast_commit: bool = False,
        seed: int | None = None,
        log_level: int = 20,
    ) -> None:
        """Starts a node from what it persisted.

        `conf_state` is the configuration at `applied`; all empty for a node that waits for a snapshot. `truncated` is
        index and term of the last entry that was cut off, or of the last snapshot. The commit index may be behind
        `applied`, but neither beyond the last entry. Election timeouts are drawn from `election_tick` to below
        `election_tick_max`, twice that if it is not given; with a `seed`, which members may share, they repeat. Levels
        of logs are those of `logging`.
        """

    def tick(self) -> bool:
        """One tick of the clock; whether a ready is likely."""

    def step(self, data: Buffer, /, *, sender: int = 0) -> None:
        """Takes a message. With `sender`, the authenticated peer, one that claims another origin is refused."""

    def step_many(self, messages: Sequence[Buffer], /, *, sender: int = 0) -> int:
        """Takes messages, in order; the number of those that were malformed or refused."""

    def campaign(self) -> None:
        """Stands for election now, as a voter."""

    def report_unreachable(self, id: int, /) -> None:
        """The last message to this peer was lost."""

    def report_snapshot(self, id: int, ok: bool, /) -> None:
        """A snapshot message has arrived there, or has failed; until told, the leader sends this peer nothing."""

    def propose(self, data: Buffer, context: Buffer = b"") -> tuple[int, int]:
        """Appends an entry, on the leader: (term, index). It is committed if an entry of both comes out committed."""

    def propose_many(self, datas: Sequence[Buffer], /) -> tuple[int, int, int]:
        """Appends entries, all or none: (term, first index, last index)."""

    def propose_conf_change(
        self, changes: Sequence[Change], transition: Transition = "auto", context: Buffer = b""
    ) -> tuple[int, int]:
        """Proposes a new configuration; no changes: to leave a joint one. What could not be applied is refused."""

    def apply_conf_change(self, entry_type: int, data: Buffer, /) -> Conf:
        """Applies a committed entry of type 1 or 2, also while a ready is out. Persist the result with `applied`."""

    def read_index(self, context: Buffer, /) -> bool:
        """Asks for the index that a linearizable read waits for. False: not now. True: it may still be lost."""

    def transfer_leader(self, to: int, /) -> None:
        """Hands leadership to a voter, on the leader. Until it has worked or timed out, proposals are dropped."""

    def step_down(self) -> None:
        """Stops leading, on the leader, at once and for nobody; term and vote stay. It may be elected again."""

    def request_snapshot(self) -> None:
        """Asks the leader for a snapshot, on a follower."""

    def has_ready(self) -> bool: ...
    def ready(self) -> Ready | None:
        """What there is to do. Until it is advanced, the node takes nothing that could change it."""

    def advance(self, ready: Ready, /) -> LightReady:
        """This ready is durable, sent and applied."""

    def advance_append(self, ready: Ready, /) -> LightReady:
        """This ready is durable and sent, not yet applied. All readies before it are durable too."""

    def advance_append_async(self, ready: Ready, /) -> None:
        """This ready is being written. `on_persist_ready` says when it is durable."""

    def on_persist_ready(self, number: int, /) -> None:
        """The ready of this number is durable, and all before it."""

    def advance_apply(self, index: int | None = None, /) -> None:
        """Entries up to `index` are applied; without it, all that were given out."""

    def term_at(self, index: int, /) -> int | None:
        """Of the entry there, or of the last one that was cut off. None: it was cut off, or is not there."""

    def compact(self, index: int, /) -> None:
        """Forgets applied entries up to `index`. A peer that needs them gets a snapshot."""

    def set_snapshot(self, index: int, conf_state: Conf, data: Buffer = b"") -> None:
        """Offers a snapshot at an applied index to who needs one, until cleared, replaced or passed by `compact`."""

    def clear_snapshot(self) -> None: ...
    def take_snapshots_wanted(self) -> list[int]:
        """The peers for which the engine missed a snapshot since the last call."""

    def set_randomized_election_timeout(self, ticks: int, /) -> None:
        """Holds until the engine, or the seed, draws again."""

    @property
    def id(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def leader(self) -> int: ...
    @property
    def role(self) -> Role: ...
    @property
    def is_leader(self) -> bool: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def applied_index(self) -> int: ...
    @property
    def poisoned(self) -> str | None: ...
    @property
    def randomized_election_timeout(self) -> int: ...
    def status(self) -> dict[str, Any]:
        """Everything else: indexes, sizes, configuration and, on the leader, `progress` by peer."""

    def take_logs(self) -> list[tuple[int, str]]:
        """The engine's lines since the last call, with levels of `logging`. At most 1,024 are kept."""

    def set_log_level(self, level: int, /) -> None: ...

def decode_conf_change(entry_type: int, data: Buffer, /) -> tuple[list[Change], Transition, bytes]:
    """What an entry of type 1 or 2 changes: changes, transition, context."""

def describe(data: Buffer, /) -> dict[str, Any]:
    """What a message says, for logs and tests."""

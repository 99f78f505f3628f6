"""The words of the transport: who speaks, who is asked, what may be refused, and every limit. No behaviour."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from scribe_ledger.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Purpose(IntEnum):
    """What a connection is for. It is said in the first frame and never changes."""

    PEER = 1
    REQUEST = 2
    STREAM = 3


class Reason(StrEnum):
    """Why a connection was refused: labels of a metric, and words that travel."""

    GARBAGE = "garbage"
    OVERSIZED = "oversized"
    CHECKSUM = "checksum"
    HALF = "half"
    TIMEOUT = "timeout"
    TOO_MANY = "too_many"
    TLS = "tls"
    INSECURE = "insecure"
    SECRET = "secret"  # noqa: S105 - the name of a reason
    VERSION = "version"
    CLUSTER = "cluster"
    RAFT_ID = "raft_id"
    OURSELVES = "ourselves"
    """The node dialled itself: nothing is wrong, so it is neither counted nor told."""
    COPY = "copy"
    """Two processes run with one Raft id."""
    UNADMITTED = "unadmitted"
    MALFORMED = "malformed"
    SILENT = "silent"


class Refused(NetworkError):
    """One end would not speak with the other. ``proven``: said by somebody who had given all the proof asked for."""

    def __init__(self, message: str, *, hint: str = "", reason: str = Reason.GARBAGE, proven: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.proven = proven


class Refusal(NamedTuple):
    """The reason that a peer gave when it was dialled last."""

    reason: str
    message: str
    proven: bool
    """Said by a member; otherwise anybody who answers at that address may have said it."""


class Me(NamedTuple):
    """What this node says of itself. ``cluster_id`` is empty before it belongs to one."""

    raft_id: int
    cluster_id: str
    node_id: int
    run: int = 0
    """Of this process, random: by it a node that came again is told from a copy of its folder. 0: not known."""


class Caller(NamedTuple):
    """The node at the other end, after it has proven that it belongs here."""

    raft_id: int
    cluster_id: str
    node_id: int
    address: str
    """Of the socket, not where it listens."""
    channel_key: bytes | None
    """Known to both ends of this connection and nobody else; None without a secret."""
    encrypted: bool
    loopback: bool
    purpose: Purpose = Purpose.REQUEST
    run: int = 0
    """Of its process; 0: it did not say."""


class Handler(Protocol):
    """What the owner of a transport does. All is called in the event loop."""

    def admits(self, caller: Caller) -> str:
        """Empty, or why this member may not speak here. Asked at each connection, and of peers at ``set_peers``."""
        ...

    def on_frame(self, sender: int, frame: memoryview) -> None:
        """One frame of a peer; it may be kept. ``ValueError`` ends the connection that it came on."""
        ...

    async def on_request(self, caller: Caller, request: bytes) -> bytes:
        """The answer. A ``ScribeError`` is raised at the caller. Cancelled when the caller is gone."""
        ...

    def on_stream(self, caller: Caller, request: bytes) -> AsyncIterator[bytes]:
        """The pieces of the answer, asked for as fast as the caller takes them. Closed when the caller is gone."""
        ...

    def on_connected(self, raft_id: int) -> None:
        """What is sent to this peer has a way now."""
        ...

    def on_lost(self, raft_id: int) -> None:
        """What was sent to this peer and has not arrived never will. Not called for what ``set_peers`` drops."""
        ...


class Limits(NamedTuple):
    """Every bound of the transport. Seconds unless the name says otherwise."""

    connect: float = 2.0
    handshake: float = 5.0
    ping: float = 1.0
    silent_pings: int = 5
    """A connection on which so many pings in a row saw nothing arrive is dead."""
    redial_first: float = 0.05
    redial_longest: float = 2.0
    alive_pings: float = 1.5
    """Who was heard so many pings ago lives. As long as it does, nobody else is heard under its Raft id."""
    queued_bytes: int = 64 << 20
    """A peer that has more waiting is sent nothing until it has caught up."""
    waiting_handshakes: int = 128
    waiting_handshakes_per_address: int = 64
    requests: int = 64
    """That are answered at once, of all callers."""
    streams: int = 16
    stalled_stream: float = 60.0
    """So long the reader of a stream may take nothing."""
    silent_stream: float = 5.0
    """Who reads a stream and hears nothing for so long asks elsewhere: whoever has nothing yet says so each second."""
    ending: float = 5.0
    """So long ``close`` waits for work that was cancelled, and then for sockets."""

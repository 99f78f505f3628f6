"""A cluster of one ledger, for tests of what routes do with one: it lets reads go when the test says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scribe_ledger.errors import Conflict, ScribeError, Unavailable
from scribe_ledger.http.clustering import PeerFigures, RaftFigures, SnapshotFigures
from scribe_ledger.ledger.gathering import Gatherer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from scribe_ledger.ledger.served import ServedLedger
    from scribe_ledger.merkle.checkpoint import Checkpoint

FIGURES = RaftFigures(
    term=7,
    leader=2,
    is_leader=False,
    last_index=40,
    commit_index=39,
    applied_index=38,
    elections=3,
    proposals=11,
    forwarded=5,
    voters=3,
    learners=0,
    peers={2: PeerFigures(None, 0.25), 3: PeerFigures(4, None)},
    log_entries=40,
    log_bytes=12_345,
    compactions=2,
    snapshots={"made": SnapshotFigures(1, 0.5), "installed_full": SnapshotFigures(2, 3.0)},
    refused_connections={"secret": 9},
    diverged=False,
    disagreeing=1,
)
MEMBERS = [
    {
        "node_id": number,
        "raft_id": str(2**63 + number),
        "address": f"10.0.0.{number}:8001",
        "raft_address": f"10.0.0.{number}:9001",
        "role": "voter",
        "state": state,
        "last_heartbeat": 1_700_000_000_000,
        "match_index": None,
        "lag": None,
        "diverged": False,
    }
    for number, state in ((1, "follower"), (2, "leader"), (3, "failed"))
]


class FakeCluster(Gatherer):
    """Made in the loop of the node. Writes are committed by this node alone."""

    def __init__(self, ledger: ServedLedger) -> None:
        super().__init__(ledger.write_all)
        self.ledger = ledger
        self.state = "follower"
        self.not_ready: ScribeError | None = None
        self.trouble: ScribeError | None = None
        self.dissent: ScribeError | None = None
        self.takes_large_values: ScribeError | None = None
        self.has_leader = True
        self.refusals = ""
        self.cosigners = ["example.org/a+00000001+AAAA"]
        self.quorum = 2
        self.held: list[Callable[[ScribeError | None], object]] | None = None
        """Reads that wait, while the test holds them."""
        self.later = True
        """Whether a read that is not held is let go in a later turn of the loop, or within the call."""
        self.refusal: ScribeError | None = None
        self.reads = 0
        self.orders: list[tuple[Any, ...]] = []
        self.with_cosignatures: Checkpoint | ScribeError = Unavailable("no quorum of cosigners answered")

    def fail(self, error: ScribeError) -> None:
        self.trouble = error

    # --- reading -----------------------------------------------------------------------------------------------

    def read(self, done: Callable[[ScribeError | None], object]) -> None:
        self.reads += 1
        if self.refusal is not None and not self.later:
            raise self.refusal.again()
        if self.held is not None:
            self.held.append(done)
        elif self.later:
            self._loop.call_soon(done, self.refusal and self.refusal.again())
        else:
            done(None)

    async def linearize(self) -> None:
        settled: asyncio.Future[ScribeError | None] = self._loop.create_future()
        self.read(settled.set_result)
        error = await settled
        if error is not None:
            raise error

    def let_go(self, error: ScribeError | None = None) -> None:
        held, self.held = self.held or [], None
        for done in held:
            done(error)

    # --- this member -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return {
            "node_id": 1,
            "raft_id": str(2**63 + 1),
            "is_leader": False,
            "current_leader": 2 if self.has_leader else None,
            "state": self.state,
            "current_term": 7,
            "last_log_index": 40,
            "last_applied": 38,
            "commit_index": 39,
            "voters": 3,
            "learners": 0,
            "quorum": 2,
        }

    def members(self) -> list[dict[str, Any]]:
        return MEMBERS

    def leader(self) -> dict[str, Any]:
        if not self.has_leader:
            return {"leader_id": None, "address": None}
        return {"leader_id": 2, "address": "10.0.0.2:8001"}

    def figures(self) -> RaftFigures:
        return FIGURES

    # --- changes -----------------------------------------------------------------------------------------------

    async def join(self, node_id: int, address: str) -> dict[str, Any]:
        self.orders.append(("join", node_id, address))
        if node_id == 2:
            return MEMBERS[1]
        if node_id == 3:
            raise Conflict("node 3 is a member already")
        if node_id == 5:
            return {"node_id": 5, "waits_for": "node 5 has not joined yet"}
        return {**MEMBERS[0], "node_id": node_id, "raft_address": address, "role": "learner"}

    async def leave(self, node_id: int) -> dict[str, Any]:
        self.orders.append(("leave", node_id))
        return {"node_id": node_id, "raft_id": str(2**63 + node_id)}

    async def replace(self, node_id: int, raft_id: int | None = None) -> dict[str, Any]:
        self.orders.append(("replace", node_id, raft_id))
        return {**MEMBERS[0], "node_id": node_id}

    async def transfer(self, node_id: int) -> dict[str, Any]:
        self.orders.append(("transfer", node_id))
        return {"leader_id": node_id, "address": f"10.0.0.{node_id}:8001"}

    async def archive(self) -> dict[str, Any]:
        self.orders.append(("archive",))
        if not self.has_leader:
            raise Unavailable("no leader could be asked to archive")
        return {"version": 9, "archived_size": 38, "sealed": 3, "evicted": 0, "compacted": 0, "removed": 0}

    async def snapshot(self) -> dict[str, Any]:
        return (await self.snapshots())[0]

    async def snapshots(self) -> list[dict[str, Any]]:
        root = self.ledger.checkpoint().root.hex()
        return [{"position": 38, "size": self.ledger.size, "root": root, "bytes": 1000, "created": 1_700_000_000_000}]

    # --- signatures --------------------------------------------------------------------------------------------

    async def cosigned(self) -> Checkpoint:
        if isinstance(self.with_cosignatures, ScribeError):
            raise self.with_cosignatures.again()
        return self.with_cosignatures

"""A giver whose snapshot is not what it says: its receiver goes on, and gets the ledger from another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from tests.consensus.looping import in_loop
from tests.consensus.snapshots.nodes import MEMBERS, Line, Node

from scribe_ledger.consensus.catching_up import REFUSED_PAUSE_SECONDS, CatchingUp
from scribe_ledger.consensus.exchange import ArrivedSnapshot
from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots import sending
from scribe_ledger.consensus.snapshots.description import FULL, INCREMENTAL, Description
from scribe_ledger.consensus.snapshots.installing import Refused, finish_installation, install_incremental, ready
from scribe_ledger.consensus.snapshots.pieces import decode_piece, encode_piece
from scribe_ledger.ledger import wire
from scribe_ledger.ledger.manifest import Adopt
from scribe_ledger.ledger.store import Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.consensus

LEADER, VOTER, RECEIVER = 1, 2, 3


def change_leaf(record: bytes) -> bytes:
    return record.replace(b"key-", b"kez-", 1)


def change_last_byte(record: bytes) -> bytes:
    return record[:-1] + bytes([record[-1] ^ 1])


def change_store(record: bytes) -> bytes:
    return record.replace(b"a store", b"a stork")


ALTERED: dict[str, tuple[Table, bytes, Callable[[bytes], bytes]]] = {
    "a leaf": (Table.LEAVES, b"", change_leaf),
    "a value": (Table.VALUES, b"", change_last_byte),
    "the manifest": (Table.MANIFEST, b"c", change_store),
}


def alter(node: Node, what: str) -> tuple[Table, bytes, bytes]:
    """Changes the first record of its kind, and gives what brings it back."""
    table, start, change = ALTERED[what]
    key, record = next(iter(node.ledger._store.table(table).scan(start)))
    assert change(record) != record
    put(node, table, key, change(record))
    return table, key, record


def put(node: Node, table: Table, key: bytes, record: bytes) -> None:
    write = node.ledger._store.batch()
    write.put(table, key, record)
    node.ledger._store.write(write)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[int, Node]]:
    """Two members with the same 300 entries, and an empty one."""
    found = {each: Node(tmp_path / f"node-{each}") for each in (LEADER, VOTER, RECEIVER)}
    for each in (LEADER, VOTER):
        found[each].found()
        found[each].fill(300)
        machine = found[each].machine
        machine.apply(machine.position + 1, 1, [wire.encode_change(Adopt("a store"))], None)
    yield found
    for node in found.values():
        node.close()


@pytest.fixture(params=[FULL, INCREMENTAL])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sending, "INCREMENTAL_ENTRIES", 10 if request.param == FULL else 20_000)
    return str(request.param)


class Replica:
    """A follower to which its leader announces the same snapshot whenever it looks."""

    snapshot_arrived = ArrivedSnapshot(LEADER, 1, 1, b"", b"message")
    raft_id, leader, membership = RECEIVER, LEADER, MEMBERS

    def __init__(self) -> None:
        self.finished: list[bytes | None] = []

    def take_snapshot_arrived(self) -> ArrivedSnapshot:
        return self.snapshot_arrived

    def begin_install(self, _: int) -> bool:
        return True

    def finish_install(self, message: bytes | None) -> None:
        self.finished.append(message)


class Receiver:
    def __init__(self, nodes: dict[int, Node], givers: tuple[int, ...]) -> None:
        self.node = nodes[RECEIVER]
        self.replica = Replica()
        self.now = 0.0
        self.asked: list[int] = []
        self.told: list[bytes] = []
        self.begins_again = False
        self._tasks: list[asyncio.Task[None]] = []
        senders = {each: nodes[each].sender() for each in (LEADER, VOTER)}

        async def open_stream(request: bytes) -> AsyncIterator[bytes]:
            giver = self.catching_up.choose_giver()
            self.asked.append(giver)
            async for piece in senders[giver].on_stream(request):
                yield piece

        def send(_: int, frame: Any) -> bool:
            self.told += frame
            return True

        self.catching_up = CatchingUp(
            self.replica,  # type: ignore[arg-type]
            self.node.machine,
            self.node.path,
            self.node.fetcher(open_stream),
            send=send,
            spawn=lambda work: self._tasks.append(asyncio.ensure_future(work)),
            wake=lambda: None,
            on_full=self._begin_again,
            on_conflict=lambda error: pytest.fail(str(error)),
            givers=lambda: givers,
            known=MEMBERS.members.get,
            clock=lambda: self.now,
        )

    def _begin_again(self) -> None:
        self.begins_again = True

    async def look(self) -> None:
        self.catching_up.look()
        await asyncio.gather(*self._tasks)

    def finish(self) -> None:
        """After a full one the node begins again."""
        if self.begins_again:
            self.node.close()
            assert finish_installation(self.node.path, self.node.copies) is not None
            self.node.open()


@pytest.mark.parametrize("what", ALTERED)
@in_loop
async def test_it_is_removed_and_another_member_is_asked(nodes: dict[int, Node], kind: str, what: str) -> None:
    alter(nodes[LEADER], what)
    receiver = Receiver(nodes, (LEADER, VOTER))
    await receiver.look()
    assert receiver.catching_up.refused == 1
    assert receiver.replica.finished == [None], "it goes on as before"
    assert receiver.told[0][-1] == 0, "and tells the leader"
    assert not (receiver.node.path / "incoming").exists()
    assert receiver.node.machine.extent.size == 0
    assert not dict(receiver.node.ledger._store.table(Table.LEAVES).scan())
    await receiver.look()
    receiver.finish()
    assert receiver.asked == [LEADER, VOTER]
    assert receiver.node.machine.extent == nodes[VOTER].machine.extent
    assert receiver.begins_again == (kind == FULL)
    assert not receiver.node.ledger.verify().problems


@in_loop
async def test_the_only_giver_is_asked_again_after_a_pause(nodes: dict[int, Node]) -> None:
    as_it_was = alter(nodes[LEADER], "a leaf")
    receiver = Receiver(nodes, ())
    for _ in range(3):
        await receiver.look()
    assert (receiver.asked, receiver.replica.finished, len(receiver.told)) == ([LEADER], [None], 1)
    receiver.now += REFUSED_PAUSE_SECONDS
    await receiver.look()
    assert (receiver.asked, receiver.catching_up.refused) == ([LEADER] * 2, 2)
    put(nodes[LEADER], *as_it_was)
    receiver.now += REFUSED_PAUSE_SECONDS
    await receiver.look()
    assert receiver.node.machine.extent == nodes[LEADER].machine.extent
    assert receiver.replica.finished == [None, None, b"message"]


@in_loop
async def test_who_gave_it_is_named_before_there_is_a_record_of_the_members(nodes: dict[int, Node]) -> None:
    alter(nodes[LEADER], "a leaf")
    receiver = Receiver(nodes, ())
    receiver.replica.membership = Membership(0, 0)
    with capture_logs() as logs:
        await receiver.look()
    [said] = [each for each in logs if each["event"] == "a snapshot is not what it says: it is removed"]
    assert (said["giver"], said["raft_id"]) == (LEADER, str(LEADER))


@in_loop
async def test_where_all_gave_bad_ones_it_is_said_until_one_gives_a_good_one(nodes: dict[int, Node]) -> None:
    for each in (LEADER, VOTER):
        as_it_was = alter(nodes[each], "a leaf")
    receiver = Receiver(nodes, (LEADER, VOTER))
    for _ in range(2):
        await receiver.look()
        assert receiver.catching_up.stuck is None, "somebody may be left to ask"
    await receiver.look()
    stuck = receiver.catching_up.stuck
    assert stuck is not None
    assert "(node 1, 2) gave one that is not what it says" in stuck.message
    put(nodes[VOTER], *as_it_was)
    receiver.now += REFUSED_PAUSE_SECONDS - 1
    await receiver.look()
    receiver.now += 1
    assert receiver.catching_up.stuck is not None, "also while it asks again"
    await receiver.look()
    await receiver.look()
    assert receiver.node.machine.extent == nodes[VOTER].machine.extent
    assert receiver.catching_up.stuck is None


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("field", ["root", "size", "manifest_digest", "manifest_version"])
@in_loop
async def test_what_it_leads_to_is_what_was_vouched_for(nodes: dict[int, Node], field: str) -> None:
    """The pieces agree with themselves, and their description says something else."""

    def change(_: int, piece: bytes) -> bytes:
        found = decode_piece(piece)
        if not isinstance(found, Description):
            return piece
        value = getattr(found, field)
        object.__setattr__(found, field, value + 1 if isinstance(value, int) else bytes(32))
        return encode_piece(found)

    receiver = nodes[RECEIVER]

    async def fetch_and_install() -> None:
        await receiver.fetch(Line(nodes[LEADER].sender(), change=change))
        install_incremental(receiver.machine, receiver.path)

    with pytest.raises(Refused, match=r"and holds|does not hold"):
        await fetch_and_install()
    assert not (receiver.path / "incoming").exists()
    assert receiver.machine.extent.size == 0


@in_loop
async def test_one_that_is_of_no_use_is_no_reason_to_stop(nodes: dict[int, Node]) -> None:
    def older(_: int, piece: bytes) -> bytes:
        found = decode_piece(piece)
        if not isinstance(found, Description):
            return piece
        members = replace(MEMBERS, index=1, term=found.term)
        changed = replace(
            found, position=1, snapshot_id=f"{1:020}{found.snapshot_id[20:]}", membership=members.encode()
        )
        return encode_piece(changed)

    receiver = nodes[RECEIVER]
    with pytest.raises(Refused, match="of position 1, and 2 was asked for"):
        await receiver.fetch(Line(nodes[LEADER].sender(), change=older), least=2)
    assert ready(receiver.path) is None

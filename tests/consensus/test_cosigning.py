"""Signatures of members under checkpoints: what is signed, what is refused, what a crash may not undo."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import orjson
import pytest
from tests.consensus.looping import in_loop

from scribe_ledger import verify
from scribe_ledger.consensus.cosigning import NODE_HEAD, Cosigning, NodeHead
from scribe_ledger.consensus.membership import MemberInfo, Membership
from scribe_ledger.errors import (
    ConsensusError,
    Corruption,
    NetworkError,
    SerializationError,
    StorageError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.merkle.checkpoint import Checkpoint, sign_checkpoint, verify_cosignature
from scribe_ledger.merkle.hashing import hash_leaf
from scribe_ledger.merkle.note import Note, Signature, Signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.consensus

LEDGER = Signer.generate("example.com/ledger")


def root_at(size: int) -> bytes:
    return hash_leaf(str(size).encode())


def checkpoint(size: int, signer: Signer = LEDGER) -> Checkpoint:
    return sign_checkpoint(signer, size, root_at(size))


class Member:
    """One node: its head, its key, and a clock that can be set."""

    def __init__(self, folder: Path, raft_id: int = 1) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / NODE_HEAD
        self.signer = Signer.generate(f"example.com/node-{raft_id}")
        self.raft_id = raft_id
        self.root_at: Callable[[int], bytes] = root_at
        self.now = 1_700_000_000_000
        self.flushed = 0
        self.head = self.open(create=True)
        self.down = False

    def open(self, *, create: bool = False) -> NodeHead:
        return NodeHead(
            self.path,
            self.signer,
            create=create,
            ledger_key=lambda: LEDGER.verifier,
            root_at=self.compute,
            flush=self.flush,
            clock=lambda: self.now,
        )

    def compute(self, size: int) -> bytes:
        return self.root_at(size)

    def flush(self) -> None:
        self.flushed += 1

    @property
    def info(self) -> MemberInfo:
        return MemberInfo(self.raft_id, self.raft_id, "", "", node_key=str(self.signer.cosigner))


def signed_at(line: str, size: int, member: Member) -> int:
    """The time in a line, which must be a good one under the checkpoint of that size."""
    note = checkpoint(size).note
    return verify_cosignature(Checkpoint.parse(f"{note}{line}"), member.signer.cosigner)


# --- a node's head ---------------------------------------------------------------------------------------------


def test_a_node_signs_what_it_has_computed_itself(tmp_path: Path) -> None:
    member = Member(tmp_path)
    assert signed_at(member.head.cosign(checkpoint(10)), 10, member) == 1_700_000_000
    assert member.flushed == 1


def test_a_node_does_not_sign_another_root(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.root_at = lambda size: hash_leaf(b"another" + bytes([size]))
    with pytest.raises(VerificationError, match="this node has"):
        member.head.cosign(checkpoint(10))
    assert member.head.last.size == 0


def test_a_node_does_not_sign_what_the_ledgers_key_has_not_signed(tmp_path: Path) -> None:
    member = Member(tmp_path)
    with pytest.raises(VerificationError):
        member.head.cosign(checkpoint(10, Signer.generate(LEDGER.name)))


def test_a_node_never_signs_below_its_last_size(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.head.cosign(checkpoint(10))
    member.head.cosign(checkpoint(10))
    with pytest.raises(VerificationError, match="has cosigned 10"):
        member.head.cosign(checkpoint(9))
    member.head.close()
    again = member.open()
    with pytest.raises(VerificationError, match="has cosigned 10"):
        again.cosign(checkpoint(9))
    again.close()


def test_a_clock_that_goes_back_is_not_believed(tmp_path: Path) -> None:
    member = Member(tmp_path)
    first = signed_at(member.head.cosign(checkpoint(10)), 10, member)
    member.now -= 3_600_000
    assert signed_at(member.head.cosign(checkpoint(10)), 10, member) == first
    member.head.close()
    head = member.open()
    assert signed_at(head.cosign(checkpoint(11)), 11, member) == first
    member.now += 7_200_000
    assert signed_at(head.cosign(checkpoint(11)), 11, member) == first + 3600
    head.close()


def test_a_crash_between_write_and_answer_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(tmp_path)
    member.head.cosign(checkpoint(10))
    monkeypatch.setattr("scribe_ledger.consensus.cosigning._line_of", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        member.head.cosign(checkpoint(20))
    monkeypatch.undo()
    again = member.open()  # as another process finds the file
    assert again.last.size == 20
    with pytest.raises(VerificationError):
        again.cosign(checkpoint(19))
    again.close()
    member.head.close()


def test_nothing_is_answered_that_the_disk_did_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError):
        member.head.cosign(checkpoint(10))
    assert member.head.last.size == 0


@pytest.mark.parametrize("torn", range(2))
def test_a_torn_slot_leaves_the_other(tmp_path: Path, torn: int) -> None:
    member = Member(tmp_path)
    for size in (10, 20, 30):
        member.head.cosign(checkpoint(size))
    member.head.close()
    content = bytearray(member.path.read_bytes())
    content[torn * 512 + 20] ^= 1
    member.path.write_bytes(content)
    head = member.open()
    assert head.last.size in (20, 30)
    head.cosign(checkpoint(40))
    head.close()
    assert member.open().last.size == 40


def test_a_head_that_is_lost_is_not_made_anew(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.path.unlink()
    with pytest.raises(Corruption, match="is missing"):
        member.open()
    member.path.write_bytes(bytes(1024))
    with pytest.raises(Corruption, match="cannot be read"):
        member.open(create=True)


# --- a quorum --------------------------------------------------------------------------------------------------


class Group:
    """Members that ask each other directly; the first leads."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.members = {each: Member(folder / str(each), each) for each in range(1, count + 1)}
        self.size = 10
        self.leader = 1
        self.made = 0
        infos = {each: member.info for each, member in self.members.items()}
        self.membership = Membership(1, 1, tuple(infos), members=infos)
        self.nodes = {each: self.node(member) for each, member in self.members.items()}
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    def node(self, member: Member) -> Cosigning:
        return Cosigning(
            member.head,
            member.raft_id,
            membership=lambda: self.membership,
            leader=lambda: self.leader,
            checkpoint=self.checkpoint,
            ledger_key=lambda: LEDGER.verifier,
            reach=self.reach,
            ask=self.ask,
            deadline_seconds=0.3,
        )

    def checkpoint(self) -> Checkpoint:
        self.made += 1
        return checkpoint(self.size)

    async def reach(self) -> None:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()

    async def ask(self, raft_id: int, request: bytes) -> bytes:
        if self.members[raft_id].down:
            raise NetworkError("nobody is there")
        return await self.nodes[raft_id].answer(request)

    def verify(self, found: Checkpoint, *, quorum: int | None = None) -> None:
        cosigners = [member.signer.cosigner for member in self.members.values()]
        quorum = self.membership.quorum if quorum is None else quorum
        assert verify.checkpoint(found, public_key=LEDGER.verifier, cosigners=cosigners, quorum=quorum) == found


@in_loop
async def test_the_leader_gets_a_quorum_that_a_client_can_require(tmp_path: Path) -> None:
    group = Group(tmp_path)
    found = await group.nodes[1].newest()
    assert found.size == 10
    group.verify(found)


@in_loop
async def test_another_member_asks_the_leader(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.verify(await group.nodes[3].newest())
    assert group.nodes[3].last == group.nodes[1].last


@in_loop
async def test_one_of_three_may_be_down(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.members[2].down = True
    group.verify(await group.nodes[1].newest())


@in_loop
async def test_without_a_quorum_there_is_none_and_it_says_why(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.members[2].down = group.members[3].down = True
    with pytest.raises(Unavailable, match=r"1 of the 2 voters .* member 2: nobody is there; member 3"):
        await group.nodes[1].newest()


@in_loop
async def test_members_that_are_too_slow_are_not_waited_for(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.gate = asyncio.Event()
    with pytest.raises(Unavailable, match="1 of the 2"):
        await group.nodes[1].newest()


@in_loop
async def test_a_member_with_another_root_does_not_count(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.members[3].down = True
    group.members[2].root_at = lambda size: bytes([size]) * 32
    with pytest.raises(Unavailable, match="member 2: the checkpoint of 10 entries has the root"):
        await group.nodes[1].newest()


def forged(line: Callable[[Group], str]) -> Callable[[Group], None]:
    def install(group: Group) -> None:
        async def ask(raft_id: int, _: bytes) -> bytes:
            return orjson.dumps({"line": line(group)})

        group.ask = ask  # type: ignore[method-assign,assignment]
        group.nodes[1] = group.node(group.members[1])

    return install


def another_checkpoint(group: Group) -> str:
    return group.members[2].head.cosign(checkpoint(9))


def by_a_stranger(_: Group) -> str:
    stranger = Signer.generate("example.com/node-2")
    return str(Signature(stranger.name, stranger.cosigner.key_id, bytes(72)))


def bad_signature(group: Group) -> str:
    key = group.members[2].signer.cosigner
    return str(Signature(key.name, key.key_id, bytes(72)))


def of_the_leader(group: Group) -> str:
    return group.members[1].head.cosign(checkpoint(10))


def two_lines(group: Group) -> str:
    return group.members[2].head.cosign(checkpoint(10)) + by_a_stranger(group)


def no_line(_: Group) -> str:
    return "nothing"


@pytest.mark.parametrize("line", [another_checkpoint, by_a_stranger, bad_signature, of_the_leader, two_lines, no_line])
@in_loop
async def test_a_forged_line_does_not_count(tmp_path: Path, line: Callable[[Group], str]) -> None:
    group = Group(tmp_path)
    forged(line)(group)
    with pytest.raises(Unavailable, match="1 of the 2 voters"):
        await group.nodes[1].newest()
    assert set(group.nodes[1].refusals) == {2, 3}


@in_loop
async def test_who_is_in_trouble_signs_nothing(tmp_path: Path) -> None:
    group = Group(tmp_path)
    troubled = group.nodes[2]
    troubled._trouble = lambda: ConsensusError("it has diverged")
    group.members[3].down = True
    with pytest.raises(Unavailable, match="member 2: it has diverged"):
        await group.nodes[1].newest()
    assert group.members[2].head.last.size == 0
    group.leader, before = 2, group.made
    for asking in (troubled.newest(), troubled.answer(b'{"newest":true}')):
        with pytest.raises(ConsensusError, match="it has diverged"):
            await asking
    assert group.made == before, "the ledger's key has signed"


@in_loop
async def test_learners_are_not_asked(tmp_path: Path) -> None:
    group = Group(tmp_path)
    infos = group.membership.members
    group.membership = Membership(1, 1, (1, 2), (3,), members=infos)
    group.members[2].down = True
    with pytest.raises(Unavailable, match="1 of the 2 voters"):
        await group.nodes[1].newest()


@in_loop
async def test_callers_share_rounds_and_each_gets_one_of_after_its_call(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.gate = asyncio.Event()
    first = [asyncio.ensure_future(group.nodes[1].newest()) for _ in range(20)]
    await asyncio.wait_for(group.asked.wait(), 5)
    group.size = 20
    second = [asyncio.ensure_future(group.nodes[1].newest()) for _ in range(20)]
    await asyncio.sleep(0)
    group.gate.set()
    assert {found.size for found in await asyncio.gather(*first)} == {10}
    assert {found.size for found in await asyncio.gather(*second)} == {20}
    assert group.made == 2


@in_loop
async def test_a_caller_that_leaves_does_not_end_the_round(tmp_path: Path) -> None:
    group = Group(tmp_path)
    leaving, staying = (asyncio.ensure_future(group.nodes[1].newest()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    group.verify(await staying)


@in_loop
async def test_an_idle_ledger_is_not_signed_again(tmp_path: Path) -> None:
    group = Group(tmp_path)
    first = await group.nodes[1].newest()
    group.members[2].down = group.members[3].down = True
    assert await group.nodes[1].newest() is first


@in_loop
async def test_signatures_of_those_that_are_no_members_any_more_do_not_count(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.members[3].down = True  # or its signature and that of 2 might be the quorum, before that of 1 was made
    first = await group.nodes[1].newest()
    known = group.membership.members
    group.membership = Membership(2, 1, (1,), members=known)
    assert await group.nodes[1].newest() is first
    another = MemberInfo(2, 2, "", "", node_key=str(Signer.generate("example.com/node-2").cosigner))
    group.membership = Membership(3, 1, (1, 2), members={1: known[1], 2: another})
    with pytest.raises(Unavailable, match="1 of the 2 voters"):
        await group.nodes[1].newest()


@in_loop
async def test_without_a_leader_nobody_is_asked(tmp_path: Path) -> None:
    group = Group(tmp_path)
    group.leader = 0
    with pytest.raises(ConsensusError):
        await group.nodes[2].newest()
    with pytest.raises(ConsensusError):
        await group.nodes[2].answer(orjson.dumps({"newest": True}))


@in_loop
async def test_a_leader_is_not_believed_without_its_quorum(tmp_path: Path) -> None:
    group = Group(tmp_path)
    alone = Note.parse(checkpoint(10).text + group.members[1].head.cosign(checkpoint(10)))

    async def ask(*_: object) -> bytes:
        return orjson.dumps({"checkpoint": str(alone)})

    group.ask = ask  # type: ignore[method-assign,assignment]
    with pytest.raises(VerificationError, match="no quorum"):
        await group.node(group.members[2]).newest()


@pytest.mark.parametrize("request_", [b"", b"[]", b"5", b'{"cosign": 5}'])
@in_loop
async def test_a_request_that_is_none_is_refused(tmp_path: Path, request_: bytes) -> None:
    group = Group(tmp_path)
    with pytest.raises(SerializationError):
        await group.nodes[2].answer(request_)

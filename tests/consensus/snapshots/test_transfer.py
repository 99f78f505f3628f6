"""From one member's disk to another's: which kind, whatever breaks on the way, and what is never accepted."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from tests.consensus.looping import in_loop
from tests.consensus.snapshots.nodes import TERM, Line

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots import fetching, pieces, sending
from scribe_ledger.consensus.snapshots.description import FULL, INCREMENTAL, Description
from scribe_ledger.consensus.snapshots.installing import finish_installation, install_incremental, ready
from scribe_ledger.consensus.snapshots.pieces import Data, End, Wait, decode_piece, encode_piece
from scribe_ledger.consensus.snapshots.sending import Request
from scribe_ledger.errors import (
    Conflict,
    ConsensusError,
    Corruption,
    NetworkError,
    Overloaded,
    SerializationError,
    StorageError,
    Unavailable,
    VerificationError,
)
from scribe_ledger.objects.durable import write_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.consensus.snapshots.nodes import Node

pytestmark = pytest.mark.consensus


@pytest.fixture
def always_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference of more than ten entries is too large to be taken entry by entry."""
    monkeypatch.setattr(sending, "INCREMENTAL_ENTRIES", 10)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PIECE_BYTES", 128 << 10)


def install(node: Node) -> None:
    """As a node does: a full one with the ledger closed, an incremental one with it open."""
    description = ready(node.path)
    assert description is not None
    if description.kind == FULL:
        node.close()
        installed = finish_installation(node.path, node.copies)
        node.open()
    else:
        installed = install_incremental(node.machine, node.path)
    assert installed is not None
    assert (installed.position, installed.term) == (description.position, TERM)
    assert not (node.path / "incoming").exists()


def assert_same(node: Node, other: Node) -> None:
    assert node.machine.extent == other.machine.extent
    assert node.machine.position == other.machine.position
    membership = Membership.decode(node.machine.membership)
    assert (membership.index, membership.term, membership.voters) == (node.machine.position, TERM, (1, 2))
    for index in range(0, node.machine.extent.size, 97):
        assert node.ledger.entry_at(index).leaf_hash == other.ledger.entry_at(index).leaf_hash
        assert node.ledger.entry_at(index).value == f"value-{index}".encode() * 8


# --- which kind ------------------------------------------------------------------------------------------------


@in_loop
async def test_a_member_that_lacks_a_little_gets_that(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b", full=True)
    leader.fill(1000)
    found = await member.fetch(leader.sender().on_stream)
    assert found.kind == INCREMENTAL
    assert found.total_bytes < 400_000
    install(member)
    assert_same(member, leader)


@in_loop
async def test_an_empty_member_of_a_small_ledger_gets_its_entries(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    found = await member.fetch(leader.sender().on_stream)
    assert found.kind == INCREMENTAL
    install(member)
    assert_same(member, leader)
    assert not member.ledger.verify().problems


@in_loop
async def test_a_sender_that_goes_on_at_once_need_not_begin_again(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under steady load something is applied before each piece is read."""
    leader, member = open_node("a", full=True), open_node("b")
    export, begun = leader.machine.export, []

    def go_on(*asked: Any) -> Iterator[bytes]:
        begun.append(leader.machine.position)
        pieces = export(*asked)
        leader.fill(1)
        for piece in pieces:
            leader.fill(1)
            yield piece

    def start(*asked: Any) -> Iterator[bytes]:
        running = go_on(*asked)
        first = next(running)
        return chain([first], running)

    monkeypatch.setattr(leader.machine, "export", start)
    found = await member.fetch(leader.sender().on_stream)
    assert (found.kind, begun) == (INCREMENTAL, [found.position])
    assert leader.machine.position > found.position + 2
    install(member)
    assert member.machine.position == found.position


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_an_empty_member_of_a_large_ledger_gets_its_files(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    found = await member.fetch(leader.sender().on_stream)
    assert found.kind == FULL
    install(member)
    assert_same(member, leader)
    leader.fill(3)
    member.fill(3)
    assert member.machine.extent == leader.machine.extent
    assert not member.ledger.verify().problems


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_a_kept_snapshot_is_sent_if_it_is_of_use(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    made = await keeper.make()
    leader.fill(1)
    sender = leader.sender(keeper)
    assert await member.fetch(sender.on_stream, least=made.position) == made
    newer = await member.fetch(sender.on_stream, least=made.position + 1)
    assert newer.position == made.position + 1
    assert sender.figures.sent == {FULL: 2, INCREMENTAL: 0}
    assert keeper.made == 2
    assert sender.figures.under_way == 0
    assert sender.figures.bytes > 0


@pytest.mark.parametrize("entries", [10, 20_000])
@in_loop
async def test_other_entries_are_not_overwritten_unasked(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    member.found()
    member.fill(30, name="other-")
    monkeypatch.setattr(sending, "INCREMENTAL_ENTRIES", entries)
    sender = leader.sender()
    with pytest.raises(Conflict, match="other entries"):
        await member.fetch(sender.on_stream)
    assert (await member.fetch(sender.on_stream, overwrite=True)).kind == FULL
    install(member)
    assert_same(member, leader)


@in_loop
async def test_a_node_that_is_behind_sends_nothing(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    with pytest.raises(Unavailable, match="before"):
        await member.fetch(leader.sender().on_stream, least=leader.machine.position + 1)


@in_loop
async def test_a_member_whose_ledger_is_in_doubt_sends_nothing(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    leader.doubt = ConsensusError("it has diverged")
    with pytest.raises(Unavailable, match="it has diverged"):
        await member.fetch(leader.sender().on_stream)


@in_loop
async def test_what_turns_out_to_be_in_doubt_on_its_way_is_not_finished(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")

    def find_out(_: int, piece: bytes) -> bytes:
        leader.doubt = ConsensusError("it has diverged")
        return piece

    with pytest.raises(Unavailable):
        await member.fetch(Line(leader.sender(), change=find_out))
    assert not (member.path / "incoming" / "ready").exists()


@in_loop
async def test_a_snapshot_that_others_contradict_is_not_kept(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    seen = []

    async def vouch(found: Description) -> None:
        seen.append((found.size, found.root))
        raise Conflict("node 2 has another root")

    member.vouch = vouch
    with pytest.raises(Conflict, match="node 2"):
        await member.fetch(leader.sender().on_stream)
    assert seen == [leader.machine.extent[:2]]
    assert not (member.path / "incoming").exists(), "it would be installed at the next start, or gone on with"


@in_loop
async def test_a_request_of_another_ledger_is_refused(open_node: Callable[..., Node]) -> None:
    leader = open_node("a", full=True)
    request = Request("f" * 32, b"", 0, 0)
    with pytest.raises(Conflict, match="not ffff"):
        async for _ in leader.sender().on_stream(request.encode()):
            pass


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"format": 2}', b'{"format":1,"ledger_id":"","have":"","size":-1,"least":0}', b"\xff"],
)
def test_a_request_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(SerializationError):
        Request.decode(text)


@in_loop
async def test_exports_are_removed_when_nobody_comes_back(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    sender = leader.sender(keeper)
    await member.fetch(sender.on_stream)
    assert len(list(keeper.folder.iterdir())) == 1
    assert keeper.held == leader.machine.position
    leader.now += 61
    await sender.tidy()
    assert not list(keeper.folder.iterdir())


@in_loop
async def test_exports_on_disk_are_few(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    sender = leader.sender(keeper)
    for _ in range(sending.MAX_EXPORTS + 3):
        leader.now += 1
        await member.fetcher(sender.on_stream).fetch(have=member.machine.describe(), size=0, least=0)
        (member.path / "incoming" / "meta.json").unlink()
        assert len(list(keeper.folder.iterdir())) <= sending.MAX_EXPORTS


@in_loop
async def test_not_everybody_is_sent_a_snapshot_at_once(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_STREAMS", 1)
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    sender = leader.sender(keeper)
    request = Request(keeper.ledger_id, member.machine.describe(), 0, 0).encode()
    first = sender.on_stream(request)
    await anext(first)
    with pytest.raises(Overloaded):
        await anext(sender.on_stream(request))
    await first.aclose()
    await member.fetch(sender.on_stream)


@in_loop
async def test_a_member_that_leaves_stops_the_export(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    monkeypatch.setattr(sending, "WAIT_SECONDS", 0.001)
    keeper = leader.keeper()
    request = Request(keeper.ledger_id, member.machine.describe(), 0, 0)
    stream = leader.sender(keeper).on_stream(request.encode())
    assert decode_piece(await anext(stream)) == Wait()
    await stream.aclose()
    assert not list(keeper.folder.iterdir())


# --- what breaks -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("entries", [10, 20_000], ids=[FULL, INCREMENTAL])
@in_loop
async def test_it_goes_on_after_a_break_at_every_piece(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    """One piece of data a connection, and a new process each time: all is sent once, and no more."""
    monkeypatch.setattr(sending, "INCREMENTAL_ENTRIES", entries)
    monkeypatch.setattr(sending, "WAIT_SECONDS", 60)
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    leader, member = open_node("a", full=True), open_node("b")
    line = Line(leader.sender(), breaks_after=2)
    found: Description | None = None
    have = (member.machine.describe(), 0)
    for _ in range(1000):
        try:
            found = await member.fetcher(line).fetch(have=have[0], size=have[1], least=0)
            break
        except NetworkError:
            continue
    assert found is not None
    whole = sum(-(-file.size // (128 << 10)) for file in found.files)
    assert line.calls >= whole > 8
    assert line.pieces - line.calls - 1 == whole
    install(member)
    assert_same(member, leader)


@pytest.mark.usefixtures("small_pieces")
@in_loop
async def test_a_fetch_goes_on_by_itself_as_long_as_something_new_comes(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    line = Line(leader.sender(), breaks_after=3)
    await member.fetch(line)
    assert line.calls > fetching.ATTEMPTS
    line = Line(leader.sender(), breaks_after=0)
    with pytest.raises(NetworkError, match="broke"):
        await open_node("c").fetch(line)
    assert line.calls == fetching.ATTEMPTS


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("entries", "where"), [(10, 0), (10, 7), (20_000, 1)])
@in_loop
async def test_a_piece_that_arrives_changed_is_fetched_again(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, entries: int, where: int
) -> None:
    monkeypatch.setattr(sending, "INCREMENTAL_ENTRIES", entries)
    monkeypatch.setattr(sending, "WAIT_SECONDS", 60)
    leader, member = open_node("a", full=True), open_node("b")

    def flip(number: int, piece: bytes) -> bytes:
        return piece[:-1] + bytes([piece[-1] ^ 1]) if number == where else piece

    line = Line(leader.sender(), change=flip)
    await member.fetch(line)
    assert line.calls == 2
    install(member)
    assert_same(member, leader)


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_a_file_that_is_not_what_was_described_is_never_accepted(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    made = await keeper.make()
    largest = max(made.files, key=lambda file: file.size)
    content = bytearray((keeper.path(made) / largest.name).read_bytes())
    content[1000] ^= 1
    (keeper.path(made) / largest.name).unlink()  # the store has another name for the same file
    (keeper.path(made) / largest.name).write_bytes(content)
    with pytest.raises(NetworkError, match="is not what was sent"):
        await member.fetch(leader.sender(keeper).on_stream)
    assert ready(member.path) is None


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_a_part_that_the_disk_lost_is_found_and_fetched_again(open_node: Callable[..., Node]) -> None:
    """A machine that lost its power may have files of the right size that hold zeros."""
    leader, member = open_node("a", full=True), open_node("b")
    sender = leader.sender()
    found = await member.fetch(sender.on_stream)
    files = member.path / "incoming" / "files"
    (member.path / "incoming" / "ready").unlink()
    largest = max(found.files, key=lambda file: file.size)
    (files / largest.name).write_bytes(bytes(largest.size))
    line = Line(sender)
    assert await member.fetch(line) == found
    assert line.calls == 2
    install(member)
    assert_same(member, leader)


def lying(sender: sending.Sender, **lies: object) -> Callable[[bytes], AsyncIterator[bytes]]:
    async def stream(request: bytes) -> AsyncIterator[bytes]:
        async for message in sender.on_stream(request):
            piece = decode_piece(message)
            if isinstance(piece, Description):
                yield encode_piece(replace(piece, **lies))  # type: ignore[arg-type]
            else:
                yield message

    return stream


@pytest.mark.usefixtures("always_full")
@pytest.mark.parametrize("lie", [{"root": bytes(32)}, {"manifest_version": 5}])
@in_loop
async def test_a_copy_with_another_root_than_it_says_is_not_accepted(
    open_node: Callable[..., Node], lie: dict[str, object]
) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    with pytest.raises(VerificationError, match=r"the snapshot (says|of position)"):
        await member.fetch(lying(leader.sender(), **lie))
    assert not (member.path / "incoming").exists()


@in_loop
async def test_a_snapshot_of_another_ledger_is_not_accepted(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    with pytest.raises(Conflict, match="is of the ledger ffff"):
        await member.fetch(lying(leader.sender(), ledger_id="f" * 32))


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_a_snapshot_that_is_too_old_is_not_accepted(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")
    keeper = leader.keeper()
    old = await keeper.make()
    leader.fill(1)

    async def stream(_: bytes) -> AsyncIterator[bytes]:
        yield encode_piece(old)

    with pytest.raises(VerificationError, match="was asked for"):
        await member.fetch(stream, least=old.position + 1)


@pytest.mark.usefixtures("always_full")
@in_loop
async def test_a_snapshot_with_less_than_this_node_has_signed_is_not_accepted(
    open_node: Callable[..., Node],
) -> None:
    leader, member = open_node("a"), open_node("b", full=True)
    leader.found()
    leader.fill(5000)
    member.ledger.checkpoint()
    with pytest.raises(Corruption, match="has signed a checkpoint of 10000 entries, and the snapshot has 5000"):
        member.fetcher(leader.sender().on_stream)._check(await leader.keeper().make(), Request("", b"", 0, 0))


@pytest.mark.parametrize("at", [0, 2])
@in_loop
async def test_a_full_disk_gets_back_what_was_fetched(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(sending, "PIECE_BYTES", 64 << 10)
    leader, member = open_node("a", full=True), open_node("b")
    count = iter(range(100))

    def fill(descriptor: int, data: bytes) -> None:
        if next(count) == at:
            write_all(descriptor, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(descriptor, data)

    monkeypatch.setattr(fetching, "write_all", fill)
    sender = leader.sender()
    with pytest.raises(StorageError, match="No space left"):
        await member.fetch(sender.on_stream)
    assert not (member.path / "incoming").exists()
    monkeypatch.undo()
    await member.fetch(sender.on_stream)
    install(member)
    assert_same(member, leader)


@in_loop
async def test_what_is_wrong_with_the_senders_disk_is_not_this_nodes_trouble(open_node: Callable[..., Node]) -> None:
    member = open_node("b")

    async def stream(_: bytes) -> AsyncIterator[bytes]:
        yield encode_piece(Wait())
        raise Corruption("its disk has lost something")

    with pytest.raises(Unavailable, match="cannot send a snapshot: its disk has lost something"):
        await member.fetch(stream)


@in_loop
async def test_pieces_out_of_order_are_not_accepted(open_node: Callable[..., Node]) -> None:
    leader, member = open_node("a", full=True), open_node("b")

    def stream_of(*sent: pieces.Piece) -> Callable[[bytes], AsyncIterator[bytes]]:
        async def stream(_: bytes) -> AsyncIterator[bytes]:
            for piece in sent:
                yield encode_piece(piece)

        return stream

    made = await leader.keeper().make()
    for sent in (
        [Data(0, 0, b"x")],
        [made, Data(len(made.files), 0, b"x")],
        [made, Data(0, 1, b"x")],
        [made, Data(0, 0, bytes(made.files[0].size + 1))],
        [made, End()],
        [made],
        [],
    ):
        with pytest.raises(NetworkError):
            await member.fetch(stream_of(*sent))
        assert ready(member.path) is None


@in_loop
async def test_memory_and_time_are_bounded_by_the_reader(open_node: Callable[..., Node]) -> None:
    """A reader that stops reading stops the sender: two pieces are ahead, not the snapshot."""
    leader = open_node("a", full=True)
    keeper = leader.keeper()
    made = await keeper.make()
    reads: list[int] = []
    read = sending._read

    def counted(folder: Path, number: int, name: str, offset: int, length: int) -> bytes:
        reads.append(length)
        return read(folder, number, name, offset, length)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_read", counted)
        patch.setattr(sending, "PIECE_BYTES", 4096)
        stream = sending._files(keeper.path(made), made, {})
        for _ in range(3):
            await anext(stream)
        await asyncio.sleep(0.05)
        assert len(reads) <= 4
        await stream.aclose()


@pytest.mark.parametrize("content", [b"", b"a" * 5000, bytes(range(256)) * 16])
def test_pieces_survive_the_way(content: bytes) -> None:
    for piece in (Data(3, 1 << 40, content), Wait(), End()):
        assert decode_piece(encode_piece(piece)) == piece


@pytest.mark.parametrize("message", [b"", b"\x02", encode_piece(End())[:-1], b"\x09" + bytes(4)])
def test_what_is_no_piece_is_refused(message: bytes) -> None:
    with pytest.raises(NetworkError):
        decode_piece(message)


def test_a_piece_does_not_unpack_to_more_than_a_piece() -> None:
    with pytest.raises(NetworkError):
        decode_piece(encode_piece(Data(0, 0, bytes(pieces.PIECE_BYTES + 1))))

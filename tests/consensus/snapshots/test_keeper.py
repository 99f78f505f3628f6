"""Full snapshots: what they hold, what they never hold, which of them stay."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import orjson
import pytest
from structlog.testing import capture_logs
from tests.consensus.looping import in_loop
from tests.consensus.snapshots.nodes import KEY, LEDGER_ID, MEMBERS, TERM

from scribe_ledger.consensus.membership import Membership
from scribe_ledger.consensus.snapshots.description import FULL, Description, File
from scribe_ledger.consensus.snapshots.keeper import GRACE_SECONDS
from scribe_ledger.errors import SerializationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.consensus.snapshots.nodes import Node

pytestmark = pytest.mark.consensus


@in_loop
async def test_a_snapshot_says_exactly_what_it_holds(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    made = await keeper.make()
    copied = node.copies.read(keeper.path(made))
    assert (made.kind, made.ledger_id, made.position, made.term) == (FULL, LEDGER_ID, node.machine.position, TERM)
    assert copied == (made.position, made.membership, node.machine.extent)
    assert (made.size, made.root) == node.machine.extent[:2]
    membership = Membership.decode(made.membership)
    assert (membership.index, membership.term, membership.voters) == (made.position, TERM, MEMBERS.voters)
    assert {file.name for file in made.files} == {path.name for path in keeper.path(made).iterdir()}
    assert Description.decode((keeper.path(made).parent / "meta.json").read_bytes()) == made


def test_reading_a_copy_changes_nothing_in_it(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    copy = node.path / "copy"
    node.copies.make(copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert node.copies.read(copy).extent == node.machine.extent
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


@in_loop
async def test_tables_are_shared_with_the_store_and_not_copied(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    made = await keeper.make()
    tables = list(keeper.path(made).glob("*.sst"))
    assert any(path.stat().st_nlink == 2 for path in tables)


@in_loop
async def test_no_secret_no_head_and_no_vote_is_in_it(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    (node.path / "node.key").write_text("PRIVATE+KEY+node")
    keeper = node.keeper()
    made = await keeper.make()
    secret = KEY.private_text().split("+")[-1].encode()
    for path in keeper.path(made).parent.rglob("*"):
        assert path.name not in ("head", "ledger.key", "node.key", "node.json", "cluster.json", "node.head")
        if path.is_file():
            assert secret not in path.read_bytes()
            assert b"PRIVATE+KEY" not in path.read_bytes()


@in_loop
async def test_writes_go_on_while_it_is_made(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    before = node.machine.extent.size
    making = asyncio.ensure_future(keeper.make())
    applied = 0
    while not making.done():
        node.fill(1)
        applied += 1
        await asyncio.sleep(0)
    made = making.result()
    assert applied > 10
    assert before <= made.size <= before + applied
    assert node.machine.root_at(made.size) == made.root


@in_loop
async def test_who_asks_while_one_is_made_gets_the_same(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    first, second = await asyncio.gather(keeper.make(), keeper.make())
    assert first is second
    assert await keeper.make() is first
    node.fill(1)
    assert (await keeper.make()).position == first.position + 1


@in_loop
async def test_the_newest_are_kept_but_none_is_removed_that_is_being_sent(open_node: Callable[..., Node]) -> None:
    node = open_node("a")
    node.found()
    keeper = node.keeper(keep=2)
    made = []
    node.fill(1)
    made.append(await keeper.make())
    with keeper.sending(made[0].position):
        for _ in range(3):
            node.fill(1)
            made.append(await keeper.make())
        assert keeper.list() == [made[3], made[2], made[0]]
    assert [keeper.held] == [made[0].position]
    node.now += GRACE_SECONDS - 1
    assert [keeper.held] == [made[0].position]
    node.now += 2
    assert [keeper.held] == [None]
    node.fill(1)
    made.append(await keeper.make())
    assert keeper.list() == [made[4], made[3]]
    there = {path.name for path in keeper.folder.iterdir()}
    assert there == {f"{each.position:020}" for each in made[3:]}
    assert keeper.newest() == made[4]
    assert keeper.newest(made[4].position + 1) is None


@in_loop
async def test_the_log_is_held_while_one_is_made(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    making = asyncio.ensure_future(keeper.make())
    await asyncio.sleep(0)
    assert [keeper.held] == [node.machine.position]
    await making
    assert [keeper.held] == [None]


@in_loop
async def test_what_a_crash_has_left_is_removed_at_start(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    made = await keeper.make()
    shutil.copytree(keeper.path(made).parent, keeper.folder / "making")
    shutil.copytree(keeper.path(made).parent, keeper.folder / "sending-removed-7")
    again = node.keeper()
    assert again.list() == [made]
    assert [path.name for path in again.folder.iterdir()] == [f"{made.position:020}"]


@in_loop
async def test_a_making_that_fails_leaves_nothing_and_the_next_succeeds(
    open_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    make = node.copies.make

    def full(folder: Path) -> None:
        make(folder)
        raise StorageError("cannot write: No space left on device")

    monkeypatch.setattr(node.copies, "make", full)
    with pytest.raises(StorageError, match="No space"):
        await keeper.make()
    assert not list(keeper.folder.iterdir())
    assert keeper.held is None
    monkeypatch.undo()
    await keeper.make()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "description emptied": lambda folder: (folder / "meta.json").write_bytes(b""),
    "description of something else": lambda folder: (folder / "meta.json").write_bytes(b"{}"),
    "description missing": lambda folder: (folder / "meta.json").unlink(),
    "store missing": lambda folder: shutil.rmtree(folder / "store"),
    "a file shortened": lambda folder: os.truncate(max((folder / "store").iterdir(), key=_size), 1),
    "named after another position": lambda folder: folder.rename(folder.with_name(f"{7:020}")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@in_loop
async def test_a_damaged_snapshot_is_removed_with_a_word_and_the_others_stay(
    open_node: Callable[..., Node], damage: Callable[[Path], object]
) -> None:
    node = open_node("a", full=True)
    keeper = node.keeper()
    good = await keeper.make()
    node.fill(1)
    bad = await keeper.make()
    before = node.machine.extent
    # Its files are links to those of the ledger: the damage must not reach them.
    folder = keeper.path(bad).parent
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    damage(folder)
    with capture_logs() as said:
        again = node.keeper()
    [line] = [each for each in said if each["log_level"] == "warning"]
    assert "damaged snapshot" in line["event"] and str(keeper.folder) in line["path"] and line["error"]
    assert again.list() == [good]
    assert [path.name for path in again.folder.iterdir()] == [f"{good.position:020}"]
    assert (await again.make()).position == bad.position, "it is made anew"
    assert node.machine.extent == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("id", "../5"),
        ("kind", "other"),
        ("ledger_id", "x"),
        ("position", 7),
        ("term", 99),
        ("size", -1),
        ("size", "5"),
        ("root", "00"),
        ("membership", {}),
        ("files", []),
        ("files", [{"name": "../head", "bytes": 1, "sha256": "00" * 32}]),
        ("files", [{"name": "a/b", "bytes": 1, "sha256": "00" * 32}]),
        ("files", [{"name": "..", "bytes": 1, "sha256": "00" * 32}]),
        ("files", [{"name": "a", "bytes": -1, "sha256": "00" * 32}]),
        ("files", [{"name": "a", "bytes": 1, "sha256": "00"}]),
        ("files", [{"name": "a", "bytes": 1, "sha256": "00" * 32}] * 2),
    ],
)
def test_a_description_is_read_strictly(field: str, value: object) -> None:
    membership = Membership(5, TERM, (1,)).encode()
    good = Description(
        f"{5:020}-{1:016x}", FULL, LEDGER_ID, 5, TERM, 1, bytes(32), 0, bytes(32), membership, (_file(),), 1
    )
    assert Description.decode(good.encode()) == good
    with pytest.raises(SerializationError):
        Description.decode(orjson.dumps({**good.to_json(), field: value}))


def _size(path: Path) -> int:
    return path.stat().st_size


def _file() -> File:
    return File("000001.sst", 5, bytes(32))

"""Installing, and dying at every step of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.consensus.looping import in_loop
from tests.consensus.snapshots.nodes import Node

from scribe_ledger.consensus.snapshots.description import FULL, INCREMENTAL
from scribe_ledger.consensus.snapshots.installing import (
    Installed,
    Refused,
    finish_installation,
    install_incremental,
    ready,
)
from scribe_ledger.consensus.snapshots.spool import read_spool
from scribe_ledger.errors import Corruption, LedgerLocked, VerificationError
from scribe_ledger.ledger.store_copies import StoreCopies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scribe_ledger.consensus.statemachine import Extent

pytestmark = pytest.mark.consensus

FULL_STEPS = ["checked", "moved aside", "moved in", "synced", "unmarked", "removed"]
INCREMENTAL_STEPS = ["proven", "taken", "flushed", "unmarked"]
KEPT = ("ledger.json", "ledger.key", "head", "cluster.json")
COPIES = StoreCopies()


class Killed(BaseException):
    """Stands for the end of the process."""


def dying_at(step: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == step:
            raise Killed

    return reached


@pytest.fixture
def member(tmp_path: Path, fetched: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Node]:
    """An empty member with a snapshot that is ready, of the kind that the test names; its ledger is closed."""
    shutil.copytree(fetched[request.param], tmp_path / "member")
    node = Node(tmp_path / "member", create=False)
    yield node
    node.close()


@pytest.fixture
def expected(filled: Path) -> Extent:
    return COPIES.read(filled / "store").extent


full = pytest.mark.parametrize("member", [FULL], indirect=True)
incremental = pytest.mark.parametrize("member", [INCREMENTAL], indirect=True)


def finish(member: Node) -> Installed | None:
    """What a node does at its start."""
    installed = finish_installation(member.path, COPIES)
    member.open()
    return installed or install_incremental(member.machine, member.path)


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in KEPT}


@full
@pytest.mark.parametrize("step", FULL_STEPS)
def test_a_full_one_is_finished_wherever_it_was_cut(member: Node, expected: Extent, step: str) -> None:
    before = contents(member.path)
    with pytest.raises(Killed):
        finish_installation(member.path, COPIES, step=dying_at(step))
    installed = finish(member)
    assert (installed is None) == (step in ("unmarked", "removed"))
    assert member.machine.extent == expected
    assert contents(member.path) == before
    assert not (member.path / "incoming" / "old").exists()
    assert ready(member.path) is None


@incremental
@pytest.mark.parametrize("step", INCREMENTAL_STEPS)
def test_an_incremental_one_is_finished_wherever_it_was_cut(member: Node, expected: Extent, step: str) -> None:
    member.open()
    with pytest.raises(Killed):
        install_incremental(member.machine, member.path, step=dying_at(step))
    member.close()
    installed = finish(member)
    assert (installed is None) == (step == "unmarked")
    assert member.machine.extent == expected
    assert ready(member.path) is None


@incremental
def test_an_incremental_one_waits_for_the_ledger(member: Node, expected: Extent) -> None:
    assert finish_installation(member.path, COPIES) is None
    installed = finish(member)
    assert installed is not None
    assert (installed.kind, installed.size) == (INCREMENTAL, expected.size)
    assert member.machine.extent == expected


KILLED_CHILD = """
import os, signal, sys
from pathlib import Path
from scribe_ledger.consensus.snapshots.installing import finish_installation, install_incremental
from scribe_ledger.ledger.served import MemberLedger
from scribe_ledger.ledger.store_copies import StoreCopies

path, last = Path(sys.argv[1]), sys.argv[2]

def step(name):
    if name == last:
        os.kill(os.getpid(), signal.SIGKILL)

finish_installation(path, StoreCopies(), step=step)
install_incremental(MemberLedger.open(path).state_machine, path, step=step)
"""


@pytest.mark.parametrize(
    ("member", "steps"),
    [(FULL, ["moved aside", "moved in", "unmarked"]), (INCREMENTAL, ["taken", "flushed", "unmarked"])],
    indirect=["member"],
)
def test_a_killed_process_is_followed_by_one_that_finishes(member: Node, expected: Extent, steps: list[str]) -> None:
    """One kill after the other on the same folder, each a step further than the last."""
    for step in steps:
        child = subprocess.run([sys.executable, "-c", KILLED_CHILD, str(member.path), step], check=False, timeout=60)
        assert child.returncode == -signal.SIGKILL
    finish(member)
    assert member.machine.extent == expected
    assert ready(member.path) is None


@full
def test_a_ledger_that_has_signed_more_is_not_overwritten(member: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sorted(path.name for path in (member.path / "store").iterdir())
    monkeypatch.setattr(StoreCopies, "signed_size", lambda *_: 10_001)
    with pytest.raises(Corruption, match="has signed a checkpoint of 10001 entries, and the snapshot has 10000"):
        finish_installation(member.path, COPIES)
    assert sorted(path.name for path in (member.path / "store").iterdir()) == store
    monkeypatch.undo()
    assert finish(member) is not None


def test_what_was_signed_is_read_from_the_head(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    assert COPIES.signed_size(node.path) == 0
    node.ledger.checkpoint()
    assert COPIES.signed_size(node.path) == 10_000


@pytest.mark.parametrize("member", [FULL, INCREMENTAL], indirect=True)
def test_what_the_disk_has_changed_since_is_removed(member: Node) -> None:
    path = max((member.path / "incoming" / "files").iterdir(), key=lambda each: each.stat().st_size)
    flip(path)
    with pytest.raises(Refused, match="is not what was fetched"):
        finish(member)
    assert_as_before(member)


@pytest.mark.parametrize("member", [FULL, INCREMENTAL], indirect=True)
@pytest.mark.parametrize("gone", ["ready", "files"])
def test_a_mark_that_cannot_be_read_and_files_that_are_gone_are_removed(member: Node, gone: str) -> None:
    if gone == "ready":
        (member.path / "incoming" / "ready").write_bytes(b"{")
    else:
        for path in (member.path / "incoming" / "files").iterdir():
            path.unlink()
    with pytest.raises(Refused):
        finish(member)
    assert_as_before(member)


@full
@pytest.mark.parametrize("damage", ["ready", "files"])
def test_the_old_store_comes_back_where_the_new_one_is_damaged(member: Node, damage: str) -> None:
    with pytest.raises(Killed):
        finish_installation(member.path, COPIES, step=dying_at("moved aside"))
    if damage == "ready":
        (member.path / "incoming" / "ready").write_bytes(b"{")
    else:
        flip(max((member.path / "incoming" / "files").iterdir(), key=lambda each: each.stat().st_size))
    with pytest.raises(Refused):
        finish(member)
    assert_as_before(member)


@incremental
def test_what_was_taken_in_part_cannot_go_on_from_a_damaged_file(member: Node) -> None:
    """The file was good when the taking began. Without its rest nothing can be applied."""
    member.open()
    path = next((member.path / "incoming" / "files").iterdir())
    pieces = list(read_spool(path))
    with pytest.raises(VerificationError, match="ends before"):
        member.machine.take(pieces[:2])
    member.close()
    flip(path)
    with pytest.raises(Corruption, match="in part, and the rest is damaged"):
        finish(member)
    assert ready(member.path) is not None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def assert_as_before(member: Node) -> None:
    """An empty ledger that starts again, and again, and goes on."""
    for _ in range(2):
        member.close()
        assert finish(member) is None
    assert not (member.path / "incoming").exists()
    assert member.machine.extent.size == 0
    member.found()
    member.fill(1)


@full
def test_without_the_mark_the_old_store_comes_back(member: Node) -> None:
    with pytest.raises(Killed):
        finish_installation(member.path, COPIES, step=dying_at("moved aside"))
    (member.path / "incoming" / "ready").unlink()
    assert finish(member) is None
    assert member.machine.extent.size == 0


@full
def test_a_folder_that_is_open_elsewhere_is_left_alone(member: Node) -> None:
    member.open()
    with pytest.raises(LedgerLocked):
        finish_installation(member.path, COPIES)
    assert (member.path / "incoming" / "ready").exists()


@in_loop
async def test_nothing_is_done_where_there_is_nothing(open_node: Callable[..., Node]) -> None:
    node = open_node("a", full=True)
    assert install_incremental(node.machine, node.path) is None
    before = sorted(os.listdir(node.path))
    assert finish_installation(node.path, COPIES) is None  # the lock is not even asked for
    assert sorted(os.listdir(node.path)) == before

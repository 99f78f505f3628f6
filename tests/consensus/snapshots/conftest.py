from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.consensus.snapshots.nodes import Node

from scribe_ledger.consensus.snapshots import sending
from scribe_ledger.consensus.snapshots.description import FULL, INCREMENTAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a member with 10,000 entries."""
    node = Node(tmp_path_factory.mktemp("filled") / "node")
    node.found()
    node.fill(10_000)
    node.machine.flush()
    node.close()
    return node.path


@pytest.fixture(scope="session")
def fetched(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: the folder of an empty member with a snapshot of ``filled`` that is ready."""
    folder = tmp_path_factory.mktemp("fetched")
    shutil.copytree(filled, folder / "leader")
    leader = Node(folder / "leader")

    async def fetch(kind: str) -> Path:
        member = Node(folder / kind)
        assert (await member.fetch(leader.sender().on_stream)).kind == kind
        member.close()
        return member.path

    found = {INCREMENTAL: asyncio.run(fetch(INCREMENTAL))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "INCREMENTAL_ENTRIES", 10)
        found[FULL] = asyncio.run(fetch(FULL))
    leader.close()
    return found


@pytest.fixture
def open_node(tmp_path: Path, filled: Path) -> Iterator[Callable[..., Node]]:
    """Opens members: empty ones, or with what ``filled`` has. They are closed at the end."""
    nodes: list[Node] = []

    def open_one(name: str, *, full: bool = False) -> Node:
        if full:
            shutil.copytree(filled, tmp_path / name)
        nodes.append(Node(tmp_path / name))
        return nodes[-1]

    yield open_one
    for node in nodes:
        node.close()

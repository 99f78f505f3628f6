from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.consensus.snapshots.nodes import Node

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
